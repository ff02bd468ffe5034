/* Holds every row of vector kernels that this CPU runs against plain C, on random layers.
 *
 *     compare_rows LAYERS SEED [ROW...]
 *
 * Ends with 1 at the first difference, or if the rows of this CPU are not those that are named. It
 * packs layers by itself, so that it needs no Python and runs on an emulated CPU too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "plan.h"

/* ---- memory that is checked ------------------------------------------------------------------- */

enum { GUARD = 64, GUARD_BYTE = 0xA5, MOST_BLOCKS = 64 };

typedef struct block {
    uint8_t *start;
    size_t size;
} block;

static block blocks[MOST_BLOCKS];
static int block_count;

/* Zeros, aligned, with guard bytes behind; lives until `forget(mark)`. */
static void *take(int64_t size)
{
    block *b = &blocks[block_count++];
    if (block_count > MOST_BLOCKS)
        abort();
    b->size = (size_t)size;
    const size_t whole = (b->size + GUARD + 63) / 64 * 64;
    b->start = aligned_alloc(64, whole);
    if (!b->start)
        abort();
    memset(b->start, 0, b->size);
    memset(b->start + b->size, GUARD_BYTE, GUARD);
    return b->start;
}

static int broken_guards(void)
{
    int broken = 0;
    for (int i = 0; i < block_count; i++)
        for (int g = 0; g < GUARD; g++)
            broken += blocks[i].start[blocks[i].size + (size_t)g] != GUARD_BYTE;
    return broken;
}

static void forget(int mark)
{
    while (block_count > mark)
        free(blocks[--block_count].start);
}

/* ---- chance, the same everywhere ---------------------------------------------------------------- */

static uint64_t state;

static uint32_t chance(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33);
}

static int32_t between(int32_t least, int32_t most)
{
    return least + (int32_t)(chance() % (uint32_t)(most - least + 1));
}

#define ONE_OF(list) list[chance() % (sizeof list / sizeof *list)]

static int64_t rounded_up(int64_t size, int64_t unit)
{
    return (size + unit - 1) / unit * unit;
}

/* ---- layers ------------------------------------------------------------------------------------- */

typedef struct layer {
    knsoc_op ops[2]; /* the input, and the layer as plain C runs it */
    int32_t fill, largest;
    int64_t inputs;
    int32_t summed; /* potentials that pooling adds up at most */
    int8_t *pointwise;
    int32_t step, first_threshold; /* of thresholds in regular steps; step 0: irregular ones */
} layer;

static knsoc_window random_window(int32_t length)
{
    static const int32_t sizes[] = {1, 2, 3, 3, 4, 5};
    knsoc_window w = {.length = length, .size = ONE_OF(sizes), .stride = between(1, 3)};
    if (w.size > length)
        w.size = length;
    w.lead = between(0, w.size - 1);
    /* the last window may begin at the last cell: as much padding behind as there can be */
    const int32_t most = (length - 1 + w.lead) / w.stride + 1;
    w.output = between((most + 1) / 2, most);
    return w;
}

static knsoc_window whole_window(void)
{
    const knsoc_window one = {.length = 1, .size = 1, .stride = 1, .output = 1};
    return one;
}

static int8_t *random_weights(int64_t size, int32_t bits)
{
    int8_t *weights = take(size);
    const int32_t largest = (1 << (bits - 1)) - (bits < 8), extreme = chance() % 4 == 0;
    for (int64_t i = 0; i < size; i++) {
        weights[i] = (int8_t)between(bits == 1 ? -1 : -largest, bits == 1 ? 1 : largest - (bits == 8));
        if (extreme && chance() % 2)
            weights[i] = (int8_t)(chance() % 8 ? (bits == 8 ? 127 : largest) : -largest);
    }
    return weights;
}

