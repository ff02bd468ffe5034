/* The discrete-event simulation: one binary heap, ordered by time, class and order of insertion. */
#include <stdlib.h>
#include <string.h>

#include "kne.h"

enum { DONE, ARRIVE, LINK, INJECT, DEPART }; /* at equal times, in this order */
enum { NONE = -1 };
enum { EAST, WEST, SOUTH, NORTH, DIRECTIONS };

typedef struct {
    int64_t root, arrived, ordinal;
    int32_t next; /* in a queue or among the free ones */
    int32_t kind, source, target, edge, x, y, c, count, node, keys;
    int64_t log;
} item;

typedef struct { int64_t time; uint64_t order; int32_t what; } event;
typedef struct { int32_t head, tail; } fifo;
typedef struct { fifo held; int64_t tokens, events; } edge_state;
typedef struct {
    int64_t ready, end; /* of the first update, and of the last one */
    int64_t step, extra; /* per update, and in addition per firing neuron up to and with this one */
    int64_t emit;
    int32_t lanes;
} schedule;
/* What a core sends of its last service: spike after spike, each `count` times, to slot after slot. */
typedef struct {
    schedule plan;
    int64_t begun, previous, due; /* start of the service; the last departure, and the next one */
    int64_t waits_since, log;
    int32_t cause, kind; /* the item that is served */
    int32_t spike, copy, number, slot; /* slot: NONE until the departure is due */
    int32_t is_logged, next_waiter;
} sending;
typedef struct {
    fifo queue;
    fifo waiters; /* senders that found no place here; the input port is number `cores` */
    int64_t waiting, tokens, full_since;
    int64_t taken; /* places of events that are on their way or wait, if senders stall */
    int32_t is_busy, at_barrier;
    edge_state *edge;
    sending out;
} server;

typedef struct kne_queues {
    event *heap;
    int64_t heap_count, heap_room;
    item *items;
    uint32_t *keys; /* `key_room` words for each item: its place in the depth-first order */
    int64_t item_count, item_room, key_room, key_items;
    int32_t free_item;
    uint64_t order;
    int64_t clock;
    server *servers; /* one per core; behind them the input port */
    edge_state *edges;
    int64_t *ends; /* with a delay: the item that ends each packet */
    int32_t at_barrier;
} queues;

static int precedes(const event *a, const event *b)
{
    return a->time < b->time || (a->time == b->time && a->order < b->order);
}

static int push(kne_chip *chip, int64_t time, int32_t class, int32_t what)
{
    queues *q = chip->queues;
    event *heap = kne_grown(chip, q->heap, q->heap_count, &q->heap_room, (int64_t)sizeof *heap);
    if (!heap)
        return 0;
    q->heap = heap;
    const event added = {time, (uint64_t)class << 60 | q->order++, what};
    int64_t i = q->heap_count++;
    while (i > 0 && precedes(&added, &heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = added;
    return 1;
}

static event pop(queues *q)
{
    event *heap = q->heap;
    const event first = heap[0], last = heap[--q->heap_count];
    int64_t i = 0;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= q->heap_count)
            break;
        if (child + 1 < q->heap_count && precedes(&heap[child + 1], &heap[child]))
            child++;
        if (!precedes(&heap[child], &last))
            break;
        heap[i] = heap[child];
        i = child;
    }
    if (q->heap_count)
        heap[i] = last;
    return first;
}

/* Items move when more room is taken: keep numbers, not pointers, across a call. */
static int32_t new_item(kne_chip *chip)
{
    queues *q = chip->queues;
    if (q->free_item != NONE) {
        const int32_t i = q->free_item;
        q->free_item = q->items[i].next;
        return i;
    }
    if (q->item_count == INT32_MAX) {
        chip->status = KNE_OVER_BUDGET;
        return NONE;
    }
    item *items = kne_grown(chip, q->items, q->item_count, &q->item_room, (int64_t)sizeof *items);
    if (!items)
        return NONE;
    q->items = items;
    if (q->key_room) {
        uint32_t *keys = kne_grown(chip, q->keys, q->item_count, &q->key_items,
                                   q->key_room * (int64_t)sizeof *keys);
        if (!keys)
            return NONE;
        q->keys = keys;
    }
    return (int32_t)q->item_count++;
}

