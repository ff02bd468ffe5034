#include "plan.h"

#include <string.h>

#include "events.h"
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

/* One op on one sample; returns the index of a potential that left 32 bits, or -1. */
static int64_t run_op(const knsoc_plan *plan, const knsoc_op *op, const uint8_t *inputs, int form,
                      void *map, int64_t *counters, int64_t *overflow_value)
{
    const int32_t *potentials;
    if (op->packed.kind != KNSOC_PACKED_NOT) {
        knsoc_run_packed(plan, op, inputs, form, map, counters);
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

int knsoc_run(const knsoc_plan *plan, const uint8_t *inputs, int64_t samples, int form,
              void *const *outputs, int64_t *counters, knsoc_overflow *overflow)
{
    const int64_t sample_size = knsoc_op_inputs(&plan->ops[0]);
    for (int64_t s = 0; s < samples; s++, inputs += sample_size) {
        for (int32_t i = 0; i < plan->op_count; i++, counters += KNSOC_COUNTERS) {
            const knsoc_op *op = &plan->ops[i];
            const int64_t size = knsoc_op_outputs(op);
            const uint8_t *values = op->source_count ? plan->maps[op->sources[0]] : inputs;
            if (op->image && op->packed.kind == KNSOC_PACKED_NOT) {
                turn_image(values, op->conv.x.length, op->conv.y.length, op->conv.channels,
                           plan->image);
                values = plan->image;
            }
            if (op->kind == KNSOC_INPUT) {
                memcpy(plan->maps[i], values, (size_t)size);
                counters[KNSOC_EVENTS_IN] = count_u8(plan, values, size);
                counters[KNSOC_SYNAPTIC_OPS] = 0;
            } else {
                const int64_t beyond = run_op(plan, op, values, form, plan->maps[i], counters,
                                              &overflow->value);
                if (beyond >= 0) {
                    overflow->sample = s;
                    overflow->op = i;
                    overflow->index = beyond;
                    return 1;
                }
            }
            counters[KNSOC_EVENTS_OUT] = op->emits_potentials
                                             ? knsoc_s32_count(plan->maps[i], size)
                                             : count_u8(plan, plan->maps[i], size);
            if (outputs[i]) {
                const size_t bytes = (size_t)size * (op->emits_potentials ? 4 : 1);
                memcpy((uint8_t *)outputs[i] + (size_t)s * bytes, plan->maps[i], bytes);
            }
        }
    }
    return 0;
}
