/* The table of kernels: one row per instruction set, all rows with the same signatures and results.
 *
 * s32 and s64 name the accumulators. A plan uses s32 where it has proved that no partial sum, in any
 * order of additions, leaves 32 bits, and s64 elsewhere. `dense` visits every input, `events` only
 * those that are not zero. All kernels overwrite their result.
 */
#ifndef KNSOC_KERNELS_H
#define KNSOC_KERNELS_H

#include "packed.h"

#define KNSOC_KERNEL_SET(name, acc_t)                                                               \
    typedef struct name {                                                                           \
        void (*conv_dense)(const knsoc_conv *conv, const uint8_t *inputs, acc_t *potentials);       \
        void (*conv_events)(const knsoc_conv *conv, const knsoc_events *events, acc_t *potentials); \
        /* weights_en: [input][neuron] */                                                           \
        void (*fully_dense)(const int8_t *weights_en, int64_t inputs, int32_t neurons,              \
                            const uint8_t *values, acc_t *potentials);                              \
        void (*fully_events)(const int8_t *weights_en, int64_t inputs, int32_t neurons,             \
                             const knsoc_events *events, acc_t *potentials);                        \
        /* sums: [x][y][channel] */                                                                 \
        void (*depthwise_dense)(const knsoc_conv *conv, const uint8_t *inputs, acc_t *sums);        \
        void (*depthwise_events)(const knsoc_conv *conv, const knsoc_events *events, acc_t *sums);  \
        /* weights_cn: [channel][neuron] */                                                         \
        void (*pointwise_dense)(const int8_t *weights_cn, int64_t positions, int32_t channels,      \
                                int32_t neurons, const acc_t *sums, acc_t *potentials);             \
        void (*pointwise_events)(const int8_t *weights_cn, int64_t positions, int32_t channels,     \
                                 int32_t neurons, const acc_t *sums, acc_t *potentials);            \
        /* cells of a window outside the map are skipped */                                         \
        void (*pool_max)(const knsoc_window *x, const knsoc_window *y, int32_t neurons,             \
                         const acc_t *potentials, acc_t *pooled);                                   \
        void (*pool_sum)(const knsoc_window *x, const knsoc_window *y, int32_t neurons,             \
                         const acc_t *potentials, acc_t *pooled);                                   \
    } name

KNSOC_KERNEL_SET(knsoc_kernels_s32, int32_t);
KNSOC_KERNEL_SET(knsoc_kernels_s64, int64_t);

typedef struct knsoc_row {
    const char *name;
    int (*available)(void);
    /* Up to which density of non-zero inputs the event form is the quicker one, in 16ths and
     * measured per row; beyond it, the dense form saves the list. A depthwise kernel does so
     * little per input that its list pays only for few events. */
    int32_t events_below_16ths, depthwise_events_below_16ths;
    const knsoc_kernels_s32 *s32;
    const knsoc_kernels_s64 *s64;
    /* activations[n] = number of levels m with potentials[n] > thresholds[m][neuron] */
    void (*fire)(const int32_t *thresholds_mn, int32_t levels, int64_t positions, int32_t neurons,
                 const int32_t *potentials, uint8_t *activations);
    const knsoc_vector_kernels *vector; /* for packed layers; NULL if the row has none */
    const char *(*missing)(void); /* why it is not available; NULL: the CPU lacks its instructions */
} knsoc_row;

/* What a row runs where a layer cannot be packed. */
extern const knsoc_kernels_s32 knsoc_plain_s32;
extern const knsoc_kernels_s64 knsoc_plain_s64;
void knsoc_fire__scalar(const int32_t *thresholds_mn, int32_t levels, int64_t positions,
                        int32_t neurons, const int32_t *potentials, uint8_t *activations);

#define KNSOC_PLAIN_KERNELS                                                                   \
    .events_below_16ths = 13, .depthwise_events_below_16ths = 4, .s32 = &knsoc_plain_s32,     \
    .s64 = &knsoc_plain_s64, .fire = knsoc_fire__scalar

extern const knsoc_row knsoc_row__scalar;
#if defined(__x86_64__) && defined(__GNUC__)
extern const knsoc_row knsoc_row__avx2, knsoc_row__avx512vnni;
#endif

/* Rows from the fastest to the plainest; NULL ends the list. */
extern const knsoc_row *const knsoc_rows[];

#endif
