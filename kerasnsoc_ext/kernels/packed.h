/* Layers prepared for vector units: weights packed at load, inputs read with their border around
 * them, activations made before a potential ever leaves its register.
 *
 * A packed layer sees its input as columns of cells. For maps, columns run along x and cells along
 * y; for images, which arrive as [y][x][channel], it is the other way round. Either way a window
 * covers, in each of its columns, one contiguous run of bytes.
 */
#ifndef KNSOC_PACKED_H
#define KNSOC_PACKED_H

#include "knsoc.h"

/* Kernels may read, and write into scratch, one widest vector and a bit behind the end. */
#define KNSOC_SLACK 128

/* Event weights of this many neurons lie side by side. */
#define KNSOC_EVENT_BLOCK 64

/* Output positions whose potentials an event kernel keeps in scratch at a time. */
#define KNSOC_EVENT_TILE 64

/* How the pointwise stage of a separable layer takes the depthwise sums; UNFUSED: as a whole map of
 * 16-bit factors, between two kernels. */
enum { KNSOC_SUMS_UNFUSED, KNSOC_SUMS_WORDS, KNSOC_SUMS_BYTES, KNSOC_SUMS_SPLIT };

/* Groups of four channels whose high bytes are listed at a time. */
#define KNSOC_STRIP_FOURS 128

/* Output positions of a separable layer whose sums are kept at a time, if a column has fewer. */
#define KNSOC_STRIP 144

enum { KNSOC_PACKED_NOT, KNSOC_PACKED_CONV, KNSOC_PACKED_FULLY, KNSOC_PACKED_SEPARABLE };

/* How potentials become what the layer sends on. */
enum { KNSOC_FIRE_NOT, KNSOC_FIRE_LINE, KNSOC_FIRE_TABLE };

typedef struct knsoc_fire {
    int32_t form;
    int32_t levels;
    /* LINE: clip(trunc(potential * slope + offset), 0, levels), proved equal to the table */
    const float *slope_n, *offset_n;
    /* TABLE: [level][padded neuron]; neurons that pad have the largest threshold */
    const int32_t *thresholds_mn;
} knsoc_fire;

/* Inputs of 0 or 1 and small weights: sums that fit bytes, where no potential leaves 16 bits. */
typedef struct knsoc_bits {
    int32_t rows_fit;     /* events whose rows add up in a byte; 0: it is not such a layer */
    const int8_t *tables; /* [event block][window column][four inputs][16 sums, 1 gap][64]; NULL: none */
    int32_t piece;        /* tables that one pass over output positions uses */
    int32_t chunk;        /* tables of a piece whose sums fit a byte together */
} knsoc_bits;

/* A fully connected layer's weights for events, two in a byte. */
typedef struct knsoc_nibbles {
    const uint8_t *rows; /* [input][neurons by two], see nibbles_template.h; NULL: none */
    int32_t pitch;       /* bytes of a row */
    int32_t bias;        /* what was added to each weight */
    int32_t group;       /* inputs of 0 or 1: rows whose sum fits 4 bits; 0: larger inputs */
    int32_t groups;      /* such sums whose sum fits 8 bits without a sign */
    int32_t flush;       /* larger inputs: events whose sum fits 16 bits */
} knsoc_nibbles;

typedef struct knsoc_packed {
    int32_t kind;
    /* input */
    int32_t columns, cells, channels;
    const int32_t *fan_out_columns;      /* [column]: windows that look at it */
    const uint8_t *fan_out_bytes;        /* [cell][channel]; NULL: 1 everywhere */
    int32_t framed;                      /* the kernels read a copy with a border */
    int32_t lead_columns, lead_cells;    /* border in front */
    int32_t framed_columns, framed_cells;
    int32_t fill;                        /* value of the border */
    int32_t largest;                     /* no input is larger, nor is the border */
    /* windows */
    int32_t size_columns, size_cells, stride_columns, stride_cells;
    int32_t output_columns, output_cells;
    int64_t column_step, cell_step;      /* between output positions, in positions */
    /* weights */
    int32_t neurons, padded_neurons;     /* padded to whole blocks of either form */
    const int8_t *dense;                 /* [block][segment][quad][neuron in block][4] */
    int32_t segments, quads;
    int32_t joined;                      /* windows are copied, and are one segment each */
    const int8_t *rows;                  /* [event block][column][cell][channel][64]; fully
                                            connected: [input][padded neuron]; NULL: none */
    int32_t narrow;                      /* no potential leaves 16 bits */
    int32_t flush;                       /* events whose sum fits 16 bits; 1: not even two do */
    int64_t events_up_to;                /* automatic form: events for this many and fewer */
    int64_t group_events_up_to;          /* the same per sample of several that run together */
    int32_t single_dots;                 /* no sum of two products saturates 16 bits */
    int32_t dots_in_s16;                 /* dots of four whose sum fits 16 bits, 0: not even one */
    knsoc_bits bits;
    knsoc_nibbles nibbles;
    /* separable: 16-bit weights of the depthwise stage */
    const int16_t *depthwise;            /* [tap][period] */
    int32_t period, flat;                /* flat: a column of outputs is one run of values */
    /* the same of one that runs by strips: bytes, as the kernels interleave four columns */
    int32_t sums_form;
    int32_t window_pairs;                /* 3 by 3: two cells are interleaved instead */
    const int8_t *window_weights;        /* [columns / 4][cell][vector of period][4][interleaved], or
                                            [vector of period][pair of cells][2][interleaved] */
    const int16_t *base;                 /* [vector of period][2][interleaved] */
    const int32_t *start_n;              /* the bases' share of a potential */
    /* output */
    knsoc_fire fire;
    int64_t *sent; /* strips add to it how many activations are not zero; NULL: not wanted */
} knsoc_packed;

