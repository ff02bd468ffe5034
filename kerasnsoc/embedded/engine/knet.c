#include "knet.h"

#include <string.h>

/* Adds what the taps of one window see, weighted, to sums[neurons]. Zeros cost nothing. */
static void convolve(const knet_layer *layer, const uint8_t *in, int32_t column, int32_t row,
                     knet_sum *sums)
{
    const knet_source *source = layer->source;
    const int32_t channels = source->channels, neurons = layer->neurons;
    const int32_t x0 = column * layer->x.stride - layer->x.lead;
    const int32_t y0 = row * layer->y.stride - layer->y.lead;
    const int8_t *weights = layer->weights;

    for (int32_t kx = 0; kx < layer->x.size; kx++) {
        for (int32_t ky = 0; ky < layer->y.size; ky++) {
            const int32_t x = x0 + kx, y = y0 + ky;
            const int inside = x >= 0 && x < layer->x.length && y >= 0 && y < layer->y.length;
            const uint8_t *cell = 0;
            if (inside)
                cell = in + x * source->x_stride + y * source->y_stride;
            if (inside || layer->padding_value != 0) {
                for (int32_t c = 0; c < channels; c++) {
                    const knet_sum value = inside ? cell[c] : layer->padding_value;
                    if (value != 0)
                        for (int32_t n = 0; n < neurons; n++)
                            sums[n] += value * weights[c * neurons + n];
                }
            }
            weights += channels * neurons;
        }
    }
}

/* One window per channel, then all channels to all neurons. */
static void convolve_separably(const knet_layer *layer, const uint8_t *in, int32_t column,
                               int32_t row, knet_sum *sums, knet_sum *depthwise)
{
    const knet_source *source = layer->source;
    const int32_t channels = source->channels, neurons = layer->neurons;
    const int32_t x0 = column * layer->x.stride - layer->x.lead;
    const int32_t y0 = row * layer->y.stride - layer->y.lead;
    const int8_t *weights = layer->weights;

    memset(depthwise, 0, (size_t)channels * sizeof *depthwise);
    for (int32_t kx = 0; kx < layer->x.size; kx++) {
        for (int32_t ky = 0; ky < layer->y.size; ky++, weights += channels) {
            const int32_t x = x0 + kx, y = y0 + ky;
            if (x >= 0 && x < layer->x.length && y >= 0 && y < layer->y.length) {
                const uint8_t *cell = in + x * source->x_stride + y * source->y_stride;
                for (int32_t c = 0; c < channels; c++)
                    depthwise[c] += (knet_sum)cell[c] * weights[c];
            }
        }
    }
    for (int32_t c = 0; c < channels; c++)
        if (depthwise[c] != 0)
            for (int32_t n = 0; n < neurons; n++)
                sums[n] += depthwise[c] * layer->pointwise[c * neurons + n];
}

/* The potentials of one position of the output, pooling included. */
static void integrate(const knet_layer *layer, const uint8_t *in, int32_t column, int32_t row,
                      knet_sum *potentials, knet_sum *scratch)
{
    const int32_t neurons = layer->neurons;
    const int32_t x0 = column * layer->pool_x.stride - layer->pool_x.lead;
    const int32_t y0 = row * layer->pool_y.stride - layer->pool_y.lead;
    const size_t bytes = (size_t)neurons * sizeof *potentials;
    knet_sum *sums = layer->pooling == KNET_MAX ? scratch : potentials;
    knet_sum *depthwise = scratch + neurons;
    int first = 1;

    memset(potentials, 0, bytes);
    for (int32_t px = 0; px < layer->pool_x.size; px++) {
        for (int32_t py = 0; py < layer->pool_y.size; py++) {
            const int32_t x = x0 + px, y = y0 + py;
            if (x < 0 || x >= layer->pool_x.length || y < 0 || y >= layer->pool_y.length)
                continue;
            if (layer->pooling == KNET_MAX)
                memset(sums, 0, bytes);
            if (layer->kind == KNET_SEPARABLE)
                convolve_separably(layer, in, x, y, sums, depthwise);
            else
                convolve(layer, in, x, y, sums);
            if (layer->pooling == KNET_MAX)
                for (int32_t n = 0; n < neurons; n++)
                    if (first || sums[n] > potentials[n])
                        potentials[n] = sums[n];
            first = 0;
        }
    }
}

/* How many thresholds of a neuron its potential exceeds. */
static uint8_t level(const knet_layer *layer, int32_t neuron, knet_sum potential)
{
    const int32_t start = neuron * layer->levels;
    int32_t low = 0, high = layer->levels;

    while (low < high) {
        const int32_t middle = (low + high) / 2;
        const int32_t threshold = layer->thresholds16 ? layer->thresholds16[start + middle]
                                                      : layer->thresholds[start + middle];
        if (potential > threshold)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint8_t)low;
}

/* Values of one position of all sources, one behind the other. */
static void join(const knet_network *network, const knet_layer *layer, const uint8_t *input,
                 int32_t column, int32_t row, knet_sum *values)
{
    for (int32_t s = 0; s < layer->sources; s++) {
        const knet_source *source = layer->source + s;
        const int32_t place = column * source->x_stride + row * source->y_stride;
        for (int32_t c = 0; c < source->channels; c++) {
            if (layer->reads_sums)
                *values++ = network->sums[source->offset + place + c];
            else if (source->offset == KNET_INPUT)
                *values++ = input[place + c];
            else
                *values++ = network->activations[source->offset + place + c];
        }
    }
}

void knet_run(const knet_network *network, const uint8_t *input, knet_sum *output)
{
    for (int32_t i = 0; i < network->layers; i++) {
        const knet_layer *layer = network->layer + i;
        const int is_last = i + 1 == network->layers;
        const uint8_t *in = input;
        knet_sum *potentials = network->scratch;
        int32_t place = 0;

        if (layer->source->offset != KNET_INPUT)
            in = network->activations + layer->source->offset;
        for (int32_t x = 0; x < layer->pool_x.output; x++) {
            for (int32_t y = 0; y < layer->pool_y.output; y++, place += layer->neurons) {
                if (layer->kind == KNET_CONCAT)
                    join(network, layer, input, x, y, potentials);
                else
                    integrate(layer, in, x, y, potentials, potentials + layer->neurons);
                for (int32_t n = 0; n < layer->neurons; n++) {
                    knet_sum value = potentials[n];
                    if (layer->levels)
                        value = level(layer, n, value);
                    if (is_last)
                        output[place + n] = value;
                    else if (layer->sends_sums)
                        network->sums[layer->offset + place + n] = value;
                    else
                        network->activations[layer->offset + place + n] = (uint8_t)value;
                }
            }
        }
    }
}

int32_t knet_class(const knet_network *network, const knet_sum *output)
{
    double best = 0;
    int32_t winner = -1;

    for (int32_t n = 0; n < network->neurons; n++) {
        for (int32_t i = n; i < network->outputs; i += network->neurons) {
            double value = (double)output[i];
            if (network->divides)
                value = (value - network->shift[n]) / network->scale[n];
            else if (network->scale)
                value = value * network->scale[n] + network->shift[n];
            else if (value == 0)
                continue; /* silent */
            if (winner < 0 || value > best) {
                best = value;
                winner = n;
            }
        }
    }
    return winner;
}