static void free_item(queues *q, int32_t i)
{
    q->items[i].next = q->free_item;
    q->free_item = i;
}

static void append(queues *q, fifo *to, int32_t i)
{
    q->items[i].next = NONE;
    if (to->head == NONE)
        to->head = i;
    else
        q->items[to->tail].next = i;
    to->tail = i;
}

static int32_t take(queues *q, fifo *from)
{
    const int32_t i = from->head;
    from->head = q->items[i].next;
    return i;
}

static int key_precedes(const queues *q, int32_t a, int32_t b)
{
    const uint32_t *left = q->keys + a * q->key_room, *right = q->keys + b * q->key_room;
    const int32_t left_count = q->items[a].keys, right_count = q->items[b].keys;
    for (int32_t k = 0; k < left_count && k < right_count; k++)
        if (left[k] != right[k])
            return left[k] < right[k];
    return left_count < right_count;
}

static int send(kne_chip *chip, int64_t time, int32_t from, int32_t i)
{
    item *sent = &chip->queues->items[i];
    const int is_event = sent->kind == KNE_ITEM_EVENT;
    sent->node = from;
    time += chip->t_router;
    chip->noc[KNE_PACKETS] += is_event;
    if (chip->topology == KNE_STAR) {
        chip->noc[KNE_HOPS_STAR] += is_event;
        return push(chip, time + chip->t_hop_x, ARRIVE, i);
    }
    const int32_t to = sent->target < 0 ? chip->output_node : chip->core[sent->target].node;
    return push(chip, time, from == to ? ARRIVE : LINK, i);
}

/* One hop: along x until the column is reached, then along y. Tokens wait for a link like events,
 * or they would overtake them, but do not occupy it. */
static int hop(kne_chip *chip, int64_t time, int32_t i)
{
    item *moved = &chip->queues->items[i];
    const int32_t to = moved->target < 0 ? chip->output_node : chip->core[moved->target].node;
    const int32_t dx = to % chip->mesh_x - moved->node % chip->mesh_x;
    const int32_t dy = to / chip->mesh_x - moved->node / chip->mesh_x;
    const int32_t direction = dx > 0 ? EAST : dx < 0 ? WEST : dy > 0 ? SOUTH : NORTH;
    const int32_t link = moved->node * DIRECTIONS + direction;
    const int64_t depart = time > chip->link_free[link] ? time : chip->link_free[link];
    if (moved->kind == KNE_ITEM_EVENT) {
        chip->link_free[link] = depart + chip->t_link;
        chip->link_busy[link] += chip->t_link;
        chip->noc[dx ? KNE_HOPS_X : KNE_HOPS_Y]++;
        if (chip->records_links) {
            kne_link_row *row = kne_row(chip, KNE_LINKS);
            if (!row)
                return 0;
            *row = (kne_link_row){depart, moved->root, link, moved->target};
        }
    }
    moved->node += dx > 0 ? 1 : dx < 0 ? -1 : dy > 0 ? chip->mesh_x : -chip->mesh_x;
    const int64_t arrive = depart + (dx ? chip->t_hop_x : chip->t_hop_y);
    return push(chip, arrive, moved->node == to ? ARRIVE : LINK, i);
}

static void service_times(kne_chip *chip, const kne_core *core, int64_t *time)
{
    memcpy(time, core->time, sizeof core->time);
    if (!chip->jitters)
        return;
    const double *factor = chip->factors + chip->factor_row++ * chip->jitters;
    for (int32_t t = 0; t < KNE_TIMES; t++)
        if (chip->varied[t])
            time[t] = (int64_t)((double)time[t] * *factor++ + 0.5);
}

static int64_t shared(int64_t updates, const kne_core *core)
{
    return (updates + core->lanes - 1) / core->lanes;
}

/* Whether a sender that finds the queue of a core full has to wait. */
static int keeps_places(const kne_chip *chip, int32_t index)
{
    return chip->stalls && index >= 0 && !chip->core[index].drops_when_full;
}

/* A place is taken from the departure to the start of the service. Without waiting room an event is
 * sent only to an idle core. */
