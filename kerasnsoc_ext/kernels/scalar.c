/* Plain C kernels: the judge of all other rows, and what a CPU without its own row runs. */
#include "kernels.h"

#include <string.h>

#define ACC int32_t
#define NAME(op) knsoc_##op##_s32__scalar
#define HELPER(op) op##_s32
#include "scalar_template.h"
#undef ACC
#undef NAME
#undef HELPER

#define ACC int64_t
#define NAME(op) knsoc_##op##_s64__scalar
#define HELPER(op) op##_s64
#include "scalar_template.h"
#undef ACC
#undef NAME
#undef HELPER

/* A few levels are counted, which the compiler turns into vector compares; many are searched. */
#define COUNTED_LEVELS 15

void knsoc_fire__scalar(const int32_t *thresholds_mn, int32_t levels, int64_t positions,
                        int32_t neurons, const int32_t *potentials, uint8_t *activations)
{
    for (int64_t p = 0; p < positions; p++, potentials += neurons, activations += neurons) {
        if (levels <= COUNTED_LEVELS) {
            memset(activations, 0, (size_t)neurons);
            for (int32_t m = 0; m < levels; m++) {
                const int32_t *thresholds = thresholds_mn + (int64_t)m * neurons;
                for (int32_t n = 0; n < neurons; n++)
                    activations[n] = (uint8_t)(activations[n] + (potentials[n] > thresholds[n]));
            }
            continue;
        }
        for (int32_t n = 0; n < neurons; n++) {
            int32_t low = 0, high = levels; /* below `low` all are passed, from `high` on none is */
            while (low < high) {
                const int32_t middle = (low + high) / 2;
                if (potentials[n] > thresholds_mn[(int64_t)middle * neurons + n])
                    low = middle + 1;
                else
                    high = middle;
            }
            activations[n] = (uint8_t)low;
        }
    }
}

static int always(void)
{
    return 1;
}

#define KERNEL_SET(width)                                                 \
    {                                                                     \
        .conv_dense = knsoc_conv_dense_##width##__scalar,                 \
        .conv_events = knsoc_conv_events_##width##__scalar,               \
        .fully_dense = knsoc_fully_dense_##width##__scalar,               \
        .fully_events = knsoc_fully_events_##width##__scalar,             \
        .depthwise_dense = knsoc_depthwise_dense_##width##__scalar,       \
        .depthwise_events = knsoc_depthwise_events_##width##__scalar,     \
        .pointwise_dense = knsoc_pointwise_dense_##width##__scalar,       \
        .pointwise_events = knsoc_pointwise_events_##width##__scalar,     \
        .pool_max = knsoc_pool_max_##width##__scalar,                     \
        .pool_sum = knsoc_pool_sum_##width##__scalar,                     \
    }

const knsoc_kernels_s32 knsoc_plain_s32 = KERNEL_SET(s32);
const knsoc_kernels_s64 knsoc_plain_s64 = KERNEL_SET(s64);

const knsoc_row knsoc_row__scalar = {.name = "scalar", .available = always, KNSOC_PLAIN_KERNELS};
