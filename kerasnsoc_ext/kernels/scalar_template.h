/* The plain kernels for one accumulator type. The includer defines ACC, NAME(op) and HELPER(op). */

static inline void HELPER(add_row)(ACC *restrict potentials, const int8_t *restrict weights,
                                   uint8_t value, int32_t neurons)
{
    /* 255 * 127 fits 16 bits: baseline x86-64 multiplies these lanes in one instruction. */
    for (int32_t n = 0; n < neurons; n++)
        potentials[n] += (int16_t)(value * weights[n]);
}

static inline void HELPER(add_scaled_row)(ACC *restrict potentials, const int8_t *restrict weights,
                                          ACC value, int32_t neurons)
{
    for (int32_t n = 0; n < neurons; n++)
        potentials[n] += value * weights[n];
}

/* What a neuron starts from: zero, and the padding cells that its window covers. */
static void HELPER(start)(const knsoc_conv *conv, knsoc_taps x, knsoc_taps y, ACC *potentials)
{
    memset(potentials, 0, (size_t)conv->neurons * sizeof *potentials);
    if (!conv->padding)
        return;
    const int32_t *padding = conv->padding;
    for (int32_t dx = 0; dx < conv->x.size; dx++)
        for (int32_t dy = 0; dy < conv->y.size; dy++, padding += conv->neurons) {
            if (dx >= x.begin && dx < x.end && dy >= y.begin && dy < y.end)
                continue;
            for (int32_t n = 0; n < conv->neurons; n++)
                potentials[n] += padding[n];
        }
}

static void NAME(conv_dense)(const knsoc_conv *conv, const uint8_t *inputs, ACC *potentials)
{
    const int64_t tap_weights = (int64_t)conv->channels * conv->neurons;
    for (int32_t ox = 0; ox < conv->x.output; ox++) {
        const knsoc_taps x = knsoc_taps_inside(&conv->x, ox);
        for (int32_t oy = 0; oy < conv->y.output; oy++, potentials += conv->neurons) {
            const knsoc_taps y = knsoc_taps_inside(&conv->y, oy);
            HELPER(start)(conv, x, y, potentials);
            const int64_t run = (int64_t)(y.end - y.begin) * conv->channels;
            for (int32_t dx = x.begin; dx < x.end; dx++) {
                const int64_t column = (int64_t)(x.origin + dx) * conv->y.length;
                const uint8_t *values = inputs + (column + y.origin + y.begin) * conv->channels;
                const int8_t *weights =
                    conv->weights + ((int64_t)dx * conv->y.size + y.begin) * tap_weights;
                for (int64_t i = 0; i < run; i++, weights += conv->neurons)
                    HELPER(add_row)(potentials, weights, values[i], conv->neurons);
            }
        }
    }
}

static void NAME(conv_events)(const knsoc_conv *conv, const knsoc_events *events, ACC *potentials)
{
    const int64_t column_rows = (int64_t)conv->y.size * conv->channels;
    for (int32_t ox = 0; ox < conv->x.output; ox++) {
        const knsoc_taps x = knsoc_taps_inside(&conv->x, ox);
        for (int32_t oy = 0; oy < conv->y.output; oy++, potentials += conv->neurons) {
            const knsoc_taps y = knsoc_taps_inside(&conv->y, oy);
            HELPER(start)(conv, x, y, potentials);
            for (int32_t dx = x.begin; dx < x.end; dx++) {
                const int64_t column = (int64_t)(x.origin + dx) * conv->y.length + y.origin;
                /* The events under one column of the kernel are neighbours in the list, and an
                 * event's weight row follows from its index alone. */
                const uint32_t last = events->first[column + y.end];
                const int64_t shift = dx * column_rows - column * conv->channels;
                for (uint32_t e = events->first[column + y.begin]; e < last; e++) {
                    const int64_t row = events->index[e] + shift;
                    KNSOC_CHECK(row >= dx * column_rows && row < (dx + 1) * column_rows);
                    HELPER(add_row)(potentials, conv->weights + row * conv->neurons,
                                    events->value[e], conv->neurons);
                }
            }
        }
    }
}

static void NAME(fully_dense)(const int8_t *weights_en, int64_t inputs, int32_t neurons,
                              const uint8_t *values, ACC *potentials)
{
    memset(potentials, 0, (size_t)neurons * sizeof *potentials);
    for (int64_t i = 0; i < inputs; i++)
        HELPER(add_row)(potentials, weights_en + i * neurons, values[i], neurons);
}

static void NAME(fully_events)(const int8_t *weights_en, int64_t inputs, int32_t neurons,
                               const knsoc_events *events, ACC *potentials)
{
    (void)inputs;
    memset(potentials, 0, (size_t)neurons * sizeof *potentials);
    for (int64_t e = 0; e < events->count; e++) {
        KNSOC_CHECK(events->index[e] < inputs);
        HELPER(add_row)(potentials, weights_en + (int64_t)events->index[e] * neurons,
                        events->value[e], neurons);
    }
}