static int has_place(const kne_chip *chip, int32_t index)
{
    if (!keeps_places(chip, index))
        return 1;
    const server *s = &chip->queues->servers[index];
    if (chip->core[index].capacity)
        return s->taken < chip->core[index].capacity;
    return !s->taken && !s->is_busy && s->queue.head == NONE;
}

static void wait_for_place(queues *q, int32_t sender, int32_t index)
{
    fifo *waiters = &q->servers[index].waiters;
    q->servers[sender].out.waits_since = q->clock;
    q->servers[sender].out.next_waiter = NONE;
    if (waiters->head == NONE)
        waiters->head = sender;
    else
        q->servers[waiters->tail].out.next_waiter = sender;
    waiters->tail = sender;
}

static int log_departure(kne_chip *chip, int32_t index, const kne_spike *spike, int64_t now)
{
    const kne_core *core = &chip->core[index];
    sending *out = &chip->queues->servers[index].out;
    if (out->is_logged)
        return 1;
    out->is_logged = 1;
    out->log = NONE;
    if (!core->is_logged)
        return 1;
    kne_log_row *row = kne_row(chip, KNE_LOG);
    if (!row)
        return 0;
    out->log = chip->table[KNE_LOG].count - 1;
    *row = (kne_log_row){
        .time = now,
        .root = chip->queues->items[out->cause].root,
        .out = -1,
        .core = index,
        .neuron = spike->neuron,
        .count = core->is_graded ? spike->count : 1,
    };
    return 1;
}

static int send_copy(kne_chip *chip, int32_t index, const kne_spike *spike, int32_t x, int32_t y,
                     int32_t c, int64_t now)
{
    queues *q = chip->queues;
    const kne_core *core = &chip->core[index];
    const sending *out = &q->servers[index].out;
    const kne_slot *slot = &core->slot[out->slot];
    const int32_t i = new_item(chip);
    if (i == NONE)
        return 0;
    const item *parent = &q->items[out->cause];
    item *sent = &q->items[i];
    *sent = (item){
        .root = parent->root,
        .kind = KNE_ITEM_EVENT,
        .source = index,
        .target = slot->target,
        .edge = slot->edge,
        .x = x,
        .y = y,
        .c = c,
        .count = core->is_graded ? spike->count : 1,
        .log = out->log,
    };
    if (q->key_room) {
        uint32_t *key = q->keys + i * q->key_room;
        int32_t length = 0;
        if (parent->kind == KNE_ITEM_EVENT) {
            length = parent->keys;
            memcpy(key, q->keys + out->cause * q->key_room, (size_t)length * sizeof *key);
        } else {
            key[length++] = (uint32_t)index; /* of a sweep: the order in which cores sweep */
        }
        KNE_CHECK(length + 2 <= q->key_room);
        key[length++] = (uint32_t)out->number;
        key[length++] = (uint32_t)out->slot;
        sent->keys = length;
    }
    if (keeps_places(chip, slot->target))
        q->servers[slot->target].taken++;
    return send(chip, now, core->node, i);
}

enum { FAILED, SENT, WAITS };

static int send_spike(kne_chip *chip, int32_t index, const kne_spike *spike, int64_t now)
{
    kne_core *core = &chip->core[index];
    sending *out = &chip->queues->servers[index].out;
    for (; out->slot < core->slots; out->slot++) {
        const kne_slot *slot = &core->slot[out->slot];
        int32_t x, y, c;
        if (!kne_address(core, slot, spike->neuron, &x, &y, &c))
            continue;
        if (!has_place(chip, slot->target)) {
            wait_for_place(chip->queues, index, slot->target);
            return WAITS;
        }
        if (!log_departure(chip, index, spike, now) || !send_copy(chip, index, spike, x, y, c, now))
            return FAILED;
    }
    return log_departure(chip, index, spike, now) ? SENT : FAILED;
}

static int end_service(kne_chip *chip, int32_t index);

