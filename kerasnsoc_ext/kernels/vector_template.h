/* Kernels for packed layers, written once over a few vector operations.
 *
 * The includer defines TARGET, the attribute of every function here; VEC, LANES (32-bit lanes of a
 * vector), NV (vectors of a dense block), MR (output positions whose potentials stay in registers
 * together), MOST_ROWS (the same where half a block of neurons suffices) and the operations that
 * start with V_; V_OWN_EVENTS leaves the event form to the includer. Small functions are inlined into
 * loops whose bounds are then constants, so that arrays of vectors become registers.
 */
#include <string.h>

#include "packed.h"

#define INLINE TARGET static inline __attribute__((always_inline))
#define BLOCK (LANES * NV)
#define BYTES ((int64_t)sizeof(VEC))
#define EVENT_VECTORS (KNSOC_EVENT_BLOCK / (int)sizeof(VEC))

static inline int32_t four_bytes(const void *from)
{
    int32_t bytes;
    memcpy(&bytes, from, 4);
    return bytes;
}

static inline int16_t two_bytes(const void *from)
{
    int16_t bytes;
    memcpy(&bytes, from, 2);
    return bytes;
}

/* ---- what potentials become ---------------------------------------------------------------- */

INLINE VEC fire_lanes(const knsoc_packed *p, int32_t neuron, VEC potentials)
{
    const knsoc_fire *fire = &p->fire;
    if (fire->form == KNSOC_FIRE_LINE)
        return V_LINE(potentials, fire->slope_n + neuron, fire->offset_n + neuron, fire->levels);
    VEC level = V_ZERO();
    const int32_t *thresholds = fire->thresholds_mn + neuron;
    for (int32_t m = 0; m < fire->levels; m++, thresholds += p->padded_neurons)
        level = V_COUNT_ABOVE(level, potentials, V_LOAD(thresholds));
    return level;
}

/* Stores the lanes of neurons that exist. */
INLINE void finish(const knsoc_packed *p, int64_t position, int32_t neuron, VEC potentials,
                   void *outputs)
{
    const int32_t left = p->neurons - neuron;
    if (left <= 0)
        return;
    const int64_t at = position * p->neurons + neuron;
    if (p->fire.form == KNSOC_FIRE_NOT)
        V_STORE_S32((int32_t *)outputs + at, potentials, left);
    else
        V_STORE_U8((uint8_t *)outputs + at, fire_lanes(p, neuron, potentials), left);
}

/* The same for `rows` positions, of which `left` exist, and `vectors` vectors of neighbouring neurons.
 * Returns how many activations are not zero, where they are stored by blocks. */
INLINE int64_t finish_rows(const int rows, const int vectors, const knsoc_packed *p,
                           const int64_t *positions, int left, int32_t neuron, VEC (*sums)[NV],
                           void *outputs)
{
    int64_t sent = 0;
#ifdef V_STORE_BLOCK_U8
    /* one narrowing for all vectors; the tables of neurons that do not exist are there */
    const int32_t neurons = p->neurons, levels = p->fire.levels, form = p->fire.form;
    if (form != KNSOC_FIRE_NOT) {
        if (form == KNSOC_FIRE_LINE) {
            const float *slope = p->fire.slope_n + neuron, *offset = p->fire.offset_n + neuron;
            UNROLL for (int v = 0; v < vectors; v++)
                UNROLL for (int r = 0; r < rows; r++)
                    sums[r][v] = V_LINE_BELOW(sums[r][v], slope + v * LANES, offset + v * LANES,
                                              levels);
        } else {
            const int64_t pitch = p->padded_neurons;
            UNROLL for (int r = 0; r < rows; r++) {
                const int32_t *thresholds = p->fire.thresholds_mn + neuron;
                VEC counts[NV];
                UNROLL for (int v = 0; v < vectors; v++)
                    counts[v] = V_ZERO();
                for (int32_t m = 0; m < levels; m++, thresholds += pitch)
                    UNROLL for (int v = 0; v < vectors; v++)
                        counts[v] = V_COUNT_ABOVE(counts[v], sums[r][v],
                                                  V_LOAD(thresholds + v * LANES));
                UNROLL for (int v = 0; v < vectors; v++)
                    sums[r][v] = counts[v];
            }
        }
        uint8_t *to = (uint8_t *)outputs + neuron;
        UNROLL for (int r = 0; r < rows; r++)
            if (r < left)
                sent += V_STORE_BLOCK_U8(vectors, to + positions[r] * neurons, sums[r],
                                         neurons - neuron);
        return sent;
    }
#endif
    UNROLL for (int r = 0; r < rows; r++)
        if (r < left)
            UNROLL for (int v = 0; v < vectors; v++)
                finish(p, positions[r], neuron + v * LANES, sums[r][v], outputs);
    return sent;
}