/* A bound on the potentials of neuron n, as the loader proves it. */
static void extremes(const layer *l, int32_t n, int64_t *low, int64_t *high)
{
    const knsoc_op *op = &l->ops[1];
    const knsoc_conv *conv = &op->conv;
    const int64_t taps = (int64_t)conv->x.size * conv->y.size;
    *low = *high = 0;
    if (op->kind == KNSOC_SEPARABLE) {
        for (int32_t c = 0; c < conv->channels; c++) {
            int64_t least = 0, most = 0;
            for (int64_t tap = 0; tap < taps; tap++) {
                const int64_t reach = conv->weights[tap * conv->channels + c] * (int64_t)l->largest;
                *(reach < 0 ? &least : &most) += reach;
            }
            const int64_t w = l->pointwise[(int64_t)c * conv->neurons + n];
            *low += w < 0 ? w * most : w * least;
            *high += w < 0 ? w * least : w * most;
        }
        return;
    }
    for (int64_t i = 0; i < taps * conv->channels; i++) {
        const int64_t reach = conv->weights[i * conv->neurons + n] * (int64_t)l->largest;
        *(reach < 0 ? low : high) += reach;
    }
}

/* Of neuron n, where thresholds come in regular steps: no two neighbors have the same. */
static int32_t regular_step(const layer *l, int32_t n)
{
    return l->step + n % 3;
}

static int32_t regular_first(const layer *l, int32_t n)
{
    return l->first_threshold + n % 5;
}

static void random_thresholds(layer *l)
{
    static const int32_t some_levels[] = {1, 3, 7, 15, 15, 31, 255};
    knsoc_op *op = &l->ops[1];
    const int32_t neurons = op->conv.neurons, levels = ONE_OF(some_levels);
    int64_t low, high;
    extremes(l, 0, &low, &high);
    const int32_t span = (int32_t)((high - low) / 3 + 1), step = span / levels + 1;
    int32_t *thresholds = take(4 * (int64_t)levels * neurons);
    const int regular = chance() % 2 && (high - low) * l->summed < 1 << 20;
    l->step = regular ? step : 0;
    l->first_threshold = between((int32_t)(low / 2) - 1, (int32_t)(high / 2) + 1);
    for (int32_t n = 0; n < neurons; n++) {
        int32_t threshold =
            regular ? regular_first(l, n) : between((int32_t)low - 1, (int32_t)high + 1);
        for (int32_t m = 0; m < levels; m++) {
            thresholds[(int64_t)m * neurons + n] = threshold;
            threshold += regular ? regular_step(l, n) : between(0, 2 * step);
        }
    }
    if (!regular && chance() % 2) {
        thresholds[0] = INT32_MIN;
        thresholds[(int64_t)(levels - 1) * neurons + neurons - 1] = INT32_MAX;
    }
    op->levels = levels;
    op->thresholds_mn = thresholds;
}

/* What each padding cell, whose value is l->fill, adds through each tap. */
static void pad(const layer *l, knsoc_conv *conv)
{
    const int64_t taps = (int64_t)conv->x.size * conv->y.size;
    int32_t *padding = take(4 * taps * conv->neurons);
    for (int64_t i = 0; i < taps * conv->channels; i++)
        for (int32_t n = 0; n < conv->neurons; n++)
            padding[i / conv->channels * conv->neurons + n] +=
                l->fill * conv->weights[i * conv->neurons + n];
    conv->padding = padding;
}