/* Sends what the neurons have emitted: all of it, or, if senders stall, what is due and has a place. */
static int advance(kne_chip *chip, int32_t index)
{
    queues *q = chip->queues;
    const kne_core *core = &chip->core[index];
    sending *out = &q->servers[index].out;
    const schedule *plan = &out->plan;
    for (; out->spike < core->spike_count; out->spike++, out->copy = 0) {
        const kne_spike *spike = &core->spikes[out->spike];
        const int32_t copies = core->is_graded ? spike->count != 0 : spike->count;
        const int64_t steps = (spike->order + plan->lanes - 1) / plan->lanes;
        const int64_t ready = plan->ready + steps * plan->step + (out->spike + 1) * plan->extra;
        for (; out->copy < copies; out->copy++, out->number++) {
            if (out->slot == NONE) {
                out->due = out->previous;
                if (!chip->emits_at_end)
                    out->due = (ready > out->previous ? ready : out->previous) + plan->emit;
                out->slot = out->is_logged = 0;
                if (chip->stalls && out->due > q->clock)
                    return push(chip, out->due, DEPART, index);
            }
            const int64_t now = chip->stalls ? q->clock : out->due;
            const int is_sent = send_spike(chip, index, spike, now);
            if (is_sent != SENT)
                return is_sent == WAITS;
            out->previous = now;
            out->slot = NONE;
        }
    }
    return end_service(chip, index);
}

static int depart(kne_chip *chip, int32_t index, int32_t cause, int64_t now, schedule plan)
{
    const kne_core *core = &chip->core[index];
    server *s = &chip->queues->servers[index];
    s->is_busy = 1;
    s->out = (sending){
        .plan = plan,
        .begun = now,
        .previous = now,
        .cause = cause,
        .kind = chip->queues->items[cause].kind,
        .slot = NONE,
    };
    if (chip->emits_at_end) {
        int64_t copies = 0;
        for (int32_t k = 0; k < core->spike_count; k++)
            copies += core->is_graded ? core->spikes[k].count != 0 : core->spikes[k].count;
        s->out.previous = plan.end + copies * plan.emit;
    }
    return advance(chip, index);
}

/* Sends what waits at the input port, if senders stall; otherwise nothing ever waits there. */
static int advance_port(kne_chip *chip)
{
    queues *q = chip->queues;
    server *port = &q->servers[chip->cores];
    port->is_busy = 1;
    while (port->queue.head != NONE) {
        const int32_t i = port->queue.head;
        const item *sent = &q->items[i];
        if (sent->arrived > q->clock)
            return push(chip, sent->arrived, DEPART, chip->cores);
        if (sent->kind == KNE_ITEM_EVENT) {
            if (!has_place(chip, sent->target)) {
                wait_for_place(q, chip->cores, sent->target);
                return 1;
            }
            if (keeps_places(chip, sent->target))
                q->servers[sent->target].taken++;
        }
        take(q, &port->queue);
        if (!send(chip, q->clock, chip->input_node, i))
            return 0;
    }
    port->is_busy = 0;
    return 1;
}

/* Lets senders go on that wait for a place, in the order in which they came. */
static int admit(kne_chip *chip, int32_t index)
{
    queues *q = chip->queues;
    fifo *waiters = &q->servers[index].waiters;
    while (waiters->head != NONE && has_place(chip, index)) {
        const int32_t sender = waiters->head;
        sending *out = &q->servers[sender].out;
        waiters->head = out->next_waiter;
        const int64_t waited = q->clock - out->waits_since;
        if (sender == chip->cores) {
            chip->noc[KNE_INPUT_WAIT_PS] += waited;
            if (!advance_port(chip))
                return 0;
        } else {
            chip->core[sender].counter[KNE_BLOCKED_PS] += waited;
            if (!advance(chip, sender))
                return 0;
        }
    }
    return 1;
}

static int serve(kne_chip *chip, int32_t index, int64_t now, int64_t end, int32_t kind)
{
    kne_core *core = &chip->core[index];
    core->counter[KNE_BUSY_PS] += end - now;
    if (end > chip->makespan)
        chip->makespan = end;
    if (chip->records_services) {
        kne_service_row *row = kne_row(chip, KNE_SERVICES);
        if (!row)
            return 0;
        *row = (kne_service_row){now, end, index, kind};
    }
    return push(chip, end, DONE, index);
}