TARGET static void vector_fire(const knsoc_packed *p, const int32_t *potentials, int64_t positions,
                               uint8_t *activations)
{
    for (int64_t i = 0; i < positions; i++)
        for (int32_t n = 0; n < p->neurons; n += LANES) {
            const VEC lanes = V_LOAD_S32(potentials + i * p->neurons + n, p->neurons - n);
            V_STORE_U8(activations + i * p->neurons + n, fire_lanes(p, n, lanes), p->neurons - n);
        }
}

/* ---- dense: every input, four at a time ------------------------------------------------------ */

enum { DOT_U8, DOT_U8_SPLIT, DOT_S16 };

INLINE VEC dot(const int kind, VEC sum, VEC inputs, VEC weights)
{
    if (kind == DOT_S16)
        return V_DOT_S16(sum, inputs, weights);
#ifdef V_SPLITS
    if (kind == DOT_U8_SPLIT)
        return V_DOT_U8_SPLIT(sum, inputs, weights);
#endif
    return V_DOT_U8(sum, inputs, weights);
}

/* Potentials of `rows` output positions for `vectors` vectors of neurons. The last quad of a segment
 * may read bytes behind it, whose weights are zero. */
INLINE void dense_rows(const int kind, const int rows, const int vectors, const knsoc_packed *p,
                       const uint8_t *const *inputs, int64_t pitch, const int8_t *weights,
                       const int64_t *positions, int32_t neuron, void *outputs)
{
    VEC sums[MOST_ROWS][NV];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++)
            sums[r][v] = V_ZERO();
    for (int32_t segment = 0; segment < p->segments; segment++) {
        int64_t at = segment * pitch;
        const int64_t end = at + 4 * (int64_t)p->quads;
        for (; at < end; at += 4, weights += NV * BYTES) {
            VEC w[NV];
            UNROLL for (int v = 0; v < vectors; v++)
                w[v] = V_LOAD(weights + v * BYTES);
            UNROLL for (int r = 0; r < rows; r++) {
                const VEC x = V_SET_S32(four_bytes(inputs[r] + at));
                UNROLL for (int v = 0; v < vectors; v++)
                    sums[r][v] = dot(kind, sums[r][v], x, w[v]);
            }
        }
    }
    finish_rows(rows, vectors, p, positions, rows, neuron, sums, outputs);
}

/* All output positions for one block of neurons, in the order in which outputs lie. */
INLINE void dense_neurons(const int kind, const int most_rows, const int vectors,
                          const knsoc_packed *p, const uint8_t *inputs, int64_t cell,
                          int64_t column, const int8_t *weights, int32_t neuron, void *outputs)
{
    const int64_t count = (int64_t)p->output_columns * p->output_cells;
    const int by_cells = p->column_step > p->cell_step;
    const int64_t next_cell = p->stride_cells * cell, next_column = p->stride_columns * column;
    const int64_t next = by_cells ? next_cell : next_column;
    const int64_t step = by_cells ? p->cell_step : p->column_step;
    const int32_t run = by_cells ? p->output_cells : p->output_columns;
    /* from behind a run to the next */
    const int64_t turn = (by_cells ? next_column : next_cell) - run * next;
    const int64_t turn_step = (by_cells ? p->column_step : p->cell_step) - run * step;
    const uint8_t *from[MOST_ROWS];
    int64_t positions[MOST_ROWS], position = 0;
    int32_t left = run;
    for (int64_t i = 0; i < count; i += most_rows) {
        const int rows = count - i < most_rows ? (int)(count - i) : most_rows;
        int r = 0;
        for (; r < rows; r++) {
            from[r] = inputs;
            positions[r] = position;
            inputs += next;
            position += step;
            if (--left == 0) {
                left = run;
                inputs += turn;
                position += turn_step;
            }
        }
        if (rows == 1) {
            dense_rows(kind, 1, vectors, p, from, column, weights, positions, neuron, outputs);
            continue;
        }
        /* a last group that is short repeats its last position, which writes the same again */
        for (; r < most_rows; r++) {
            from[r] = from[rows - 1];
            positions[r] = positions[rows - 1];
        }
        dense_rows(kind, most_rows, vectors, p, from, column, weights, positions, neuron, outputs);
    }
}

