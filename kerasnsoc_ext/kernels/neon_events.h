/* Events on ARM: finding them, and adding their weights, which a widening multiply-add does without
 * interleaving the rows of two events. Included by neon_row.h, behind vector_template.h. */

/* ---- finding events ------------------------------------------------------------------------- */

TARGET static int64_t take_column(const uint8_t *values, int64_t size, const uint8_t *fan_out,
                                  uint8_t *copy, int64_t *weighted)
{
    int64_t count = 0, total = 0, i = 0;
    if (copy)
        memcpy(copy, values, (size_t)size);
    while (i + 16 <= size) {
        /* a lane of 8 bits counts up to 255; one of 32 bits then adds at most 4 * 255 a turn */
        uint8x16_t found = vdupq_n_u8(0);
        uint32x4_t sum = vdupq_n_u32(0);
        for (int turn = 0; turn < UINT8_MAX && i + 16 <= size; turn++, i += 16) {
            const uint8x16_t v = vld1q_u8(values + i), events = vtstq_u8(v, v);
            found = vsubq_u8(found, events);
            if (fan_out)
                sum = vpadalq_u16(sum, vpaddlq_u8(vandq_u8(events, vld1q_u8(fan_out + i))));
        }
        count += vaddlvq_u8(found);
        total += vaddvq_u32(sum);
    }
    for (; i < size; i++)
        if (values[i]) {
            count++;
            total += fan_out ? fan_out[i] : 0;
        }
    *weighted = fan_out ? total : count;
    return count;
}

TARGET static int64_t count_u8(const uint8_t *values, int64_t size)
{
    int64_t weighted;
    return take_column(values, size, 0, 0, &weighted);
}

TARGET static void list(const uint8_t *values, int32_t columns, int32_t cells, int32_t channels,
                        int32_t shift, knsoc_events *events)
{
    uint32_t count = 0;
    uint32_t *first = events->first;
    for (int32_t column = 0; column < columns; column++) {
        uint32_t at = 0;
        for (int32_t cell = 0; cell < cells; cell++, values += channels, at += (uint32_t)channels) {
            *first++ = count;
            int32_t c = 0;
            for (; c + 16 <= channels; c += 16) {
                const uint8x16_t v = vld1q_u8(values + c);
                /* four bits per byte: a shift that narrows is what ARM has for a mask of lanes */
                const uint8x8_t bits = vshrn_n_u16(vreinterpretq_u16_u8(vtstq_u8(v, v)), 4);
                uint64_t found = vget_lane_u64(vreinterpret_u64_u8(bits), 0);
                while (found) {
                    const int place = __builtin_ctzll(found) / 4;
                    events->index[count] = (at + (uint32_t)(c + place)) << shift;
                    events->value[count++] = values[c + place];
                    found &= ~(UINT64_C(15) << (4 * place));
                }
            }
            for (; c < channels; c++) {
                events->index[count] = (at + (uint32_t)c) << shift;
                events->value[count] = values[c];
                count += values[c] != 0;
            }
        }
    }
    *first = count;
    events->count = count;
}

/* ---- adding their weights --------------------------------------------------------------------- */

enum { BITS7, BITS8 };

/* Adds an event to the potentials of 16 neurons per vector of weights. */
INLINE void add_event(const int kind, const int vectors, int16x8_t *sums, const int8_t *weights,
                      uint8_t value)
{
    UNROLL for (int v = 0; v < vectors; v++) {
        const int8x16_t w = vld1q_s8(weights + 16 * v);
        if (kind == BITS7) {
            const int8x16_t x = vdupq_n_s8((int8_t)value);
            sums[2 * v] = vmlal_s8(sums[2 * v], vget_low_s8(w), vget_low_s8(x));
            sums[2 * v + 1] = vmlal_high_s8(sums[2 * v + 1], w, x);
        } else {
            const int16x8_t x = vdupq_n_s16(value);
            sums[2 * v] = vmlaq_s16(sums[2 * v], vmovl_s8(vget_low_s8(w)), x);
            sums[2 * v + 1] = vmlaq_s16(sums[2 * v + 1], vmovl_high_s8(w), x);
        }
    }
}

INLINE void widen_into(const int vectors, int32_t *potentials, const int16x8_t *sums)
{
    UNROLL for (int i = 0; i < 2 * vectors; i++) {
        int32_t *to = potentials + 8 * i;
        vst1q_s32(to, vaddw_s16(vld1q_s32(to), vget_low_s16(sums[i])));
        vst1q_s32(to + 4, vaddw_high_s16(vld1q_s32(to + 4), sums[i]));
    }
}

/* The events under one slab of weights, for one block of neurons and one output position. */
INLINE void add_slab(const int kind, const knsoc_packed *p, int32_t *potentials, int first,
                     const int8_t *weights, const uint32_t *index, const uint8_t *value,
                     int64_t count)
{
    int16x8_t sums[2 * EVENT_VECTORS];
    if (p->narrow) {
        int16_t *narrow = (int16_t *)potentials;
        UNROLL for (int i = 0; i < 2 * EVENT_VECTORS; i++)
            sums[i] = first ? vdupq_n_s16(0) : vld1q_s16(narrow + 8 * i);
        for (int64_t e = 0; e < count; e++)
            add_event(kind, EVENT_VECTORS, sums, weights + index[e], value[e]);
        UNROLL for (int i = 0; i < 2 * EVENT_VECTORS; i++)
            vst1q_s16(narrow + 8 * i, sums[i]);
        return;
    }
    if (first)
        memset(potentials, 0, KNSOC_EVENT_BLOCK * sizeof *potentials);
    for (int64_t e = 0; e < count;) {
        const int64_t end = count - e < p->flush ? count : e + p->flush;
        UNROLL for (int i = 0; i < 2 * EVENT_VECTORS; i++)
            sums[i] = vdupq_n_s16(0);
        for (; e < end; e++)
            add_event(kind, EVENT_VECTORS, sums, weights + index[e], value[e]);
        widen_into(EVENT_VECTORS, potentials, sums);
    }
}