/* Passes a token on along every slot, then forgets it. */
static int forward(kne_chip *chip, int32_t index, int32_t token, int64_t time)
{
    queues *q = chip->queues;
    const kne_core *core = &chip->core[index];
    for (int32_t s = 0; s < core->slots; s++) {
        const kne_slot *slot = &core->slot[s];
        if (slot->target < 0 && !chip->is_packet)
            continue; /* only the end of a packet is of interest outside */
        const int32_t i = new_item(chip);
        if (i == NONE)
            return 0;
        q->items[i] = (item){
            .root = q->items[token].root,
            .kind = q->items[token].kind,
            .source = index,
            .target = slot->target,
            .edge = slot->edge,
            .log = NONE,
        };
        if (!send(chip, time, core->node, i))
            return 0;
    }
    free_item(q, token);
    return 1;
}

static int end_service(kne_chip *chip, int32_t index)
{
    queues *q = chip->queues;
    const sending *out = &q->servers[index].out;
    const int64_t end = out->previous > out->plan.end ? out->previous : out->plan.end;
    if (out->kind == KNE_ITEM_EVENT)
        free_item(q, out->cause);
    else if (!forward(chip, index, out->cause, end))
        return 0;
    return serve(chip, index, out->begun, end, out->kind);
}

static int serve_event(kne_chip *chip, int32_t index, int32_t i, int64_t now)
{
    kne_core *core = &chip->core[index];
    const item *served = &chip->queues->items[i];
    int64_t time[KNE_TIMES];
    service_times(chip, core, time);
    core->counter[KNE_PROCESSED]++;
    core->counter[KNE_WAIT_PS] += now - served->arrived;
    int64_t updates;
    if (chip->is_packet)
        updates = kne_integrate(core, served->x, served->y, served->c, served->count);
    else
        updates = kne_update(core, served->x, served->y, served->c);
    schedule plan = {.ready = now + time[KNE_T_DECODE],
                     .step = time[KNE_T_SYN],
                     .emit = time[KNE_T_EMIT],
                     .lanes = core->lanes};
    plan.end = plan.ready + shared(updates, core) * plan.step;
    return depart(chip, index, i, now, plan);
}

static int serve_tick(kne_chip *chip, int32_t index, int32_t i, int64_t now)
{
    kne_core *core = &chip->core[index];
    int64_t time[KNE_TIMES];
    service_times(chip, core, time);
    schedule plan = {.ready = now + time[KNE_T_DECODE],
                     .step = time[KNE_T_LEAK],
                     .emit = time[KNE_T_EMIT],
                     .lanes = core->lanes};
    plan.end = plan.ready + shared(kne_leak(core), core) * plan.step;
    return depart(chip, index, i, now, plan);
}

static int serve_packet(kne_chip *chip, int32_t index, int32_t i, int64_t now)
{
    kne_core *core = &chip->core[index];
    int64_t time[KNE_TIMES];
    service_times(chip, core, time);
    const int64_t updates = kne_fire(chip, index, chip->packet + chip->queues->items[i].ordinal);
    schedule plan = {.ready = now + time[KNE_T_DECODE] + shared(updates, core) * time[KNE_T_SYN],
                     .emit = time[KNE_T_EMIT],
                     .lanes = 1};
    if (!core->is_free || core->rule == KNE_STAIRCASE) { /* joining maps alone takes no neurons */
        plan.step = time[KNE_T_UPD];
        plan.extra = time[KNE_T_UPD_ACTIVE] - time[KNE_T_UPD];
    }
    plan.end = plan.ready + core->visited * plan.step + core->spike_count * plan.extra;
    return depart(chip, index, i, now, plan);
}

static int reach_barrier(kne_chip *chip, int32_t index, int32_t i, int64_t now)
{
    queues *q = chip->queues;
    q->servers[index].at_barrier = i;
    q->servers[index].is_busy = 1;
    if (++q->at_barrier < chip->cores)
        return 1;
    q->at_barrier = 0;
    for (int32_t core = 0; core < chip->cores; core++)
        if (!serve_packet(chip, core, q->servers[core].at_barrier, now + chip->t_sync))
            return 0;
    return 1;
}

static void count_waiting(kne_core *core, server *s, int64_t change, int64_t now)
{
    if (s->waiting > core->capacity)
        core->counter[KNE_STALL_PS] += now - s->full_since;
    s->waiting += change;
    s->full_since = now;
}

