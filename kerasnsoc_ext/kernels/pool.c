#ifndef _WIN32
#define _GNU_SOURCE
#endif
#include "pool.h"

#if defined(__GNUC__) && !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>

#define MOST_HELPERS 256
#define SPIN_NS 5000

/* All fields are guarded by the lock; `open` and `active` are also peeked at while spinning. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t called, done;
    int helpers, watched, busy;
    int open;   /* slots that a helper may still take */
    int active; /* helpers at work */
    int slot;   /* the next one to be taken */
    knsoc_work work;
    void *job;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .called = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

/* A child has none of its parent's threads, and whatever they held. */
static void begin_in_child(void)
{
    static const pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    pool.lock = lock;
    pool.called = pool.done = cond;
    pool.helpers = pool.busy = pool.open = pool.active = 0;
}

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Waits a little for a number to become zero, or something else. */
static void spin(const int *number, int until_zero)
{
    const int64_t end = now_ns() + SPIN_NS;
    while ((__atomic_load_n(number, __ATOMIC_ACQUIRE) == 0) != until_zero && now_ns() < end)
        for (int i = 0; i < 16; i++)
            relax();
}

static void *help(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        if (pool.open == 0) {
            pthread_mutex_unlock(&pool.lock);
            spin(&pool.open, 0);
            pthread_mutex_lock(&pool.lock);
        }
        while (pool.open == 0)
            pthread_cond_wait(&pool.called, &pool.lock);
        __atomic_store_n(&pool.open, pool.open - 1, __ATOMIC_RELEASE);
        __atomic_store_n(&pool.active, pool.active + 1, __ATOMIC_RELEASE);
        const int slot = pool.slot++;
        const knsoc_work work = pool.work;
        void *job = pool.job;
        pthread_mutex_unlock(&pool.lock);
        work(job, slot);
        pthread_mutex_lock(&pool.lock);
        __atomic_store_n(&pool.active, pool.active - 1, __ATOMIC_RELEASE);
        if (pool.active == 0)
            pthread_cond_signal(&pool.done);
    }
    return 0;
}

/* One more helper; it leaves signals to the threads that the program knows of. */
static int hire(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (!pool.watched) {
        if (pthread_atfork(0, 0, begin_in_child))
            return 0;
        pool.watched = 1;
    }
    if (pthread_attr_init(&attributes))
        return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&thread, &attributes, help, 0);
    pthread_sigmask(SIG_SETMASK, &before, 0);
    pthread_attr_destroy(&attributes);
    return !failed;
}

void knsoc_pool_run(int threads, knsoc_work work, void *job)
{
    int wanted = threads - 1 < MOST_HELPERS ? threads - 1 : MOST_HELPERS;
    if (wanted > 0) {
        pthread_mutex_lock(&pool.lock);
        if (pool.busy) {
            wanted = 0;
        } else {
            while (pool.helpers < wanted && hire())
                pool.helpers++;
            if (wanted > pool.helpers)
                wanted = pool.helpers;
            pool.busy = wanted > 0;
            pool.work = work;
            pool.job = job;
            pool.slot = 1;
            __atomic_store_n(&pool.open, wanted, __ATOMIC_RELEASE);
            for (int i = 0; i < wanted; i++)
                pthread_cond_signal(&pool.called);
        }
        pthread_mutex_unlock(&pool.lock);
    }
    work(job, 0);
    if (wanted <= 0)
        return;
    pthread_mutex_lock(&pool.lock);
    __atomic_store_n(&pool.open, 0, __ATOMIC_RELEASE);
    if (pool.active) {
        pthread_mutex_unlock(&pool.lock);
        spin(&pool.active, 1);
        pthread_mutex_lock(&pool.lock);
        while (pool.active)
            pthread_cond_wait(&pool.done, &pool.lock);
    }
    pool.busy = 0;
    pthread_mutex_unlock(&pool.lock);
}

#else
void knsoc_pool_run(int threads, knsoc_work work, void *job)
{
    (void)threads;
    work(job, 0);
}
#endif
