/* The dense form for 1-bit inputs and small weights: sums are looked up instead of added. Four
 * inputs choose one of the sixteen sums of their weights, which were added when the layer was packed.
 * Included after vector_template.h.
 */

/* One row more than there are sums: equal places in many tables would share few lines of a cache. */
#define TABLE_BYTES (17 * KNSOC_EVENT_BLOCK)

/* Four inputs of 0 or 1 as the place of a sum in its table. */
static inline uint16_t place_of(uint32_t inputs)
{
    return (uint16_t)((inputs * 0x01020408u >> 24) * KNSOC_EVENT_BLOCK);
}

TARGET static void list_places(const knsoc_packed *p, const uint8_t *inputs, uint16_t *places)
{
    const int64_t cells = (int64_t)p->framed_columns * p->framed_cells;
    const int32_t whole = p->channels / 4, rest = p->channels % 4;
    if (rest == 0) {
        for (int64_t i = 0; i < cells * whole; i++)
            places[i] = place_of((uint32_t)four_bytes(inputs + 4 * i));
        return;
    }
    for (int64_t cell = 0; cell < cells; cell++, inputs += p->channels) {
        for (int32_t i = 0; i < whole; i++)
            *places++ = place_of((uint32_t)four_bytes(inputs + 4 * i));
        uint32_t last = 0;
        memcpy(&last, inputs + 4 * whole, (size_t)rest);
        *places++ = place_of(last);
    }
}

/* One piece of a window's column for one output position. */
INLINE void look_up(const int8_t *tables, const uint16_t *places, int64_t count, int64_t chunk,
                    VEC *halves)
{
    while (count > 0) {
        int64_t left = count < chunk ? count : chunk;
        count -= left;
        VEC one[EVENT_VECTORS], two[EVENT_VECTORS];
        UNROLL for (int v = 0; v < EVENT_VECTORS; v++)
            one[v] = two[v] = V_ZERO();
        for (; left >= 4; left -= 4, places += 4, tables += 4 * TABLE_BYTES)
            UNROLL for (int i = 0; i < 4; i += 2) {
                const int8_t *sums = tables + i * TABLE_BYTES + places[i];
                const int8_t *others = tables + (i + 1) * TABLE_BYTES + places[i + 1];
                UNROLL for (int v = 0; v < EVENT_VECTORS; v++) {
                    one[v] = V_ADD_S8(one[v], V_LOAD(sums + v * BYTES));
                    two[v] = V_ADD_S8(two[v], V_LOAD(others + v * BYTES));
                }
            }
        for (; left > 0; left--, places++, tables += TABLE_BYTES)
            UNROLL for (int v = 0; v < EVENT_VECTORS; v++)
                one[v] = V_ADD_S8(one[v], V_LOAD(tables + *places + v * BYTES));
        UNROLL for (int v = 0; v < EVENT_VECTORS; v++)
            widen_bytes(V_ADD_S8(one[v], two[v]), &halves[2 * v], &halves[2 * v + 1]);
    }
}

TARGET static void vector_look_up(const knsoc_packed *p, const uint8_t *inputs, uint16_t *places,
                                  int32_t *scratch, void *outputs)
{
    const knsoc_bits *bits = &p->bits;
    const int64_t count = (int64_t)p->output_columns * p->output_cells;
    const int64_t cell_places = (p->channels + 3) / 4;
    const int32_t run = p->size_cells * (int32_t)cell_places;
    list_places(p, inputs, places);
    knsoc_cursor tile = {0, 0};
    for (int64_t start = 0; start < count; start += KNSOC_EVENT_TILE) {
        const int64_t left = count - start;
        const int rows = left < KNSOC_EVENT_TILE ? (int)left : KNSOC_EVENT_TILE;
        const int8_t *tables = bits->tables;
        knsoc_cursor cursor = tile;
        for (int32_t n = 0; n < p->neurons; n += KNSOC_EVENT_BLOCK) {
            for (int32_t column = 0; column < p->size_columns; column++)
                for (int32_t at = 0; at < run; at += bits->piece) {
                    const int32_t some = run - at < bits->piece ? run - at : bits->piece;
                    const int first = column == 0 && at == 0;
                    const int last = column == p->size_columns - 1 && at + some == run;
                    int16_t *potentials = (int16_t *)scratch;
                    cursor = tile;
                    for (int r = 0; r < rows; r++, potentials += 2 * KNSOC_EVENT_BLOCK) {
                        const int64_t x = (int64_t)cursor.column * p->stride_columns + column;
                        const int64_t y = (int64_t)cursor.cell * p->stride_cells;
                        VEC halves[2 * EVENT_VECTORS];
                        load_halves(potentials, first, halves);
                        look_up(tables, places + (x * p->framed_cells + y) * cell_places + at, some,
                                bits->chunk, halves);
                        store_halves(potentials, last, halves);
                        knsoc_advance(&cursor, p);
                    }
                    tables += (int64_t)some * TABLE_BYTES;
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
