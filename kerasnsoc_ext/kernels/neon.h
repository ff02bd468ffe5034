/* Which rows for 64-bit ARM this compiler can build, and what they share. */
#ifndef KNSOC_NEON_H
#define KNSOC_NEON_H

#include "kernels.h"

#if defined(__aarch64__) && defined(__GNUC__) && !defined(__AARCH64EB__)
#define KNSOC_NEON

/* clang before 16 declares an instruction's intrinsic only where the whole file may use it */
#if !defined(__clang__)
#define KNSOC_NEON_DOTPROD_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#if __GNUC__ >= 10
#define KNSOC_NEON_I8MM_TARGET __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))
#endif
#else
#if __clang_major__ >= 16 || defined(__ARM_FEATURE_DOTPROD)
#define KNSOC_NEON_DOTPROD_TARGET __attribute__((target("dotprod")))
#endif
#if __clang_major__ >= 16 || defined(__ARM_FEATURE_MATMUL_INT8)
#define KNSOC_NEON_I8MM_TARGET __attribute__((target("dotprod,i8mm")))
#endif
#endif

/* Whether this CPU multiplies and adds groups of four bytes: both signed, or of mixed signs. */
int knsoc_has_dotprod(void);
int knsoc_has_i8mm(void);

extern const knsoc_row knsoc_row__neon;
#ifdef KNSOC_NEON_DOTPROD_TARGET
extern const knsoc_row knsoc_row__neon_dotprod;
#endif
#ifdef KNSOC_NEON_I8MM_TARGET
extern const knsoc_row knsoc_row__neon_i8mm;
#endif

#endif
#endif
