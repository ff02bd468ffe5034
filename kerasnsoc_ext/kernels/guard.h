/* Guard bytes between buffers. A build with the address sanitizer also stops at reads from them. */
#ifndef KNSOC_GUARD_H
#define KNSOC_GUARD_H

#include <stddef.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define knsoc_forbid(start, size) ASAN_POISON_MEMORY_REGION(start, size)
#define knsoc_allow(start, size) ASAN_UNPOISON_MEMORY_REGION(start, size)
#else
#define knsoc_forbid(start, size) ((void)(start), (void)(size))
#define knsoc_allow(start, size) ((void)(start), (void)(size))
#endif

#endif
