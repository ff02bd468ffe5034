/* Running a network: a list of ops over buffers that exist already. Nothing is allocated here. */
#ifndef KNSOC_PLAN_H
#define KNSOC_PLAN_H

#include "kernels.h"

enum { KNSOC_INPUT, KNSOC_CONV, KNSOC_FULLY, KNSOC_SEPARABLE, KNSOC_CONCAT };
enum { KNSOC_FORM_AUTO, KNSOC_FORM_DENSE, KNSOC_FORM_EVENTS };
enum { KNSOC_POOL_NONE, KNSOC_POOL_MAX, KNSOC_POOL_SUM };
enum { KNSOC_EVENTS_IN, KNSOC_SYNAPTIC_OPS, KNSOC_EVENTS_OUT, KNSOC_COUNTERS };

typedef struct knsoc_op {
    int32_t kind;
    int32_t image;   /* the network's input, and it arrives as [y][x][channel] */
    int32_t wide;    /* 64-bit accumulators; the result is checked to fit 32 bits */
    int32_t pooling;
    knsoc_conv conv; /* fully connected: a 1x1 map whose channels are all inputs */
    const int8_t *pointwise_cn;
    knsoc_packed packed; /* of a kind where the row has kernels for it */
    knsoc_window pool_x, pool_y;
    const int32_t *fan_out_x, *fan_out_y; /* outputs that look at a column, at a row of the input */
    int32_t levels;               /* activation values beside 0; with 0 the values are passed on */
    const int32_t *thresholds_mn; /* [level][feature] */
    int32_t emits_potentials;     /* the output map holds int32 instead of uint8 */
    int32_t source_count;         /* 0: reads the network's input */
    const int32_t *sources;       /* ops that come earlier */
    int32_t width, height, features;
} knsoc_op;

typedef struct knsoc_plan {
    const knsoc_row *row;
    const knsoc_op *ops;
    int32_t op_count;
    /* [op]: its output for the current sample, until the last op that reads it has run: then its memory,
     * which is still in a cache, becomes that of another map */
    void **maps;
    /* [op]: the op behind it, the only one that reads its map, if the map has that op's border around
     * it; NULL elsewhere */
    const knsoc_op **framed_for;
    /* scratch, each as large as the largest op needs */
    uint8_t *image;
    void *sums;
    void *potentials;
    void *pooled;
    int32_t *narrow;
    knsoc_events events;
    /* for packed layers: the bordered input, and potentials of an event kernel */
    uint8_t *frame;
    int32_t *tile;
    /* The last ops, from `tail` on, are fully connected and may run several samples at once; their
     * maps and those of the op before hold `group` samples. */
    int32_t tail, group;
    /* for knsoc_run_batch: [op], all NULL; room for the counters of KNSOC_SHARE + 1 samples */
    void **outputs;
    int64_t *counters;
} knsoc_plan;

/* Samples that a thread takes at a time, at most. */
#define KNSOC_SHARE 64

/* Plans of a team, at most. */
#define KNSOC_TEAM 256

typedef struct knsoc_overflow {
    int64_t sample;
    int32_t op;
    int64_t index; /* in the op's output map */
    int64_t value;
} knsoc_overflow;

static inline int64_t knsoc_op_inputs(const knsoc_op *op)
{
    return (int64_t)op->conv.x.length * op->conv.y.length * op->conv.channels;
}

static inline int64_t knsoc_op_outputs(const knsoc_op *op)
{
    return (int64_t)op->width * op->height * op->features;
}

/* `team` are plans of one network: the first one runs, the others lend their scratch to threads that
 * help inside a sample. inputs: [sample][the first op's inputs]. outputs: [op], each NULL or
 * [sample][op's outputs]. counters: [sample][op][KNSOC_COUNTERS]. Returns 0, or 1 with *overflow
 * filled in at the first potential that leaves 32 bits. */
int knsoc_run(const knsoc_plan *const *team, int threads, const uint8_t *inputs, int64_t samples,
              int form, void *const *outputs, int64_t *counters, knsoc_overflow *overflow);

/* Shares samples out among threads. outputs: [sample][the last op's outputs]. totals:
 * [op][KNSOC_COUNTERS], to which is added. Returns 0, or at a potential that leaves 32 bits a number
 * of samples: among so many first ones lies the first sample that has such a potential. */
int64_t knsoc_run_batch(const knsoc_plan *const *team, int threads, const uint8_t *inputs,
                        int64_t samples, int form, void *outputs, int64_t *totals);

#endif