INLINE void finish_event_block(const knsoc_packed *p, int64_t position, int32_t neuron,
                               const int32_t *potentials, void *outputs)
{
    const int16_t *narrow = (const int16_t *)potentials;
    for (int32_t n = 0; n < KNSOC_EVENT_BLOCK; n += LANES)
        finish(p, position, neuron + n,
               p->narrow ? vmovl_s16(vld1_s16(narrow + n)) : vld1q_s32(potentials + n), outputs);
}

/* A slab of weights stays in the first cache while it passes over a tile of output positions. */
#define SLAB_BYTES 32768

INLINE void conv_events(const int kind, const knsoc_packed *p, const knsoc_events *events,
                        int32_t *scratch, void *outputs)
{
    const int64_t positions = (int64_t)p->output_columns * p->output_cells;
    const int64_t cell_bytes = (int64_t)p->channels * KNSOC_EVENT_BLOCK;
    const int32_t slab_cells = p->size_cells * cell_bytes <= SLAB_BYTES ? p->size_cells : 1;
    knsoc_cursor tile = {0, 0};
    for (int64_t start = 0; start < positions; start += KNSOC_EVENT_TILE) {
        const int64_t left = positions - start;
        const int rows = left < KNSOC_EVENT_TILE ? (int)left : KNSOC_EVENT_TILE;
        const int8_t *weights = p->rows;
        knsoc_cursor cursor = tile;
        for (int32_t n = 0; n < p->neurons; n += KNSOC_EVENT_BLOCK) {
            for (int32_t column = 0; column < p->size_columns; column++)
                for (int32_t cell = 0; cell < p->size_cells; cell += slab_cells) {
                    cursor = tile;
                    for (int r = 0; r < rows; r++) {
                        const int64_t x = (int64_t)cursor.column * p->stride_columns + column;
                        const int64_t y = (int64_t)cursor.cell * p->stride_cells + cell;
                        const uint32_t *first = events->first + x * p->framed_cells + y;
                        /* an event's index counts from the top of its column */
                        add_slab(kind, p, scratch + r * KNSOC_EVENT_BLOCK, column + cell == 0,
                                 weights - y * cell_bytes, events->index + first[0],
                                 events->value + first[0], first[slab_cells] - first[0]);
                        knsoc_advance(&cursor, p);
                    }
                    weights += slab_cells * cell_bytes;
                }
            cursor = tile;
            for (int r = 0; r < rows; r++) {
                finish_event_block(p, knsoc_output_position(cursor, p), n,
                                   scratch + r * KNSOC_EVENT_BLOCK, outputs);
                knsoc_advance(&cursor, p);
            }
        }
        tile = cursor;
    }
}

/* Rows of a fully connected layer are visited in no order that a CPU foresees. */
#define AHEAD 16

INLINE void fully_pass(const int kind, const int blocks, const knsoc_packed *p,
                       const knsoc_events *events, int32_t neuron, int32_t *scratch, void *outputs)
{
    const int vectors = blocks * EVENT_VECTORS;
    const int8_t *weights = p->rows + neuron;
    const int64_t pitch = p->padded_neurons;
    memset(scratch, 0, (size_t)blocks * KNSOC_EVENT_BLOCK * sizeof *scratch);
    for (int64_t e = 0; e < events->count;) {
        const int64_t end = events->count - e < p->flush ? events->count : e + p->flush;
        int16x8_t sums[2 * 2 * EVENT_VECTORS];
        UNROLL for (int i = 0; i < 2 * vectors; i++)
            sums[i] = vdupq_n_s16(0);
        for (; e < end; e++) {
            const int8_t *ahead = weights + events->index[e + AHEAD] * pitch;
            UNROLL for (int b = 0; b < blocks; b++)
                __builtin_prefetch(ahead + b * KNSOC_EVENT_BLOCK);
            add_event(kind, vectors, sums, weights + events->index[e] * pitch, events->value[e]);
        }
        widen_into(vectors, scratch, sums);
    }
    for (int32_t n = 0; n < blocks * KNSOC_EVENT_BLOCK; n += LANES)
        finish(p, 0, neuron + n, vld1q_s32(scratch + n), outputs);
}

INLINE void fully_events(const int kind, const knsoc_packed *p, const knsoc_events *events,
                         int32_t *scratch, void *outputs)
{
    /* the prefetches look ahead at row 0; the list has room behind its end */
    for (int i = 0; i < AHEAD; i++)
        events->index[events->count + i] = 0;
    int32_t n = 0;
    for (; n + 2 * KNSOC_EVENT_BLOCK <= p->padded_neurons; n += 2 * KNSOC_EVENT_BLOCK)
        fully_pass(kind, 2, p, events, n, scratch, outputs);
    if (n < p->neurons)
        fully_pass(kind, 1, p, events, n, scratch, outputs);
}

TARGET static void vector_events(const knsoc_packed *p, const knsoc_events *events, int32_t *scratch,
                                 void *outputs)
{
    const int few_bits = p->largest <= INT8_MAX;
    if (p->kind == KNSOC_PACKED_FULLY && few_bits)
        fully_events(BITS7, p, events, scratch, outputs);
    else if (p->kind == KNSOC_PACKED_FULLY)
        fully_events(BITS8, p, events, scratch, outputs);
    else if (few_bits)
        conv_events(BITS7, p, events, scratch, outputs);
    else
        conv_events(BITS8, p, events, scratch, outputs);
}
