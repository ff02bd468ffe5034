#include "run_packed.h"

#include <string.h>

#include "events.h"
#include "pool.h"

static void fill_border(const knsoc_packed *p, uint8_t *frame)
{
    const int64_t pitch = (int64_t)p->framed_cells * p->channels;
    const int64_t size = (int64_t)p->cells * p->channels;
    int64_t gap = knsoc_frame_lead(p);
    for (int32_t column = 0; column < p->columns; column++, frame += size) {
        memset(frame, p->fill, (size_t)gap);
        frame += gap;
        gap = pitch - size;
    }
    const int64_t behind = p->framed_columns - p->lead_columns - p->columns;
    memset(frame, p->fill,
           (size_t)(behind * pitch + pitch - size - (int64_t)p->lead_cells * p->channels));
}

static int32_t cell_fan_out(const knsoc_packed *p, int32_t cell)
{
    return p->fan_out_bytes ? p->fan_out_bytes[(int64_t)cell * p->channels] : 1;
}

/* Cells at one end, from `cell` on, that windows look at less often than at the others. */
static int32_t uneven_cells(const knsoc_packed *p, int32_t cell, int32_t step, int32_t usual)
{
    int32_t count = 0;
    for (; count < p->cells && cell_fan_out(p, cell) != usual; count++)
        cell += step;
    return count;
}

/* Counts events and the (event, window) pairs they make. If `known` is not -1, it is the number of
 * events, and where nearly all inputs belong to as many windows, only the others are looked at. */
static int64_t count_framed(const knsoc_plan *plan, const knsoc_packed *p, const uint8_t *inputs,
                            int64_t known, int64_t *pairs)
{
    const knsoc_vector_kernels *vector = plan->row->vector;
    const int64_t channels = p->channels, size = p->cells * channels;
    const int32_t usual = cell_fan_out(p, p->cells / 2);
    const int32_t usual_column = p->fan_out_columns[p->columns / 2];
    const int32_t front = uneven_cells(p, 0, 1, usual);
    const int32_t back = uneven_cells(p, p->cells - 1, -1, usual);
    int even = known >= 0;
    for (int32_t cell = front; even && cell < p->cells - back; cell++)
        even = cell_fan_out(p, cell) == usual;
    int64_t count = 0, weighted, sum = even ? known * usual * usual_column : 0;
    inputs += knsoc_frame_lead(p);
    for (int32_t column = 0; column < p->columns; column++) {
        const int32_t fan_out = p->fan_out_columns[column];
        if (!even || fan_out != usual_column) {
            const int64_t found = vector->take_column(inputs, size, p->fan_out_bytes, 0, &weighted);
            count += found;
            sum += weighted * fan_out - (even ? found * usual * usual_column : 0);
        } else if (front + back > 0) {
            const int64_t behind = (p->cells - back) * channels;
            const uint8_t *bytes = p->fan_out_bytes;
            int64_t found = vector->take_column(inputs, front * channels, bytes, 0, &weighted);
            sum += (weighted - found * usual) * fan_out;
            found = vector->take_column(inputs + behind, back * channels, bytes + behind, 0, &weighted);
            sum += (weighted - found * usual) * fan_out;
        }
        inputs += p->framed_cells * channels;
    }
    *pairs = sum;
    return known >= 0 ? known : count;
}

/* Counts the same; frames the input on the way. */
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

/* Stops at the first event, so that only a silent input costs a pass of its own. */
static int is_silent(const uint8_t *inputs, int64_t size)
{
    enum { BLOCK_BYTES = 256 };
    int64_t i = 0;
    for (; i + BLOCK_BYTES <= size; i += BLOCK_BYTES) {
        uint8_t any = 0;
        for (int b = 0; b < BLOCK_BYTES; b++)
            any |= inputs[i + b];
        if (any)
            return 0;
    }
    for (; i < size; i++)
        if (inputs[i])
            return 0;
    return 1;
}

/* Without an event all potentials are 0, and all positions alike. A column of outputs is `pitch`
 * positions behind the one before it. */
static void run_silent(const knsoc_plan *plan, const knsoc_op *op, int64_t pitch, void *map)
{
    const int64_t positions = (int64_t)op->width * op->height;
    const size_t bytes = (size_t)op->features;
    if (op->emits_potentials) {
        memset(map, 0, (size_t)positions * bytes * sizeof(int32_t));
        return;
    }
    uint8_t *first = map;
    memset(plan->potentials, 0, bytes * sizeof(int32_t));
    plan->row->vector->fire(&op->packed, plan->potentials, 1, first);
    for (int64_t x = 0; x < op->width; x++)
        for (int64_t y = x == 0; y < op->height; y++)
            memcpy(first + (x * pitch + y) * op->features, first, bytes);
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
        if (p->nibbles.rows)
            vector->nibbles(p, &list, plan->tile, outputs);
        else
            vector->events(p, &list, plan->tile, outputs);
    } else if (p->bits.tables) {
        /* the list of events is not needed; a place takes less than the four inputs it is for */
        vector->look_up(p, inputs, (uint16_t *)plan->events.index, plan->tile, outputs);
    } else {
        vector->dense(p, inputs, outputs);
    }
}

