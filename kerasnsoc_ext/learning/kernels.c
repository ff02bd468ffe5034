#include "knl.h"

#include <stddef.h>

#if defined(__GNUC__) && defined(__x86_64__)
#define KNL_X86 1
#include <immintrin.h>
#endif

/* The functions of the kernel whose KERNEL is defined. */
#define ROW(name, available)                                                                      \
    {                                                                                             \
        name, available, KERNEL(overlap), KERNEL(pack), KERNEL(unpack), KERNEL(average),          \
            KERNEL(count), KERNEL(reach)                                                          \
    }

static int always(void)
{
    return 1;
}

static inline uint64_t ones_by_parts(uint64_t word)
{
    word -= (word >> 1) & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
    word = (word + (word >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return (word * 0x0101010101010101u) >> 56;
}

#define KERNEL(op) op##__scalar
#define TARGET
#define ONES ones_by_parts
#include "kernel_template.h"
static const knl_kernel scalar = ROW("scalar", always);
#undef KERNEL
#undef TARGET
#undef ONES

#ifdef KNL_X86
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
}

#define KERNEL(op) op##__avx2
#define TARGET __attribute__((target("avx2,popcnt")))
#define ONES __builtin_popcountll
#include "kernel_template.h"
static const knl_kernel avx2 = ROW("avx2", has_avx2);
#undef KERNEL
#undef TARGET
#undef ONES

static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vpopcntdq");
}

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vpopcntdq,popcnt,prefer-vector-width=512")))

AVX512 static __m512i ones_in_both(const uint64_t *row_w, __m512i sample)
{
    return _mm512_popcnt_epi64(_mm512_and_si512(_mm512_loadu_si512(row_w), sample));
}

/* Adds neighbours: the result has a's sums in the lower, b's in the upper half of each 128 bits. */
AVX512 static __m512i add_pairs(__m512i a, __m512i b)
{
    return _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* Adds the 128-bit quarters of four sums; the result has the total of sums[q] in quarter q. */
AVX512 static __m512i add_quarters(const __m512i *sums)
{
    const __m512i a = _mm512_add_epi64(_mm512_shuffle_i64x2(sums[0], sums[1], 0x88),
                                       _mm512_shuffle_i64x2(sums[0], sums[1], 0xDD));
    const __m512i b = _mm512_add_epi64(_mm512_shuffle_i64x2(sums[2], sums[3], 0x88),
                                       _mm512_shuffle_i64x2(sums[2], sums[3], 0xDD));
    return _mm512_add_epi64(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xDD));
}

AVX512 static void overlap__avx512(const uint64_t *rows_jw, int32_t neurons, int64_t words,
                                   const uint64_t *sample_w, int32_t *potentials_j)
{
    int32_t j = 0;
    /* eight rows at a time, so that their sums are added up together */
    for (; j + 8 <= neurons; j += 8, rows_jw += 8 * words) {
        __m512i sums[8], pairs[4];
        for (int32_t k = 0; k < 8; k++)
            sums[k] = _mm512_setzero_si512();
        for (int64_t w = 0; w < words; w += 8) {
            const __m512i sample = _mm512_loadu_si512(sample_w + w);
            for (int32_t k = 0; k < 8; k++)
                sums[k] = _mm512_add_epi64(sums[k], ones_in_both(rows_jw + k * words + w, sample));
        }
        for (int32_t k = 0; k < 4; k++)
            pairs[k] = add_pairs(sums[2 * k], sums[2 * k + 1]);
        const __m256i totals = _mm512_cvtepi64_epi32(add_quarters(pairs));
        _mm256_storeu_si256((__m256i *)(potentials_j + j), totals);
    }
    for (; j < neurons; j++, rows_jw += words) {
        __m512i sum = _mm512_setzero_si512();
        for (int64_t w = 0; w < words; w += 8)
            sum = _mm512_add_epi64(sum, ones_in_both(rows_jw + w, _mm512_loadu_si512(sample_w + w)));
        potentials_j[j] = (int32_t)_mm512_reduce_add_epi64(sum);
    }
}

AVX512 static void pack__avx512(const uint8_t *bytes, int64_t words, uint64_t *bits)
{
    for (int64_t w = 0; w < words; w++, bytes += 64) {
        const __m512i block = _mm512_loadu_si512(bytes);
        bits[w] = _mm512_test_epi8_mask(block, block);
    }
}

AVX512 static void unpack__avx512(const uint64_t *bits, int64_t words, uint8_t *bytes)
{
    for (int64_t w = 0; w < words; w++, bytes += 64)
        _mm512_storeu_si512(bytes, _mm512_maskz_set1_epi8(bits[w], 1));
}

AVX512 static void reach__avx512(const int16_t *keys_i, int64_t words, int16_t least, uint64_t *bits)
{
    const __m512i bar = _mm512_set1_epi16(least);
    for (int64_t w = 0; w < words; w++, keys_i += 64) {
        const uint64_t low = _mm512_cmpge_epi16_mask(_mm512_loadu_si512(keys_i), bar);
        const uint64_t high = _mm512_cmpge_epi16_mask(_mm512_loadu_si512(keys_i + 32), bar);
        bits[w] = low | high << 32;
    }
}

#define KERNEL(op) op##__avx512
#define TARGET AVX512
#define BITS_ARE_ELSEWHERE
#include "kernel_template.h"
static const knl_kernel avx512 = ROW("avx512", has_avx512);
#undef KERNEL
#undef TARGET
#undef BITS_ARE_ELSEWHERE

#endif

const knl_kernel *const knl_kernels[] = {
#ifdef KNL_X86
    &avx512,
    &avx2,
#endif
    &scalar,
    NULL,
};
