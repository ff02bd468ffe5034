/* The rule "majority": a neuron connects to the inputs most often active in the samples it learned. */
#include "knl.h"

#include <string.h>

/* The largest key that at least num_weights connections reach. */
static int16_t least_key(const knl_layer *layer, const int16_t *keys_i)
{
    int32_t least = INT16_MIN; /* all keys reach it */
    for (int32_t bit = 15; bit >= 0; bit--) {
        const int16_t candidate = (int16_t)(least + (1 << bit));
        if (layer->kernel->count(keys_i, layer->inputs, candidate) >= layer->num_weights)
            least = candidate;
    }
    return (int16_t)least;
}

void knl_majority(const knl_layer *layer, int32_t j, const uint64_t *sample_w, knl_scratch *scratch)
{
    const int64_t inputs = layer->inputs;
    uint64_t *row_w = layer->weights_jw + (int64_t)j * layer->words;
    int16_t *counters_i = layer->counters_ji + (int64_t)j * inputs;
    int16_t *keys_i = scratch->keys_i;
    const knl_kernel *kernel = layer->kernel;
    kernel->unpack(sample_w, layer->words, scratch->patch_i);
    kernel->unpack(row_w, layer->words, scratch->row_i);
    if (layer->thresholds_j[j] == 0)
        for (int64_t i = 0; i < inputs; i++)
            counters_i[i] = scratch->row_i[i];
    kernel->average(scratch->patch_i, scratch->row_i, inputs, layer->plasticities_j[j], counters_i,
                    keys_i);
    for (int64_t i = inputs; i < layer->words * 64; i++)
        keys_i[i] = INT16_MIN;
    const int16_t least = least_key(layer, keys_i);
    int64_t left = layer->num_weights;
    memset(row_w, 0, (size_t)layer->words * sizeof *row_w);
    if (least < INT16_MAX) {
        left -= kernel->count(keys_i, inputs, (int16_t)(least + 1));
        kernel->reach(keys_i, layer->words, (int16_t)(least + 1), row_w);
    }
    /* of equal keys the lowest connections; the keys behind the last one come after all of them */
    kernel->reach(keys_i, layer->words, least, scratch->ties_w);
    for (int64_t w = 0; left > 0; w++) {
        KNL_CHECK(w < layer->words);
        for (uint64_t ties = scratch->ties_w[w] & ~row_w[w]; ties && left > 0; ties &= ties - 1) {
            row_w[w] |= ties & (0 - ties);
            left--;
        }
    }
}