static void NAME(depthwise_dense)(const knsoc_conv *conv, const uint8_t *inputs, ACC *sums)
{
    const int32_t channels = conv->channels;
    for (int32_t ox = 0; ox < conv->x.output; ox++) {
        const knsoc_taps x = knsoc_taps_inside(&conv->x, ox);
        for (int32_t oy = 0; oy < conv->y.output; oy++, sums += channels) {
            const knsoc_taps y = knsoc_taps_inside(&conv->y, oy);
            memset(sums, 0, (size_t)channels * sizeof *sums);
            for (int32_t dx = x.begin; dx < x.end; dx++)
                for (int32_t dy = y.begin; dy < y.end; dy++) {
                    const int64_t position =
                        (int64_t)(x.origin + dx) * conv->y.length + y.origin + dy;
                    const uint8_t *values = inputs + position * channels;
                    const int8_t *weights =
                        conv->weights + ((int64_t)dx * conv->y.size + dy) * channels;
                    for (int32_t c = 0; c < channels; c++)
                        sums[c] += (ACC)values[c] * weights[c];
                }
        }
    }
}

static void NAME(depthwise_events)(const knsoc_conv *conv, const knsoc_events *events, ACC *sums)
{
    const int32_t channels = conv->channels;
    for (int32_t ox = 0; ox < conv->x.output; ox++) {
        const knsoc_taps x = knsoc_taps_inside(&conv->x, ox);
        for (int32_t oy = 0; oy < conv->y.output; oy++, sums += channels) {
            const knsoc_taps y = knsoc_taps_inside(&conv->y, oy);
            memset(sums, 0, (size_t)channels * sizeof *sums);
            for (int32_t dx = x.begin; dx < x.end; dx++) {
                const int64_t column = (int64_t)(x.origin + dx) * conv->y.length + y.origin;
                for (int32_t dy = y.begin; dy < y.end; dy++) {
                    const uint32_t last = events->first[column + dy + 1];
                    const int8_t *weights =
                        conv->weights + ((int64_t)dx * conv->y.size + dy) * channels;
                    for (uint32_t e = events->first[column + dy]; e < last; e++) {
                        const int64_t c = events->index[e] - (column + dy) * channels;
                        KNSOC_CHECK(c >= 0 && c < channels);
                        sums[c] += (ACC)events->value[e] * weights[c];
                    }
                }
            }
        }
    }
}

static void NAME(pointwise_dense)(const int8_t *weights_cn, int64_t positions, int32_t channels,
                                  int32_t neurons, const ACC *sums, ACC *potentials)
{
    for (int64_t p = 0; p < positions; p++, sums += channels, potentials += neurons) {
        memset(potentials, 0, (size_t)neurons * sizeof *potentials);
        for (int32_t c = 0; c < channels; c++)
            HELPER(add_scaled_row)(potentials, weights_cn + (int64_t)c * neurons, sums[c], neurons);
    }
}

static void NAME(pointwise_events)(const int8_t *weights_cn, int64_t positions, int32_t channels,
                                   int32_t neurons, const ACC *sums, ACC *potentials)
{
    for (int64_t p = 0; p < positions; p++, sums += channels, potentials += neurons) {
        memset(potentials, 0, (size_t)neurons * sizeof *potentials);
        for (int32_t c = 0; c < channels; c++)
            if (sums[c] != 0)
                HELPER(add_scaled_row)(potentials, weights_cn + (int64_t)c * neurons, sums[c], neurons);
    }
}

/* Pools over the cells of a window that exist; MERGE folds one more cell into the first. */
#define POOL(op, MERGE)                                                                        \
    static void NAME(op)(const knsoc_window *window_x, const knsoc_window *window_y,           \
                         int32_t neurons, const ACC *potentials, ACC *pooled)                  \
    {                                                                                          \
        for (int32_t ox = 0; ox < window_x->output; ox++) {                                    \
            const knsoc_taps x = knsoc_taps_inside(window_x, ox);                              \
            for (int32_t oy = 0; oy < window_y->output; oy++, pooled += neurons) {             \
                const knsoc_taps y = knsoc_taps_inside(window_y, oy);                          \
                int first = 1;                                                                 \
                for (int32_t dx = x.begin; dx < x.end; dx++)                                   \
                    for (int32_t dy = y.begin; dy < y.end; dy++) {                             \
                        const int64_t position =                                               \
                            (int64_t)(x.origin + dx) * window_y->length + y.origin + dy;       \
                        const ACC *cell = potentials + position * neurons;                     \
                        if (first)                                                             \
                            memcpy(pooled, cell, (size_t)neurons * sizeof *pooled);            \
                        else                                                                   \
                            for (int32_t n = 0; n < neurons; n++)                              \
                                pooled[n] = MERGE(pooled[n], cell[n]);                         \
                        first = 0;                                                             \
                    }                                                                          \
                KNSOC_CHECK(!first);                                                           \
            }                                                                                  \
        }                                                                                      \
    }

#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define SUM(a, b) ((a) + (b))
POOL(pool_max, LARGER)
POOL(pool_sum, SUM)
#undef POOL
#undef LARGER
#undef SUM
