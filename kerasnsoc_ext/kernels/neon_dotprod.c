/* Kernels for ARM CPUs that multiply and add groups of four signed bytes. */
#include "neon.h"

#ifdef KNSOC_NEON_DOTPROD_TARGET
#define TARGET KNSOC_NEON_DOTPROD_TARGET
#define ROW knsoc_row__neon_dotprod
#define ROW_NAME "neon_dotprod"
#define ROW_AVAILABLE knsoc_has_dotprod
#define CONV_CROSSOVER 0.4
#define SIGNED_DOT(sum, x, w) vdotq_s32(sum, x, w)
#include "neon_row.h"
#endif