static int serve_next(kne_chip *chip, int32_t index, int64_t now)
{
    queues *q = chip->queues;
    server *s = &q->servers[index];
    kne_core *core = &chip->core[index];
    while (s->queue.head != NONE && !s->is_busy) {
        const int32_t i = take(q, &s->queue);
        const int32_t kind = q->items[i].kind;
        if (kind == KNE_ITEM_EVENT) {
            count_waiting(core, s, -1, now);
            s->taken -= keeps_places(chip, index);
            return serve_event(chip, index, i, now);
        }
        if (chip->is_packet)
            return chip->is_barrier ? reach_barrier(chip, index, i, now)
                                    : serve_packet(chip, index, i, now);
        if (kind == KNE_ITEM_TICK && core->leaks)
            return serve_tick(chip, index, i, now);
        if (!forward(chip, index, i, now))
            return 0;
    }
    return 1;
}

/* An idle core takes the next item; a place that it frees goes to who waits for it. */
static int start(kne_chip *chip, int32_t index, int64_t now)
{
    return serve_next(chip, index, now) && admit(chip, index);
}

static int trace(kne_chip *chip, int32_t index, int32_t source, int64_t root, int64_t number)
{
    if (!chip->records_trace || chip->core[index].edges == 1)
        return 1;
    kne_trace_row *row = kne_row(chip, KNE_TRACE);
    if (!row)
        return 0;
    *row = (kne_trace_row){root, number, index, source};
    return 1;
}

static int enqueue(kne_chip *chip, int32_t index, int32_t i, int64_t now)
{
    queues *q = chip->queues;
    server *s = &q->servers[index];
    kne_core *core = &chip->core[index];
    item *added = &q->items[i];
    if (added->kind != KNE_ITEM_EVENT) {
        if (added->kind == KNE_ITEM_TICK && !trace(chip, index, NONE, added->root, 0))
            return 0;
        append(q, &s->queue, i);
        return s->is_busy || start(chip, index, now);
    }
    const int is_free = !s->is_busy && s->queue.head == NONE;
    if (core->drops_when_full && !is_free && s->waiting >= core->capacity) {
        core->counter[KNE_DROPS]++;
        kne_drop_row *row = kne_row(chip, KNE_DROPPED);
        if (!row)
            return 0;
        *row = (kne_drop_row){now, added->root, index, added->x, added->y, added->c};
        free_item(q, i);
        return 1;
    }
    if (!trace(chip, index, added->edge, added->root, added->ordinal))
        return 0;
    append(q, &s->queue, i);
    count_waiting(core, s, 1, now);
    if (!s->is_busy && !start(chip, index, now))
        return 0;
    if (s->waiting > core->counter[KNE_QUEUE_MAX])
        core->counter[KNE_QUEUE_MAX] = s->waiting;
    return 1;
}

/* Lets go what was held for token number `ordinal`: in depth-first order, or as it arrived. */
static int release(kne_chip *chip, int32_t index, int64_t ordinal, int64_t now)
{
    queues *q = chip->queues;
    server *s = &q->servers[index];
    kne_core *core = &chip->core[index];
    for (;;) {
        int32_t best = NONE, from = 0;
        for (int32_t e = 0; e < core->edges; e++) {
            const int32_t head = s->edge[e].held.head;
            if (head == NONE || q->items[head].ordinal != ordinal)
                continue;
            int is_first = best == NONE;
            if (!is_first && chip->is_packet)
                is_first = q->items[head].log < q->items[best].log;
            else if (!is_first)
                is_first = key_precedes(q, head, best);
            if (is_first) {
                best = head;
                from = e;
            }
        }
        if (best == NONE)
            return 1;
        take(q, &s->edge[from].held);
        core->counter[KNE_HOLD_PS] += now - q->items[best].arrived;
        q->items[best].arrived = now;
        s->taken += keeps_places(chip, index);
        if (!enqueue(chip, index, best, now))
            return 0;
    }
}

