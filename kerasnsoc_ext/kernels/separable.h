/* Separable layers by strips of output positions: the depthwise sums of a strip stay in the first
 * caches until the pointwise stage has used them.
 *
 * Depthwise: bytes of up to four columns of a window are interleaved, so that a dot product of four
 * takes one cell of each; or bytes of two cells, where products of two fit 16 bits and the cells of
 * neighbouring windows do not stay in registers. Pointwise, by what is proved about the sums:
 *   WORDS  a sum is one 16-bit factor.
 *   BYTES  a sum minus its channel's base is one unsigned byte; the bases' share of a potential is
 *          known at load.
 *   SPLIT  what a byte lacks is a signed high byte, zero for most sums. Groups of four with one that
 *          is not are events: listed per position, their products are added before all low bytes'.
 *
 * Included by vector_template.h, for rows that define V_NONZERO_PACKED and what belongs to it.
 */

#define HALF_LANES (2 * LANES) /* 16-bit lanes of a vector */

/* A list has a size that is known here, since MR of them are read at a time: not each can have a
 * register for its address. */
#define FOURS KNSOC_STRIP_FOURS
#define LIST (FOURS + 16)

/* The sums of a strip. */
typedef struct knsoc_strip {
    uint8_t *low; /* [position][channel]: low bytes, or words */
    uint8_t *high;
    /* of each group of MR positions, for 4 * FOURS channels at a time: fours of high bytes with one
     * that is not 0, and where their weights are in a block of these */
    int32_t *fours;  /* [group][part of the channels][MR][2][LIST] */
    int32_t *most;   /* [group][part]: the length of these lists */
    int32_t *order;  /* [group][MR]: positions of the strip, only of these lists */
    int32_t *starts; /* [group][MR]: what makes up for the weights' offset */
    int32_t *places; /* of each position: where its outputs are, in positions */
} knsoc_strip;

static knsoc_strip place_strip(const knsoc_packed *p, void *memory)
{
    const int64_t positions = knsoc_strip_listed(p), plane = knsoc_strip_plane(p);
    knsoc_strip strip;
    strip.low = memory;
    strip.high = strip.low + plane;
    strip.order = (int32_t *)(void *)(strip.high + plane);
    strip.starts = strip.order + positions;
    strip.places = strip.starts + positions;
    strip.most = strip.places + positions;
    strip.fours = strip.most + positions * knsoc_strip_parts(p);
    return strip;
}

/* ---- depthwise --------------------------------------------------------------------------------- */

/* Adds one row of a window, up to four columns wide, for the channels of one vector of bytes. Results
 * of two such vectors, packed, are in the order of the bytes again. */
INLINE void add_window_row(const int kind, const int32_t columns, const uint8_t *from,
                           int64_t column, const int8_t *weights, VEC *sums)
{
    const VEC a = V_LOAD(from);
    const VEC b = columns > 1 ? V_LOAD(from + column) : V_ZERO();
    const VEC c = columns > 2 ? V_LOAD(from + 2 * column) : V_ZERO();
    const VEC d = columns > 3 ? V_LOAD(from + 3 * column) : V_ZERO();
    const VEC ab_low = V_LOW(a, b), ab_high = V_HIGH(a, b);
    const VEC cd_low = V_LOW(c, d), cd_high = V_HIGH(c, d);
    sums[0] = dot(kind, sums[0], V_LOW_S16(ab_low, cd_low), V_LOAD(weights));
    sums[1] = dot(kind, sums[1], V_HIGH_S16(ab_low, cd_low), V_LOAD(weights + BYTES));
    sums[2] = dot(kind, sums[2], V_LOW_S16(ab_high, cd_high), V_LOAD(weights + 2 * BYTES));
    sums[3] = dot(kind, sums[3], V_HIGH_S16(ab_high, cd_high), V_LOAD(weights + 3 * BYTES));
}

