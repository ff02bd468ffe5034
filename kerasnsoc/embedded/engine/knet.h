/* Integer networks in portable C99: static memory, no allocation, of libc only string.h.
 *
 * A network is a table of layers that the exporter writes; this engine walks over it. All maps of
 * activations lie as [x][y][feature], x outermost. Nothing here keeps state between two calls but
 * the arenas of the network, so that two networks may run at the same time, and one may not. */
#ifndef KNET_H
#define KNET_H

#include <stdint.h>

#include "knet_config.h"

#if KNET_SUM_BITS == 64
typedef int64_t knet_sum;
#else
typedef int32_t knet_sum; /* the exporter has proven that no sum leaves it */
#endif

/* Output o looks at inputs o * stride - lead + tap, tap < size. */
typedef struct knet_window {
    int32_t length, size, stride, lead, output;
} knet_window;

enum knet_kind { KNET_CONVOLUTION, KNET_SEPARABLE, KNET_CONCAT };
enum knet_pooling { KNET_NO_POOLING, KNET_MAX, KNET_SUM };

#define KNET_INPUT (-1) /* the offset of what the caller hands in */

/* Where a layer reads: element [x][y][c] is at offset + x * x_stride + y * y_stride + c. */
typedef struct knet_source {
    int32_t offset, x_stride, y_stride, channels;
} knet_source;

typedef struct knet_layer {
    uint8_t kind, pooling;
    uint8_t reads_sums;   /* the sources hold sums, not activations */
    uint8_t sends_sums;   /* no activation */
    int32_t levels;       /* thresholds of a neuron; 0: values pass as they are */
    int32_t sources, neurons, padding_value;
    int32_t offset;       /* of the output in its arena */
    const knet_source *source;
    knet_window x, y, pool_x, pool_y;
    const int8_t *weights;     /* [kx][ky][channel][neuron]; separable: [kx][ky][channel] */
    const int8_t *pointwise;   /* [channel][neuron]; separable only */
    const int32_t *thresholds; /* [neuron][level], not decreasing; or the same in 16 bits: */
    const int16_t *thresholds16;
} knet_layer;

typedef struct knet_network {
    int32_t layers, outputs; /* outputs: values of the last layer */
    int32_t neurons;         /* its features, the innermost axis of the output */
    const knet_layer *layer;
    uint8_t *activations; /* arenas, static, made by the exporter */
    knet_sum *sums;
    knet_sum *scratch;
    /* of the last layer, per neuron; NULL with an activation. Real values are sum * scale + shift,
     * or (sum - shift) / scale if `divides`. */
    const double *scale, *shift;
    uint8_t divides;
} knet_network;

/* Run one sample. `input` as the network's header says, `output` [x][y][feature]. */
void knet_run(const knet_network *network, const uint8_t *input, knet_sum *output);

/* The neuron with the largest value anywhere in `output`, of equal ones the first; of a network
 * with an activation at its end -1 if no neuron fires. */
int32_t knet_class(const knet_network *network, const knet_sum *output);

#endif
