#include "plan.h"

#include <string.h>

#include "events.h"
#include "pool.h"
#include "run_packed.h"

static int64_t count_u8(const knsoc_plan *plan, const uint8_t *values, int64_t size)
{
    const knsoc_vector_kernels *vector = plan->row->vector;
    return vector ? vector->count(values, size) : knsoc_u8_count(values, size);
}

static int prefers_events(int form, int64_t events, int64_t inputs, int32_t below_16ths)
{
    if (form != KNSOC_FORM_AUTO)
        return form == KNSOC_FORM_EVENTS;
    return events * 16 <= inputs * below_16ths;
}

#define ACC int32_t
#define WIDTH s32
#define HELPER(op) op##_s32
#define COUNT knsoc_s32_count
#include "integrate_template.h"
#undef ACC
#undef WIDTH
#undef HELPER
#undef COUNT

#define ACC int64_t
#define WIDTH s64
#define HELPER(op) op##_s64
#define COUNT knsoc_s64_count
#include "integrate_template.h"
#undef ACC
#undef WIDTH
#undef HELPER
#undef COUNT

/* The loader's image layout [y][x][channel] as [x][y][channel]. */
static void turn_image(const uint8_t *image, int32_t width, int32_t height, int32_t channels,
                       uint8_t *turned)
{
    for (int32_t x = 0; x < width; x++)
        for (int32_t y = 0; y < height; y++)
            for (int32_t c = 0; c < channels; c++)
                *turned++ = image[((int64_t)y * width + x) * channels + c];
}

/* Joins the features of all sources; returns the number of values that are not zero. */
static int64_t join(const knsoc_plan *plan, const knsoc_op *op, int form, int32_t *joined)
{
    const int64_t positions = (int64_t)op->width * op->height;
    int64_t events_in = 0;
    memset(joined, 0, (size_t)knsoc_op_outputs(op) * sizeof *joined);
    for (int32_t s = 0; s < op->source_count; s++) {
        const knsoc_op *source = &plan->ops[op->sources[s]];
        const int32_t features = source->features;
        const int64_t size = positions * features;
        if (source->emits_potentials) {
            const int32_t *values = plan->maps[op->sources[s]];
            events_in += knsoc_s32_count(values, size);
            for (int64_t p = 0; p < positions; p++)
                memcpy(joined + p * op->features, values + p * features,
                       (size_t)features * sizeof *values);
        } else {
            const uint8_t *values = plan->maps[op->sources[s]];
            const int64_t events = knsoc_u8_count(values, size);
            events_in += events;
            if (prefers_events(form, events, size, plan->row->events_below_16ths)) {
                knsoc_events list = plan->events;
                knsoc_u8_list(values, positions, features, &list);
                for (int64_t p = 0; p < positions; p++)
                    for (uint32_t e = list.first[p]; e < list.first[p + 1]; e++)
                        joined[p * op->features + (list.index[e] - p * features)] = list.value[e];
            } else {
                for (int64_t p = 0; p < positions; p++)
                    for (int32_t c = 0; c < features; c++)
                        joined[p * op->features + c] = values[p * features + c];
            }
        }
        joined += features;
    }
    return events_in;
}

/* Narrows to 32 bits; returns the index of the first value that does not fit, or -1. */
static int64_t narrow(const int64_t *wide, int64_t size, int32_t *narrowed)
{
    for (int64_t i = 0; i < size; i++) {
        if (wide[i] < INT32_MIN || wide[i] > INT32_MAX)
            return i;
        narrowed[i] = (int32_t)wide[i];
    }
    return -1;
}

/* Potentials become what the op sends on. */
static void emit(const knsoc_plan *plan, const knsoc_op *op, const int32_t *potentials, void *map)
{
    const int64_t outputs = knsoc_op_outputs(op);
    if (op->levels) {
        plan->row->fire(op->thresholds_mn, op->levels, (int64_t)op->width * op->height,
                        op->features, potentials, map);
    } else if (op->emits_potentials) {
        memcpy(map, potentials, (size_t)outputs * sizeof *potentials);
    } else {
        uint8_t *values = map; /* joined activations, which fit 8 bits */
        for (int64_t i = 0; i < outputs; i++)
            values[i] = (uint8_t)potentials[i];
    }
}

/* One op on one sample; returns the index of a potential that left 32 bits, or -1. `sent` is the number of
 * its inputs that are not zero, or -1, and becomes that of its outputs. */
