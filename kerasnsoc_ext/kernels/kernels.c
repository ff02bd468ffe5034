#include "kernels.h"

const knsoc_row *const knsoc_rows[] = {
#if defined(__x86_64__) && defined(__GNUC__)
    &knsoc_row__avx512vnni,
    &knsoc_row__avx2,
#endif
    &knsoc_row__scalar,
    0,
};