static int arrive_token(kne_chip *chip, int32_t i, int64_t now)
{
    queues *q = chip->queues;
    const int32_t index = q->items[i].target;
    server *s = &q->servers[index];
    s->edge[q->items[i].edge].tokens++;
    for (int32_t e = 0; e < chip->core[index].edges; e++)
        if (s->edge[e].tokens <= s->tokens) {
            free_item(q, i);
            return 1;
        }
    const int64_t ordinal = s->tokens++;
    q->items[i].ordinal = ordinal;
    if (q->ends) /* the last token may be a source's, of the packet before */
        q->items[i].root = q->ends[ordinal];
    if (chip->is_packet)
        return enqueue(chip, index, i, now) && release(chip, index, ordinal + 1, now);
    return release(chip, index, ordinal, now) && enqueue(chip, index, i, now);
}

static int leave(kne_chip *chip, int32_t i, int64_t now)
{
    queues *q = chip->queues;
    const item *gone = &q->items[i];
    if (gone->kind == KNE_ITEM_EVENT) {
        if (gone->log != NONE)
            ((kne_log_row *)chip->table[KNE_LOG].rows)[gone->log].out = now + chip->t_io_out;
    } else {
        kne_token_row *row = kne_row(chip, KNE_TOKENS);
        if (!row)
            return 0;
        *row = (kne_token_row){gone->root, now + chip->t_io_out, gone->source, gone->kind};
    }
    free_item(q, i);
    return 1;
}

static int arrive(kne_chip *chip, int32_t i, int64_t now)
{
    queues *q = chip->queues;
    item *here = &q->items[i];
    if (here->target < 0)
        return leave(chip, i, now);
    if (here->kind != KNE_ITEM_EVENT)
        return arrive_token(chip, i, now);
    const int32_t index = here->target;
    kne_core *core = &chip->core[index];
    server *s = &q->servers[index];
    edge_state *edge = &s->edge[here->edge];
    core->counter[KNE_EVENTS_IN]++;
    here->arrived = now;
    const int is_held = chip->is_packet ? edge->tokens > s->tokens
                                        : chip->is_causal && core->edges > 1;
    if (is_held) {
        here->ordinal = edge->tokens;
        here->log = (int64_t)q->order++; /* the order of arrival; of no further use to the log */
        append(q, &edge->held, i);
        /* what waits for its turn stands beside the queue, or two sources of a merge could block
         * each other for ever */
        s->taken -= keeps_places(chip, index);
        return admit(chip, index);
    }
    here->ordinal = edge->events++;
    return enqueue(chip, index, i, now);
}

static int inject(kne_chip *chip, int64_t r, int64_t now)
{
    queues *q = chip->queues;
    const kne_roots *roots = &chip->roots;
    if (++chip->next_root < roots->count
        && !push(chip, roots->time[chip->next_root], INJECT, 0))
        return 0;
    if (roots->kind[r] == KNE_ITEM_DROPPED)
        return 1;
    const int is_event = roots->kind[r] == KNE_ITEM_EVENT;
    const int tokens_follow = is_event && chip->needs_tokens;
    for (int32_t e = 0; e < chip->entries; e++)
        for (int32_t pass = is_event ? 0 : 1; pass < (is_event && !tokens_follow ? 1 : 2); pass++) {
            const int is_sent_event = pass == 0;
            int32_t x = 0, y = 0, c = 0;
            if (is_sent_event
                && (!chip->core[chip->entry[e].target].is_entry
                    || !kne_enter(chip, e, r, &x, &y, &c)))
                continue;
            const int32_t i = new_item(chip);
            if (i == NONE)
                return 0;
            q->items[i] = (item){
                .root = r,
                .kind = is_sent_event ? KNE_ITEM_EVENT : is_event ? KNE_ITEM_TOKEN : roots->kind[r],
                .source = NONE,
                .target = chip->entry[e].target,
                .edge = chip->entry[e].edge,
                .x = x,
                .y = y,
                .c = c,
                .count = roots->payload[r],
                .log = NONE,
            };
            if (q->key_room && is_sent_event) {
                q->keys[i * q->key_room] = 0;
                q->keys[i * q->key_room + 1] = (uint32_t)e;
                q->items[i].keys = 2;
            }
            if (chip->stalls) {
                q->items[i].arrived = now + chip->t_io_in;
                append(q, &q->servers[chip->cores].queue, i);
            } else if (!send(chip, now + chip->t_io_in, chip->input_node, i)) {
                return 0;
            }
        }
    return q->servers[chip->cores].is_busy || advance_port(chip);
}

