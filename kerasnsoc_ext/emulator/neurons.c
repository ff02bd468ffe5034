/* What events do to neurons: no time, no routes. Both engines call these, so they cannot differ. */
#include <string.h>

#include "kne.h"

enum { KNE_LOWEST = -32768, KNE_HIGHEST = 32767 };

static int64_t clamp16(int64_t value)
{
    return value < KNE_LOWEST ? KNE_LOWEST : value > KNE_HIGHEST ? KNE_HIGHEST : value;
}

/* The memory of a potential has 16 bits: what does not fit is cut off, and counted. */
static int64_t stored(kne_core *core, int64_t value)
{
    const int64_t kept = clamp16(value);
    core->counter[KNE_SATURATED] += kept != value;
    return kept;
}

/* First window position that sees `at` = position + lead, and the last one within the map. */
static int32_t first_window(int32_t at, int32_t size, int32_t stride)
{
    const int32_t reach = at - size + 1;
    return reach <= 0 ? 0 : (reach + stride - 1) / stride;
}

static int32_t last_window(int32_t at, int32_t stride, int32_t length)
{
    const int32_t last = at / stride;
    return last < length ? last : length - 1;
}

/* The windows of a core that see an event. */
typedef struct { int32_t at_y, at_x, from_y, to_y, from_x, to_x; } reach;

static reach reach_of(const kne_core *core, int32_t x, int32_t y, int32_t c)
{
    KNE_CHECK(x >= 0 && x < core->in_width && y >= 0 && y < core->in_height);
    KNE_CHECK(c >= 0 && c < core->channels);
    (void)c;
    const int32_t at_y = y + core->lead_y, at_x = x + core->lead_x;
    return (reach){
        .at_y = at_y,
        .at_x = at_x,
        .from_y = first_window(at_y, core->kernel_y, core->stride_y),
        .to_y = last_window(at_y, core->stride_y, core->height),
        .from_x = first_window(at_x, core->kernel_x, core->stride_x),
        .to_x = last_window(at_x, core->stride_x, core->width),
    };
}

static void emit(kne_core *core, int32_t neuron, int64_t order, int32_t count)
{
    KNE_CHECK(neuron >= 0);
    kne_spike *spike = &core->spikes[core->spike_count++];
    spike->order = order;
    spike->neuron = neuron;
    core->counter[KNE_NEURONS_FIRED]++;
    if (core->decimation > 1) {
        const int32_t sent = core->is_graded ? 1 : count;
        const int64_t seen = (int64_t)core->decimator + sent;
        const int32_t passed = (int32_t)(seen / core->decimation);
        core->decimator = (int32_t)(seen % core->decimation);
        core->counter[KNE_DECIMATED] += sent - passed;
        count = core->is_graded ? (passed ? count : 0) : passed;
    }
    spike->count = count;
    core->counter[KNE_SPIKES_OUT] += core->is_graded ? count != 0 : count;
}

/* One row of features at one position; `order` is the number of updates before it. */
static void update_row(kne_core *core, int32_t first, const int16_t *weights, int64_t order, int always)
{
    int16_t *state = core->state + first;
    const int32_t features = core->features, threshold = core->threshold;
    const int32_t low = core->threshold_low;
    /* without a short cut for silent rows this loop would not be vectorized; a potential above
     * 16 bits is above the threshold too */
    int32_t is_special = 0;
    for (int32_t f = 0; f < features; f++) {
        const int32_t v = state[f] + weights[f];
        is_special |= ((v >= threshold) | (v < KNE_LOWEST)) & (always | (weights[f] != 0));
    }
    if (!is_special) {
        for (int32_t f = 0; f < features; f++) {
            const int32_t v = state[f] + weights[f];
            const int32_t kept = v < low ? low : v;
            state[f] = (int16_t)(always | (weights[f] != 0) ? kept : state[f]);
        }
        return;
    }
    for (int32_t f = 0; f < features; f++) {
        if (!always && weights[f] == 0)
            continue;
        order++;
        int32_t v = (int32_t)stored(core, (int64_t)state[f] + weights[f]);
        if (v >= threshold) {
            emit(core, first + f, order, 1);
            v = core->to_zero ? 0 : v - threshold;
        }
        state[f] = (int16_t)(v < low ? low : v);
    }
}

