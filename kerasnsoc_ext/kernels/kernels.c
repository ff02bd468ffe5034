#include "kernels.h"

#include "amx.h"
#include "neon.h"

const knsoc_row *const knsoc_rows[] = {
#ifdef KNSOC_AMX
    &knsoc_row__amx,
#endif
#if defined(__x86_64__) && defined(__GNUC__)
    &knsoc_row__avx512vnni,
    &knsoc_row__avx2,
#endif
#ifdef KNSOC_NEON_I8MM_TARGET
    &knsoc_row__neon_i8mm,
#endif
#ifdef KNSOC_NEON_DOTPROD_TARGET
    &knsoc_row__neon_dotprod,
#endif
#ifdef KNSOC_NEON
    &knsoc_row__neon,
#endif
    &knsoc_row__scalar,
    0,
};
