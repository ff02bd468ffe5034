/* Whether this build has the row for AMX. */
#ifndef KNSOC_AMX_H
#define KNSOC_AMX_H

#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__)
#if defined(KNSOC_EMULATED_TILES) || \
    (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define KNSOC_AMX

extern const knsoc_row knsoc_row__amx;
#endif
#endif

#endif