INLINE void dense_all(const int kind, const knsoc_packed *p, const uint8_t *inputs, int64_t cell,
                      int64_t column, void *outputs)
{
    const int64_t block_bytes = (int64_t)p->segments * p->quads * 4 * BLOCK;
    const int8_t *weights = p->dense;
    for (int32_t n = 0; n < p->neurons; n += BLOCK, weights += block_bytes) {
        /* the vectors that hold a neuron; few of them leave registers for more positions */
        const int32_t vectors = (p->neurons - n + LANES - 1) / LANES;
#if NV == 4
        if (vectors == 1)
            dense_neurons(kind, MOST_ROWS, 1, p, inputs, cell, column, weights, n, outputs);
        else if (vectors == 2)
            dense_neurons(kind, MOST_ROWS, 2, p, inputs, cell, column, weights, n, outputs);
        else
#endif
        if (vectors < NV)
            dense_neurons(kind, MR, NV - 1, p, inputs, cell, column, weights, n, outputs);
        else
            dense_neurons(kind, MR, NV, p, inputs, cell, column, weights, n, outputs);
    }
}

#ifdef V_SPLITS
#ifndef V_NEEDS_SPLIT
#define V_NEEDS_SPLIT(p) (!(p)->single_dots)
#endif
TARGET static void vector_dense_split(const knsoc_packed *p, const uint8_t *inputs, int64_t cell,
                                      int64_t column, void *outputs)
{
    dense_all(DOT_U8_SPLIT, p, inputs, cell, column, outputs);
}
#endif

/* `cell` and `column` are the bytes between neighbouring cells and columns of the input. */
TARGET static void dense_over(const knsoc_packed *p, const uint8_t *inputs, int64_t cell,
                              int64_t column, void *outputs)
{
#ifdef V_DENSE_IN_S16
    if (p->dots_in_s16 > 1) {
        V_DENSE_IN_S16(p, inputs, cell, column, outputs);
        return;
    }
#endif
#ifdef V_SPLITS
    if (V_NEEDS_SPLIT(p)) {
        vector_dense_split(p, inputs, cell, column, outputs);
        return;
    }
#endif
    dense_all(DOT_U8, p, inputs, cell, column, outputs);
}

#define JOINED_BYTES 16384
#define COPIED 16

/* Copies a window's columns of `size` bytes one behind the other; what is written beyond, less than
 * COPIED bytes, comes from behind the window. */
INLINE void join_window(const knsoc_packed *p, const uint8_t *from, int64_t column, int64_t size,
                        uint8_t *to)
{
    for (int32_t x = 0; x < p->size_columns; x++, from += column, to += size)
        for (int64_t i = 0; i < size; i += COPIED)
            memcpy(to + i, from + i, COPIED);
}

/* First layers have so few channels that the columns of a window, each filled up to quads, would take
 * more of these than the window as a whole. */
