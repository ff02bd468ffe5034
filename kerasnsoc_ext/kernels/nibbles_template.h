/* Fully connected layers of small weights, two of which share a byte; included after
 * vector_template.h.
 *
 * A weight is stored with the layer's bias added, so that it is not negative. One vector of a row
 * holds the weights of twice as many neurons as it has bytes: the first half of them in the lower
 * four bits. What the bias adds, it adds alike to all neurons, and is subtracted in the end.
 */

#define NIBBLE_VECTORS 4 /* of a row in one pass over the events */
#define NIBBLE_NEURONS (2 * (int)sizeof(VEC)) /* of one vector */

INLINE VEC low_nibbles(VEC row)
{
    return V_AND(row, V_SET_S16(0x0F0F));
}

INLINE VEC high_nibbles(VEC row)
{
    return V_AND(V_SHIFT_RIGHT_S16(row, 4), V_SET_S16(0x0F0F));
}

INLINE void prefetch_row(const uint8_t *row, const int vectors)
{
    for (int b = 0; b < vectors * (int)sizeof(VEC); b += 64)
        __builtin_prefetch(row + b);
}

/* Potentials of the neurons of one vector, from 32-bit ones in their order. */
INLINE void finish_nibbles(const knsoc_packed *p, int32_t neuron, VEC bias, const int32_t *potentials,
                           void *outputs)
{
    for (int32_t i = 0; i < NIBBLE_NEURONS; i += LANES)
        finish(p, 0, neuron + i, V_SUB_S32(V_LOAD(potentials + i), bias), outputs);
}

/* ---- inputs of 0 or 1: rows are added as they are, then in bytes, then in 16 bits -------------------- */

/* Adds 4-bit sums to bytes. */
INLINE void widen_nibbles(const int vectors, VEC *packed, VEC *bytes)
{
    UNROLL for (int v = 0; v < vectors; v++) {
        bytes[2 * v] = V_ADD_S8(bytes[2 * v], low_nibbles(packed[v]));
        bytes[2 * v + 1] = V_ADD_S8(bytes[2 * v + 1], high_nibbles(packed[v]));
        packed[v] = V_ZERO();
    }
}

/* Bytes, here without a sign, at even and at odd places become potentials of their own. */
INLINE void widen_unsigned(const int vectors, VEC *bytes, int16_t *potentials)
{
    UNROLL for (int i = 0; i < 2 * vectors; i++) {
        int16_t *to = potentials + i * (int)sizeof(VEC);
        V_STORE(to, V_ADD_S16(V_LOAD(to), V_PAIRS(bytes[i], V_SET_S16(0x0001))));
        to += 2 * LANES;
        V_STORE(to, V_ADD_S16(V_LOAD(to), V_PAIRS(bytes[i], V_SET_S16(0x0100))));
        bytes[i] = V_ZERO();
    }
}

INLINE void nibbles_of_bits(const int vectors, const knsoc_packed *p, const knsoc_events *events,
                            int32_t neuron, int32_t *scratch, void *outputs)
{
    const knsoc_nibbles *n = &p->nibbles;
    const uint8_t *rows = n->rows + neuron / 2;
    const uint32_t *index = events->index;
    int16_t *potentials = (int16_t *)scratch;
    VEC packed[NIBBLE_VECTORS], bytes[2 * NIBBLE_VECTORS];
    memset(potentials, 0, (size_t)vectors * NIBBLE_NEURONS * sizeof *potentials);
    clear(vectors, packed);
    clear(2 * vectors, bytes);
    int32_t groups = 0;
    for (int64_t e = 0; e < events->count;) {
        const int64_t end = events->count - e < n->group ? events->count : e + n->group;
        for (; e < end; e++) {
            prefetch_row(rows + index[e + AHEAD] * n->pitch, vectors);
            const uint8_t *row = rows + index[e] * n->pitch;
            UNROLL for (int v = 0; v < vectors; v++)
                packed[v] = V_ADD_S8(packed[v], V_LOAD(row + v * BYTES));
        }
        widen_nibbles(vectors, packed, bytes);
        if (++groups == n->groups || e == events->count) {
            widen_unsigned(vectors, bytes, potentials);
            groups = 0;
        }
    }
    const VEC bias = V_SET_S32(n->bias * (int32_t)events->count);
    for (int i = 0; i < 2 * vectors; i++) {
        const int16_t *from = potentials + i * (int)sizeof(VEC);
        const VEC even = V_LOAD(from), odd = V_LOAD(from + 2 * LANES);
        const VEC halves[2] = {V_LOW_S16(even, odd), V_HIGH_S16(even, odd)};
        const int32_t first = neuron + i * (int)sizeof(VEC);
        UNROLL for (int h = 0; h < 2; h++) {
            const int32_t at = first + h * 2 * LANES;
            finish(p, 0, at, V_SUB_S32(V_WIDEN_LOW(halves[h]), bias), outputs);
            finish(p, 0, at + LANES, V_SUB_S32(V_WIDEN_HIGH(halves[h]), bias), outputs);
        }
    }
}

