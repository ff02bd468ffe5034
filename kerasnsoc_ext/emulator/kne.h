/* The emulator of a chip: cores that receive events, a network between them, and time in picoseconds.
 * Integers only (jitter multiplies service times by factors that the caller draws); no Python.
 *
 * Positions of neurons are (oy, ox, f), features last. An event is (x, y, c) with a payload.
 */
#ifndef KNE_H
#define KNE_H

#include <stdint.h>

#ifdef KNSOC_CHECKED
#include <stdio.h>
#include <stdlib.h>
#define KNE_CHECK(claim)                                                            \
    do {                                                                            \
        if (!(claim)) {                                                             \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #claim);     \
            abort();                                                                \
        }                                                                           \
    } while (0)
#else
#define KNE_CHECK(claim) ((void)0)
#endif

/* What turns sums into spikes. */
enum {
    KNE_EVENT,      /* integrate-and-fire, at each event */
    KNE_PACKET,     /* integrate-and-fire, once per packet */
    KNE_STAIRCASE,  /* value = thresholds below the potential, once per packet */
    KNE_POTENTIALS, /* the potential itself, once per packet */
};
enum { KNE_NO_POOLING, KNE_MAX, KNE_SUM };
enum { KNE_DEPTH_FIRST, KNE_REPLAY, KNE_TIMING };
enum { KNE_STAR, KNE_MESH };
enum { KNE_ITEM_EVENT, KNE_ITEM_TICK, KNE_ITEM_TOKEN, KNE_ITEM_DROPPED };
enum { KNE_DONE, KNE_MORE, KNE_NEEDS_FACTORS, KNE_NO_MEMORY, KNE_OVER_BUDGET, KNE_BAD_TRACE };
/* Service times that jitter may vary, in the order in which factors are drawn. */
enum { KNE_T_DECODE, KNE_T_SYN, KNE_T_EMIT, KNE_T_LEAK, KNE_T_UPD, KNE_T_UPD_ACTIVE, KNE_TIMES };
enum {
    KNE_EVENTS_IN, KNE_PROCESSED, KNE_SYNOPS, KNE_LEAK_UPDATES, KNE_NEURON_UPDATES, KNE_NEURONS_FIRED,
    KNE_SPIKES_OUT, KNE_DECIMATED, KNE_POOL_CROPPED, KNE_BUSY_PS, KNE_WAIT_PS, KNE_HOLD_PS, KNE_STALL_PS,
    KNE_QUEUE_MAX, KNE_DROPS, KNE_BLOCKED_PS, KNE_SATURATED, KNE_COUNTERS
};
enum { KNE_PACKETS, KNE_HOPS_STAR, KNE_HOPS_X, KNE_HOPS_Y, KNE_INPUT_WAIT_PS, KNE_NOC_COUNTERS };

typedef struct {
    int32_t target;     /* a core, or -1: out of the chip */
    int32_t edge;       /* which of the target's incoming edges this is */
    int32_t pool_y, pool_x, shift;
    int32_t height, width; /* map after pooling; spikes outside of it go nowhere */
} kne_slot;

typedef struct {
    int64_t order;  /* number of the update that caused it, from 1; for packets, of the neuron visited */
    int32_t neuron; /* (oy * width + ox) * features + f */
    int32_t count;  /* spikes or payload; 0: the decimator swallowed it */
} kne_spike;

typedef struct {
    int32_t rule;
    int32_t channels, in_height, in_width;
    int32_t kernel_y, kernel_x, stride_y, stride_x, lead_y, lead_x;
    int32_t height, width;   /* of the map of sums or states */
    int32_t per_event;       /* features that one event touches at a position: all, or 1 if depthwise */
    int32_t sum_features;    /* features of the map of sums: `features`, or `channels` if depthwise */
    int32_t features;        /* features of the neurons */
    int32_t is_free;         /* joins maps only: an event costs no updates */
    int32_t keep_zeros;      /* weights of 0 count as updates */
    const int16_t *weights;  /* (c, ky, kx, per_event) */
    const int32_t *live;     /* (c, ky, kx): updates among them */
    const int16_t *pointwise;      /* (channels, features) or NULL */
    const int32_t *pointwise_live; /* (channels): updates of a non-zero sum */
    const int64_t *base;     /* sums before the first event of a packet, or NULL for 0 */
    int64_t *sums;           /* of this packet */
    int16_t *state;          /* integrate-and-fire: between threshold_low and threshold */
    int32_t *last_fired;     /* packet in which a neuron last fired, or NULL without refractoriness */
    const int16_t *bias;     /* per feature */
    int32_t threshold, threshold_low, to_zero, leaks;
    int32_t max_spikes, is_persistent, is_graded, decay, refractory, touched_only;
    const int32_t *levels;   /* (features, level_count), in order */
    int32_t level_count;
    int32_t pooling, pool_y, pool_x, pool_stride_y, pool_stride_x, pool_lead_y, pool_lead_x;
    int32_t out_height, out_width;
    int64_t *row;            /* (features): scratch of a pooled or pointwise position */
    int64_t *potentials;     /* (height, width, features): scratch, if pooled */
    int32_t decimation, decimator; /* 1: off; spikes seen modulo decimation */
    kne_spike *spikes;       /* scratch: what the last event, sweep or packet made the neurons emit */
    int32_t spike_count;
    int64_t visited;
    int32_t slots, edges, is_entry; /* edges: incoming; is_entry: takes events from outside */
    const kne_slot *slot;
    int32_t node, lanes, is_monitored;
    int32_t is_logged; /* what it sends is recorded: monitored spikes, or values for a later pass */
    int32_t drops_when_full;
    int64_t capacity, time[KNE_TIMES];
    int64_t counter[KNE_COUNTERS];
} kne_core;