static int64_t run_op(const knsoc_plan *const *team, int threads, int32_t i,
                      const uint8_t *inputs, int form, void *map, int64_t *counters,
                      int64_t *sent, int64_t *overflow_value)
{
    const knsoc_plan *plan = team[0];
    const knsoc_op *op = &plan->ops[i];
    const int32_t *potentials;
    const int64_t events = *sent;
    *sent = -1;
    if (op->packed.kind != KNSOC_PACKED_NOT) {
        const int framed = i > 0 && plan->framed_for[i - 1] == op;
        *sent = knsoc_run_packed(team, threads, op, inputs, framed, framed ? events : -1, form,
                                 plan->framed_for[i], map, counters);
        return -1;
    }
    if (op->kind == KNSOC_CONCAT) {
        counters[KNSOC_EVENTS_IN] = join(plan, op, form, plan->narrow);
        counters[KNSOC_SYNAPTIC_OPS] = 0;
        potentials = plan->narrow;
    } else if (op->wide) {
        const int64_t *wide = integrate_s64(plan, op, inputs, form, counters);
        const int64_t beyond = narrow(wide, knsoc_op_outputs(op), plan->narrow);
        if (beyond >= 0) {
            *overflow_value = wide[beyond];
            return beyond;
        }
        potentials = plan->narrow;
    } else {
        potentials = integrate_s32(plan, op, inputs, form, counters);
    }
    emit(plan, op, potentials, map);
    return -1;
}

/* An op's map of a group's sample. */
static void *map_of(const knsoc_plan *plan, int32_t i, int64_t sample)
{
    if (i < plan->tail - 1)
        return plan->maps[i];
    const knsoc_op *op = &plan->ops[i];
    const int64_t bytes = knsoc_op_outputs(op) * (op->emits_potentials ? 4 : 1);
    return (uint8_t *)plan->maps[i] + sample * bytes;
}

/* Whether an op counts, as its input, what the one before it sends on. */
static int follows(const knsoc_plan *plan, int32_t i)
{
    const knsoc_op *op = &plan->ops[i];
    return op->source_count == 1 && op->sources[0] == i - 1;
}

/* What a call gets of an op that has run: its events, unless they are known later, and its map where it
 * is asked for. */
static void hand_out(const knsoc_plan *plan, int32_t i, int known_later, const void *map,
                     void *const *outputs, int64_t sample, int64_t *counters)
{
    const knsoc_op *op = &plan->ops[i];
    const int64_t size = knsoc_op_outputs(op);
    if (!known_later)
        counters[KNSOC_EVENTS_OUT] =
            op->emits_potentials ? knsoc_s32_count(map, size) : count_u8(plan, map, size);
    if (!outputs[i])
        return;
    const size_t bytes = (size_t)size * (op->emits_potentials ? 4 : 1);
    uint8_t *to = (uint8_t *)outputs[i] + (size_t)sample * bytes;
    if (!plan->framed_for[i]) {
        memcpy(to, map, bytes);
        return;
    }
    const knsoc_packed *next = &plan->framed_for[i]->packed;
    const int64_t pitch = (int64_t)next->framed_cells * next->channels;
    const int64_t column = (int64_t)op->height * op->features;
    const uint8_t *from = (const uint8_t *)map + knsoc_frame_lead(next);
    for (int32_t x = 0; x < op->width; x++, from += pitch, to += column)
        memcpy(to, from, (size_t)column);
}

int knsoc_run(const knsoc_plan *const *team, int threads, const uint8_t *inputs, int64_t samples,
              int form, void *const *outputs, int64_t *counters, knsoc_overflow *overflow)
{
    const knsoc_plan *plan = team[0];
    const int64_t sample_size = knsoc_op_inputs(&plan->ops[0]);
    const int64_t sample_counters = (int64_t)plan->op_count * KNSOC_COUNTERS;
    for (int64_t start = 0; start < samples; start += plan->group) {
        int64_t some = samples - start < plan->group ? samples - start : plan->group;
        int failed = 0;
        /* one sample has nothing to share its last layers with */
        const int32_t alone = some == 1 ? plan->op_count : plan->tail;
        for (int64_t k = 0; k < some; k++, inputs += sample_size) {
            int64_t *found = counters + (start + k) * sample_counters, sent = -1;
            for (int32_t i = 0; i < alone; i++, found += KNSOC_COUNTERS) {
                const knsoc_op *op = &plan->ops[i];
                void *map = map_of(plan, i, k);
                const uint8_t *values =
                    op->source_count ? map_of(plan, op->sources[0], k) : (const void *)inputs;
                if (op->image && op->packed.kind == KNSOC_PACKED_NOT) {
                    turn_image(values, op->conv.x.length, op->conv.y.length, op->conv.channels,
                               plan->image);
                    values = plan->image;
                }
                if (op->kind == KNSOC_INPUT) {
                    const int64_t size = knsoc_op_outputs(op);
                    memcpy(map, values, (size_t)size);
                    found[KNSOC_EVENTS_IN] = count_u8(plan, values, size);
                    found[KNSOC_SYNAPTIC_OPS] = 0;
                } else {
                    const int64_t beyond = run_op(team, threads, i, values, form, map, found, &sent,
                                                  &overflow->value);
                    if (beyond >= 0) {
                        overflow->sample = start + k;
                        overflow->op = i;
                        overflow->index = beyond;
                        some = k; /* those before it still get to the end */
                        failed = 1;
                        break;
                    }
                }
                if (follows(plan, i))
                    found[KNSOC_EVENTS_OUT - KNSOC_COUNTERS] = found[KNSOC_EVENTS_IN];
                hand_out(plan, i, i + 1 < alone && follows(plan, i + 1), map, outputs, start + k,
                         found);
            }
        }
        for (int32_t i = alone; i < plan->op_count; i++) {
            const knsoc_op *op = &plan->ops[i];
            int64_t *found = counters + start * sample_counters + (int64_t)i * KNSOC_COUNTERS;
            knsoc_run_fully(plan, op, plan->maps[op->sources[0]], some, form, plan->maps[i], found,
                            sample_counters);
            for (int64_t k = 0; k < some; k++)
                hand_out(plan, i, 0, map_of(plan, i, k), outputs, start + k,
                         found + k * sample_counters);
        }
        if (failed)
            return 1;
    }
    return 0;
}

