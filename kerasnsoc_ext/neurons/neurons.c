#include "neurons.h"

#include <stddef.h>
#include <string.h>

/* Neurons of a block are integrated without a branch; only a block in which one reached its
   threshold, or a signed one fell below 0, is looked at neuron by neuron. */
enum { BLOCK = 64 };

/* What is carried is at least -2**30 and below 2**30, what is added is below 2**30 in absolute
   value (proven when the network was loaded): the sum fits. Unsigned, as << is undefined below 0. */
static inline int32_t sum(int32_t carried, int32_t added, int rectify, int shift) {
    int32_t x = (int32_t)((uint32_t)added << shift);
    x = rectify && x < 0 ? 0 : x;
    return carried + x;
}

/* restrict, and a block of fixed length, are what lets a compiler take many neurons at a time. */
static inline int32_t integrate_block(const knsoc_neurons *k, const int32_t *restrict potentials,
                                      int32_t *restrict state, int64_t at, int64_t count,
                                      int rectify, int is_signed) {
    const int32_t *restrict bias = k->bias_p + at;
    const int32_t *restrict threshold = k->threshold_p + at;
    const int32_t *restrict lowest = k->lowest_p + at;
    const int shift = k->shift;
    int32_t hot = 0;
    for (int64_t i = 0; i < count; i++) {
        int32_t added = potentials ? potentials[i] + bias[i] : bias[i];
        int32_t v = sum(state[i], added, rectify, shift);
        /* whoever is below the lowest potential does not fire, so that clamping may come first */
        hot |= v >= threshold[i];
        if (is_signed)
            hot |= v < 0;
        else
            v = v < lowest[i] ? lowest[i] : v;
        state[i] = v;
    }
    return hot;
}

static inline int32_t fire(const knsoc_neurons *k, int32_t *state, int32_t threshold,
                           int32_t lowest) {
    int32_t v = *state, n = 0;
    if (k->rule == KNSOC_SIGNED) {
        if (v < 0 || v >= threshold) {
            n = v / threshold;
            v -= n * threshold;
            if (v < 0) {
                v += threshold;
                n -= 1;
            }
        }
    } else if (v >= threshold) {
        n = k->rule == KNSOC_SINGLE ? 1 : v / threshold;
        if (k->rule == KNSOC_MAX && n > k->max_spikes)
            n = k->max_spikes;
        v = k->zero_reset ? 0 : v - n * threshold;
    }
    v = v < lowest ? lowest : v;
    *state = v < KNSOC_POTENTIAL_LIMIT ? v : KNSOC_POTENTIAL_LIMIT - 1;
    return n;
}

/* Steps until one of the block could spike. In floats, as whole numbers are not divided many at a
   time: three roundings of 2**-24 make a quotient too large by less than 2**-22, and 2**-21 is
   taken off. */
static inline int32_t quiet_block(const knsoc_neurons *k, const int32_t *restrict state, int64_t at,
                                  int64_t count, int is_signed) {
    const int32_t *restrict alone = k->alone_p + at;
    const int32_t *restrict threshold = k->threshold_p + at;
    const float never = 1 << 30, late = (1 << 30) - 64; /* neighbours among the floats */
    int32_t least = 1 << 30;
    for (int64_t i = 0; i < count; i++) {
        /* below 2**31, as what is carried is at least -2**30 and a threshold at most 2**30 */
        int32_t gap = threshold[i] - 1 - state[i];
        int32_t speed = alone[i];
        if (is_signed) {
            gap = speed < 0 ? state[i] : gap;
            speed = speed < 0 ? -speed : speed;
        }
        float steps = (float)gap / (float)(speed > 0 ? speed : 1) * (1 - 1.0f / (1 << 21));
        steps = steps > late ? late : steps;
        /* who stands still or falls never spikes, unless it is due already */
        steps = gap >= 0 && speed <= 0 ? never : steps;
        int32_t whole = (int32_t)steps;
        least = whole < least ? whole : least;
    }
    return least;
}

/* Clamping once, at the end, is clamping in each step: who meets the lowest potential only falls. */
static inline void rest_block(const knsoc_neurons *k, int32_t *restrict state, int64_t at,
                              int64_t count, int64_t steps) {
    const int32_t *restrict alone = k->alone_p + at;
    const int32_t *restrict lowest = k->lowest_p + at;
    for (int64_t i = 0; i < count; i++) {
        int64_t v = state[i] + (int64_t)alone[i] * steps;
        state[i] = (int32_t)(v < lowest[i] ? lowest[i] : v);
    }
}