/* ---- several threads inside a layer --------------------------------------------------------------- */

/* Connections visited that are worth a helper, which takes tens of microseconds to wake up. */
#define WORTH_EVENTS (6 << 20)
#define WORTH_DENSE (16 << 20)

#define MOST_PARTS_PER_THREAD 4
#define PART_POSITIONS 128 /* all weights are read for each part: it shall not be small */
#define PART_NEURONS 512 /* as many as one pass over the events covers at most */

typedef struct layer_parts {
    const knsoc_plan *const *team;
    const knsoc_packed *p;
    const uint8_t *inputs;
    uint8_t *outputs;
    int by_events;
    int32_t size; /* columns of outputs of one part, or neurons */
    int64_t count, next, synaptic_ops, sent;
} layer_parts;

static int64_t output_bytes(const knsoc_packed *p)
{
    return p->fire.form == KNSOC_FIRE_NOT ? 4 : 1;
}

static void narrow_to_columns(knsoc_packed *p, int32_t first, int32_t size,
                              const uint8_t **inputs, uint8_t **outputs)
{
    const int64_t column = (int64_t)p->framed_cells * p->channels;
    *inputs += first * p->stride_columns * column;
    *outputs += first * p->column_step * p->neurons * output_bytes(p);
    if (size > p->output_columns - first)
        size = p->output_columns - first;
    p->output_columns = size;
    p->framed_columns = (size - 1) * p->stride_columns + p->size_columns;
}

static void narrow_to_neurons(knsoc_packed *p, int32_t first, int32_t size, uint8_t **outputs)
{
    *outputs += first * output_bytes(p);
    if (size > p->neurons - first)
        size = p->neurons - first;
    p->neurons = size;
    p->dense += (int64_t)first * p->segments * p->quads * 4;
    if (p->rows)
        p->rows += first;
    if (p->nibbles.rows)
        p->nibbles.rows += first / 2;
    if (p->fire.form == KNSOC_FIRE_LINE) {
        p->fire.slope_n += first;
        p->fire.offset_n += first;
    } else if (p->fire.form == KNSOC_FIRE_TABLE) {
        p->fire.thresholds_mn += first;
    }
}

static void run_parts(void *job, int slot)
{
    layer_parts *all = job;
    for (;;) {
        const int64_t i = knsoc_fetch_add(&all->next, 1);
        if (i >= all->count)
            return;
        knsoc_packed part = *all->p;
        const uint8_t *inputs = all->inputs;
        uint8_t *outputs = all->outputs;
        const int32_t first = (int32_t)i * all->size;
        int64_t counters[KNSOC_COUNTERS] = {0}, sent = 0;
        if (part.sent)
            part.sent = &sent;
        if (part.kind == KNSOC_PACKED_FULLY)
            narrow_to_neurons(&part, first, all->size, &outputs);
        else
            narrow_to_columns(&part, first, all->size, &inputs, &outputs);
        integrate(all->team[slot], &part, inputs, all->by_events, counters, outputs);
        knsoc_fetch_add(&all->synaptic_ops, counters[KNSOC_SYNAPTIC_OPS]);
        knsoc_fetch_add(&all->sent, sent);
    }
}

static int is_worth_helpers(const knsoc_packed *p, int by_events, const int64_t *counters)
{
    if (by_events)
        return counters[KNSOC_SYNAPTIC_OPS] >= WORTH_EVENTS;
    const int64_t taps = (int64_t)p->size_columns * p->size_cells;
    const int64_t inputs = p->kind == KNSOC_PACKED_SEPARABLE ? p->channels : taps * p->channels;
    return inputs * p->output_columns * p->output_cells * p->neurons >= WORTH_DENSE;
}

static void integrate_together(const knsoc_plan *const *team, int threads, const knsoc_packed *p,
                               const uint8_t *inputs, int by_events, int64_t *counters,
                               void *outputs)
{
    const int32_t length = p->kind == KNSOC_PACKED_FULLY ? p->neurons : p->output_columns;
    const int32_t least = p->kind == KNSOC_PACKED_FULLY ? PART_NEURONS : 1;
    if (threads == 1 || length < 2 * least || !is_worth_helpers(p, by_events, counters)) {
        integrate(team[0], p, inputs, by_events, counters, outputs);
        return;
    }
    int32_t parts = p->output_columns * p->output_cells / PART_POSITIONS;
    parts = parts < threads ? threads : parts;
    if (parts > threads * MOST_PARTS_PER_THREAD)
        parts = threads * MOST_PARTS_PER_THREAD;
    const int32_t size = ((length + parts - 1) / parts + least - 1) / least * least;
    layer_parts all = {.team = team, .p = p, .inputs = inputs, .outputs = outputs,
                       .by_events = by_events, .size = size, .count = (length + size - 1) / size};
    knsoc_pool_run(threads, run_parts, &all);
    counters[KNSOC_SYNAPTIC_OPS] += all.synaptic_ops;
    if (p->sent)
        *p->sent += all.sent;
}

