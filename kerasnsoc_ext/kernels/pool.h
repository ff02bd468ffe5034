/* Threads that help a call: they spin for a few microseconds after their work and then sleep. */
#ifndef KNSOC_POOL_H
#define KNSOC_POOL_H

#include <stdint.h>

typedef void (*knsoc_work)(void *job, int slot);

/* Adds, and returns what was there before. */
static inline int64_t knsoc_fetch_add(int64_t *number, int64_t summand)
{
#ifdef __GNUC__
    return __atomic_fetch_add(number, summand, __ATOMIC_RELAXED);
#else
    *number += summand; /* no helpers there */
    return *number - summand;
#endif
}

/* Runs work(job, 0) here and, while that lasts, work(job, 1) to work(job, threads - 1) on helpers
 * that are free; returns when all that began have ended. A helper that wakes up too late, or is
 * another call's, does not come: the work must be shared out by who asks for more. */
void knsoc_pool_run(int threads, knsoc_work work, void *job);

#endif
