/* What a chip computes, without time: an event is finished, with all it causes, before the next. */
#include <stdlib.h>
#include <string.h>

#include "kne.h"

typedef struct { int32_t core, spike, slot; } frame;

static int log_spikes(kne_chip *chip, int32_t index, int64_t root)
{
    const kne_core *core = &chip->core[index];
    if (!core->is_logged)
        return 1;
    for (int32_t i = 0; i < core->spike_count; i++) {
        const kne_spike *spike = &core->spikes[i];
        const int32_t rows = core->is_graded ? spike->count != 0 : spike->count;
        for (int32_t k = 0; k < rows; k++) {
            kne_log_row *row = kne_row(chip, KNE_LOG);
            if (!row)
                return 0;
            *row = (kne_log_row){
                .time = chip->roots.time[root],
                .root = root,
                .out = -1,
                .core = index,
                .neuron = spike->neuron,
                .count = core->is_graded ? spike->count : 1,
            };
        }
    }
    return 1;
}

/* Follows what core `index` has emitted; a core cannot be met twice on one path, so its list of
 * spikes stays untouched until the path returns to it. */
static int propagate(kne_chip *chip, int32_t index, int64_t root, frame *stack)
{
    int32_t depth = 0;
    if (!log_spikes(chip, index, root))
        return 0;
    stack[0] = (frame){index, 0, 0};
    while (depth >= 0) {
        frame *top = &stack[depth];
        kne_core *core = &chip->core[top->core];
        if (top->spike == core->spike_count) {
            depth--;
            continue;
        }
        const kne_spike *spike = &core->spikes[top->spike];
        if (top->slot == core->slots || spike->count == 0) {
            top->spike++;
            top->slot = 0;
            continue;
        }
        const kne_slot *slot = &core->slot[top->slot++];
        int32_t x, y, c;
        if (!kne_address(core, slot, spike->neuron, &x, &y, &c) || slot->target < 0)
            continue;
        kne_core *target = &chip->core[slot->target];
        target->counter[KNE_EVENTS_IN]++;
        target->counter[KNE_PROCESSED]++;
        kne_update(target, x, y, c);
        if (!log_spikes(chip, slot->target, root))
            return 0;
        KNE_CHECK(depth + 1 < chip->cores);
        stack[++depth] = (frame){slot->target, 0, 0};
    }
    return 1;
}

static void deliver(kne_core *target, int32_t x, int32_t y, int32_t c, int32_t count, int is_graded)
{
    const int32_t events = is_graded ? 1 : count;
    for (int32_t k = 0; k < events; k++) {
        target->counter[KNE_EVENTS_IN]++;
        target->counter[KNE_PROCESSED]++;
        kne_integrate(target, x, y, c, is_graded ? count : 1);
    }
}

static int end_packet(kne_chip *chip, int64_t root)
{
    for (int32_t i = 0; i < chip->cores; i++) {
        /* with a delay, the last core fires first: what it is sent then belongs to the next packet */
        const int32_t index = chip->layer_delay ? chip->cores - 1 - i : i;
        kne_core *core = &chip->core[index];
        kne_fire(chip, index, chip->packet);
        if (!log_spikes(chip, index, root))
            return 0;
        for (int32_t k = 0; k < core->spike_count; k++) {
            const kne_spike *spike = &core->spikes[k];
            if (spike->count == 0)
                continue;
            for (int32_t s = 0; s < core->slots; s++) {
                const kne_slot *slot = &core->slot[s];
                int32_t x, y, c;
                if (kne_address(core, slot, spike->neuron, &x, &y, &c) && slot->target >= 0)
                    deliver(&chip->core[slot->target], x, y, c, spike->count, core->is_graded);
            }
        }
    }
    chip->packet++;
    return 1;
}

static int take_root(kne_chip *chip, int64_t r, frame *stack)
{
    const kne_roots *roots = &chip->roots;
    if (roots->kind[r] == KNE_ITEM_DROPPED)
        return 1;
    if (roots->kind[r] == KNE_ITEM_TOKEN)
        return end_packet(chip, r);
    if (roots->kind[r] == KNE_ITEM_TICK) {
        for (int32_t i = 0; i < chip->cores; i++) {
            if (!chip->core[i].leaks)
                continue;
            kne_leak(&chip->core[i]);
            if (!propagate(chip, i, r, stack))
                return 0;
        }
        return 1;
    }
    for (int32_t e = 0; e < chip->entries; e++) {
        const int32_t index = chip->entry[e].target;
        kne_core *core = &chip->core[index];
        int32_t x, y, c;
        if (!core->is_entry || !kne_enter(chip, e, r, &x, &y, &c))
            continue;
        core->counter[KNE_EVENTS_IN]++;
        core->counter[KNE_PROCESSED]++;
        if (chip->is_packet) {
            kne_integrate(core, x, y, c, roots->payload[r]);
            continue;
        }
        kne_update(core, x, y, c);
        if (!propagate(chip, index, r, stack))
            return 0;
    }
    return 1;
}

