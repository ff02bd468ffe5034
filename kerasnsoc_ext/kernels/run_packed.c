#include "run_packed.h"

#include <string.h>

#include "events.h"

/* Counts events and the (event, window) pairs they make; frames the input on the same way. */
static int64_t take_input(const knsoc_plan *plan, const knsoc_packed *p, const uint8_t *inputs,
                          int64_t *pairs)
{
    const knsoc_vector_kernels *vector = plan->row->vector;
    const int64_t size = (int64_t)p->cells * p->channels;
    const int64_t framed = (int64_t)p->framed_cells * p->channels;
    const int64_t lead = (int64_t)p->lead_cells * p->channels;
    uint8_t *frame = plan->frame;
    int64_t count = 0;
    *pairs = 0;
    if (p->framed) {
        memset(frame, p->fill, (size_t)(p->lead_columns * framed));
        frame += p->lead_columns * framed;
    }
    for (int32_t column = 0; column < p->columns; column++, inputs += size) {
        int64_t weighted;
        if (p->framed) {
            memset(frame, p->fill, (size_t)lead);
            count += vector->take_column(inputs, size, p->fan_out_bytes, frame + lead, &weighted);
            memset(frame + lead + size, p->fill, (size_t)(framed - lead - size));
            frame += framed;
        } else {
            count += vector->take_column(inputs, size, p->fan_out_bytes, 0, &weighted);
        }
        *pairs += weighted * p->fan_out_columns[column];
    }
    if (p->framed) {
        const int32_t behind = p->framed_columns - p->lead_columns - p->columns;
        memset(frame, p->fill, (size_t)(behind * framed));
    }
    return count;
}

/* Without an event all potentials are 0, and all positions alike. */
static void run_silent(const knsoc_plan *plan, const knsoc_op *op, void *map)
{
    const int64_t positions = (int64_t)op->width * op->height;
    if (op->emits_potentials) {
        memset(map, 0, (size_t)(positions * op->features) * sizeof(int32_t));
        return;
    }
    uint8_t *activations = map;
    memset(plan->potentials, 0, (size_t)op->features * sizeof(int32_t));
    plan->row->vector->fire(&op->packed, plan->potentials, 1, activations);
    for (int64_t i = 1; i < positions; i++)
        memcpy(activations + i * op->features, activations, (size_t)op->features);
}

static void integrate(const knsoc_plan *plan, const knsoc_packed *p, const uint8_t *inputs,
                      int by_events, int64_t *counters, void *outputs)
{
    const knsoc_vector_kernels *vector = plan->row->vector;
    if (p->sums_form != KNSOC_SUMS_UNFUSED) {
        const int64_t reached = vector->separable(p, inputs, plan->sums, outputs);
        counters[KNSOC_SYNAPTIC_OPS] += reached * p->neurons;
    } else if (p->kind == KNSOC_PACKED_SEPARABLE) {
        const int64_t reached = vector->depthwise(p, inputs, plan->sums);
        counters[KNSOC_SYNAPTIC_OPS] += reached * p->neurons;
        vector->pointwise(p, plan->sums, outputs);
    } else if (by_events) {
        knsoc_events list = plan->events;
        if (p->kind == KNSOC_PACKED_FULLY)
            vector->list(inputs, 1, 1, p->channels, 0, &list);
        else
            vector->list(inputs, p->framed_columns, p->framed_cells, p->channels, 6, &list);
        vector->events(p, &list, plan->tile, outputs);
    } else {
        vector->dense(p, inputs, outputs);
    }
}

void knsoc_run_packed(const knsoc_plan *plan, const knsoc_op *op, const uint8_t *inputs, int form,
                      void *map, int64_t *counters)
{
    const knsoc_packed *p = &op->packed;
    const knsoc_vector_kernels *vector = plan->row->vector;
    int64_t pairs;
    const int64_t events = take_input(plan, p, inputs, &pairs);
    counters[KNSOC_EVENTS_IN] = events;
    counters[KNSOC_SYNAPTIC_OPS] = p->kind == KNSOC_PACKED_SEPARABLE ? pairs : pairs * p->neurons;
    if (events == 0 && p->fill == 0) {
        run_silent(plan, op, map);
        return;
    }
    if (p->framed)
        inputs = plan->frame;
    int by_events = p->rows != 0;
    if (form == KNSOC_FORM_AUTO)
        by_events = by_events && events <= p->events_up_to;
    else
        by_events = by_events && form == KNSOC_FORM_EVENTS;

    if (op->pooling == KNSOC_POOL_NONE) {
        integrate(plan, p, inputs, by_events, counters, map);
        return;
    }
    if (op->pooling == KNSOC_POOL_MAX && op->levels) {
        /* a larger potential never makes a smaller activation: fire first, pool bytes */
        integrate(plan, p, inputs, by_events, counters, plan->potentials);
        vector->pool_max(&op->pool_x, &op->pool_y, p->neurons, plan->potentials, map);
        return;
    }
    knsoc_packed unfired = *p;
    unfired.fire.form = KNSOC_FIRE_NOT;
    integrate(plan, &unfired, inputs, by_events, counters, plan->potentials);
    int32_t *pooled = op->levels ? plan->pooled : map;
    if (op->pooling == KNSOC_POOL_MAX)
        plan->row->s32->pool_max(&op->pool_x, &op->pool_y, p->neurons, plan->potentials, pooled);
    else
        plan->row->s32->pool_sum(&op->pool_x, &op->pool_y, p->neurons, plan->potentials, pooled);
    if (op->levels)
        vector->fire(p, pooled, (int64_t)op->width * op->height, map);
}