int64_t knsoc_run_packed(const knsoc_plan *const *team, int threads, const knsoc_op *op,
                         const uint8_t *inputs, int framed, int64_t events, int form,
                         const knsoc_op *framed_for, void *map, int64_t *counters)
{
    const knsoc_plan *plan = team[0];
    const knsoc_packed *p = &op->packed;
    const knsoc_vector_kernels *vector = plan->row->vector;
    knsoc_packed spread;
    int64_t pairs, sent = -1, pitch = op->height;
    if (framed_for) {
        const knsoc_packed *next = &framed_for->packed;
        pitch = next->framed_cells;
        spread = *p;
        /* maps have x before y, also where images have not */
        if (op->image)
            spread.cell_step = pitch;
        else
            spread.column_step = pitch;
        if (p->sums_form != KNSOC_SUMS_UNFUSED) {
            sent = 0;
            spread.sent = &sent;
        }
        p = &spread;
        fill_border(next, map);
        map = (uint8_t *)map + knsoc_frame_lead(next);
    }
    const int64_t size =
        framed ? knsoc_framed_bytes(p) : (int64_t)p->columns * p->cells * p->channels;
    if (p->fill == 0 && is_silent(inputs, size)) {
        counters[KNSOC_EVENTS_IN] = counters[KNSOC_SYNAPTIC_OPS] = 0;
        run_silent(plan, op, pitch, map);
        return -1;
    }
    events = framed ? count_framed(plan, p, inputs, events, &pairs)
                    : take_input(plan, p, inputs, &pairs);
    counters[KNSOC_EVENTS_IN] = events;
    counters[KNSOC_SYNAPTIC_OPS] = p->kind == KNSOC_PACKED_SEPARABLE ? pairs : pairs * p->neurons;
    if (p->framed && !framed)
        inputs = plan->frame;
    int by_events = p->rows || p->nibbles.rows;
    if (form == KNSOC_FORM_AUTO)
        by_events = by_events && events <= p->events_up_to;
    else
        by_events = by_events && form == KNSOC_FORM_EVENTS;

    if (op->pooling == KNSOC_POOL_NONE) {
        integrate_together(team, threads, p, inputs, by_events, counters, map);
        return sent;
    }
    if (op->pooling == KNSOC_POOL_MAX && op->levels) {
        /* a larger potential never makes a smaller activation: fire first, pool bytes */
        integrate_together(team, threads, p, inputs, by_events, counters, plan->potentials);
        vector->pool_max(&op->pool_x, &op->pool_y, p->neurons, plan->potentials, map);
        return -1;
    }
    knsoc_packed unfired = *p;
    unfired.fire.form = KNSOC_FIRE_NOT;
    integrate_together(team, threads, &unfired, inputs, by_events, counters, plan->potentials);
    int32_t *pooled = op->levels ? plan->pooled : map;
    if (op->pooling == KNSOC_POOL_MAX)
        plan->row->s32->pool_max(&op->pool_x, &op->pool_y, p->neurons, plan->potentials, pooled);
    else
        vector->pool_sum(&op->pool_x, &op->pool_y, p->neurons, plan->potentials, pooled);
    if (op->levels)
        vector->fire(p, pooled, (int64_t)op->width * op->height, map);
    return -1;
}

void knsoc_run_fully(const knsoc_plan *plan, const knsoc_op *op, const uint8_t *inputs,
                     int64_t samples, int form, void *map, int64_t *counters, int64_t counters_step)
{
    const knsoc_packed *p = &op->packed;
    const int64_t step = p->neurons * output_bytes(p);
    int64_t events = 0;
    for (int64_t k = 0; k < samples; k++) {
        const int64_t found = plan->row->vector->count(inputs + k * p->channels, p->channels);
        counters[k * counters_step + KNSOC_EVENTS_IN] = found;
        counters[k * counters_step + KNSOC_SYNAPTIC_OPS] = found * p->neurons;
        events += found;
    }
    int by_events = p->rows || p->nibbles.rows;
    if (form == KNSOC_FORM_AUTO)
        by_events = by_events && events <= p->group_events_up_to * samples;
    else
        by_events = by_events && form == KNSOC_FORM_EVENTS;
    if (by_events) {
        for (int64_t k = 0; k < samples; k++)
            integrate(plan, p, inputs + k * p->channels, 1, 0, (uint8_t *)map + k * step);
        return;
    }
    /* samples as positions of a map: each weight is read once for several of them */
    knsoc_packed many = *p;
    many.framed_cells = many.output_cells = (int32_t)samples;
    many.stride_cells = 1;
    many.cell_step = 1;
    plan->row->vector->dense(&many, inputs, map);
}