int64_t kne_update(kne_core *core, int32_t x, int32_t y, int32_t c)
{
    const reach r = reach_of(core, x, y, c);
    int64_t updates = 0;
    core->spike_count = 0;
    for (int32_t oy = r.from_y; oy <= r.to_y; oy++) {
        const int32_t ky = r.at_y - oy * core->stride_y;
        for (int32_t ox = r.from_x; ox <= r.to_x; ox++) {
            const int32_t kx = r.at_x - ox * core->stride_x;
            const int64_t tap = ((int64_t)c * core->kernel_y + ky) * core->kernel_x + kx;
            update_row(core, (oy * core->width + ox) * core->features,
                       core->weights + tap * core->features, updates, core->keep_zeros);
            updates += core->live[tap];
        }
    }
    core->counter[KNE_SYNOPS] += updates;
    return updates;
}

int64_t kne_leak(kne_core *core)
{
    const int32_t positions = core->height * core->width;
    core->spike_count = 0;
    for (int32_t p = 0; p < positions; p++)
        update_row(core, p * core->features, core->bias, (int64_t)p * core->features, 1);
    const int64_t neurons = (int64_t)positions * core->features;
    core->counter[KNE_LEAK_UPDATES] += neurons;
    return neurons;
}

int64_t kne_integrate(kne_core *core, int32_t x, int32_t y, int32_t c, int32_t payload)
{
    const reach r = reach_of(core, x, y, c);
    const int32_t touched = core->per_event;
    const int32_t skipped = touched == core->sum_features ? 0 : c;
    int64_t updates = 0;
    core->spike_count = 0;
    for (int32_t oy = r.from_y; oy <= r.to_y; oy++) {
        const int32_t ky = r.at_y - oy * core->stride_y;
        for (int32_t ox = r.from_x; ox <= r.to_x; ox++) {
            const int32_t kx = r.at_x - ox * core->stride_x;
            const int64_t tap = ((int64_t)c * core->kernel_y + ky) * core->kernel_x + kx;
            const int16_t *weights = core->weights + tap * touched;
            int64_t *sums =
                core->sums + ((int64_t)oy * core->width + ox) * core->sum_features + skipped;
            for (int32_t f = 0; f < touched; f++)
                sums[f] += (int64_t)weights[f] * payload;
            updates += core->live[tap];
        }
    }
    if (core->is_free)
        return 0;
    core->counter[KNE_SYNOPS] += updates;
    return updates;
}

static void begin_packet(kne_core *core)
{
    const int64_t count = (int64_t)core->height * core->width * core->sum_features;
    if (core->base)
        memcpy(core->sums, core->base, (size_t)count * sizeof *core->sums);
    else
        memset(core->sums, 0, (size_t)count * sizeof *core->sums);
}

static void fire_neurons(kne_core *core, int64_t packet)
{
    const int32_t neurons = core->height * core->width * core->features;
    for (int32_t n = 0, f = 0; n < neurons; n++, f = f + 1 == core->features ? 0 : f + 1) {
        int64_t v = core->state[n];
        if (core->touched_only && core->sums[n] == 0 && core->bias[f] == 0)
            continue;
        core->visited++;
        if (core->last_fired && packet - core->last_fired[n] <= core->refractory) {
            if (!core->is_persistent)
                core->state[n] = 0;
            continue;
        }
        if (core->decay)
            v -= v * core->decay / 4096; /* C divides towards 0 */
        v = stored(core, v + core->sums[n] + core->bias[f]);
        if (v >= core->threshold) {
            int64_t spikes = v / core->threshold;
            if (spikes > core->max_spikes)
                spikes = core->max_spikes;
            emit(core, n, core->visited, (int32_t)spikes);
            v = core->to_zero ? 0 : v - spikes * core->threshold;
            if (core->last_fired)
                core->last_fired[n] = (int32_t)packet;
        }
        if (v < core->threshold_low)
            v = core->threshold_low;
        core->state[n] = core->is_persistent ? (int16_t)v : 0;
    }
}

/* Potentials of one position: its sums, or what the pointwise weights make of them. */
static const int64_t *position(kne_core *core, int64_t p, int64_t *row, int64_t *updates)
{
    const int64_t *sums = core->sums + p * core->sum_features;
    if (!core->pointwise)
        return sums;
    memset(row, 0, (size_t)core->features * sizeof *row);
    for (int32_t c = 0; c < core->channels; c++) {
        if (sums[c] == 0)
            continue;
        const int16_t *weights = core->pointwise + (int64_t)c * core->features;
        for (int32_t f = 0; f < core->features; f++)
            row[f] += weights[f] * sums[c];
        *updates += core->pointwise_live[c];
    }
    return row;
}

