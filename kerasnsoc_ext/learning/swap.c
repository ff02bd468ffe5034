/* The rule "swap": weights without an input change places with inputs without a weight. */
#include "knl.h"

/* Positions of the ones of a word, from the lowest on. */
static int64_t list_ones(uint64_t word, int32_t first, int32_t *list)
{
    int64_t count = 0;
    for (; word; word &= word - 1)
        list[count++] = first + knl_lowest(word);
    return count;
}

void knl_swap(const knl_layer *layer, int32_t j, const uint64_t *sample_w, knl_scratch *scratch)
{
    uint64_t *row_w = layer->weights_jw + (int64_t)j * layer->words;
    int32_t *inputs = scratch->unused_inputs, *weights = scratch->unused_weights;
    int64_t input_count = 0, weight_count = 0;
    for (int64_t w = 0; w < layer->words; w++) {
        const int32_t first = (int32_t)(w * 64);
        input_count += list_ones(sample_w[w] & ~row_w[w], first, inputs + input_count);
        weight_count += list_ones(row_w[w] & ~sample_w[w], first, weights + weight_count);
    }
    const int64_t fewer = input_count < weight_count ? input_count : weight_count;
    /* rounded up: a plasticity above 0 moves at least one weight if any can move */
    const int64_t moved = (layer->plasticities_j[j] * fewer + KNL_ONE - 1) / KNL_ONE;
    uint64_t state = knl_stream(layer->seed, (uint64_t)j, (uint64_t)layer->steps_j[j] + 1);
    knl_pick(&state, inputs, input_count, moved);
    knl_pick(&state, weights, weight_count, moved);
    for (int64_t i = 0; i < moved; i++) {
        row_w[inputs[i] >> 6] |= (uint64_t)1 << (inputs[i] & 63);
        row_w[weights[i] >> 6] &= ~((uint64_t)1 << (weights[i] & 63));
    }
}