TARGET static void dense_joined(const knsoc_packed *p, const uint8_t *inputs, void *outputs)
{
    const int64_t cell = p->channels, column = cell * p->framed_cells;
    const int64_t size = p->size_cells * cell, pitch = 4 * (int64_t)p->quads;
    const int by_cells = p->column_step > p->cell_step;
    const int64_t next_cell = p->stride_cells * cell, next_column = p->stride_columns * column;
    const int32_t run = by_cells ? p->output_cells : p->output_columns;
    const int32_t runs = by_cells ? p->output_columns : p->output_cells;
    const int32_t fit = (int32_t)(JOINED_BYTES / pitch);
    const int32_t piece = run < fit ? run : fit, together = fit / piece;
    const int64_t output = p->neurons * (p->fire.form == KNSOC_FIRE_NOT ? 4 : 1);
    const int64_t run_step = by_cells ? p->column_step : p->cell_step;
    const int64_t step = by_cells ? p->cell_step : p->column_step;
    uint8_t strip[JOINED_BYTES + KNSOC_SLACK];
    knsoc_packed one = *p;
    one.stride_cells = one.stride_columns = 1;
    for (int32_t first = 0; first < runs; first += together)
        for (int32_t begin = 0; begin < run; begin += piece) {
            const int32_t some = runs - first < together ? runs - first : together;
            const int32_t length = run - begin < piece ? run - begin : piece;
            uint8_t *to = strip;
            for (int32_t i = first; i < first + some; i++) {
                const uint8_t *from = inputs + i * (by_cells ? next_column : next_cell) +
                                      begin * (by_cells ? next_cell : next_column);
                for (int32_t j = 0; j < length; j++, to += pitch) {
                    join_window(p, from, column, size, to);
                    from += by_cells ? next_cell : next_column;
                }
            }
            one.output_columns = by_cells ? some : length;
            one.output_cells = by_cells ? length : some;
            dense_over(&one, strip, by_cells ? pitch : pitch * length,
                       by_cells ? pitch * length : pitch,
                       (uint8_t *)outputs + (first * run_step + begin * step) * output);
        }
}

TARGET static void vector_dense(const knsoc_packed *p, const uint8_t *inputs, void *outputs)
{
    if (p->joined)
        dense_joined(p, inputs, outputs);
    else
        dense_over(p, inputs, p->channels, (int64_t)p->channels * p->framed_cells, outputs);
}

TARGET static void vector_pointwise(const knsoc_packed *p, const int16_t *sums, void *outputs)
{
    /* a window is one position of the map of sums */
    knsoc_packed one = *p;
    one.stride_cells = one.stride_columns = 1;
    const int64_t cell = 2 * (int64_t)p->channels;
    dense_all(DOT_S16, &one, (const uint8_t *)sums, cell, cell * p->output_cells, outputs);
}

#ifndef V_OWN_EVENTS
/* ---- events: only inputs that are not zero, two at a time -------------------------------------- */

/* Adds `count` events to 16-bit potentials. Weights of an event block are stored such that the
 * low halves of all interleavings are its first 16-bit lanes. */
INLINE void add_events(const int vectors, VEC *sums, const int8_t *weights, const uint32_t *index,
                       const uint8_t *value, int64_t count)
{
    int64_t e = 0;
    for (; e + 2 <= count; e += 2) {
        const int8_t *one = weights + index[e], *two = weights + index[e + 1];
        const VEC x = V_SET_S16(two_bytes(value + e));
        UNROLL for (int v = 0; v < vectors; v++) {
            const VEC a = V_LOAD(one + v * BYTES), b = V_LOAD(two + v * BYTES);
            sums[2 * v] = V_ADD_S16(sums[2 * v], V_PAIRS(x, V_LOW(a, b)));
            sums[2 * v + 1] = V_ADD_S16(sums[2 * v + 1], V_PAIRS(x, V_HIGH(a, b)));
        }
    }
    if (e < count) {
        const VEC x = V_SET_S16(value[e]); /* the second of the pair has the value 0 */
        UNROLL for (int v = 0; v < vectors; v++) {
            const VEC a = V_LOAD(weights + index[e] + v * BYTES);
            sums[2 * v] = V_ADD_S16(sums[2 * v], V_PAIRS(x, V_LOW(a, a)));
            sums[2 * v + 1] = V_ADD_S16(sums[2 * v + 1], V_PAIRS(x, V_HIGH(a, a)));
        }
    }
}

/* Where the potentials of 16-bit vector i begin among 32-bit potentials. Vector 2v holds the first
 * half of the neurons of row vector v, vector 2v + 1 the second half. */