typedef struct { int64_t time, root, out; int32_t core, neuron, count, serial; } kne_log_row;
typedef struct { int64_t time, root; int32_t core, x, y, c; } kne_drop_row;
typedef struct { int64_t root, number; int32_t core, source; } kne_trace_row; /* source -1: a tick */
typedef struct { int64_t depart, root; int32_t link, core; } kne_link_row;
typedef struct { int64_t start, end; int32_t core, kind; } kne_service_row;
typedef struct { int64_t root, time; int32_t core, kind; } kne_token_row;

typedef struct { char *rows; int64_t count, room, size; } kne_table;
enum { KNE_LOG, KNE_DROPPED, KNE_TRACE, KNE_LINKS, KNE_SERVICES, KNE_TOKENS, KNE_TABLES };

/* What enters the chip, in order: events, leak ticks and ends of packets. */
typedef struct {
    int64_t count;
    const int64_t *time;
    const int32_t *x, *y, *c, *payload;
    const uint8_t *kind;
    const int32_t *port; /* an event goes to the entries of its port */
} kne_roots;

struct kne_queues;

typedef struct {
    int32_t engine, is_packet, topology, cores;
    kne_core *core;           /* in topological order */
    int32_t entries;
    const kne_slot *entry; /* in model order */
    const int32_t *entry_port;
    int32_t needs_tokens, is_causal, layer_delay, is_barrier, emits_at_end;
    int32_t stalls; /* a sender waits for a place in a full queue */
    int32_t mesh_x, mesh_y, input_node, output_node;
    int64_t t_io_in, t_io_out, t_router, t_hop_x, t_hop_y, t_link, t_sync;
    int32_t records_links, records_services, records_trace;
    kne_roots roots;
    int64_t next_root, packet; /* packets that the functional engine has seen */
    const kne_trace_row *trace;
    int64_t trace_count;
    int32_t jitters, varied[KNE_TIMES]; /* number of varied times; 1 where a time is varied */
    const double *factors;
    int64_t factor_rows, factor_row;
    int64_t budget, used;     /* bytes for everything that grows */
    int64_t makespan, potentials_packet;
    int64_t *potentials_out;  /* (packets, out_height, out_width, features) of the core that reads out */
    int32_t readout_core;
    int64_t noc[KNE_NOC_COUNTERS];
    int64_t *link_free, *link_busy; /* per node and direction: east, west, south, north */
    kne_table table[KNE_TABLES];
    struct kne_queues *queues;
    int32_t status;
} kne_chip;

/* neurons.c: states and spikes, without time. Each fills core->spikes. */
int64_t kne_update(kne_core *core, int32_t x, int32_t y, int32_t c);
int64_t kne_integrate(kne_core *core, int32_t x, int32_t y, int32_t c, int32_t payload);
int64_t kne_leak(kne_core *core);
int64_t kne_fire(kne_chip *chip, int32_t index, int64_t packet);
/* Where slot `slot` sends a spike; 0 if the pooled map does not contain it. */
int kne_address(kne_core *core, const kne_slot *slot, int32_t neuron, int32_t *x, int32_t *y, int32_t *c);
/* Where an entry receives an event from outside; 0 if it does not. */
int kne_enter(const kne_chip *chip, int32_t entry, int64_t root, int32_t *x, int32_t *y, int32_t *c);

/* memory.c: tables and blocks within the chip's budget. */
void *kne_row(kne_chip *chip, int32_t table);
void *kne_grown(kne_chip *chip, void *block, int64_t count, int64_t *room, int64_t size);
void kne_drop_tables(kne_chip *chip);

/* functional.c and timing.c: work on at most `steps` items; KNE_MORE asks to be called again. */
int kne_functional(kne_chip *chip, int64_t steps);
int kne_replay(kne_chip *chip);
int kne_timing(kne_chip *chip, int64_t steps);
int kne_timing_begin(kne_chip *chip);
void kne_timing_end(kne_chip *chip);

#endif
