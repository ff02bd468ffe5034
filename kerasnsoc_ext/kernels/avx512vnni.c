/* Kernels for CPUs with 512-bit vectors and their 8-bit dot products. */
#include "kernels.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,popcnt,bmi,bmi2")))
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL9 _Pragma("GCC unroll 9")
#define VEC __m512i
#define LANES 16
#define NV 4
#define MR 6    /* 24 sums, 4 vectors of weights and an input: 29 of 32 registers */
#define MOST_ROWS 12
#define AHEAD 16
#define FOUR_BYTES (4 * LANES * NV) /* the weights of four inputs in a dense block */

#define V_ZERO() _mm512_setzero_si512()
#define V_LOAD(from) _mm512_loadu_si512(from)
#define V_STORE(to, v) _mm512_storeu_si512(to, v)
#define V_SET_S32(x) _mm512_set1_epi32(x)
#define V_SET_S16(x) _mm512_set1_epi16(x)
#define V_ADD_S32(a, b) _mm512_add_epi32(a, b)
#define V_SUB_S32(a, b) _mm512_sub_epi32(a, b)
#define V_AND(a, b) _mm512_and_si512(a, b)
#define V_SHIFT_RIGHT_S16(a, by) _mm512_srli_epi16(a, by)
#define V_ADD_S8(a, b) _mm512_add_epi8(a, b)
#define V_ADD_S16(a, b) _mm512_add_epi16(a, b)
#define V_MUL_S16(a, b) _mm512_mullo_epi16(a, b)
#define V_LOW(a, b) _mm512_unpacklo_epi8(a, b)
#define V_HIGH(a, b) _mm512_unpackhi_epi8(a, b)
#define V_LOW_S16(a, b) _mm512_unpacklo_epi16(a, b)
#define V_HIGH_S16(a, b) _mm512_unpackhi_epi16(a, b)
#define V_PAIRS(x, w) _mm512_maddubs_epi16(x, w)
#define V_WIDEN_LOW(v) _mm512_cvtepi16_epi32(_mm512_castsi512_si256(v))
#define V_WIDEN_HIGH(v) _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(v, 1))
#define V_LOAD_U8_S16(from) \
    _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(from)))
#define V_NONZERO_S16(v) __builtin_popcount(_mm512_test_epi16_mask(v, v))
/* adds without an intermediate of 16 bits: exact for any u8 and s8 */
#define V_DOT_U8(sum, x, w) _mm512_dpbusd_epi32(sum, x, w)
#define V_DOT_S16(sum, x, w) _mm512_dpwssd_epi32(sum, x, w)
#define V_COUNT_ABOVE(count, v, threshold) \
    _mm512_sub_epi32(count, _mm512_movm_epi32(_mm512_cmpgt_epi32_mask(v, threshold)))

static inline __mmask16 lanes_of(int32_t left)
{
    return left >= LANES ? (__mmask16)0xFFFF : (__mmask16)((1u << left) - 1);
}

static inline __mmask64 bytes_of(int64_t left)
{
    return left >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
}

TARGET static inline __m512i line(__m512i v, const float *slope, const float *offset, int32_t top)
{
    const __m512 y =
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), _mm512_loadu_ps(slope), _mm512_loadu_ps(offset));
    const __m512 clipped =
        _mm512_min_ps(_mm512_max_ps(y, _mm512_setzero_ps()), _mm512_set1_ps((float)top));
    return _mm512_cvttps_epi32(clipped);
}

/* As `line`, but whatever is below 0 stays so, for a narrowing that makes 0 of it. */
TARGET static inline __m512i line_below(__m512i v, const float *slope, const float *offset,
                                        int32_t top)
{
    const __m512 y =
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), _mm512_loadu_ps(slope), _mm512_loadu_ps(offset));
    /* below -2**31 a conversion gives -2**31 */
    return _mm512_cvttps_epi32(_mm512_min_ps(y, _mm512_set1_ps((float)top)));
}