/* ---- a batch ------------------------------------------------------------------------------------- */

typedef struct batch {
    const knsoc_plan *const *team;
    const uint8_t *inputs;
    uint8_t *outputs;
    int64_t samples, share, next;
    int64_t *failed; /* [slot]: end of a share that left 32 bits; 0: none */
    int form;
} batch;

/* Shares differ in their events, hence in their time: small ones even that out. */
#define SHARES_PER_THREAD 4

static void run_shares(void *job, int slot)
{
    batch *all = job;
    const knsoc_plan *plan = all->team[slot];
    const knsoc_op *last = &plan->ops[plan->op_count - 1];
    const int64_t input_bytes = knsoc_op_inputs(&plan->ops[0]);
    const int64_t output_bytes = knsoc_op_outputs(last) * (last->emits_potentials ? 4 : 1);
    const int64_t sample_counters = (int64_t)plan->op_count * KNSOC_COUNTERS;
    int64_t *totals = plan->counters + KNSOC_SHARE * sample_counters;
    for (;;) {
        const int64_t start = knsoc_fetch_add(&all->next, all->share);
        if (start >= all->samples)
            return;
        const int64_t left = all->samples - start;
        const int64_t some = left < all->share ? left : all->share;
        knsoc_overflow overflow;
        plan->outputs[plan->op_count - 1] = all->outputs + start * output_bytes;
        if (knsoc_run(&all->team[slot], 1, all->inputs + start * input_bytes, some, all->form,
                      plan->outputs, plan->counters, &overflow)) {
            /* earlier shares have been taken already, and are run */
            all->failed[slot] = start + some;
            knsoc_fetch_add(&all->next, all->samples);
            return;
        }
        for (int64_t k = 0; k < some; k++)
            for (int64_t i = 0; i < sample_counters; i++)
                totals[i] += plan->counters[k * sample_counters + i];
    }
}

int64_t knsoc_run_batch(const knsoc_plan *const *team, int threads, const uint8_t *inputs,
                        int64_t samples, int form, void *outputs, int64_t *totals)
{
    const knsoc_plan *plan = team[0];
    const int64_t sample_counters = (int64_t)plan->op_count * KNSOC_COUNTERS;
    int64_t failed[KNSOC_TEAM] = {0};
    if (samples == 1) {
        knsoc_overflow overflow;
        plan->outputs[plan->op_count - 1] = outputs;
        if (knsoc_run(team, threads, inputs, 1, form, plan->outputs, plan->counters, &overflow))
            return 1;
        for (int64_t i = 0; i < sample_counters; i++)
            totals[i] += plan->counters[i];
        return 0;
    }
    const int64_t shares = threads > 1 ? (int64_t)threads * SHARES_PER_THREAD : 1;
    int64_t share = (samples + shares - 1) / shares;
    batch all = {.team = team, .inputs = inputs, .outputs = outputs, .samples = samples,
                 .share = share < KNSOC_SHARE ? share : KNSOC_SHARE, .failed = failed, .form = form};
    for (int t = 0; t < threads; t++)
        memset(team[t]->counters + KNSOC_SHARE * sample_counters, 0,
               (size_t)sample_counters * sizeof *totals);
    knsoc_pool_run(threads, run_shares, &all);
    int64_t first = 0;
    for (int t = 0; t < threads; t++) {
        const int64_t *some = team[t]->counters + KNSOC_SHARE * sample_counters;
        for (int64_t i = 0; i < sample_counters; i++)
            totals[i] += some[i];
        if (failed[t] && (first == 0 || failed[t] < first))
            first = failed[t];
    }
    return first;
}