INLINE void widen_into(const int vectors, int32_t *potentials, const VEC *sums)
{
    UNROLL for (int i = 0; i < 2 * vectors; i++) {
        int32_t *to = potentials + i * 2 * LANES;
        V_STORE(to, V_ADD_S32(V_LOAD(to), V_WIDEN_LOW(sums[i])));
        V_STORE(to + LANES, V_ADD_S32(V_LOAD(to + LANES), V_WIDEN_HIGH(sums[i])));
    }
}

INLINE void clear(const int vectors, VEC *sums)
{
    UNROLL for (int i = 0; i < vectors; i++)
        sums[i] = V_ZERO();
}

/* The events of `run` under one slab of weights, for one block and one output position. */
INLINE void slab_narrow(int16_t *potentials, int first, const int8_t *weights,
                        const uint32_t *index, const uint8_t *value, int64_t count)
{
    VEC sums[2 * EVENT_VECTORS];
    UNROLL for (int i = 0; i < 2 * EVENT_VECTORS; i++)
        sums[i] = first ? V_ZERO() : V_LOAD(potentials + i * 2 * LANES);
    add_events(EVENT_VECTORS, sums, weights, index, value, count);
    UNROLL for (int i = 0; i < 2 * EVENT_VECTORS; i++)
        V_STORE(potentials + i * 2 * LANES, sums[i]);
}

INLINE void slab_wide(int32_t *potentials, int first, int32_t flush, const int8_t *weights,
                      const uint32_t *index, const uint8_t *value, int64_t count)
{
    if (first)
        memset(potentials, 0, KNSOC_EVENT_BLOCK * sizeof *potentials);
    for (int64_t e = 0; e < count; e += flush) {
        VEC sums[2 * EVENT_VECTORS];
        clear(2 * EVENT_VECTORS, sums);
        const int64_t some = count - e < flush ? count - e : flush;
        add_events(EVENT_VECTORS, sums, weights, index + e, value + e, some);
        widen_into(EVENT_VECTORS, potentials, sums);
    }
}

#ifdef V_LOW_S16
/* ---- the same for inputs of 0 or 1 and small weights: rows are added in bytes ---------------------- */

/* Bytes at even and at odd places become potentials of their own. */
INLINE void widen_bytes(VEC bytes, VEC *even, VEC *odd)
{
    *even = V_ADD_S16(*even, V_PAIRS(V_SET_S16(0x0001), bytes));
    *odd = V_ADD_S16(*odd, V_PAIRS(V_SET_S16(0x0100), bytes));
}

INLINE void load_halves(const int16_t *potentials, int first, VEC *halves)
{
    UNROLL for (int i = 0; i < 2 * EVENT_VECTORS; i++)
        halves[i] = first ? V_ZERO() : V_LOAD(potentials + i * 2 * LANES);
}

/* After the last sum, as add_events leaves them: neurons one after another. */
INLINE void store_halves(int16_t *potentials, int last, const VEC *halves)
{
    UNROLL for (int v = 0; v < EVENT_VECTORS; v++) {
        const VEC even = halves[2 * v], odd = halves[2 * v + 1];
        int16_t *to = potentials + v * 4 * LANES;
        V_STORE(to, last ? V_LOW_S16(even, odd) : even);
        V_STORE(to + 2 * LANES, last ? V_HIGH_S16(even, odd) : odd);
    }
}