/* The sums of one vector of channels; weights of neighbouring rows of a window lie `step` apart. */
INLINE void sum_window(const int kind, const int is_3x3, const knsoc_packed *p, const uint8_t *from,
                       int64_t column, const int8_t *weights, int64_t step, VEC *sums)
{
    UNROLL for (int i = 0; i < 4; i++)
        sums[i] = V_ZERO();
    if (is_3x3) {
        UNROLL for (int y = 0; y < 3; y++)
            add_window_row(kind, 3, from + y * p->channels, column, weights + y * step, sums);
        return;
    }
    for (int32_t x = 0; x < p->size_columns; x += 4, from += 4 * column)
        for (int32_t y = 0; y < p->size_cells; y++, weights += step)
            add_window_row(kind, p->size_columns - x, from + (int64_t)y * p->channels, column,
                           weights, sums);
}

/* Adds two cells of a window to the sums of one vector of channels. */
INLINE void add_window_pair(VEC a, VEC b, const int8_t *weights, VEC *one, VEC *two)
{
    *one = V_ADD_S16(*one, V_PAIRS(V_LOW(a, b), V_LOAD(weights)));
    *two = V_ADD_S16(*two, V_PAIRS(V_HIGH(a, b), V_LOAD(weights + BYTES)));
}

/* The sums of one vector of channels of a window of 3 by 3, in 16 bits. */
INLINE void sum_window_pairs(const uint8_t *from, int64_t cell, int64_t column,
                             const int8_t *weights, VEC *one, VEC *two)
{
    const uint8_t *next = from + column, *last = next + column;
    *one = *two = V_ZERO();
    UNROLL for (int y = 0; y < 3; y++)
        add_window_pair(V_LOAD(from + y * cell), V_LOAD(next + y * cell), weights + 2 * y * BYTES,
                        one, two);
    add_window_pair(V_LOAD(last), V_LOAD(last + cell), weights + 6 * BYTES, one, two);
    add_window_pair(V_LOAD(last + 2 * cell), V_ZERO(), weights + 8 * BYTES, one, two);
}

/* Stores the sums of one vector of channels, of which `left` exist; returns how many of them are not
 * zero. The rest is overwritten by what follows. */
INLINE int32_t store_sums(const int form, VEC one, VEC two, const int16_t *base, int64_t left,
                          uint8_t *low, uint8_t *high)
{
    const int32_t reached = V_NONZERO_PACKED(one, two, left);
    if (form == KNSOC_SUMS_WORDS) {
        V_STORE_PACKED(low, one, two);
        return reached;
    }
    const VEC a = V_SUB_S16(one, V_LOAD(base));
    const VEC b = V_SUB_S16(two, V_LOAD(base + HALF_LANES));
    if (form == KNSOC_SUMS_BYTES) {
        V_STORE(low, V_PACK_U8(a, b));
        return reached;
    }
    const VEC byte = V_SET_S16(255);
    V_STORE(low, V_PACK_U8(V_AND(a, byte), V_AND(b, byte)));
    V_STORE(high, V_PACK_S8(V_HIGH_BYTE(a), V_HIGH_BYTE(b)));
    return reached;
}

/* A run of sums whose windows begin one byte after another. */
INLINE int64_t depthwise_bytes(const int kind, const int by_pairs, const int is_3x3, const int form,
                               const knsoc_packed *p, const uint8_t *from, int64_t size,
                               uint8_t *low, uint8_t *high)
{
    const int64_t cell = p->channels, column = p->framed_cells * cell;
    const int64_t step = 4 * (int64_t)p->period;
    const int width = form == KNSOC_SUMS_WORDS ? 2 : 1, per_byte = by_pairs ? 10 : 4;
    const int32_t period = p->period;
    const int8_t *weights = p->window_weights;
    const int16_t *base = p->base;
    int64_t reached = 0;
    int32_t phase = 0;
    for (int64_t i = 0; i < size; i += BYTES) {
        const int8_t *w = weights + per_byte * (int64_t)phase;
        VEC one, two;
        if (by_pairs) {
            sum_window_pairs(from + i, cell, column, w, &one, &two);
        } else {
            VEC sums[4];
            sum_window(kind, is_3x3, p, from + i, column, w, step, sums);
            one = V_PACK_S32(sums[0], sums[1]);
            two = V_PACK_S32(sums[2], sums[3]);
        }
        reached += store_sums(form, one, two, base + phase, size - i, low + width * i, high + i);
        phase += (int32_t)BYTES;
        if (phase == period)
            phase = 0;
    }
    return reached;
}