static layer random_layer(void)
{
    static const int32_t some_neurons[] = {1, 2, 5, 8, 15, 16, 17, 31, 32, 33, 48, 64, 65, 97, 130};
    static const int32_t some_channels[] = {1, 2, 3, 4, 7, 8, 13, 16, 17, 32, 36, 64, 70};
    layer l;
    memset(&l, 0, sizeof l);
    knsoc_op *input = &l.ops[0], *op = &l.ops[1];
    knsoc_conv *conv = &op->conv;
    const int32_t bits = between(1, 8), weight_bits = between(1, 8);
    op->kind = (int32_t[]){KNSOC_CONV, KNSOC_CONV, KNSOC_FULLY, KNSOC_SEPARABLE}[chance() % 4];
    conv->neurons = ONE_OF(some_neurons);
    conv->channels = op->kind == KNSOC_FULLY ? between(1, 700) : ONE_OF(some_channels);
    conv->x = conv->y = whole_window();
    if (op->kind != KNSOC_FULLY) {
        conv->x = random_window(between(1, 9));
        conv->y = random_window(between(1, 9));
    }
    op->image = op->kind == KNSOC_CONV && chance() % 3 == 0;
    l.largest = (1 << bits) - 1;
    if (op->image) {
        l.largest = 255;
        l.fill = chance() % 2 ? between(1, 255) : 0;
    }
    const int64_t taps = (int64_t)conv->x.size * conv->y.size;
    if (op->kind == KNSOC_SEPARABLE) {
        conv->weights = random_weights(taps * conv->channels, weight_bits);
        l.pointwise = random_weights((int64_t)conv->channels * conv->neurons, between(1, 8));
        op->pointwise_cn = l.pointwise;
    } else {
        conv->weights = random_weights(taps * conv->channels * conv->neurons, weight_bits);
        if (l.fill)
            pad(&l, conv);
    }
    op->width = conv->x.output;
    op->height = conv->y.output;
    op->features = conv->neurons;
    l.summed = 1;
    if (op->kind != KNSOC_FULLY)
        op->pooling = (int32_t[]){0, 0, KNSOC_POOL_MAX, KNSOC_POOL_SUM}[chance() % 4];
    if (op->pooling != KNSOC_POOL_NONE) {
        op->pool_x = random_window(conv->x.output);
        op->pool_y = random_window(conv->y.output);
        op->width = op->pool_x.output;
        op->height = op->pool_y.output;
        if (op->pooling == KNSOC_POOL_SUM)
            l.summed = op->pool_x.size * op->pool_y.size;
    }
    if (chance() % 4)
        random_thresholds(&l);
    else
        op->emits_potentials = 1;
    int32_t *fan_out_x = take(4 * (int64_t)conv->x.length);
    int32_t *fan_out_y = take(4 * (int64_t)conv->y.length);
    knsoc_fan_out(&conv->x, fan_out_x);
    knsoc_fan_out(&conv->y, fan_out_y);
    op->fan_out_x = fan_out_x;
    op->fan_out_y = fan_out_y;
    l.inputs = knsoc_op_inputs(op);
    if (op->image) /* reads the network's input */
        return l;
    input->kind = KNSOC_INPUT;
    input->conv = *conv;
    input->width = conv->x.length;
    input->height = conv->y.length;
    input->features = conv->channels;
    op->source_count = 1;
    op->sources = take(sizeof *op->sources); /* op 0 */
    return l;
}

/* ---- packing ------------------------------------------------------------------------------------ */

/* Weight of an input within a window, seen as columns of cells. */
static int8_t weight_at(const knsoc_op *op, int32_t column, int32_t cell, int32_t c, int32_t n)
{
    const knsoc_conv *conv = &op->conv;
    const int64_t x = op->image ? cell : column, y = op->image ? column : cell;
    return conv->weights[((x * conv->y.size + y) * conv->channels + c) * conv->neurons + n];
}

static void pack_dense(const knsoc_op *op, knsoc_packed *p, int32_t block_size)
{
    const int32_t run = p->size_cells * p->channels;
    const int64_t padded = rounded_up(p->neurons, block_size);
    p->segments = p->size_columns;
    p->quads = (run + 3) / 4;
    int8_t *dense = take(p->segments * (int64_t)p->quads * padded * 4 + KNSOC_SLACK);
    for (int32_t n = 0; n < p->neurons; n++)
        for (int32_t s = 0; s < p->segments; s++)
            for (int32_t i = 0; i < run; i++) {
                const int64_t group = n / block_size * p->segments + s;
                const int64_t quad = (group * p->quads + i / 4) * block_size + n % block_size;
                dense[quad * 4 + i % 4] = weight_at(op, s, i / p->channels, i % p->channels, n);
            }
    p->dense = dense;
    p->framed |= p->quads * 4 != run;
}

static void pack_pairs(const knsoc_op *op, knsoc_packed *p, int32_t block_size)
{
    p->segments = 1;
    p->quads = (p->channels + 1) / 2;
    const int64_t padded = rounded_up(p->neurons, block_size);
    int16_t *pairs = take(p->quads * padded * 4 + KNSOC_SLACK);
    for (int32_t n = 0; n < p->neurons; n++)
        for (int32_t c = 0; c < p->channels; c++) {
            const int64_t pair = (int64_t)(n / block_size * p->quads + c / 2) * block_size;
            pairs[(pair + n % block_size) * 2 + c % 2] =
                op->pointwise_cn[(int64_t)c * p->neurons + n];
        }
    p->dense = (const int8_t *)pairs;
}

/* Where in its block of event weights a neuron's byte lies: interleaving the bytes of two vectors
 * takes the lower eight of each 16 for one result, and the upper eight for the other. */