/* The loader picks the widest vectors that the processor has. Sanitizers do not go with that. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(KNSOC_CHECKED) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDEST
#endif

WIDEST int64_t knsoc_quiet(const knsoc_neurons *k, const int32_t *state, int64_t size) {
    int32_t least = 1 << 30;
    for (int64_t start = 0; start < size; start += k->period) {
        int64_t stop = size - start < k->period ? size - start : k->period;
        for (int64_t at = 0; at < stop; at += BLOCK) {
            int64_t count = stop - at < BLOCK ? stop - at : BLOCK;
            int32_t found;
            if (k->rule == KNSOC_SIGNED)
                found = quiet_block(k, state + start + at, at, count, 1);
            else if (count == BLOCK)
                found = quiet_block(k, state + start + at, at, BLOCK, 0);
            else
                found = quiet_block(k, state + start + at, at, count, 0);
            if (found <= 0)
                return 0;
            least = found < least ? found : least;
        }
    }
    return least == 1 << 30 ? KNSOC_FOREVER : least;
}

WIDEST void knsoc_rest(const knsoc_neurons *k, int32_t *state, int64_t size, int64_t steps) {
    /* by then every neuron that falls has arrived, and who rises would have spiked */
    const int64_t enough = INT64_C(1) << 31;
    steps = steps < enough ? steps : enough;
    for (int64_t start = 0; start < size; start += k->period) {
        int64_t stop = size - start < k->period ? size - start : k->period;
        for (int64_t at = 0; at < stop; at += BLOCK) {
            if (stop - at >= BLOCK)
                rest_block(k, state + start + at, at, BLOCK, steps);
            else
                rest_block(k, state + start + at, at, stop - at, steps);
        }
    }
}

WIDEST knsoc_fired knsoc_integrate(const knsoc_neurons *k, const int32_t *potentials, int32_t *state,
                            knsoc_spikes out, int64_t size) {
    knsoc_fired fired = {0, 0, 0};
    for (int64_t start = 0; start < size; start += k->period) {
        int64_t stop = size - start < k->period ? size - start : k->period;
        for (int64_t at = 0; at < stop; at += BLOCK) {
            int64_t count = stop - at < BLOCK ? stop - at : BLOCK;
            int64_t first = start + at;
            const int32_t *arriving = potentials ? potentials + first : NULL;
            int32_t hot;
            if (count < BLOCK)
                hot = integrate_block(k, arriving, state + first, at, count, k->rectify,
                                      k->rule == KNSOC_SIGNED);
            else if (k->rule == KNSOC_SIGNED)
                hot = integrate_block(k, arriving, state + first, at, BLOCK, k->rectify, 1);
            else if (arriving && k->rectify)
                hot = integrate_block(k, arriving, state + first, at, BLOCK, 1, 0);
            else if (arriving)
                hot = integrate_block(k, arriving, state + first, at, BLOCK, 0, 0);
            else if (k->rectify)
                hot = integrate_block(k, NULL, state + first, at, BLOCK, 1, 0);
            else
                hot = integrate_block(k, NULL, state + first, at, BLOCK, 0, 0);
            if (!hot)
                continue;
            for (int64_t i = 0; i < count; i++) {
                int32_t n = fire(k, state + first + i, k->threshold_p[at + i], k->lowest_p[at + i]);
                fired.pending |= state[first + i] >= k->threshold_p[at + i];
                if (!n)
                    continue;
                fired.events += 1;
                fired.spikes += n < 0 ? -(int64_t)n : n;
                if (out.u8)
                    out.u8[first + i] = (uint8_t)n;
                else
                    out.s32[first + i] = n;
            }
        }
    }
    return fired;
}

static int any(const unsigned char *bytes, int64_t size) {
    uint64_t word, found = 0;
    int64_t i = 0;
    for (; i + 64 <= size && !found; i += 64)
        for (int j = 0; j < 64; j += 8) {
            memcpy(&word, bytes + i + j, 8);
            found |= word;
        }
    for (; i < size && !found; i++)
        found |= bytes[i];
    return found != 0;
}

int knsoc_u8_any(const uint8_t *values, int64_t size) { return any(values, size); }

int knsoc_s32_any(const int32_t *values, int64_t size) {
    return any((const unsigned char *)values, size * 4);
}