/* Whole vectors of channels, 3x3: interleaved cells stay in registers for the windows that share
 * them. */
INLINE int64_t depthwise_slide(const int kind, const int stride, const int form,
                               const knsoc_packed *p, const uint8_t *inputs, uint8_t *low,
                               uint8_t *high)
{
    const int64_t cell = p->channels, column = (int64_t)p->framed_cells * cell;
    const int64_t step = 4 * (int64_t)p->period;
    const int width = form == KNSOC_SUMS_WORDS ? 2 : 1;
    int64_t reached = 0;
    for (int64_t c = 0; c < cell; c += BYTES) {
        const int8_t *weights = p->window_weights + 4 * c;
        const uint8_t *from = inputs + c;
        uint8_t *to = low + width * c, *to_high = high + c;
        VEC w[3][4], kept[2][4];
        UNROLL for (int y = 0; y < 3; y++)
            UNROLL for (int i = 0; i < 4; i++)
                w[y][i] = V_LOAD(weights + y * step + i * BYTES);
        UNROLL for (int y = 0; y < 3 - stride; y++, from += cell)
            V_INTERLEAVE(kept[y], from, column);
        for (int32_t o = 0; o < p->output_cells; o++) {
            VEC sums[4], next[4];
            UNROLL for (int i = 0; i < 4; i++)
                sums[i] = dot(kind, V_ZERO(), kept[0][i], w[0][i]);
            if (stride == 1) {
                UNROLL for (int i = 0; i < 4; i++)
                    kept[0][i] = kept[1][i];
            } else {
                V_INTERLEAVE(kept[1], from, column);
                from += cell;
            }
            UNROLL for (int i = 0; i < 4; i++)
                sums[i] = dot(kind, sums[i], kept[1][i], w[1][i]);
            V_INTERLEAVE(next, from, column);
            from += cell;
            UNROLL for (int i = 0; i < 4; i++) {
                sums[i] = dot(kind, sums[i], next[i], w[2][i]);
                kept[2 - stride][i] = next[i];
            }
            reached += store_sums(form, V_PACK_S32(sums[0], sums[1]), V_PACK_S32(sums[2], sums[3]),
                                  p->base + c, BYTES, to, to_high);
            to += width * cell;
            to_high += cell;
        }
    }
    return reached;
}

INLINE int64_t depthwise_columns(const int kind, const int form, const knsoc_packed *p,
                                 const uint8_t *inputs, int32_t begin, int32_t end, uint8_t *low,
                                 uint8_t *high)
{
    const int64_t column = (int64_t)p->framed_cells * p->channels;
    const int32_t runs = p->flat ? 1 : p->output_cells;
    const int64_t size = (int64_t)(p->flat ? p->output_cells : 1) * p->channels;
    const int width = form == KNSOC_SUMS_WORDS ? 2 : 1;
    const int is_3x3 = p->size_columns == 3 && p->size_cells == 3;
    const int slides = !p->window_pairs && is_3x3 && p->channels % BYTES == 0;
    int64_t reached = 0;
    inputs += begin * p->stride_columns * column;
    for (int32_t x = begin; x < end; x++, inputs += p->stride_columns * column) {
        if (slides && p->stride_cells <= 2) {
            if (p->stride_cells == 1)
                reached += depthwise_slide(kind, 1, form, p, inputs, low, high);
            else
                reached += depthwise_slide(kind, 2, form, p, inputs, low, high);
            low += width * (int64_t)p->output_cells * p->channels;
            high += (int64_t)p->output_cells * p->channels;
            continue;
        }
        const uint8_t *from = inputs;
        for (int32_t y = 0; y < runs; y++, low += width * size, high += size) {
            if (p->window_pairs)
                reached += depthwise_bytes(kind, 1, 1, form, p, from, size, low, high);
            else if (is_3x3)
                reached += depthwise_bytes(kind, 0, 1, form, p, from, size, low, high);
            else
                reached += depthwise_bytes(kind, 0, 0, form, p, from, size, low, high);
            from += (int64_t)p->stride_cells * p->channels;
        }
    }
    return reached;
}

