/* A counter-based generator with the constants of SplitMix64 (Steele, Lea, Flood: "Fast splittable
 * pseudorandom number generators", OOPSLA 2014). */
#include "knl.h"

#include <string.h>

static const uint64_t STEP = 0x9E3779B97F4A7C15u;

static uint64_t finalise(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t mix(uint64_t z)
{
    return finalise(z + STEP);
}

uint64_t knl_stream(uint64_t k1, uint64_t k2, uint64_t k3)
{
    uint64_t state = 0x6A09E667F3BCC908u;
    state = mix(state ^ mix(k1));
    state = mix(state ^ mix(k2));
    return mix(state ^ mix(k3));
}

/* The upper half of a 128-bit product, without a 128-bit type; exact for n < 2**32. */
static uint64_t product_high(uint64_t a, uint64_t n)
{
    const uint64_t low = (a & 0xFFFFFFFFu) * n;
    return ((a >> 32) * n + (low >> 32)) >> 32;
}

uint64_t knl_below(uint64_t *state, uint64_t n)
{
    KNL_CHECK(n >= 1 && n <= 0xFFFFFFFFu);
    *state += STEP;
    return product_high(finalise(*state), n);
}

void knl_pick(uint64_t *state, int32_t *list, int64_t length, int64_t count)
{
    KNL_CHECK(count <= length);
    for (int64_t i = 0; i < count; i++) {
        const int64_t other = i + (int64_t)knl_below(state, (uint64_t)(length - i));
        const int32_t held = list[i];
        list[i] = list[other];
        list[other] = held;
    }
}

void knl_fresh_row(int64_t inputs, int64_t words, int32_t num_weights, uint64_t seed, int64_t neuron,
                   int32_t *list, uint64_t *row_w)
{
    uint64_t state = knl_stream(seed, (uint64_t)neuron, 0);
    for (int64_t i = 0; i < inputs; i++)
        list[i] = (int32_t)i;
    knl_pick(&state, list, inputs, num_weights);
    memset(row_w, 0, (size_t)words * sizeof *row_w);
    for (int32_t i = 0; i < num_weights; i++)
        row_w[list[i] >> 6] |= (uint64_t)1 << (list[i] & 63);
}
