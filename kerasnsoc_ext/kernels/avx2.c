/* Kernels for CPUs with 256-bit vectors. Products of bytes are added in pairs, in 16 bits that
 * saturate: which pairs cannot is proved when weights are packed. */
#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma,popcnt,bmi,bmi2")))
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL9 _Pragma("GCC unroll 9")
#define VEC __m256i
#define LANES 8
#define NV 2
#define MR 4 /* 8 sums, 2 vectors of weights, an input, ones and products: within 16 registers */
#define MOST_ROWS MR
#define AHEAD 16

#define V_ZERO() _mm256_setzero_si256()
#define V_LOAD(from) _mm256_loadu_si256((const __m256i *)(const void *)(from))
#define V_STORE(to, v) _mm256_storeu_si256((__m256i *)(void *)(to), v)
#define V_SET_S32(x) _mm256_set1_epi32(x)
#define V_SET_S16(x) _mm256_set1_epi16(x)
#define V_ADD_S32(a, b) _mm256_add_epi32(a, b)
#define V_SUB_S32(a, b) _mm256_sub_epi32(a, b)
#define V_AND(a, b) _mm256_and_si256(a, b)
#define V_SHIFT_RIGHT_S16(a, by) _mm256_srli_epi16(a, by)
#define V_ADD_S8(a, b) _mm256_add_epi8(a, b)
#define V_ADD_S16(a, b) _mm256_add_epi16(a, b)
#define V_MUL_S16(a, b) _mm256_mullo_epi16(a, b)
#define V_LOW(a, b) _mm256_unpacklo_epi8(a, b)
#define V_HIGH(a, b) _mm256_unpackhi_epi8(a, b)
#define V_LOW_S16(a, b) _mm256_unpacklo_epi16(a, b)
#define V_HIGH_S16(a, b) _mm256_unpackhi_epi16(a, b)
#define V_PAIRS(x, w) _mm256_maddubs_epi16(x, w)
#define V_WIDEN_LOW(v) _mm256_cvtepi16_epi32(_mm256_castsi256_si128(v))
#define V_WIDEN_HIGH(v) _mm256_cvtepi16_epi32(_mm256_extracti128_si256(v, 1))
#define V_LOAD_U8_S16(from) \
    _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(from)))
#define V_NONZERO_S16(v) \
    (16 - __builtin_popcount((unsigned)_mm256_movemask_epi8( \
              _mm256_cmpeq_epi16(v, _mm256_setzero_si256()))) / 2)
#define V_QUADS(pairs) _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
#define V_DOT_U8(sum, x, w) _mm256_add_epi32(sum, V_QUADS(_mm256_maddubs_epi16(x, w)))
#define V_SPLITS
#define V_DOT_U8_SPLIT(sum, x, w) split_dot(sum, x, w)
#define V_DOT_S16(sum, x, w) _mm256_add_epi32(sum, _mm256_madd_epi16(x, w))
#define V_COUNT_ABOVE(count, v, threshold) \
    _mm256_sub_epi32(count, _mm256_cmpgt_epi32(v, threshold))

/* Two products of at most 127 * 128, or of 128 * 128, fit 16 bits where two of 255 * 128 do not. */
TARGET static inline __m256i split_dot(__m256i sum, __m256i x, __m256i w)
{
    const __m256i top = _mm256_set1_epi8((char)0x80);
    const __m256i high = _mm256_maddubs_epi16(_mm256_and_si256(x, top), w);
    const __m256i low = _mm256_maddubs_epi16(_mm256_andnot_si256(top, x), w);
    return _mm256_add_epi32(sum, _mm256_add_epi32(V_QUADS(high), V_QUADS(low)));
}

TARGET static inline __m256i lanes_of(int32_t left)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