int kne_functional(kne_chip *chip, int64_t steps)
{
    frame *stack = malloc((size_t)chip->cores * sizeof *stack);
    if (!stack)
        return KNE_NO_MEMORY;
    chip->status = KNE_DONE;
    for (; chip->next_root < chip->roots.count && steps > 0; steps--, chip->next_root++)
        if (!take_root(chip, chip->next_root, stack))
            break;
    free(stack);
    if (chip->status != KNE_DONE)
        return chip->status;
    return chip->next_root < chip->roots.count ? KNE_MORE : KNE_DONE;
}

/* A recorded order of merging turns the chip into processes with one input each, whose whole
 * sequences can be computed core by core. */
typedef struct { int64_t root; int32_t x, y, c; } passed; /* c is -1 for a tick */
typedef struct { passed *rows; int64_t count, room, next; } sequence;

static int pass(kne_chip *chip, sequence *to, passed item)
{
    passed *rows = kne_grown(chip, to->rows, to->count, &to->room, (int64_t)sizeof *rows);
    if (!rows)
        return 0;
    to->rows = rows;
    rows[to->count++] = item;
    return 1;
}

static int pass_spikes(kne_chip *chip, int32_t index, int64_t root, sequence *const *in)
{
    kne_core *core = &chip->core[index];
    if (!log_spikes(chip, index, root))
        return 0;
    for (int32_t k = 0; k < core->spike_count; k++)
        for (int32_t s = 0; s < core->slots && core->spikes[k].count; s++) {
            const kne_slot *slot = &core->slot[s];
            passed item = {.root = root};
            if (!kne_address(core, slot, core->spikes[k].neuron, &item.x, &item.y, &item.c)
                || slot->target < 0)
                continue;
            if (!pass(chip, &in[slot->target][slot->edge], item))
                return 0;
        }
    return 1;
}

static int replay_item(kne_chip *chip, int32_t index, passed item, sequence *const *in)
{
    kne_core *core = &chip->core[index];
    if (item.c >= 0) {
        core->counter[KNE_EVENTS_IN]++;
        core->counter[KNE_PROCESSED]++;
        kne_update(core, item.x, item.y, item.c);
        return pass_spikes(chip, index, item.root, in);
    }
    if (core->leaks) {
        kne_leak(core);
        if (!pass_spikes(chip, index, item.root, in))
            return 0;
    }
    for (int32_t s = 0; s < core->slots; s++)
        if (core->slot[s].target >= 0
            && !pass(chip, &in[core->slot[s].target][core->slot[s].edge], item))
            return 0;
    return 1;
}

static int replay_core(kne_chip *chip, int32_t index, sequence *const *in)
{
    const kne_core *core = &chip->core[index];
    if (core->edges == 1) {
        for (int64_t i = 0; i < in[index][0].count; i++)
            if (!replay_item(chip, index, in[index][0].rows[i], in))
                return 0;
        return 1;
    }
    for (int64_t i = 0; i < chip->trace_count; i++) {
        const kne_trace_row *row = &chip->trace[i];
        if (row->core != index)
            continue;
        passed item = {.root = row->root, .c = -1};
        if (row->source >= 0) {
            sequence *from = &in[index][row->source];
            while (from->next < from->count && from->rows[from->next].c < 0)
                from->next++;
            if (from->next == from->count || from->rows[from->next].root != row->root) {
                chip->status = KNE_BAD_TRACE;
                return 0;
            }
            item = from->rows[from->next++];
        }
        if (!replay_item(chip, index, item, in))
            return 0;
    }
    for (int32_t e = 0; e < core->edges; e++)
        for (int64_t i = in[index][e].next; i < in[index][e].count; i++)
            if (in[index][e].rows[i].c >= 0) {
                chip->status = KNE_BAD_TRACE;
                return 0;
            }
    return 1;
}

static int replay_all(kne_chip *chip, sequence *const *in)
{
    for (int64_t r = 0; r < chip->roots.count; r++) {
        if (chip->roots.kind[r] == KNE_ITEM_DROPPED)
            continue;
        for (int32_t e = 0; e < chip->entries; e++) {
            const kne_slot *entry = &chip->entry[e];
            passed item = {.root = r, .c = -1};
            if (chip->roots.kind[r] == KNE_ITEM_EVENT
                && !kne_enter(chip, e, r, &item.x, &item.y, &item.c))
                continue;
            if (!pass(chip, &in[entry->target][entry->edge], item))
                return 0;
        }
    }
    for (int32_t i = 0; i < chip->cores; i++)
        if (!replay_core(chip, i, in))
            return 0;
    return 1;
}

int kne_replay(kne_chip *chip)
{
    int64_t edges = 0, used = chip->used;
    for (int32_t i = 0; i < chip->cores; i++)
        edges += chip->core[i].edges;
    sequence *all = calloc((size_t)edges, sizeof *all);
    sequence **in = malloc((size_t)chip->cores * sizeof *in);
    chip->status = all && in ? KNE_DONE : KNE_NO_MEMORY;
    if (chip->status == KNE_DONE) {
        in[0] = all;
        for (int32_t i = 1; i < chip->cores; i++)
            in[i] = in[i - 1] + chip->core[i - 1].edges;
        replay_all(chip, in);
        for (int64_t e = 0; e < edges; e++)
            free(all[e].rows);
    }
    free(in);
    free(all);
    chip->used = used + chip->table[KNE_LOG].room * chip->table[KNE_LOG].size;
    chip->next_root = chip->roots.count;
    return chip->status;
}
