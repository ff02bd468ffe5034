/* Kernels for ARM CPUs that multiply and add groups of four unsigned by signed bytes, too. */
#include "neon.h"

#ifdef KNSOC_NEON_I8MM_TARGET
#define TARGET KNSOC_NEON_I8MM_TARGET
#define ROW knsoc_row__neon_i8mm
#define ROW_NAME "neon_i8mm"
#define ROW_AVAILABLE knsoc_has_i8mm
#define CONV_CROSSOVER 0.4
#define MIXED_DOT(sum, x, w) vusdotq_s32(sum, x, w)
#include "neon_row.h"
#endif