INLINE void slab_bits(int16_t *potentials, int first, int last, int32_t fit, const int8_t *weights,
                      const uint32_t *index, int64_t count)
{
    VEC halves[2 * EVENT_VECTORS];
    load_halves(potentials, first, halves);
    for (int64_t e = 0; e < count;) {
        const int64_t end = count - e < fit ? count : e + fit;
        VEC one[EVENT_VECTORS], two[EVENT_VECTORS];
        UNROLL for (int v = 0; v < EVENT_VECTORS; v++)
            one[v] = two[v] = V_ZERO();
        for (; e + 2 <= end; e += 2)
            UNROLL for (int v = 0; v < EVENT_VECTORS; v++) {
                one[v] = V_ADD_S8(one[v], V_LOAD(weights + index[e] + v * BYTES));
                two[v] = V_ADD_S8(two[v], V_LOAD(weights + index[e + 1] + v * BYTES));
            }
        if (e < end) {
            UNROLL for (int v = 0; v < EVENT_VECTORS; v++)
                one[v] = V_ADD_S8(one[v], V_LOAD(weights + index[e] + v * BYTES));
            e++;
        }
        UNROLL for (int v = 0; v < EVENT_VECTORS; v++)
            widen_bytes(V_ADD_S8(one[v], two[v]), &halves[2 * v], &halves[2 * v + 1]);
    }
    store_halves(potentials, last, halves);
}
#endif

INLINE void finish_event_block(const knsoc_packed *p, int64_t position, int32_t neuron,
                               const int32_t *scratch, void *outputs)
{
    if (p->narrow) {
        const int16_t *potentials = (const int16_t *)scratch;
        UNROLL for (int i = 0; i < 2 * EVENT_VECTORS; i++) {
            const VEC both = V_LOAD(potentials + i * 2 * LANES);
            finish(p, position, neuron + i * 2 * LANES, V_WIDEN_LOW(both), outputs);
            finish(p, position, neuron + i * 2 * LANES + LANES, V_WIDEN_HIGH(both), outputs);
        }
    } else {
        UNROLL for (int i = 0; i < 4 * EVENT_VECTORS; i++)
            finish(p, position, neuron + i * LANES, V_LOAD(scratch + i * LANES), outputs);
    }
}

/* A slab of weights stays in the first cache while it passes over a tile of output positions. */
#define SLAB_BYTES 32768

TARGET static void conv_events(const knsoc_packed *p, const knsoc_events *events, int32_t *scratch,
                               void *outputs)
{
    const int64_t count = (int64_t)p->output_columns * p->output_cells;
    const int64_t cell_bytes = (int64_t)p->channels * KNSOC_EVENT_BLOCK;
    const int32_t slab_cells = p->size_cells * cell_bytes <= SLAB_BYTES ? p->size_cells : 1;
    const int64_t slab_bytes = slab_cells * cell_bytes;
    const int32_t slabs = p->size_columns * (p->size_cells / slab_cells);
    knsoc_cursor tile = {0, 0};
    for (int64_t start = 0; start < count; start += KNSOC_EVENT_TILE) {
        const int64_t left = count - start;
        const int rows = left < KNSOC_EVENT_TILE ? (int)left : KNSOC_EVENT_TILE;
        const int8_t *weights = p->rows;
        knsoc_cursor cursor = tile;
        for (int32_t n = 0; n < p->neurons; n += KNSOC_EVENT_BLOCK) {
            int32_t column = 0, cell = 0;
            for (int32_t slab = 0; slab < slabs; slab++, weights += slab_bytes) {
                int32_t *potentials = scratch;
                cursor = tile;
                for (int r = 0; r < rows; r++, potentials += KNSOC_EVENT_BLOCK) {
                    const int64_t x = (int64_t)cursor.column * p->stride_columns + column;
                    const int64_t y = (int64_t)cursor.cell * p->stride_cells + cell;
                    const uint32_t *first = events->first + x * p->framed_cells + y;
                    const uint32_t from = first[0];
                    const int64_t run = first[slab_cells] - from;
                    /* an event's index counts from the top of its column */
                    const int8_t *w = weights - y * cell_bytes;
#ifdef V_LOW_S16
                    if (p->bits.rows_fit)
                        slab_bits((int16_t *)potentials, slab == 0, slab == slabs - 1,
                                  p->bits.rows_fit, w, events->index + from, run);
                    else
#endif
                    if (p->narrow)
                        slab_narrow((int16_t *)potentials, slab == 0, w, events->index + from,
                                    events->value + from, run);
                    else
                        slab_wide(potentials, slab == 0, p->flush, w, events->index + from,
                                  events->value + from, run);
                    knsoc_advance(&cursor, p);
                }
                cell += slab_cells;
                if (cell == p->size_cells) {
                    cell = 0;
                    column++;
                }
            }
            cursor = tile;
            const int32_t *potentials = scratch;
            for (int r = 0; r < rows; r++, potentials += KNSOC_EVENT_BLOCK) {
                finish_event_block(p, knsoc_output_position(cursor, p), n, potentials, outputs);
                knsoc_advance(&cursor, p);
            }
        }
        tile = cursor;
    }
}