int kne_timing_begin(kne_chip *chip)
{
    int64_t edges = 0;
    for (int32_t i = 0; i < chip->cores; i++)
        edges += chip->core[i].edges;
    queues *q = calloc(1, sizeof *q);
    chip->queues = q;
    if (!q)
        return chip->status = KNE_NO_MEMORY;
    q->free_item = NONE;
    q->servers = calloc((size_t)chip->cores + 1, sizeof *q->servers);
    q->edges = calloc((size_t)edges, sizeof *q->edges);
    if (!q->servers || !q->edges)
        return chip->status = KNE_NO_MEMORY;
    /* a path has one pair of words per core on it, after the pair of the entry */
    q->key_room = chip->needs_tokens ? 2 + 2 * (int64_t)chip->cores : 0;
    edge_state *next = q->edges;
    for (int32_t i = 0; i <= chip->cores; i++) {
        server *s = &q->servers[i];
        s->queue.head = s->waiters.head = NONE;
        if (i == chip->cores)
            break; /* nothing arrives at the input port */
        s->edge = next;
        next += chip->core[i].edges;
        for (int32_t e = 0; e < chip->core[i].edges; e++)
            s->edge[e].held.head = NONE;
    }
    if (chip->layer_delay) { /* what a source sends in a packet is for the next one */
        int64_t packets = 0;
        q->ends = malloc((size_t)(chip->roots.count + 1) * sizeof *q->ends);
        if (!q->ends)
            return chip->status = KNE_NO_MEMORY;
        for (int64_t r = 0; r < chip->roots.count; r++)
            if (chip->roots.kind[r] == KNE_ITEM_TOKEN)
                q->ends[packets++] = r;
        for (int32_t i = 0; i < chip->cores; i++)
            for (int32_t k = 0; k < chip->core[i].slots; k++) {
                const kne_slot *slot = &chip->core[i].slot[k];
                if (slot->target >= 0)
                    q->servers[slot->target].edge[slot->edge].tokens = 1;
            }
    }
    chip->status = KNE_DONE;
    if (chip->roots.count)
        push(chip, chip->roots.time[0], INJECT, 0);
    return chip->status;
}

void kne_timing_end(kne_chip *chip)
{
    queues *q = chip->queues;
    if (!q)
        return;
    chip->used -= q->heap_room * (int64_t)sizeof *q->heap + q->item_room * (int64_t)sizeof *q->items
                  + q->key_items * q->key_room * (int64_t)sizeof *q->keys;
    free(q->heap);
    free(q->items);
    free(q->keys);
    free(q->servers);
    free(q->edges);
    free(q->ends);
    free(q);
    chip->queues = NULL;
}

int kne_timing(kne_chip *chip, int64_t steps)
{
    queues *q = chip->queues;
    chip->status = KNE_DONE;
    for (; q->heap_count && steps > 0; steps--) {
        /* one event starts at most one service, except that a barrier starts one per core */
        if (chip->jitters && chip->factor_rows - chip->factor_row < chip->cores)
            return KNE_NEEDS_FACTORS;
        const event next = pop(q);
        q->clock = next.time;
        int is_done;
        switch (next.order >> 60) {
        case DONE:
            q->servers[next.what].is_busy = 0;
            is_done = start(chip, next.what, next.time);
            break;
        case ARRIVE:
            is_done = arrive(chip, next.what, next.time);
            break;
        case LINK:
            is_done = hop(chip, next.time, next.what);
            break;
        case INJECT:
            is_done = inject(chip, chip->next_root, next.time);
            break;
        default:
            is_done = next.what == chip->cores ? advance_port(chip) : advance(chip, next.what);
        }
        if (!is_done)
            return chip->status;
    }
    /* a core waits only for cores behind it, and the last ones for nobody: all has left */
    for (int32_t i = 0; i < chip->cores && !q->heap_count; i++)
        KNE_CHECK(q->servers[i].waiters.head == NONE);
    return q->heap_count ? KNE_MORE : KNE_DONE;
}
