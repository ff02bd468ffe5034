/* Neurons that integrate and fire: one sample, one time step. */
#ifndef KNSOC_NEURONS_H
#define KNSOC_NEURONS_H

#include <stdint.h>

/* what is carried lies in -KNSOC_POTENTIAL_LIMIT .. KNSOC_POTENTIAL_LIMIT - 1 */
#define KNSOC_POTENTIAL_LIMIT (1 << 30)

enum { KNSOC_SINGLE, KNSOC_MULTI, KNSOC_MAX, KNSOC_SIGNED };

typedef struct {
    int32_t rule, max_spikes, zero_reset, rectify, shift;
    /* parameters repeat along the map with this period, a multiple of the neurons */
    int64_t period;
    const int32_t *threshold_p, *bias_p, *lowest_p;
    const int32_t *alone_p; /* what a step adds in which nothing arrives */
} knsoc_neurons;

/* Where spikes go: one of the two is NULL; only places that spike are written. */
typedef struct {
    uint8_t *u8;
    int32_t *s32;
} knsoc_spikes;

typedef struct {
    int64_t events; /* neurons that spiked */
    int64_t spikes; /* their spikes, without sign */
    int pending;    /* whether a neuron is still at or above its threshold */
} knsoc_fired;

/* steps in which surely no neuron spikes, if nothing ever will */
#define KNSOC_FOREVER (INT64_C(1) << 62)

/* potentials may be NULL: nothing arrives but the biases. */
knsoc_fired knsoc_integrate(const knsoc_neurons *neurons, const int32_t *potentials,
                            int32_t *state, knsoc_spikes out, int64_t size);

/* A number of steps, of those that may come without an event, in which no neuron spikes. It is
   never too large, and too small by one in a million or by one step at most. */
int64_t knsoc_quiet(const knsoc_neurons *neurons, const int32_t *state, int64_t size);

/* So many steps without an event at once, in which no neuron spikes. */
void knsoc_rest(const knsoc_neurons *neurons, int32_t *state, int64_t size, int64_t steps);

/* Whether any value is not zero. */
int knsoc_u8_any(const uint8_t *values, int64_t size);
int knsoc_s32_any(const int32_t *values, int64_t size);

#endif
