/* Lets the k-th allocation of chosen modules fail; for LD_PRELOAD, see nomem.py.
 *
 * Who asks is told by the return address, so that the interpreter, NumPy and the C library get all
 * they ask for. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void __libc_free(void *block);

enum { RANGES = 64, BLOCKS = 1 << 14 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { uintptr_t low, high; } watched[RANGES];
static int ranges;
static long until, asked;
static void *blocks[BLOCKS]; /* what the watched modules have taken and nobody has given back */
static long alive;
static long overflows;

static int is_watched(const void *caller)
{
    const uintptr_t at = (uintptr_t)caller;
    for (int i = 0; i < ranges; i++)
        if (at >= watched[i].low && at < watched[i].high)
            return 1;
    return 0;
}

/* Whether this allocation fails. */
static int fails(void)
{
    pthread_mutex_lock(&lock);
    asked++;
    const int now = until > 0 && --until == 0;
    pthread_mutex_unlock(&lock);
    if (now)
        errno = ENOMEM;
    return now;
}

static void *taken(void *block)
{
    if (!block)
        return block;
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < BLOCKS && blocks[i])
        i++;
    if (i < BLOCKS) {
        blocks[i] = block;
        alive++;
    } else {
        overflows++;
    }
    pthread_mutex_unlock(&lock);
    return block;
}

static void given_back(void *block)
{
    if (!block || !alive)
        return;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i] == block) {
            blocks[i] = NULL;
            alive--;
            break;
        }
    pthread_mutex_unlock(&lock);
}

void *malloc(size_t size)
{
    if (!ranges || !is_watched(__builtin_return_address(0)))
        return __libc_malloc(size);
    return fails() ? NULL : taken(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    if (!ranges || !is_watched(__builtin_return_address(0)))
        return __libc_calloc(count, size);
    return fails() ? NULL : taken(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    if (!ranges || !is_watched(__builtin_return_address(0)))
        return __libc_realloc(block, size);
    if (fails())
        return NULL;
    given_back(block);
    return taken(__libc_realloc(block, size));
}

void free(void *block)
{
    given_back(block);
    __libc_free(block);
}

int nomem_watch(uintptr_t low, uintptr_t high)
{
    if (ranges == RANGES)
        return 0;
    watched[ranges].low = low;
    watched[ranges].high = high;
    ranges++;
    return 1;
}

/* The k-th allocation from now on fails; none if k is 0. */
void nomem_fail(long k)
{
    pthread_mutex_lock(&lock);
    until = k;
    asked = 0;
    pthread_mutex_unlock(&lock);
}

long nomem_asked(void) { return asked; }
long nomem_alive(void) { return alive; }
long nomem_overflows(void) { return overflows; }
