/* Learning of one layer with binary weights and binary inputs. Integers only, no Python, no allocation.
 *
 * A neuron's weights are one row of bits: connection i is bit i % 64 of word i / 64. Rows have a whole
 * number of 64-byte blocks, and bits behind the last connection are 0.
 */
#ifndef KNL_H
#define KNL_H

#include <stdint.h>

#ifdef KNSOC_CHECKED
#include <stdio.h>
#include <stdlib.h>
#define KNL_CHECK(claim)                                                            \
    do {                                                                            \
        if (!(claim)) {                                                             \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #claim);     \
            abort();                                                                \
        }                                                                           \
    } while (0)
#else
#define KNL_CHECK(claim) ((void)0)
#endif

enum { KNL_ONE = 1 << 16 }; /* plasticity, decay and competition are multiples of 1 / KNL_ONE */

/* The same arithmetic for several instruction sets; all give the same integers. */
typedef struct knl_kernel {
    const char *name;
    int (*available)(void);
    /* potentials[j] = number of connections that are 1 in both */
    void (*overlap)(const uint64_t *rows_jw, int32_t neurons, int64_t words, const uint64_t *sample_w,
                    int32_t *potentials_j);
    /* Bytes of 0 and 1 into bits and back; `bytes` has 64 * words entries. */
    void (*pack)(const uint8_t *bytes, int64_t words, uint64_t *bits);
    void (*unpack)(const uint64_t *bits, int64_t words, uint8_t *bytes);
    /* One averaging step of the counters, 0 to 32767, towards 32767 where the sample has a 1 and
     * towards 0 elsewhere; keys[i] = 2 * counters[i] + weights[i] - 32768. */
    void (*average)(const uint8_t *sample_i, const uint8_t *weights_i, int64_t inputs,
                    int32_t plasticity, int16_t *counters_i, int16_t *keys_i);
    /* Number of keys that are at least `least`, and which these are; behind the last key there are
     * keys of INT16_MIN up to a multiple of 64. */
    int64_t (*count)(const int16_t *keys_i, int64_t inputs, int16_t least);
    void (*reach)(const int16_t *keys_i, int64_t words, int16_t least, uint64_t *bits);
} knl_kernel;

/* From the fastest to the plainest; NULL ends the list. */
extern const knl_kernel *const knl_kernels[];

typedef struct knl_axis {
    int32_t length, size, stride, lead, output; /* output o sees inputs o * stride - lead + tap */
} knl_axis;

typedef struct knl_layer knl_layer;
typedef struct knl_scratch knl_scratch;

/* Moves the weights of neuron j towards the sample of which it is the winner. */
typedef void (*knl_rule)(const knl_layer *layer, int32_t j, const uint64_t *sample_w,
                         knl_scratch *scratch);

struct knl_layer {
    const knl_kernel *kernel;
    knl_rule rule;
    knl_axis x, y; /* fully connected: one position that sees all inputs as channels */
    int32_t channels;
    int64_t inputs; /* x.size * y.size * channels: connections of a neuron */
    int64_t words;  /* per row */
    int32_t neurons, classes, num_weights;
    int32_t initial_plasticity, min_plasticity, decay, competition;
    int64_t ratio, ratio_of; /* the learning ratio, ratio / ratio_of */
    uint64_t seed;
    uint64_t *weights_jw;
    int16_t *counters_ji; /* NULL: the rule has none */
    int32_t *thresholds_j, *plasticities_j;
    uint32_t *steps_j;
};

struct knl_scratch {
    uint64_t *patches_pw; /* [position][word]: what each position sees */
    uint8_t *patch_i;     /* [words * 64], as bytes */
    uint8_t *row_i;       /* [words * 64], a neuron's weights as bytes */
    int16_t *keys_i;      /* [words * 64] */
    uint64_t *ties_w;     /* [words] */
    int32_t *unused_inputs, *unused_weights; /* [inputs] each */
    int32_t *best_j, *position_j;            /* [neurons] */
};

static inline int64_t knl_positions(const knl_layer *layer)
{
    return (int64_t)layer->x.output * layer->y.output;
}

void knl_majority(const knl_layer *layer, int32_t j, const uint64_t *sample_w, knl_scratch *scratch);
void knl_swap(const knl_layer *layer, int32_t j, const uint64_t *sample_w, knl_scratch *scratch);

/* Index of the lowest bit that is 1; there must be one. */
static inline int32_t knl_lowest(uint64_t word)
{
#ifdef __GNUC__
    return __builtin_ctzll(word);
#else
    int32_t bit = 0;
    for (; !(word & 1); word >>= 1)
        bit++;
    return bit;
#endif
}

/* Index of the first value above 1, or -1. */
int64_t knl_first_not_binary(const uint8_t *values, int64_t count);

/* Learns from samples in order. samples: [sample][x][y][channel], each 0 or 1. labels: [sample], or
 * NULL for unlabelled samples. potentials: [sample][position][neuron] before each sample's own step.
 * learners: [sample], the neuron that learned, or -1. */
void knl_fit(const knl_layer *layer, const uint8_t *samples, int64_t count, const int64_t *labels,
             int32_t *potentials, int32_t *learners, knl_scratch *scratch);

/* Random numbers by counting: a stream depends on its keys alone. */
uint64_t knl_stream(uint64_t k1, uint64_t k2, uint64_t k3);
uint64_t knl_below(uint64_t *state, uint64_t n);
/* Exchanges entries so that the first `count` are drawn at random. */
void knl_pick(uint64_t *state, int32_t *list, int64_t length, int64_t count);

/* The row of a neuron that has never learned; `list` has room for all inputs. */
void knl_fresh_row(int64_t inputs, int64_t words, int32_t num_weights, uint64_t seed, int64_t neuron,
                   int32_t *list, uint64_t *row_w);

#endif