static int32_t event_place(int32_t n, int32_t vector_bytes)
{
    const int32_t vector = n / vector_bytes, in_vector = n % vector_bytes;
    const int32_t half = in_vector / (vector_bytes / 2), in_half = in_vector % (vector_bytes / 2);
    return vector * vector_bytes + in_half / 8 * 16 + half * 8 + in_half % 8;
}

static void pack_rows(const knsoc_op *op, knsoc_packed *p, int32_t vector_bytes)
{
    const int64_t inputs = (int64_t)p->size_columns * p->size_cells * p->channels;
    int8_t *rows = take(inputs * p->padded_neurons + KNSOC_SLACK);
    for (int32_t n = 0; n < p->neurons; n++)
        for (int64_t i = 0; i < inputs; i++) {
            const int64_t event_block = n / KNSOC_EVENT_BLOCK;
            const int64_t row = op->kind == KNSOC_FULLY
                                    ? i * p->padded_neurons + event_block * KNSOC_EVENT_BLOCK
                                    : (event_block * inputs + i) * KNSOC_EVENT_BLOCK;
            const int32_t cell = (int32_t)(i / p->channels);
            rows[row + event_place(n % KNSOC_EVENT_BLOCK, vector_bytes)] = weight_at(
                op, cell / p->size_cells, cell % p->size_cells, (int32_t)(i % p->channels), n);
        }
    p->rows = rows;
}

/* Returns 0 where the sums might leave 16 bits. */
static int pack_depthwise(const knsoc_op *op, knsoc_packed *p, int32_t lanes)
{
    const int32_t taps = p->size_columns * p->size_cells, channels = p->channels;
    for (int32_t c = 0; c < channels; c++) {
        int64_t low = 0, high = 0;
        for (int32_t tap = 0; tap < taps; tap++) {
            const int64_t reach = op->conv.weights[tap * channels + c] * (int64_t)p->largest;
            *(reach < 0 ? &low : &high) += reach;
        }
        if (low < -INT16_MAX || high > INT16_MAX)
            return 0;
    }
    p->flat = p->stride_cells == 1 && (channels % lanes == 0 || channels < 256);
    int32_t period = (int32_t)rounded_up(channels, lanes);
    if (p->flat)
        for (period = channels; period % lanes; period += channels)
            continue;
    int16_t *weights = take(2 * (int64_t)taps * period + KNSOC_SLACK);
    for (int32_t tap = 0; tap < taps; tap++)
        for (int32_t i = 0; i < period; i++)
            if (p->flat || i < channels)
                weights[tap * period + i] = op->conv.weights[tap * channels + i % channels];
    p->depthwise = weights;
    p->period = period;
    return 1;
}

static void pack_fire(const layer *l, knsoc_packed *p)
{
    const knsoc_op *op = &l->ops[1];
    const int64_t padded = p->padded_neurons;
    p->fire.levels = op->levels;
    if (op->levels && l->step) {
        float *slope = take(4 * padded), *offset = take(4 * padded);
        for (int32_t n = 0; n < p->neurons; n++) {
            /* half a unit from either side of each threshold */
            const double step = regular_step(l, n);
            slope[n] = (float)(1 / step);
            offset[n] = (float)((step - regular_first(l, n) - 0.5) / step);
        }
        p->fire.form = KNSOC_FIRE_LINE;
        p->fire.slope_n = slope;
        p->fire.offset_n = offset;
    } else if (op->levels) {
        int32_t *thresholds = take(4 * op->levels * padded);
        for (int32_t m = 0; m < op->levels; m++)
            for (int32_t n = 0; n < padded; n++)
                thresholds[m * padded + n] =
                    n < p->neurons ? op->thresholds_mn[m * p->neurons + n] : INT32_MAX;
        p->fire.form = KNSOC_FIRE_TABLE;
        p->fire.thresholds_mn = thresholds;
    }
}

static int32_t framed(const knsoc_window *w)
{
    const int32_t reached = (w->output - 1) * w->stride + w->size;
    return w->lead + w->length > reached ? w->lead + w->length : reached;
}