/* Bytes 0 to 255 of `vectors` vectors, of which `left` exist; smaller numbers become 0. Returns how many
 * are not. */
TARGET static inline __attribute__((always_inline)) int64_t store_block(
    const int vectors, uint8_t *to, const __m512i *v, int32_t left)
{
    const __m512i lanes =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i zero = _mm512_setzero_si512();
    const __m512i low = _mm512_packs_epi32(v[0], vectors > 1 ? v[1] : zero);
    const __m512i high =
        vectors > 2 ? _mm512_packs_epi32(v[2], vectors > 3 ? v[3] : zero) : zero;
    const __m512i all = _mm512_permutexvar_epi32(lanes, _mm512_packus_epi16(low, high));
    const __mmask64 sent = _mm512_test_epi8_mask(all, all);
    if (left < vectors * LANES) {
        const __mmask64 there = bytes_of(left);
        _mm512_mask_storeu_epi8(to, there, all);
        return __builtin_popcountll(sent & there);
    }
    if (vectors == 4) {
        _mm512_storeu_si512(to, all);
        return __builtin_popcountll(sent);
    }
    if (vectors > 1)
        _mm256_storeu_si256((__m256i *)(void *)to, _mm512_castsi512_si256(all));
    else
        _mm_storeu_si128((__m128i *)(void *)to, _mm512_castsi512_si128(all));
    if (vectors == 3)
        _mm_storeu_si128((__m128i *)(void *)(to + 32), _mm512_extracti32x4_epi32(all, 2));
    return __builtin_popcountll(sent);
}

/* Neurons of vectors in their order, 16 bits each: what V_PACK_S32 made of four vectors. */
TARGET static inline void store_packed(void *to, __m512i one, __m512i two)
{
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi64(one, low, two));
    _mm512_storeu_si512((char *)to + 64, _mm512_permutex2var_epi64(one, high, two));
}

/* How many of the first `left` sums are not zero. */
TARGET static inline int32_t nonzero_packed(__m512i one, __m512i two, int64_t left)
{
    uint32_t low = _mm512_test_epi16_mask(one, one), high = _mm512_test_epi16_mask(two, two);
    if (left < 64) {
        const uint64_t there = ((uint64_t)1 << left) - 1;
        low &= (uint32_t)_pext_u64(there, 0x00FF00FF00FF00FF);
        high &= (uint32_t)_pext_u64(there, 0xFF00FF00FF00FF00);
    }
    return __builtin_popcount(low) + __builtin_popcount(high);
}

/* Lists the groups of four bytes, counted from `first`, that are not 0, and where their weights are in a
 * block of these. Writes one vector more. Also sums up all bytes, which have signs. */
TARGET static inline int32_t list_fours(const uint8_t *bytes, int32_t count, int32_t first,
                                        int32_t *fours, int32_t *places, int32_t *sum)
{
    const __m512i ramp = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i ones = _mm512_set1_epi8(1), step = _mm512_set1_epi32(16 * FOUR_BYTES);
    __m512i total = _mm512_setzero_si512();
    __m512i place = _mm512_mullo_epi32(_mm512_add_epi32(ramp, _mm512_set1_epi32(first)),
                                       _mm512_set1_epi32(FOUR_BYTES));
    int32_t listed = 0;
    for (int32_t i = 0; i < count; i += 64, place = _mm512_add_epi32(place, step)) {
        const __m512i v = _mm512_maskz_loadu_epi8(bytes_of(count - i), bytes + i);
        const __mmask16 there = _mm512_test_epi32_mask(v, v);
        total = _mm512_dpbusd_epi32(total, ones, v);
        _mm512_storeu_si512(fours + listed, _mm512_maskz_compress_epi32(there, v));
        _mm512_storeu_si512(places + listed, _mm512_maskz_compress_epi32(there, place));
        listed += __builtin_popcount(there);
    }
    *sum = _mm512_reduce_add_epi32(total);
    return listed;
}