/* ---- inputs of up to 7 bits: pairs of events ---------------------------------------------------- */

/* Here the weights are the unsigned bytes of a product, and the inputs the signed ones. */
INLINE void add_nibble_pair(const int vectors, VEC *sums, const uint8_t *one, const uint8_t *two,
                            VEC inputs)
{
    UNROLL for (int v = 0; v < vectors; v++) {
        const VEC a = V_LOAD(one + v * BYTES), b = V_LOAD(two + v * BYTES);
        const VEC a0 = low_nibbles(a), b0 = low_nibbles(b);
        const VEC a1 = high_nibbles(a), b1 = high_nibbles(b);
        VEC *to = sums + 4 * v;
        to[0] = V_ADD_S16(to[0], V_PAIRS(V_LOW(a0, b0), inputs));
        to[1] = V_ADD_S16(to[1], V_PAIRS(V_HIGH(a0, b0), inputs));
        to[2] = V_ADD_S16(to[2], V_PAIRS(V_LOW(a1, b1), inputs));
        to[3] = V_ADD_S16(to[3], V_PAIRS(V_HIGH(a1, b1), inputs));
    }
}

INLINE void nibble_pairs(const int vectors, const knsoc_packed *p, const knsoc_events *events,
                         int32_t neuron, int64_t total, int32_t *scratch, void *outputs)
{
    const knsoc_nibbles *n = &p->nibbles;
    const uint8_t *rows = n->rows + neuron / 2;
    const uint32_t *index = events->index;
    VEC sums[4 * NIBBLE_VECTORS];
    memset(scratch, 0, (size_t)vectors * NIBBLE_NEURONS * sizeof *scratch);
    for (int64_t e = 0; e < events->count;) {
        const int64_t end = events->count - e < n->flush ? events->count : e + n->flush;
        clear(4 * vectors, sums);
        for (; e + 2 <= end; e += 2) {
            prefetch_row(rows + index[e + AHEAD] * n->pitch, vectors);
            prefetch_row(rows + index[e + AHEAD + 1] * n->pitch, vectors);
            add_nibble_pair(vectors, sums, rows + index[e] * n->pitch, rows + index[e + 1] * n->pitch,
                            V_SET_S16(two_bytes(events->value + e)));
        }
        if (e < end) {
            const uint8_t *row = rows + index[e] * n->pitch;
            add_nibble_pair(vectors, sums, row, row, V_SET_S16(events->value[e]));
            e++;
        }
        widen_into(2 * vectors, scratch, sums);
    }
    const VEC bias = V_SET_S32((int32_t)(n->bias * total));
    for (int v = 0; v < vectors; v++)
        finish_nibbles(p, neuron + v * NIBBLE_NEURONS, bias, scratch + v * NIBBLE_NEURONS, outputs);
}

INLINE void nibble_pass(const int vectors, const knsoc_packed *p, const knsoc_events *events,
                        int32_t neuron, int64_t total, int32_t *scratch, void *outputs)
{
    if (p->nibbles.group)
        nibbles_of_bits(vectors, p, events, neuron, scratch, outputs);
    else
        nibble_pairs(vectors, p, events, neuron, total, scratch, outputs);
}

TARGET static void vector_nibbles(const knsoc_packed *p, const knsoc_events *events, int32_t *scratch,
                                  void *outputs)
{
    /* the prefetches look ahead at row 0 */
    for (int i = 0; i < AHEAD + 2; i++)
        events->index[events->count + i] = 0;
    int64_t total = 0;
    if (!p->nibbles.group)
        for (int64_t e = 0; e < events->count; e++)
            total += events->value[e];
    int32_t n = 0;
    for (; n + (NIBBLE_VECTORS - 1) * NIBBLE_NEURONS < p->neurons;
         n += NIBBLE_VECTORS * NIBBLE_NEURONS)
        nibble_pass(NIBBLE_VECTORS, p, events, n, total, scratch, outputs);
    for (; n < p->neurons; n += NIBBLE_NEURONS)
        nibble_pass(1, p, events, n, total, scratch, outputs);
}