static void pool(const kne_core *core, int32_t oy, int32_t ox, int64_t *row)
{
    const int is_max = core->pooling == KNE_MAX;
    for (int32_t f = 0; f < core->features; f++)
        row[f] = is_max ? INT64_MIN : 0;
    for (int32_t dy = 0; dy < core->pool_y; dy++) {
        const int32_t y = oy * core->pool_stride_y - core->pool_lead_y + dy;
        if (y < 0 || y >= core->height)
            continue;
        for (int32_t dx = 0; dx < core->pool_x; dx++) {
            const int32_t x = ox * core->pool_stride_x - core->pool_lead_x + dx;
            if (x < 0 || x >= core->width)
                continue;
            const int64_t *cell =
                core->potentials + ((int64_t)y * core->width + x) * core->features;
            for (int32_t f = 0; f < core->features; f++) {
                if (is_max)
                    row[f] = cell[f] > row[f] ? cell[f] : row[f];
                else
                    row[f] += cell[f];
            }
        }
    }
}

static int32_t exceeded(const int32_t *levels, int32_t count, int64_t potential)
{
    int32_t low = 0, high = count;
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        if (levels[middle] < potential)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void fire_staircase(kne_chip *chip, int32_t index, int64_t *updates)
{
    kne_core *core = &chip->core[index];
    const int64_t positions = (int64_t)core->height * core->width;
    const int is_pooled = core->pooling != KNE_NO_POOLING;
    if (is_pooled)
        for (int64_t p = 0; p < positions; p++) {
            const int64_t *row = position(core, p, core->row, updates);
            memcpy(core->potentials + p * core->features, row,
                   (size_t)core->features * sizeof *row);
        }
    const int64_t outputs = (int64_t)core->out_height * core->out_width * core->features;
    int64_t *kept = NULL;
    if (core->rule == KNE_POTENTIALS && chip->readout_core == index)
        kept = chip->potentials_out + chip->potentials_packet++ * outputs;
    if (is_pooled) /* all neurons are visited before the first value leaves */
        core->visited = positions * core->features;
    for (int32_t oy = 0, neuron = 0; oy < core->out_height; oy++)
        for (int32_t ox = 0; ox < core->out_width; ox++) {
            const int64_t *row = core->row;
            if (is_pooled)
                pool(core, oy, ox, core->row);
            else
                row = position(core, (int64_t)oy * core->out_width + ox, core->row, updates);
            for (int32_t f = 0; f < core->features; f++, neuron++) {
                if (!is_pooled)
                    core->visited++;
                int64_t value = row[f];
                if (core->rule == KNE_STAIRCASE)
                    value = exceeded(core->levels + (int64_t)f * core->level_count,
                                     core->level_count, value);
                if (kept)
                    kept[neuron] = value;
                if (value)
                    emit(core, neuron, core->visited, (int32_t)value);
            }
        }
}

/* Ends a packet; returns the updates of pointwise weights. */
int64_t kne_fire(kne_chip *chip, int32_t index, int64_t packet)
{
    kne_core *core = &chip->core[index];
    int64_t updates = 0;
    core->spike_count = 0;
    core->visited = 0;
    if (core->rule == KNE_PACKET)
        fire_neurons(core, packet);
    else
        fire_staircase(chip, index, &updates);
    if (!core->is_free || core->rule == KNE_STAIRCASE)
        core->counter[KNE_NEURON_UPDATES] += core->visited;
    core->counter[KNE_SYNOPS] += updates;
    begin_packet(core);
    return updates;
}

int kne_address(kne_core *core, const kne_slot *slot, int32_t neuron, int32_t *x, int32_t *y, int32_t *c)
{
    const int32_t position = neuron / core->features;
    *c = neuron % core->features + slot->shift;
    *y = position / core->out_width / slot->pool_y;
    *x = position % core->out_width / slot->pool_x;
    if (*y < slot->height && *x < slot->width)
        return 1;
    core->counter[KNE_POOL_CROPPED]++;
    return 0;
}

int kne_enter(const kne_chip *chip, int32_t entry, int64_t root, int32_t *x, int32_t *y, int32_t *c)
{
    const kne_slot *slot = &chip->entry[entry];
    if (chip->entry_port[entry] != chip->roots.port[root])
        return 0;
    *x = chip->roots.x[root] / slot->pool_x;
    *y = chip->roots.y[root] / slot->pool_y;
    *c = chip->roots.c[root] + slot->shift;
    return *x < slot->width && *y < slot->height;
}