/* How many groups of four bytes are not 0. */
TARGET static inline int32_t count_fours(const uint8_t *bytes, int32_t count)
{
    int32_t found = 0;
    for (int32_t i = 0; i < count; i += 64) {
        const __m512i v = _mm512_maskz_loadu_epi8(bytes_of(count - i), bytes + i);
        found += __builtin_popcount(_mm512_test_epi32_mask(v, v));
    }
    return found;
}

TARGET static inline __attribute__((always_inline)) void interleave(__m512i *to, const uint8_t *from,
                                                                    int64_t column)
{
    const __m512i a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + column);
    const __m512i c = _mm512_loadu_si512(from + 2 * column), zero = _mm512_setzero_si512();
    const __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
    const __m512i c_low = _mm512_unpacklo_epi8(c, zero), c_high = _mm512_unpackhi_epi8(c, zero);
    to[0] = _mm512_unpacklo_epi16(ab_low, c_low);
    to[1] = _mm512_unpackhi_epi16(ab_low, c_low);
    to[2] = _mm512_unpacklo_epi16(ab_high, c_high);
    to[3] = _mm512_unpackhi_epi16(ab_high, c_high);
}

#define V_LINE(v, slope, offset, top) line(v, slope, offset, top)
#define V_LINE_BELOW(v, slope, offset, top) line_below(v, slope, offset, top)
#define V_STORE_BLOCK_U8(vectors, to, v, left) store_block(vectors, to, v, left)
#define V_SUB_S16(a, b) _mm512_sub_epi16(a, b)
#define V_AND(a, b) _mm512_and_si512(a, b)
#define V_XOR(a, b) _mm512_xor_si512(a, b)
#define V_PACK_S32(a, b) _mm512_packs_epi32(a, b)
#define V_PACK_U8(a, b) _mm512_packus_epi16(a, b)
#define V_PACK_S8(a, b) _mm512_packs_epi16(a, b)
#define V_HIGH_BYTE(v) _mm512_srai_epi16(v, 8)
#define V_SHIFT_8(v) _mm512_slli_epi32(v, 8)
#define V_STORE_PACKED(to, one, two) store_packed(to, one, two)
#define V_NONZERO_PACKED(one, two, left) nonzero_packed(one, two, left)
#define V_COUNT_FOURS(bytes, count) count_fours(bytes, count)
#define V_LIST_FOURS(bytes, count, first, fours, places, sum) \
    list_fours(bytes, count, first, fours, places, sum)
/* in place: gcc would rather copy sums around in each round of a loop, or keep them in memory */
#define V_DOT_HERE(op, sum, x, w) \
    do { \
        const VEC x_ = (x), w_ = (w); \
        __asm__ volatile(op " %2, %1, %0" : "+v"(sum) : "v"(x_), "v"(w_)); \
    } while (0)
#define V_DOT_U8_HERE(sum, x, w) V_DOT_HERE("vpdpbusd", sum, x, w)
#define V_DOT_S16_HERE(sum, x, w) V_DOT_HERE("vpdpwssd", sum, x, w)
#define V_INTERLEAVE(to, from, column) interleave(to, from, column)
#define V_LOAD_S32(from, left) _mm512_maskz_loadu_epi32(lanes_of(left), from)
#define V_STORE_S32(to, v, left) _mm512_mask_storeu_epi32(to, lanes_of(left), v)
#define V_STORE_U8(to, v, left) \
    _mm_mask_storeu_epi8(to, lanes_of(left), _mm512_cvtepi32_epi8(v))

#include "vector_template.h"

#include "bits_template.h"
#include "nibbles_template.h"

/* Without masks, which take longer than all the rest. */
TARGET static inline __attribute__((always_inline)) int64_t take_vector(
    __m512i v, const uint8_t *fan_out, __m512i *sum)
{
    const __mmask64 events = _mm512_test_epi8_mask(v, v);
    if (fan_out)
        *sum = _mm512_add_epi64(*sum, _mm512_sad_epu8(_mm512_maskz_loadu_epi8(events, fan_out),
                                                      _mm512_setzero_si512()));
    return __builtin_popcountll(events);
}

