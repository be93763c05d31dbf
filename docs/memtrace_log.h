/* Prints memtrace's CSV, one line for each call, from a device: wrap malloc, free and realloc, and keep what the serial line prints.
 *
 * MEMTRACE_PUT(text) sends a text, puts() without a newline for instance. It must not allocate. Call memtrace_log_start() once,
 * and the three functions in place of the heap's. Calls of several threads have to take turns, as those of the heap do.
 */
#ifndef MEMTRACE_LOG_H
#define MEMTRACE_LOG_H
#include <stddef.h>
#include <stdint.h>

static char *memtrace_number(char *end, uintptr_t value)
{
    do *--end = (char)('0' + value % 10); while (value /= 10);
    return end;
}

static void memtrace_line(const char *op, uintptr_t id, size_t size, int sized)
{
    char text[2 * 21 + 3], *at = text + sizeof text;
    *--at = 0;
    *--at = '\n';
    if (sized) at = memtrace_number(at, size);
    *--at = ',';
    at = memtrace_number(at, id);
    MEMTRACE_PUT(op);
    MEMTRACE_PUT(at);
}

static void memtrace_log_start(void) { MEMTRACE_PUT("op,id,size\n"); }

static void *memtrace_log_malloc(void *block, size_t size) /* block: what the heap's malloc(size) returned */
{
    if (block) memtrace_line("alloc,", (uintptr_t)block, size, 1);
    return block;
}

static void memtrace_log_free(void *block) { if (block) memtrace_line("free,", (uintptr_t)block, 0, 0); } /* before free(block) */

static void *memtrace_log_realloc(void *old, void *block, size_t size) /* block: what the heap's realloc(old, size) returned */
{
    if (!block) return block; /* refused, and the old block stays; or size is 0, which is a free: log that instead */
    if (old == block) memtrace_line("realloc,", (uintptr_t)old, size, 1);
    else memtrace_log_malloc(block, size), memtrace_log_free(old);
    return block;
}
#endif
