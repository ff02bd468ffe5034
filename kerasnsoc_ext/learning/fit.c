/* From samples to winners and their steps. */
#include "knl.h"

#include <string.h>

int64_t knl_first_not_binary(const uint8_t *values, int64_t count)
{
    for (int64_t first = 0; first < count; first += 4096) {
        const int64_t stop = count - first < 4096 ? count : first + 4096;
        uint8_t any = 0;
        for (int64_t i = first; i < stop; i++)
            any |= values[i];
        if (any > 1)
            for (int64_t i = first; i < stop; i++)
                if (values[i] > 1)
                    return i;
    }
    return -1;
}

/* Taps of a window that lie inside the input. */
static void taps_inside(const knl_axis *axis, int32_t output, int32_t *origin, int32_t *begin,
                        int32_t *end)
{
    *origin = output * axis->stride - axis->lead;
    *begin = *origin < 0 ? -*origin : 0;
    *end = axis->length - *origin < axis->size ? axis->length - *origin : axis->size;
}

/* What a position sees, as bits in the order [tap x][tap y][channel]. */
static void see(const knl_layer *layer, const uint8_t *sample, int32_t ox, int32_t oy,
                knl_scratch *scratch, uint64_t *patch_w)
{
    int32_t x0, x_begin, x_end, y0, y_begin, y_end;
    taps_inside(&layer->x, ox, &x0, &x_begin, &x_end);
    taps_inside(&layer->y, oy, &y0, &y_begin, &y_end);
    const int64_t channels = layer->channels;
    const size_t run = (size_t)((y_end - y_begin) * channels);
    memset(scratch->patch_i, 0, (size_t)layer->words * 64);
    for (int32_t tap = x_begin; tap < x_end; tap++) {
        const int64_t from = ((int64_t)(x0 + tap) * layer->y.length + y0 + y_begin) * channels;
        const int64_t to = ((int64_t)tap * layer->y.size + y_begin) * channels;
        memcpy(scratch->patch_i + to, sample + from, run);
    }
    layer->kernel->pack(scratch->patch_i, layer->words, patch_w);
}

/* Each neuron's largest potential and the first position that reaches it, row by row. */
static void best_positions(const knl_layer *layer, const int32_t *potentials_pj, int32_t first,
                           int32_t stop, knl_scratch *scratch)
{
    for (int32_t j = first; j < stop; j++)
        scratch->best_j[j] = -1;
    for (int32_t oy = 0; oy < layer->y.output; oy++)
        for (int32_t ox = 0; ox < layer->x.output; ox++) {
            const int64_t position = (int64_t)ox * layer->y.output + oy;
            const int32_t *potentials_j = potentials_pj + position * layer->neurons;
            for (int32_t j = first; j < stop; j++)
                if (potentials_j[j] > scratch->best_j[j]) {
                    scratch->best_j[j] = potentials_j[j];
                    scratch->position_j[j] = (int32_t)position;
                }
        }
}

/* The neuron that learns, or -1. */
static int32_t choose(const knl_layer *layer, const int32_t *best_j, int32_t first, int32_t stop)
{
    const int64_t tolerated = KNL_ONE - layer->competition;
    int32_t learned = -1, fresh = -1, any = -1, vetoed = 0;
    for (int32_t j = first; j < stop; j++) {
        const int32_t potential = best_j[j], threshold = layer->thresholds_j[j];
        if (any < 0 || potential > best_j[any])
            any = j;
        if (threshold == 0) {
            if (fresh < 0 || potential > best_j[fresh])
                fresh = j;
            continue;
        }
        if (potential >= threshold && (learned < 0 || potential > best_j[learned]))
            learned = j;
        vetoed |= potential >= (tolerated * threshold + KNL_ONE - 1) / KNL_ONE;
    }
    if (learned >= 0)
        return learned;
    if (layer->competition > 0 && vetoed)
        return -1;
    return fresh >= 0 ? fresh : any;
}

/* Moves the winner towards its sample. */
static void step(const knl_layer *layer, int32_t j, const uint64_t *sample_w, int64_t ones,
                 knl_scratch *scratch)
{
    layer->rule(layer, j, sample_w, scratch);
    if (layer->thresholds_j[j] == 0) {
        int32_t potential;
        layer->kernel->overlap(layer->weights_jw + (int64_t)j * layer->words, 1, layer->words, sample_w,
                               &potential);
        const int64_t chance = ones * layer->num_weights / layer->inputs;
        const int64_t others = layer->ratio_of - layer->ratio;
        const int64_t threshold = (layer->ratio * potential + others * chance) / layer->ratio_of;
        layer->thresholds_j[j] = threshold < 1 ? 1 : (int32_t)threshold;
    }
    layer->steps_j[j]++;
    int32_t plasticity = layer->plasticities_j[j] - layer->decay;
    if (plasticity < layer->min_plasticity)
        plasticity = layer->min_plasticity;
    if (plasticity < layer->plasticities_j[j]) /* it never grows */
        layer->plasticities_j[j] = plasticity;
}

void knl_fit(const knl_layer *layer, const uint8_t *samples, int64_t count, const int64_t *labels,
             int32_t *potentials, int32_t *learners, knl_scratch *scratch)
{
    const int64_t size = (int64_t)layer->x.length * layer->y.length * layer->channels;
    const int64_t positions = knl_positions(layer);
    const int32_t group = layer->neurons / layer->classes;
    for (int64_t s = 0; s < count; s++, samples += size, potentials += positions * layer->neurons) {
        for (int32_t ox = 0; ox < layer->x.output; ox++)
            for (int32_t oy = 0; oy < layer->y.output; oy++) {
                const int64_t position = (int64_t)ox * layer->y.output + oy;
                uint64_t *patch_w = scratch->patches_pw + position * layer->words;
                see(layer, samples, ox, oy, scratch, patch_w);
                layer->kernel->overlap(layer->weights_jw, layer->neurons, layer->words, patch_w,
                                       potentials + position * layer->neurons);
            }
        learners[s] = -1;
        if (layer->initial_plasticity == 0)
            continue;
        int32_t first = 0, stop = layer->neurons;
        if (labels) {
            if (labels[s] < 0 || labels[s] >= layer->classes)
                continue;
            first = (int32_t)labels[s] * group;
            stop = first + group;
        }
        const int32_t *best_j = potentials;
        if (positions > 1) {
            best_positions(layer, potentials, first, stop, scratch);
            best_j = scratch->best_j;
        }
        const int32_t winner = choose(layer, best_j, first, stop);
        if (winner < 0)
            continue;
        const int64_t position = positions > 1 ? scratch->position_j[winner] : 0;
        const uint64_t *patch_w = scratch->patches_pw + position * layer->words;
        int32_t ones;
        layer->kernel->overlap(patch_w, 1, layer->words, patch_w, &ones);
        if (ones == 0)
            continue;
        learners[s] = winner;
        step(layer, winner, patch_w, ones, scratch);
    }
}
