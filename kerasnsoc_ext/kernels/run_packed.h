/* Runs one packed layer on one sample. */
#ifndef KNSOC_RUN_PACKED_H
#define KNSOC_RUN_PACKED_H

#include "plan.h"

void knsoc_run_packed(const knsoc_plan *plan, const knsoc_op *op, const uint8_t *inputs, int form,
                      void *map, int64_t *counters);

#endif