TARGET static inline __attribute__((always_inline)) int64_t take(
    const uint8_t *values, int64_t size, const uint8_t *fan_out, uint8_t *copy, int64_t *weighted)
{
    int64_t count = 0, i = 0;
    __m512i sum = _mm512_setzero_si512();
    for (; i + 64 <= size; i += 64) {
        const __m512i v = _mm512_loadu_si512(values + i);
        count += take_vector(v, fan_out ? fan_out + i : 0, &sum);
        if (copy)
            _mm512_storeu_si512(copy + i, v);
    }
    if (i < size) {
        const __mmask64 inside = bytes_of(size - i);
        const __m512i v = _mm512_maskz_loadu_epi8(inside, values + i);
        count += take_vector(v, fan_out ? fan_out + i : 0, &sum);
        if (copy)
            _mm512_mask_storeu_epi8(copy + i, inside, v);
    }
    *weighted = fan_out ? _mm512_reduce_add_epi64(sum) : count;
    return count;
}

TARGET static int64_t take_column(const uint8_t *values, int64_t size, const uint8_t *fan_out,
                                  uint8_t *copy, int64_t *weighted)
{
    if (copy)
        return fan_out ? take(values, size, fan_out, copy, weighted)
                       : take(values, size, 0, copy, weighted);
    return fan_out ? take(values, size, fan_out, 0, weighted) : take(values, size, 0, 0, weighted);
}

TARGET static int64_t count_u8(const uint8_t *values, int64_t size)
{
    int64_t weighted;
    return take(values, size, 0, 0, &weighted);
}

TARGET static void list(const uint8_t *values, int32_t columns, int32_t cells, int32_t channels,
                        int32_t shift, knsoc_events *events)
{
    const __m512i ramp = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i shifted = _mm512_sll_epi32(ramp, _mm_cvtsi32_si128(shift));
    uint32_t count = 0;
    uint32_t *first = events->first;
    for (int32_t column = 0; column < columns; column++) {
        uint32_t at = 0;
        for (int32_t cell = 0; cell < cells; cell++, values += channels, at += (uint32_t)channels) {
            *first++ = count;
            for (int32_t c = 0; c < channels; c += 64) {
                const __m512i v = _mm512_maskz_loadu_epi8(bytes_of(channels - c), values + c);
                __mmask64 found = _mm512_test_epi8_mask(v, v);
                for (int32_t part = c; found; part += 16, found >>= 16) {
                    const __mmask16 here = (__mmask16)found;
                    const __m512i index = _mm512_add_epi32(
                        shifted, _mm512_set1_epi32((int32_t)((at + (uint32_t)part) << shift)));
                    const __m512i wide =
                        _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(here, values + part));
                    _mm512_storeu_si512(events->index + count,
                                        _mm512_maskz_compress_epi32(here, index));
                    _mm_storeu_si128((__m128i *)(void *)(events->value + count),
                                     _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(here, wide)));
                    count += (uint32_t)__builtin_popcount(here);
                }
            }
        }
    }
    *first = count;
    events->count = count;
}

static int available(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("bmi2");
}

static const knsoc_vector_kernels kernels = {
    .vector_bytes = sizeof(VEC),
    .dense_block = BLOCK,
    .conv_crossover = 0.3,
    .fully_crossover = 0.6,
    .take_column = take_column,
    .dense = vector_dense,
    .look_up = vector_look_up,
    .list = list,
    .events = vector_events,
    .nibbles = vector_nibbles,
    .depthwise = vector_depthwise,
    .pointwise = vector_pointwise,
    .separable = vector_separable,
    .fire = vector_fire,
    .pool_max = vector_pool_max,
    .pool_sum = vector_pool_sum,
    .count = count_u8,
};

const knsoc_row knsoc_row__avx512vnni = {
    .name = "avx512vnni",
    .available = available,
    KNSOC_PLAIN_KERNELS,
    .vector = &kernels,
};
#endif
