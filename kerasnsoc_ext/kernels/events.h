/* Finding and counting events; the same for every kernel row. */
#ifndef KNSOC_EVENTS_H
#define KNSOC_EVENTS_H

#include "knsoc.h"

int64_t knsoc_u8_count(const uint8_t *values, int64_t size);
int knsoc_u8_largest(const uint8_t *values, int64_t size);
int64_t knsoc_s32_count(const int32_t *values, int64_t size);
int64_t knsoc_s64_count(const int64_t *values, int64_t size);

/* Number of windows that look at each of the window->length inputs. */
void knsoc_fan_out(const knsoc_window *window, int32_t *fan_out);

/* Events of a map, and the (event, output position) pairs they make: the sum over events of
 * fan_out_x[x] * fan_out_y[y]. Returns the number of events. */
int64_t knsoc_u8_count_pairs(const uint8_t *values, int32_t width, int32_t height, int32_t channels,
                             const int32_t *fan_out_x, const int32_t *fan_out_y, int64_t *pairs);

/* `events` needs room for positions + 1 starts and positions * channels + 1 events. */
void knsoc_u8_list(const uint8_t *values, int64_t positions, int32_t channels, knsoc_events *events);

#endif