/* Blocks of neurons that one pass over the events covers: rows are then read in long runs. */
#define FULLY_BLOCKS 4

INLINE void fully_pass(const int blocks, const knsoc_packed *p, const knsoc_events *events,
                       int32_t neuron, int32_t *scratch, void *outputs)
{
    const int vectors = blocks * EVENT_VECTORS;
    VEC sums[2 * FULLY_BLOCKS * EVENT_VECTORS];
    const int8_t *weights = p->rows + neuron;
    const int64_t pitch = p->padded_neurons;
    memset(scratch, 0, (size_t)blocks * KNSOC_EVENT_BLOCK * sizeof *scratch);
    for (int64_t e = 0; e < events->count;) {
        int64_t end = e + p->flush;
        if (end > events->count)
            end = events->count;
        clear(2 * vectors, sums);
        for (; e + 2 <= end; e += 2) {
            const int8_t *one = weights + events->index[e] * pitch;
            const int8_t *two = weights + events->index[e + 1] * pitch;
            const VEC x = V_SET_S16(two_bytes(events->value + e));
            /* rows are visited in no order that a CPU foresees; the list has slack to look ahead */
            const int8_t *ahead = weights + events->index[e + AHEAD] * pitch;
            const int8_t *behind = weights + events->index[e + AHEAD + 1] * pitch;
            UNROLL for (int v = 0; v < vectors; v++) {
                if (v * (int)sizeof(VEC) % 64 == 0) {
                    __builtin_prefetch(ahead + v * BYTES);
                    __builtin_prefetch(behind + v * BYTES);
                }
                const VEC a = V_LOAD(one + v * BYTES), b = V_LOAD(two + v * BYTES);
                sums[2 * v] = V_ADD_S16(sums[2 * v], V_PAIRS(x, V_LOW(a, b)));
                sums[2 * v + 1] = V_ADD_S16(sums[2 * v + 1], V_PAIRS(x, V_HIGH(a, b)));
            }
        }
        if (e < end) {
            const int8_t *one = weights + events->index[e] * pitch;
            const VEC x = V_SET_S16(events->value[e]);
            UNROLL for (int v = 0; v < vectors; v++) {
                const VEC a = V_LOAD(one + v * BYTES);
                sums[2 * v] = V_ADD_S16(sums[2 * v], V_PAIRS(x, V_LOW(a, a)));
                sums[2 * v + 1] = V_ADD_S16(sums[2 * v + 1], V_PAIRS(x, V_HIGH(a, a)));
            }
            e++;
        }
        widen_into(vectors, scratch, sums);
    }
    for (int i = 0; i < 4 * vectors; i++)
        finish(p, 0, neuron + i * LANES, V_LOAD(scratch + i * LANES), outputs);
}

TARGET static void fully_events(const knsoc_packed *p, const knsoc_events *events, int32_t *scratch,
                                void *outputs)
{
    /* the prefetches look ahead at row 0 */
    for (int i = 0; i < AHEAD + 2; i++)
        events->index[events->count + i] = 0;
    int32_t n = 0;
    for (; n + (FULLY_BLOCKS - 1) * KNSOC_EVENT_BLOCK < p->neurons;
         n += FULLY_BLOCKS * KNSOC_EVENT_BLOCK)
        fully_pass(FULLY_BLOCKS, p, events, n, scratch, outputs);
    for (; n < p->neurons; n += KNSOC_EVENT_BLOCK)
        fully_pass(1, p, events, n, scratch, outputs);
}

TARGET static void vector_events(const knsoc_packed *p, const knsoc_events *events, int32_t *scratch,
                                 void *outputs)
{
    if (p->kind == KNSOC_PACKED_FULLY)
        fully_events(p, events, scratch, outputs);
    else
        conv_events(p, events, scratch, outputs);
}
#endif

