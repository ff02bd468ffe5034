/* One row of kernels for 64-bit ARM. The includer defines TARGET, ROW, ROW_NAME, ROW_AVAILABLE,
 * CONV_CROSSOVER, and either MIXED_DOT, the dot product of four unsigned by four signed bytes per
 * lane, or SIGNED_DOT, that of signed bytes for inputs of at most 7 bits. */
#include <arm_neon.h>

#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL9 _Pragma("GCC unroll 9")
#define VEC int32x4_t
#define LANES 4
#define NV 4
#define MR 6 /* 24 sums, 4 vectors of weights and an input: 29 of 32 registers */
#define MOST_ROWS 12

#define S8(v) vreinterpretq_s8_s32(v)
#define U8(v) vreinterpretq_u8_s32(v)
#define S16(v) vreinterpretq_s16_s32(v)
#define FROM_S16(v) vreinterpretq_s32_s16(v)

#define V_ZERO() vdupq_n_s32(0)
#define V_LOAD(from) vreinterpretq_s32_u8(vld1q_u8((const uint8_t *)(const void *)(from)))
#define V_STORE(to, v) vst1q_u8((uint8_t *)(void *)(to), U8(v))
#define V_SET_S32(x) vdupq_n_s32(x)
#define V_ADD_S32(a, b) vaddq_s32(a, b)
#define V_ADD_S16(a, b) FROM_S16(vaddq_s16(S16(a), S16(b)))
#define V_MUL_S16(a, b) FROM_S16(vmulq_s16(S16(a), S16(b)))
#define V_WIDEN_LOW(v) vmovl_s16(vget_low_s16(S16(v)))
#define V_WIDEN_HIGH(v) vmovl_high_s16(S16(v))
#define V_LOAD_U8_S16(from) vreinterpretq_s32_u16(vmovl_u8(vld1_u8(from)))
#define V_NONZERO_S16(v) vaddvq_u16(vshrq_n_u16(vtstq_s16(S16(v), S16(v)), 15))
#define V_DOT_S16(sum, x, w) dot_s16(sum, x, w)
#define V_COUNT_ABOVE(count, v, threshold) \
    vsubq_s32(count, vreinterpretq_s32_u32(vcgtq_s32(v, threshold)))
#define V_LINE(v, slope, offset, top) line(v, slope, offset, top)
#define V_LOAD_S32(from, left) load_s32(from, left)
#define V_STORE_S32(to, v, left) store_s32(to, v, left)
#define V_STORE_U8(to, v, left) store_u8(to, v, left)

/* No potential leaves 32 bits, so that sums may wrap on their way. */
#ifdef MIXED_DOT
#define V_DOT_U8(sum, x, w) MIXED_DOT(sum, U8(x), S8(w))
#else
#define V_DOT_U8(sum, x, w) SIGNED_DOT(sum, S8(x), S8(w))
#define V_SPLITS
#define V_NEEDS_SPLIT(p) ((p)->largest > INT8_MAX)
#define V_DOT_U8_SPLIT(sum, x, w) split_dot(sum, x, w)

/* The lower 7 bits of the inputs, and 128 times their top bits. */
TARGET static inline int32x4_t split_dot(int32x4_t sum, int32x4_t x, int32x4_t w)
{
    const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(U8(x), vdupq_n_u8(INT8_MAX)));
    const int8x16_t top = vreinterpretq_s8_u8(vshrq_n_u8(U8(x), 7));
    const int32x4_t tops = SIGNED_DOT(vdupq_n_s32(0), top, S8(w));
    return SIGNED_DOT(vaddq_s32(sum, vshlq_n_s32(tops, 7)), low, S8(w));
}
#endif

/* x repeats one pair of 16-bit inputs; w holds such a pair per lane. */
TARGET static inline int32x4_t dot_s16(int32x4_t sum, int32x4_t x, int32x4_t w)
{
    const int16x4_t inputs = vget_low_s16(S16(x));
    const int16x4_t first = vget_low_s16(vuzp1q_s16(S16(w), S16(w)));
    const int16x4_t second = vget_low_s16(vuzp2q_s16(S16(w), S16(w)));
    return vmlal_lane_s16(vmlal_lane_s16(sum, first, inputs, 0), second, inputs, 1);
}

TARGET static inline int32x4_t line(int32x4_t v, const float *slope, const float *offset,
                                    int32_t top)
{
    const float32x4_t y = vfmaq_f32(vld1q_f32(offset), vcvtq_f32_s32(v), vld1q_f32(slope));
    const float32x4_t clipped = vminq_f32(vmaxq_f32(y, vdupq_n_f32(0)), vdupq_n_f32((float)top));
    return vcvtq_s32_f32(clipped);
}

TARGET static inline int32x4_t load_s32(const int32_t *from, int32_t left)
{
    if (left >= LANES)
        return vld1q_s32(from);
    int32_t all[LANES] = {0};
    for (int32_t i = 0; i < left; i++)
        all[i] = from[i];
    return vld1q_s32(all);
}

TARGET static inline void store_s32(int32_t *to, int32x4_t v, int32_t left)
{
    if (left >= LANES) {
        vst1q_s32(to, v);
        return;
    }
    int32_t all[LANES];
    vst1q_s32(all, v);
    for (int32_t i = 0; i < left; i++)
        to[i] = all[i];
}

TARGET static inline void store_u8(uint8_t *to, int32x4_t v, int32_t left)
{
    const uint16x4_t words = vmovn_u32(vreinterpretq_u32_s32(v));
    const uint8x8_t bytes = vmovn_u16(vcombine_u16(words, words));
    uint8_t all[8];
    vst1_u8(all, bytes);
    if (left >= LANES)
        __builtin_memcpy(to, all, LANES);
    else
        for (int32_t i = 0; i < left; i++)
            to[i] = all[i];
}

#define V_OWN_EVENTS
#include "vector_template.h"

#include "neon_events.h"

static const knsoc_vector_kernels kernels = {
    .vector_bytes = sizeof(VEC),
    .dense_block = BLOCK,
    .conv_crossover = CONV_CROSSOVER,
    .fully_crossover = 0.6,
    .take_column = take_column,
    .dense = vector_dense,
    .list = list,
    .events = vector_events,
    .depthwise = vector_depthwise,
    .pointwise = vector_pointwise,
    .fire = vector_fire,
    .pool_max = vector_pool_max,
    .pool_sum = vector_pool_sum,
    .count = count_u8,
};

const knsoc_row ROW = {
    .name = ROW_NAME,
    .available = ROW_AVAILABLE,
    KNSOC_PLAIN_KERNELS,
    .vector = &kernels,
};
