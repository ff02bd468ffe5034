/* Kernels for every 64-bit ARM CPU: products of bytes are made in 16 bits and added in pairs. */
#include "neon.h"

#ifdef KNSOC_NEON
#define TARGET
#define ROW knsoc_row__neon
#define ROW_NAME "neon"
#define ROW_AVAILABLE always
/* Four products take four instructions in the dense form, and one each in the event form. */
#define CONV_CROSSOVER 0.9
#define SIGNED_DOT(sum, x, w) products_added(sum, x, w)

#include <arm_neon.h>

static int always(void)
{
    return 1;
}

/* For 0 <= x <= 127, when two products stay below 2 * 127 * 128. */
static inline int32x4_t products_added(int32x4_t sum, int8x16_t x, int8x16_t w)
{
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w));
    const int16x8_t high = vmull_high_s8(x, w);
    return vpadalq_s16(sum, vpaddq_s16(low, high));
}

#include "neon_row.h"
#endif