TARGET static inline __m256i line(__m256i v, const float *slope, const float *offset, int32_t top)
{
    const __m256 y =
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(v), _mm256_loadu_ps(slope), _mm256_loadu_ps(offset));
    const __m256 clipped =
        _mm256_min_ps(_mm256_max_ps(y, _mm256_setzero_ps()), _mm256_set1_ps((float)top));
    return _mm256_cvttps_epi32(clipped);
}

TARGET static inline void store_u8(uint8_t *to, __m256i v, int32_t left)
{
    const __m256i words = _mm256_packus_epi32(v, v), bytes = _mm256_packus_epi16(words, words);
    const __m128i eight = _mm256_castsi256_si128(
        _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4)));
    if (left >= LANES) {
        _mm_storel_epi64((__m128i *)(void *)to, eight);
    } else {
        uint8_t all[16];
        _mm_storeu_si128((__m128i *)(void *)all, eight);
        for (int32_t i = 0; i < left; i++)
            to[i] = all[i];
    }
}

#define V_LINE(v, slope, offset, top) line(v, slope, offset, top)
#define V_LOAD_S32(from, left) _mm256_maskload_epi32(from, lanes_of(left))
#define V_STORE_S32(to, v, left) _mm256_maskstore_epi32(to, lanes_of(left), v)
#define V_STORE_U8(to, v, left) store_u8(to, v, left)
#define V_DENSE_IN_S16(p, inputs, cell, column, outputs) \
    dense_in_s16(p, inputs, cell, column, outputs)

static void dense_in_s16(const knsoc_packed *p, const uint8_t *inputs, int64_t cell, int64_t column,
                         void *outputs);

#include "vector_template.h"

#include "bits_template.h"
#include "nibbles_template.h"

#define S16_ROWS 3 /* 6 sums of 16 bits and 6 of 32, weights and an input: 15 registers */

/* As dense_rows, but the sums of several quads are widened together. */
INLINE void rows_in_s16(const int rows, const knsoc_packed *p, const uint8_t *const *inputs,
                        int64_t pitch, const int8_t *weights, const int64_t *positions,
                        int32_t neuron, void *outputs)
{
    VEC sums[S16_ROWS][NV];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < NV; v++)
            sums[r][v] = V_ZERO();
    for (int32_t segment = 0; segment < p->segments; segment++) {
        int64_t at = segment * pitch;
        const int64_t end = at + 4 * (int64_t)p->quads;
        while (at < end) {
            const int64_t some = at + 4 * (int64_t)p->dots_in_s16;
            const int64_t until = some < end ? some : end;
            VEC small[S16_ROWS][NV];
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int v = 0; v < NV; v++)
                    small[r][v] = V_ZERO();
            for (; at < until; at += 4, weights += NV * BYTES) {
                const VEC w0 = V_LOAD(weights), w1 = V_LOAD(weights + BYTES);
                UNROLL for (int r = 0; r < rows; r++) {
                    const VEC x = V_SET_S32(four_bytes(inputs[r] + at));
                    small[r][0] = V_ADD_S16(small[r][0], V_PAIRS(x, w0));
                    small[r][1] = V_ADD_S16(small[r][1], V_PAIRS(x, w1));
                }
            }
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int v = 0; v < NV; v++)
                    sums[r][v] = V_ADD_S32(sums[r][v], V_QUADS(small[r][v]));
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < NV; v++)
            finish(p, positions[r], neuron + v * LANES, sums[r][v], outputs);
}

