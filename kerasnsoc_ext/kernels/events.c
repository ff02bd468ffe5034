#include "events.h"

#define COUNT(name, type)                                     \
    int64_t name(const type *values, int64_t size)            \
    {                                                         \
        int64_t count = 0;                                    \
        for (int64_t i = 0; i < size; i++)                    \
            count += values[i] != 0;                          \
        return count;                                         \
    }

COUNT(knsoc_s32_count, int32_t)
COUNT(knsoc_s64_count, int64_t)

int64_t knsoc_u8_count(const uint8_t *values, int64_t size)
{
    int64_t count = 0;
    /* Blocks whose count fits 16 bits let the compiler add bytes in narrow lanes. */
    while (size > 0) {
        const int64_t block = size < 4096 ? size : 4096;
        uint16_t found = 0;
        for (int64_t i = 0; i < block; i++)
            found = (uint16_t)(found + (values[i] != 0));
        count += found;
        values += block;
        size -= block;
    }
    return count;
}

int knsoc_u8_largest(const uint8_t *values, int64_t size)
{
    uint8_t largest = 0;
    for (int64_t i = 0; i < size; i++)
        largest = values[i] > largest ? values[i] : largest;
    return largest;
}

void knsoc_fan_out(const knsoc_window *window, int32_t *fan_out)
{
    for (int32_t i = 0; i < window->length; i++)
        fan_out[i] = 0;
    for (int32_t o = 0; o < window->output; o++) {
        const knsoc_taps taps = knsoc_taps_inside(window, o);
        for (int32_t tap = taps.begin; tap < taps.end; tap++)
            fan_out[taps.origin + tap]++;
    }
}

int64_t knsoc_u8_count_pairs(const uint8_t *values, int32_t width, int32_t height, int32_t channels,
                             const int32_t *fan_out_x, const int32_t *fan_out_y, int64_t *pairs)
{
    int64_t count = 0;
    *pairs = 0;
    for (int32_t x = 0; x < width; x++) {
        int64_t column_pairs = 0;
        for (int32_t y = 0; y < height; y++, values += channels) {
            const int64_t here = knsoc_u8_count(values, channels);
            count += here;
            column_pairs += here * fan_out_y[y];
        }
        *pairs += column_pairs * fan_out_x[x];
    }
    return count;
}

void knsoc_u8_list(const uint8_t *values, int64_t positions, int32_t channels, knsoc_events *events)
{
    uint32_t count = 0, index = 0;
    for (int64_t position = 0; position < positions; position++) {
        events->first[position] = count;
        for (int32_t c = 0; c < channels; c++, index++) {
            /* Written always, kept only if it is an event: no branch to mispredict. */
            events->index[count] = index;
            events->value[count] = values[index];
            count += values[index] != 0;
        }
    }
    events->first[positions] = count;
    events->count = count;
}