/* ---- groups of positions ------------------------------------------------------------------------- */

/* Lists of a group are as long as its longest: from so many channels on it pays to sort positions by
 * how many fours of theirs hold a high byte. */
#define SORTED_CHANNELS 128
#define LENGTHS 128

TARGET static void place_outputs(const knsoc_packed *p, int32_t begin, int32_t end, int32_t *places)
{
    const int32_t step = (int32_t)p->cell_step, cells = p->output_cells;
    for (int32_t column = begin; column < end; column++, places += cells) {
        const int32_t first = (int32_t)(column * p->column_step);
        for (int32_t cell = 0; cell < cells; cell++)
            places[cell] = first + cell * step;
    }
}

/* Orders positions. What fills the last group repeats one of them. */
TARGET static void order_positions(const knsoc_packed *p, const knsoc_strip *strip, int32_t count)
{
    int32_t *order = strip->order, *lengths = strip->starts;
    if (p->channels >= SORTED_CHANNELS) {
        int32_t next[LENGTHS + 1] = {0};
        const uint8_t *high = strip->high;
        for (int32_t i = 0; i < count; i++, high += p->channels) {
            const int32_t length = V_COUNT_FOURS(high, p->channels);
            lengths[i] = length < LENGTHS ? length : LENGTHS - 1;
            next[lengths[i] + 1]++;
        }
        for (int32_t length = 0; length < LENGTHS; length++)
            next[length + 1] += next[length];
        for (int32_t i = 0; i < count; i++)
            order[next[lengths[i]]++] = i;
    } else {
        for (int32_t i = 0; i < count; i++)
            order[i] = i;
    }
    for (int32_t i = count; i % MR; i++)
        order[i] = order[count - 1];
}

/* Lists the high bytes of groups of MR positions, by fours.
 *
 * Products of four take a signed byte by one without a sign, so that weights come as weight + 128; what
 * this adds depends on the sum of the high bytes only. */
TARGET static void list_high(const knsoc_packed *p, const knsoc_strip *strip, int32_t count)
{
    const int32_t *order = strip->order;
    int32_t *starts = strip->starts, *lists = strip->fours, *most = strip->most;
    for (int32_t i = 0; i < count; i += MR, order += MR, starts += MR) {
        for (int r = 0; r < MR; r++)
            starts[r] = 0;
        for (int32_t c = 0; c < p->channels; c += 4 * FOURS, lists += 2 * MR * LIST) {
            const int32_t some = p->channels - c < 4 * FOURS ? p->channels - c : 4 * FOURS;
            int32_t listed[MR];
            *most = 0;
            for (int r = 0; r < MR; r++) {
                int32_t sum, *list = lists + 2 * r * LIST;
                listed[r] = V_LIST_FOURS(strip->high + order[r] * (int64_t)p->channels + c, some,
                                         c / 4, list, list + LIST, &sum);
                starts[r] -= 128 * sum;
                *most = listed[r] > *most ? listed[r] : *most;
            }
            for (int r = 0; r < MR; r++)
                for (int32_t e = listed[r]; e < *most; e += LANES) {
                    V_STORE(lists + 2 * r * LIST + e, V_ZERO());
                    V_STORE(lists + (2 * r + 1) * LIST + e, V_ZERO());
                }
            most++;
        }
    }
}

