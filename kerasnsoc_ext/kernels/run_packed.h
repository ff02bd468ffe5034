/* Runs packed layers. */
#ifndef KNSOC_RUN_PACKED_H
#define KNSOC_RUN_PACKED_H

#include "plan.h"

/* One layer on one sample; helpers use the scratch of the team's other plans. Inputs that are `framed`
 * have the layer's border around them; outputs get that of the op `framed_for`, if there is one. `events`
 * is the number of inputs that are not zero, or -1. Returns the number of such outputs, or -1. */
int64_t knsoc_run_packed(const knsoc_plan *const *team, int threads, const knsoc_op *op,
                         const uint8_t *inputs, int framed, int64_t events, int form,
                         const knsoc_op *framed_for, void *map, int64_t *counters);

/* A fully connected layer on samples that lie one after another, with slack behind the last one.
 * The counters of the next sample are `counters_step` further. */
void knsoc_run_fully(const knsoc_plan *plan, const knsoc_op *op, const uint8_t *inputs,
                     int64_t samples, int form, void *map, int64_t *counters,
                     int64_t counters_step);

#endif