/* Returns 0 if the layer does not suit vector kernels. */
static int pack(const layer *l, const knsoc_vector_kernels *vector, knsoc_packed *p)
{
    const knsoc_op *op = &l->ops[1];
    const knsoc_window *columns = op->image ? &op->conv.y : &op->conv.x;
    const knsoc_window *cells = op->image ? &op->conv.x : &op->conv.y;
    memset(p, 0, sizeof *p);
    p->kind = op->kind == KNSOC_CONV    ? KNSOC_PACKED_CONV
              : op->kind == KNSOC_FULLY ? KNSOC_PACKED_FULLY
                                        : KNSOC_PACKED_SEPARABLE;
    p->columns = columns->length;
    p->cells = cells->length;
    p->channels = op->conv.channels;
    int32_t *fan_out_columns = take(4 * (int64_t)p->columns);
    int32_t *fan_out_cells = take(4 * (int64_t)p->cells);
    knsoc_fan_out(columns, fan_out_columns);
    knsoc_fan_out(cells, fan_out_cells);
    uint8_t *fan_out_bytes = take((int64_t)p->cells * p->channels);
    for (int32_t i = 0; i < p->cells * p->channels; i++)
        fan_out_bytes[i] = (uint8_t)fan_out_cells[i / p->channels];
    p->fan_out_columns = fan_out_columns;
    p->fan_out_bytes = fan_out_bytes;
    p->lead_columns = columns->lead;
    p->lead_cells = cells->lead;
    p->framed_columns = framed(columns);
    p->framed_cells = framed(cells);
    p->framed = p->framed_columns != p->columns || p->framed_cells != p->cells;
    p->fill = l->fill;
    p->largest = l->largest;
    p->size_columns = columns->size;
    p->size_cells = cells->size;
    p->stride_columns = columns->stride;
    p->stride_cells = cells->stride;
    p->output_columns = columns->output;
    p->output_cells = cells->output;
    p->column_step = op->image ? 1 : cells->output;
    p->cell_step = op->image ? columns->output : 1;
    p->neurons = op->conv.neurons;
    p->padded_neurons = (int32_t)rounded_up(p->neurons, KNSOC_EVENT_BLOCK);
    p->narrow = 1;
    for (int32_t n = 0; n < p->neurons; n++) {
        int64_t low, high;
        extremes(l, n, &low, &high);
        p->narrow &= low >= -INT16_MAX && high <= INT16_MAX;
    }
    if (op->kind == KNSOC_SEPARABLE) {
        p->framed = 1;
        if (!pack_depthwise(op, p, vector->vector_bytes / 2))
            return 0;
        pack_pairs(op, p, vector->dense_block);
    } else {
        int32_t largest = 1;
        const int64_t weights = l->inputs / ((int64_t)p->columns * p->cells) * p->neurons *
                                columns->size * cells->size;
        for (int64_t i = 0; i < weights; i++)
            if (abs(op->conv.weights[i]) > largest)
                largest = abs(op->conv.weights[i]);
        const int32_t product = largest * l->largest;
        p->flush = INT16_MAX / product;
        p->single_dots = 2 * product <= INT16_MAX;
        p->dots_in_s16 = INT16_MAX / (2 * product);
        pack_dense(op, p, vector->dense_block);
        pack_rows(op, p, vector->vector_bytes);
    }
    pack_fire(l, p);
    return 1;
}

/* ---- running ------------------------------------------------------------------------------------ */

typedef struct result {
    void *map;
    int64_t counters[KNSOC_COUNTERS];
} result;

static int64_t output_bytes(const knsoc_op *op)
{
    return knsoc_op_outputs(op) * (op->emits_potentials ? 4 : 1);
}