/* ---- pointwise --------------------------------------------------------------------------------- */

/* What the high bytes of a group of MR positions add to potentials of a block. */
INLINE void add_high(const int rows, const int vectors, const knsoc_packed *p,
                     const knsoc_strip *strip, int64_t group, const int8_t *weights,
                     const int32_t *start, VEC (*sums)[NV])
{
    const int32_t parts = knsoc_strip_parts(p);
    const int32_t *most = strip->most + group * parts, *end = most + parts;
    const int32_t *list = strip->fours + group * parts * 2 * MR * LIST;
    const VEC offset = V_SET_S32((int32_t)0x80808080);
    for (; most < end; list += 2 * MR * LIST, most++)
        for (const int32_t *at = list; at < list + *most; at++)
            UNROLL for (int r = 0; r < rows; r++) {
                const int8_t *w = weights + at[(2 * r + 1) * LIST];
                const VEC x = V_SET_S32(at[2 * r * LIST]);
                UNROLL for (int v = 0; v < vectors; v++)
                    V_DOT_U8_HERE(sums[r][v], V_XOR(V_LOAD(w + v * BYTES), offset), x);
            }
    UNROLL for (int v = 0; v < vectors; v++) {
        const VEC from = V_LOAD(start + v * LANES);
        UNROLL for (int r = 0; r < rows; r++)
            sums[r][v] = V_ADD_S32(from, V_SHIFT_8(sums[r][v]));
    }
}

/* Of the first `rows` positions of a group, of which `left` exist. Returns how many activations are not
 * zero. */