/* A window's place among all windows, in the order of the input. */
typedef struct knsoc_cursor {
    int32_t column, cell;
} knsoc_cursor;

static inline void knsoc_advance(knsoc_cursor *cursor, const knsoc_packed *p)
{
    if (++cursor->cell == p->output_cells) {
        cursor->cell = 0;
        cursor->column++;
    }
}

static inline int64_t knsoc_output_position(knsoc_cursor cursor, const knsoc_packed *p)
{
    return cursor.column * p->column_step + cursor.cell * p->cell_step;
}

static inline int64_t knsoc_framed_bytes(const knsoc_packed *p)
{
    return (int64_t)p->framed_columns * p->framed_cells * p->channels;
}

/* Where the first value behind the border in front is. */
static inline int64_t knsoc_frame_lead(const knsoc_packed *p)
{
    return ((int64_t)p->lead_columns * p->framed_cells + p->lead_cells) * p->channels;
}

static inline int64_t knsoc_strip_round(int64_t count)
{
    return (count + 63) & ~(int64_t)63;
}

static inline int32_t knsoc_strip_columns(const knsoc_packed *p)
{
    const int32_t columns = (KNSOC_STRIP + p->output_cells - 1) / p->output_cells;
    return columns < p->output_columns ? columns : p->output_columns;
}

static inline int64_t knsoc_strip_positions(const knsoc_packed *p)
{
    return (int64_t)knsoc_strip_columns(p) * p->output_cells;
}

/* Bytes of one plane of sums, and of as many more as a kernel takes together; words take both. */
static inline int64_t knsoc_strip_plane(const knsoc_packed *p)
{
    return knsoc_strip_round((knsoc_strip_positions(p) + 15) * p->channels + KNSOC_SLACK);
}

/* Parts of a separable layer's channels whose high bytes are listed at a time. */
static inline int32_t knsoc_strip_parts(const knsoc_packed *p)
{
    return (p->channels + 4 * KNSOC_STRIP_FOURS - 1) / (4 * KNSOC_STRIP_FOURS);
}

/* Positions of a strip in whole groups, however many of them a kernel takes together. */
static inline int64_t knsoc_strip_listed(const knsoc_packed *p)
{
    return knsoc_strip_round(knsoc_strip_positions(p) + 15);
}

static inline int64_t knsoc_strip_bytes(const knsoc_packed *p)
{
    const int64_t positions = knsoc_strip_listed(p);
    const int64_t parts = p->sums_form == KNSOC_SUMS_SPLIT ? knsoc_strip_parts(p) : 0;
    return 2 * knsoc_strip_plane(p) + 4 * positions * (3 + parts) +
           8 * positions * parts * (KNSOC_STRIP_FOURS + 16);
}

/* All kernels that read inputs or sums may read KNSOC_SLACK bytes behind them; those that write sums
 * may write as far. Maps of activations and potentials are written exactly. */
typedef struct knsoc_vector_kernels {
    int32_t vector_bytes;
    int32_t dense_block; /* neurons that lie side by side in `dense` */
    /* Up to which share of non-zero inputs the event form is usually the quicker one. */
    double conv_crossover, fully_crossover;
    /* Events of one column, and their fan-out; copies the column where `copy` is given. */
    int64_t (*take_column)(const uint8_t *values, int64_t size, const uint8_t *fan_out,
                           uint8_t *copy, int64_t *weighted);
    /* Potentials [position][neuron], or activations where the layer's fire has a form. */
    void (*dense)(const knsoc_packed *p, const uint8_t *inputs, void *outputs);
    /* `dense` for layers with tables, NULL if a row has none of these; `places` has room for a place per four channels of a cell. */
    void (*look_up)(const knsoc_packed *p, const uint8_t *inputs, uint16_t *places,
                    int32_t *scratch, void *outputs);
    /* An event's index is (cell * channels + channel) << shift; it has slack behind its end. */
    void (*list)(const uint8_t *values, int32_t columns, int32_t cells, int32_t channels,
                 int32_t shift, knsoc_events *events);
    void (*events)(const knsoc_packed *p, const knsoc_events *events, int32_t *scratch,
                   void *outputs);
    /* `events` for fully connected layers with nibbles; NULL where `look_up` is. */
    void (*nibbles)(const knsoc_packed *p, const knsoc_events *events, int32_t *scratch,
                    void *outputs);
    /* Sums [position][channel]; returns how many are not zero. */
    int64_t (*depthwise)(const knsoc_packed *p, const uint8_t *inputs, int16_t *sums);
    void (*pointwise)(const knsoc_packed *p, const int16_t *sums, void *outputs);
    /* Both stages by strips; NULL if a row has only the two above. */
    int64_t (*separable)(const knsoc_packed *p, const uint8_t *inputs, void *scratch,
                         void *outputs);
    void (*fire)(const knsoc_packed *p, const int32_t *potentials, int64_t positions,
                 uint8_t *activations);
    void (*pool_max)(const knsoc_window *x, const knsoc_window *y, int32_t neurons,
                     const uint8_t *activations, uint8_t *pooled);
    void (*pool_sum)(const knsoc_window *x, const knsoc_window *y, int32_t neurons,
                     const int32_t *potentials, int32_t *pooled);
    int64_t (*count)(const uint8_t *values, int64_t size);
} knsoc_vector_kernels;

#endif
