/* Integer kernels of the event-driven runtime: the types that kernels and plan share. No Python here.
 *
 * Every map of activations or potentials lies as [x][y][feature], x outermost, which is the event
 * layout (width, height, channels) of the public arrays. A window that is k cells high then covers,
 * for each of its columns, one contiguous run of inputs.
 */
#ifndef KNSOC_H
#define KNSOC_H

#include <stdint.h>

#ifdef KNSOC_CHECKED
#include <stdio.h>
#include <stdlib.h>
#define KNSOC_CHECK(claim)                                                          \
    do {                                                                            \
        if (!(claim)) {                                                             \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #claim);     \
            abort();                                                                \
        }                                                                           \
    } while (0)
#else
#define KNSOC_CHECK(claim) ((void)0)
#endif

/* A window sliding along one axis: output o looks at inputs o * stride - lead + tap, tap < size.
 * Whoever builds one makes sure that each window covers at least one cell of 0 .. length - 1. */
typedef struct knsoc_window {
    int32_t length, size, stride, lead, output;
} knsoc_window;

/* The taps of one window that lie inside the input. */
typedef struct knsoc_taps {
    int32_t begin, end;
    int32_t origin; /* input position of tap 0, negative in the leading padding */
} knsoc_taps;

static inline knsoc_taps knsoc_taps_inside(const knsoc_window *window, int32_t output)
{
    knsoc_taps taps;
    taps.origin = output * window->stride - window->lead;
    taps.begin = taps.origin < 0 ? -taps.origin : 0;
    taps.end = window->length - taps.origin;
    if (taps.end > window->size)
        taps.end = window->size;
    return taps;
}

/* A convolution as cross-correlation: weights are not reversed. */
typedef struct knsoc_conv {
    knsoc_window x, y;
    int32_t channels, neurons;
    const int8_t *weights;  /* [kx][ky][channel][neuron]; depthwise: [kx][ky][channel] */
    const int32_t *padding; /* [kx][ky][neuron]: what a padding cell adds through a tap; NULL: nothing */
} knsoc_conv;

/* The non-zero inputs of one sample, ordered by position, then channel. */
typedef struct knsoc_events {
    int64_t count;
    uint32_t *first; /* [positions + 1]: the events of position p are first[p] .. first[p + 1] - 1 */
    uint32_t *index; /* [count]: position * channels + channel */
    uint8_t *value;  /* [count]: at least 1 */
} knsoc_events;

#endif