INLINE int64_t pointwise_rows(const int form, const int rows, const int vectors,
                              const knsoc_packed *p, const knsoc_strip *strip, int64_t group,
                              int left, const int8_t *weights, int32_t neuron, void *outputs)
{
    const int64_t pitch = (form == KNSOC_SUMS_WORDS ? 2 : 1) * (int64_t)p->channels;
    const int32_t *order = strip->order + group * MR, *starts = strip->starts + group * MR;
    const int32_t *start = p->start_n + neuron;
    const uint8_t *from[MR];
    int64_t place[MR], positions[MR];
    VEC sums[MR][NV];
    UNROLL for (int r = 0; r < rows; r++) {
        place[r] = form == KNSOC_SUMS_SPLIT ? order[r] : group * MR + r;
        from[r] = strip->low + place[r] * pitch;
        UNROLL for (int v = 0; v < vectors; v++)
            sums[r][v] = form == KNSOC_SUMS_WORDS   ? V_ZERO()
                         : form == KNSOC_SUMS_SPLIT ? V_SET_S32(starts[r])
                                                    : V_LOAD(start + v * LANES);
    }
    if (form == KNSOC_SUMS_SPLIT)
        add_high(rows, vectors, p, strip, group, weights, start, sums);
    const int64_t end = 4 * (int64_t)p->quads;
    for (int64_t at = 0; at < end; at += 4, weights += NV * BYTES) {
        VEC w[NV];
        UNROLL for (int v = 0; v < vectors; v++)
            w[v] = V_LOAD(weights + v * BYTES);
        UNROLL for (int r = 0; r < rows; r++) {
            const VEC x = V_SET_S32(four_bytes(from[r] + at));
            UNROLL for (int v = 0; v < vectors; v++)
                if (form == KNSOC_SUMS_WORDS)
                    V_DOT_S16_HERE(sums[r][v], x, w[v]);
                else
                    V_DOT_U8_HERE(sums[r][v], x, w[v]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        positions[r] = strip->places[place[r]];
    return finish_rows(rows, vectors, p, positions, left, neuron, sums, outputs);
}

INLINE int64_t pointwise_neurons(const int form, const int vectors, const knsoc_packed *p,
                                 const knsoc_strip *strip, int64_t count, const int8_t *weights,
                                 int32_t neuron, void *outputs)
{
    const int64_t groups = count / MR;
    const int left = (int)(count - groups * MR);
    int64_t sent = 0;
    for (int64_t i = 0; i < groups; i++)
        sent += pointwise_rows(form, MR, vectors, p, strip, i, MR, weights, neuron, outputs);
    if (left > MR / 2)
        sent += pointwise_rows(form, MR, vectors, p, strip, groups, left, weights, neuron, outputs);
    else if (left > 0)
        sent += pointwise_rows(form, MR / 2, vectors, p, strip, groups, left, weights, neuron,
                               outputs);
    return sent;
}

/* `count` positions of a strip. */
INLINE int64_t pointwise_strip(const int form, const knsoc_packed *p, const knsoc_strip *strip,
                               int64_t count, void *outputs)
{
    const int64_t block_bytes = (int64_t)p->quads * 4 * BLOCK;
    const int8_t *weights = p->dense;
    int64_t sent = 0;
    for (int32_t n = 0; n < p->neurons; n += BLOCK, weights += block_bytes) {
        const int32_t vectors = (p->neurons - n + LANES - 1) / LANES;
        /* rows share a vector of weights: with few vectors as well, they are what keeps a CPU busy */
#if NV == 4
        if (vectors == 1)
            sent += pointwise_neurons(form, 1, p, strip, count, weights, n, outputs);
        else if (vectors == 2)
            sent += pointwise_neurons(form, 2, p, strip, count, weights, n, outputs);
        else
#endif
        if (vectors < NV)
            sent += pointwise_neurons(form, NV - 1, p, strip, count, weights, n, outputs);
        else
            sent += pointwise_neurons(form, NV, p, strip, count, weights, n, outputs);
    }
    return sent;
}

INLINE int64_t separable(const int kind, const int form, const knsoc_packed *p,
                         const uint8_t *inputs, void *scratch, void *outputs)
{
    const knsoc_strip strip = place_strip(p, scratch);
    const int32_t step = knsoc_strip_columns(p);
    int64_t reached = 0, sent = 0;
    for (int32_t x = 0; x < p->output_columns; x += step) {
        const int32_t end = x + step < p->output_columns ? x + step : p->output_columns;
        const int32_t count = (end - x) * p->output_cells;
        reached += depthwise_columns(kind, form, p, inputs, x, end, strip.low, strip.high);
        place_outputs(p, x, end, strip.places);
        if (form == KNSOC_SUMS_SPLIT) {
            order_positions(p, &strip, count);
            list_high(p, &strip, count);
        }
        sent += pointwise_strip(form, p, &strip, count, outputs);
    }
    if (p->sent)
        *p->sent += sent;
    return reached;
}

/* Functions of their own, or the compiler takes minutes. */
TARGET static int64_t separable_words(const knsoc_packed *p, const uint8_t *inputs, void *scratch,
                                      void *outputs)
{
    return separable(DOT_U8, KNSOC_SUMS_WORDS, p, inputs, scratch, outputs);
}

TARGET static int64_t separable_bytes(const knsoc_packed *p, const uint8_t *inputs, void *scratch,
                                      void *outputs)
{
    return separable(DOT_U8, KNSOC_SUMS_BYTES, p, inputs, scratch, outputs);
}

TARGET static int64_t separable_split(const knsoc_packed *p, const uint8_t *inputs, void *scratch,
                                      void *outputs)
{
    return separable(DOT_U8, KNSOC_SUMS_SPLIT, p, inputs, scratch, outputs);
}

TARGET static int64_t vector_separable(const knsoc_packed *p, const uint8_t *inputs, void *scratch,
                                       void *outputs)
{
    if (p->sums_form == KNSOC_SUMS_BYTES)
        return separable_bytes(p, inputs, scratch, outputs);
    if (p->sums_form == KNSOC_SUMS_SPLIT)
        return separable_split(p, inputs, scratch, outputs);
    return separable_words(p, inputs, scratch, outputs);
}