static result run(const layer *l, const knsoc_packed *packed, const knsoc_row *row, int form,
                  const uint8_t *inputs)
{
    knsoc_op ops[2] = {l->ops[0], l->ops[1]};
    knsoc_op *op = &ops[1];
    const knsoc_conv *conv = &op->conv;
    int64_t frame = l->inputs, positions = (int64_t)conv->x.length * conv->y.length;
    if (packed) {
        op->packed = *packed;
        frame = knsoc_framed_bytes(packed);
        positions = (int64_t)packed->framed_columns * packed->framed_cells;
    }
    const int64_t windows = (int64_t)conv->x.output * conv->y.output;
    const int only = op->image; /* one op, which reads the network's input */
    void *maps[2] = {take(l->inputs), take(output_bytes(op))};
    const knsoc_op *framed_for[2] = {0};
    knsoc_plan plan = {
        .row = row,
        .ops = only ? op : ops,
        .op_count = only ? 1 : 2,
        .maps = only ? maps + 1 : maps,
        .framed_for = framed_for,
        .image = take(l->inputs),
        .sums = take(4 * windows * conv->channels + KNSOC_SLACK),
        .potentials = take(4 * windows * conv->neurons),
        .pooled = take(4 * knsoc_op_outputs(op)),
        .events = {.first = take(4 * (positions + 1)),
                   .index = take(4 * (frame + 1 + KNSOC_SLACK)),
                   .value = take(frame + 1 + KNSOC_SLACK)},
        .frame = take(frame + KNSOC_SLACK),
        .tile = take(4 * KNSOC_EVENT_TILE * KNSOC_EVENT_BLOCK),
    };
    plan.tail = plan.op_count;
    plan.group = 1;
    const knsoc_plan *const team[] = {&plan};
    void *outputs[2] = {0};
    int64_t counters[2 * KNSOC_COUNTERS];
    knsoc_overflow overflow;
    if (knsoc_run(team, 1, inputs, 1, form, outputs, counters, &overflow))
        abort(); /* no layer here is that large */
    result r = {.map = maps[1]};
    memcpy(r.counters, counters + (only ? 0 : KNSOC_COUNTERS), sizeof r.counters);
    return r;
}

static const double densities[] = {0, 0.03, 0.3, 0.7, 1};
static const char *const kinds[] = {"input", "convolution", "fully connected", "separable"};
static const char *const forms[] = {"auto", "dense", "events"};

/* Returns the number of comparisons, or -1 after telling of a difference. */
static int64_t compare(const layer *l, int32_t number)
{
    const knsoc_op *op = &l->ops[1];
    int64_t compared = 0;
    uint8_t *inputs = take(l->inputs);
    const int packed_from = block_count;
    for (size_t d = 0; d < sizeof densities / sizeof *densities; d++) {
        for (int64_t i = 0; i < l->inputs; i++)
            inputs[i] = chance() < densities[d] * 0x1p31 ? (uint8_t)between(1, l->largest) : 0;
        const result expected = run(l, 0, &knsoc_row__scalar, KNSOC_FORM_DENSE, inputs);
        for (const knsoc_row *const *row = knsoc_rows; *row; row++) {
            const int mark = block_count;
            knsoc_packed packed;
            if (!(*row)->vector || !(*row)->available() || !pack(l, (*row)->vector, &packed)) {
                forget(mark);
                continue;
            }
            for (int form = KNSOC_FORM_DENSE; form <= KNSOC_FORM_EVENTS; form++) {
                const int run_mark = block_count;
                const result found = run(l, &packed, *row, form, inputs);
                const int same = !memcmp(found.map, expected.map, (size_t)output_bytes(op)) &&
                                 !memcmp(found.counters, expected.counters, sizeof found.counters);
                if (!same || broken_guards()) {
                    printf("layer %d, %s%s, %d channels, %d neurons, inputs up to %d, density %g: "
                           "%s, form %s, %s\n",
                           number, kinds[op->kind], op->image ? " of an image" : "",
                           op->conv.channels, op->conv.neurons, l->largest, densities[d],
                           (*row)->name, forms[form],
                           same ? "writes outside its buffers" : "differs from plain C");
                    return -1;
                }
                compared++;
                forget(run_mark);
            }
            forget(mark);
        }
        forget(packed_from);
    }
    return compared;
}

int main(int count, char **words)
{
    if (count < 3) {
        fprintf(stderr, "usage: %s LAYERS SEED [ROW...]\n", words[0]);
        return 2;
    }
    int named = 3, alike = 1;
    for (const knsoc_row *const *row = knsoc_rows; *row; row++)
        if ((*row)->vector && (*row)->available()) {
            printf("%s ", (*row)->name);
            alike &= named < count && !strcmp(words[named], (*row)->name);
            named++;
        }
    if (count > 3 && (!alike || named != count)) {
        printf("are the rows of this CPU, not those that were named\n");
        return 1;
    }
    state = strtoull(words[2], 0, 10);
    const int32_t layers = (int32_t)strtol(words[1], 0, 10);
    int64_t compared = 0;
    for (int32_t i = 0; i < layers; i++) {
        const layer l = random_layer();
        const int64_t more = compare(&l, i);
        if (more < 0)
            return 1;
        compared += more;
        forget(0);
    }
    printf("gave the integers of plain C in %lld runs of %d layers\n", (long long)compared, layers);
    return 0;
}