/* ---- depthwise: 16-bit sums, proved to suffice ------------------------------------------------- */

INLINE void depthwise_run(const int taps, const knsoc_packed *p, const uint8_t *const *inputs,
                          int64_t size, int16_t *sums)
{
    int32_t phase = 0;
    for (int64_t i = 0; i < size; i += 2 * LANES) {
        VEC sum = V_ZERO();
        const int16_t *weights = p->depthwise + phase;
        UNROLL9 for (int tap = 0; tap < taps; tap++, weights += p->period)
            sum = V_ADD_S16(sum, V_MUL_S16(V_LOAD_U8_S16(inputs[tap] + i), V_LOAD(weights)));
        V_STORE(sums + i, sum);
        phase += 2 * LANES;
        if (phase == p->period)
            phase = 0;
    }
}

#define MAX_TAPS 64

TARGET static int64_t vector_depthwise(const knsoc_packed *p, const uint8_t *inputs, int16_t *sums)
{
    const int64_t column = (int64_t)p->framed_cells * p->channels;
    const int32_t taps = p->size_columns * p->size_cells;
    int64_t offsets[MAX_TAPS];
    for (int32_t x = 0, tap = 0; x < p->size_columns; x++)
        for (int32_t y = 0; y < p->size_cells; y++, tap++)
            offsets[tap] = x * column + (int64_t)y * p->channels;
    const int32_t runs = p->flat ? 1 : p->output_cells;
    const int64_t size = (int64_t)(p->flat ? p->output_cells : 1) * p->channels;
    int16_t *to = sums;
    /* A run may store a vector's rest behind its end; the next run overwrites it. */
    for (int32_t x = 0; x < p->output_columns; x++)
        for (int32_t y = 0; y < runs; y++, to += size) {
            const uint8_t *from[MAX_TAPS];
            const int64_t base =
                x * p->stride_columns * column + (int64_t)y * p->stride_cells * p->channels;
            for (int32_t tap = 0; tap < taps; tap++)
                from[tap] = inputs + base + offsets[tap];
            if (taps == 9)
                depthwise_run(9, p, from, size, to);
            else
                depthwise_run(taps, p, from, size, to);
        }
    int64_t reached = 0, i = 0;
    const int64_t total = to - sums;
    for (; i + 2 * LANES <= total; i += 2 * LANES)
        reached += V_NONZERO_S16(V_LOAD(sums + i));
    for (; i < total; i++)
        reached += sums[i] != 0;
    return reached;
}

#ifdef V_NONZERO_PACKED
#include "separable.h"
#endif

/* ---- pooling: maxima of activations, sums of potentials ------------------------------------------- */

/* Both start from 0: no activation is below it. */
#define VECTOR_POOL(op, TYPE, MERGE) \
    TARGET static void vector_##op(const knsoc_window *window_x, const knsoc_window *window_y, \
                                   int32_t neurons, const TYPE *values, TYPE *pooled) \
    { \
        for (int32_t ox = 0; ox < window_x->output; ox++) { \
            const knsoc_taps x = knsoc_taps_inside(window_x, ox); \
            for (int32_t oy = 0; oy < window_y->output; oy++, pooled += neurons) { \
                const knsoc_taps y = knsoc_taps_inside(window_y, oy); \
                memset(pooled, 0, (size_t)neurons * sizeof *pooled); \
                for (int32_t dx = x.begin; dx < x.end; dx++) { \
                    const int64_t column = (int64_t)(x.origin + dx) * window_y->length; \
                    const TYPE *cell = values + (column + y.origin + y.begin) * neurons; \
                    for (int32_t dy = y.begin; dy < y.end; dy++, cell += neurons) \
                        for (int32_t n = 0; n < neurons; n++) \
                            pooled[n] = MERGE(pooled[n], cell[n]); \
                } \
            } \
        } \
    }

#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define SUM(a, b) ((a) + (b))
VECTOR_POOL(pool_max, uint8_t, LARGER)
VECTOR_POOL(pool_sum, int32_t, SUM)
#undef VECTOR_POOL
#undef LARGER
#undef SUM