TARGET static void dense_in_s16(const knsoc_packed *p, const uint8_t *inputs, int64_t cell,
                                int64_t column, void *outputs)
{
    const int64_t count = (int64_t)p->output_columns * p->output_cells;
    const int64_t block_bytes = (int64_t)p->segments * p->quads * 4 * BLOCK;
    const int8_t *weights = p->dense;
    for (int32_t n = 0; n < p->neurons; n += BLOCK, weights += block_bytes) {
        knsoc_cursor cursor = {0, 0};
        for (int64_t i = 0; i < count; i += S16_ROWS) {
            const uint8_t *from[S16_ROWS];
            int64_t positions[S16_ROWS];
            const int rows = count - i < S16_ROWS ? (int)(count - i) : S16_ROWS;
            for (int r = 0; r < rows; r++) {
                from[r] = inputs + cursor.column * p->stride_columns * column +
                          cursor.cell * p->stride_cells * cell;
                positions[r] = knsoc_output_position(cursor, p);
                knsoc_advance(&cursor, p);
            }
            if (rows == 3)
                rows_in_s16(3, p, from, column, weights, positions, n, outputs);
            else if (rows == 2)
                rows_in_s16(2, p, from, column, weights, positions, n, outputs);
            else
                rows_in_s16(1, p, from, column, weights, positions, n, outputs);
        }
    }
}

TARGET static uint32_t events_of(const uint8_t *values)
{
    const __m256i v = V_LOAD(values);
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_setzero_si256()));
}

TARGET static int64_t take_column(const uint8_t *values, int64_t size, const uint8_t *fan_out,
                                  uint8_t *copy, int64_t *weighted)
{
    int64_t count = 0, total = 0, i = 0;
    __m256i sum = V_ZERO();
    if (copy)
        memcpy(copy, values, (size_t)size);
    for (; i + 32 <= size; i += 32) {
        count += __builtin_popcount(events_of(values + i));
        if (fan_out) {
            const __m256i silent = _mm256_cmpeq_epi8(V_LOAD(values + i), V_ZERO());
            const __m256i heard = _mm256_andnot_si256(silent, V_LOAD(fan_out + i));
            sum = _mm256_add_epi64(sum, _mm256_sad_epu8(heard, V_ZERO()));
        }
    }
    for (; i < size; i++)
        if (values[i]) {
            count++;
            total += fan_out ? fan_out[i] : 0;
        }
    int64_t parts[4];
    V_STORE(parts, sum);
    *weighted = fan_out ? total + parts[0] + parts[1] + parts[2] + parts[3] : count;
    return count;
}

TARGET static int64_t count_u8(const uint8_t *values, int64_t size)
{
    int64_t weighted;
    return take_column(values, size, 0, 0, &weighted);
}

TARGET static void list(const uint8_t *values, int32_t columns, int32_t cells, int32_t channels,
                        int32_t shift, knsoc_events *events)
{
    uint32_t count = 0;
    uint32_t *first = events->first;
    for (int32_t column = 0; column < columns; column++) {
        uint32_t at = 0;
        for (int32_t cell = 0; cell < cells; cell++, values += channels, at += (uint32_t)channels) {
            *first++ = count;
            int32_t c = 0;
            for (; c + 32 <= channels; c += 32)
                for (uint32_t found = events_of(values + c); found; found &= found - 1) {
                    const int32_t channel = c + __builtin_ctz(found);
                    events->index[count] = (at + (uint32_t)channel) << shift;
                    events->value[count++] = values[channel];
                }
            for (; c < channels; c++) {
                events->index[count] = (at + (uint32_t)c) << shift;
                events->value[count] = values[c];
                count += values[c] != 0;
            }
        }
    }
    *first = count;
    events->count = count;
}

static int available(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
}

static const knsoc_vector_kernels kernels = {
    .vector_bytes = sizeof(VEC),
    .dense_block = BLOCK,
    .conv_crossover = 0.6,
    .fully_crossover = 0.6,
    .take_column = take_column,
    .dense = vector_dense,
    .look_up = vector_look_up,
    .list = list,
    .events = vector_events,
    .nibbles = vector_nibbles,
    .depthwise = vector_depthwise,
    .pointwise = vector_pointwise,
    .fire = vector_fire,
    .pool_max = vector_pool_max,
    .pool_sum = vector_pool_sum,
    .count = count_u8,
};

const knsoc_row knsoc_row__avx2 = {
    .name = "avx2",
    .available = available,
    KNSOC_PLAIN_KERNELS,
    .vector = &kernels,
};
#endif
