/* Replays a prepared trace through the process's malloc, and writes down what it answered.
 *
 *   cc -O2 -fno-builtin -pthread -o driver driver.c
 *   [LD_PRELOAD=libjemalloc.so.2] driver INPUT OUTPUT
 *
 * Which malloc that is, is LD_PRELOAD's affair. The driver itself allocates nothing: input and output are mapped files, its
 * tables are mapped and touched at the start. What a process has that has allocated nothing is taken off all readings: the
 * input says how much that is, as found by a replay of no events in which malloc is glibc's own.
 * Threads take turns in the order of the trace, so that every block is allocated and freed by its own thread.
 * memtrace/native/driving.py writes the input and reads the output.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ALLOC, FREE, REALLOC, CALLOC, OTHER, TRIM = 6 };
enum { PAGE = 4096, MARGIN_SHIFT = 8 }; /* the footprint is read anew when allocated bytes pass their last peak by 1/256 */

struct input {
    uint64_t events, slots, samples, capacity, touch, threads, stop, most_readings, heap, base_mapped, base_resident;
    /* then samples x i64, events x { i64 size, u32 slot (~0: none), u16 thread, u8 op, u8 log2 of align, 0 for none } */
};
struct event {
    int64_t size;
    uint32_t slot;
    uint16_t thread;
    uint8_t op, align;
};
struct output {
    uint64_t requests, readings, events, nanoseconds, base_mapped, base_resident;
    char library[216];
    /* then events x struct answer, then most_readings x struct reading */
};
struct answer {
    uint64_t address; /* 0: the request failed */
    uint64_t usable;
};
struct reading {
    uint64_t event, calls, mapped, resident, heap; /* after this event */
};
struct block {
    char *address;
    uint64_t usable;
};

extern void mi_collect(int) __attribute__((weak));
extern void MallocExtension_ReleaseFreeMemory(void) __attribute__((weak));
extern struct mallinfo2 mallinfo2(void) __attribute__((weak)); /* glibc 2.33 */
extern int mallctl(const char *, void *, size_t *, void *, size_t) __attribute__((weak));

static const struct input *in;
static const int64_t *samples;
static const struct event *events;
static struct output *out;
static struct answer *answers;
static struct reading *readings;
static struct block *blocks;
static uint64_t calls, sample, allocated, read_at;
static _Atomic uint32_t turn; /* the thread whose event is next */
static uint64_t next_event;
static _Atomic int stopped;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    _exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Bytes of private writable memory that is no file's, stacks left out: what the process holds from the system. */
static uint64_t mapped_bytes(void) {
    static char text[1 << 16];
    int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (file < 0) fail("/proc/self/maps");
    uint64_t total = 0;
    size_t kept = 0;
    for (ssize_t got; (got = read(file, text + kept, sizeof text - kept - 1)) > 0;) {
        char *line = text, *last = text + kept + got;
        for (char *end; (end = memchr(line, '\n', (size_t)(last - line))) != NULL; line = end + 1) {
            char *at;
            uint64_t from = strtoull(line, &at, 16), to = strtoull(at + 1, &at, 16);
            /* at: " rw-p 00000000 00:00 0     [heap]" */
            if (at[2] != 'w' || at[4] != 'p') continue;
            char *inode = memchr(at + 6, ' ', 32);
            inode = inode ? memchr(inode + 1, ' ', 16) : NULL;
            if (inode == NULL || inode[1] != '0' || (inode[2] != ' ' && inode[2] != '\n')) continue;
            if (memmem(inode, (size_t)(end - inode), "[stack", 6) != NULL) continue;
            total += to - from;
        }
        kept = (size_t)(last - line);
        memmove(text, line, kept);
    }
    close(file);
    return total;
}

/* Bytes of memory of no file's that are in RAM. */
static uint64_t resident_bytes(void) {
    static char text[4096];
    int file = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    text[got > 0 ? got : 0] = 0;
    char *found = strstr(text, "\nAnonymous:");
    return found ? strtoull(found + 11, NULL, 10) * 1024 : 0;
}

/* Bytes that glibc counts as its own: in arenas, without what it has given back of them, and in blocks mapped alone. A heap of a
 * thread's arena stays mapped after glibc has given its pages back. */
static uint64_t heap_bytes(void) {
    if (!in->heap) return 0;
    if (mallinfo2 == NULL) {
        errno = ENOSYS;
        fail("mallinfo2");
    }
    struct mallinfo2 all = mallinfo2();
    return all.arena + all.hblkhd;
}

static void read_footprint(uint64_t event) {
    if (out->readings == in->most_readings) return;
    uint64_t mapped = mapped_bytes(), resident = resident_bytes(), heap = heap_bytes();
    readings[out->readings++] = (struct reading){
        .event = event,
        .calls = calls,
        .mapped = mapped > in->base_mapped ? mapped - in->base_mapped : 0,
        .resident = resident > in->base_resident ? resident - in->base_resident : 0,
        .heap = heap,
    };
}

/* From now on no more than the capacity can be mapped. The limit counts more than mapped_bytes does: files' private pages. */
static void limit_memory(void) {
    static char text[4096];
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? 0 : read(file, text, sizeof text - 1);
    close(file);
    text[got > 0 ? got : 0] = 0;
    char *found = strstr(text, "\nVmData:");
    if (found == NULL) fail("/proc/self/status");
    struct rlimit limit = {.rlim_max = RLIM_INFINITY};
    limit.rlim_cur = strtoull(found + 8, NULL, 10) * 1024 - (mapped_bytes() - in->base_mapped) + in->capacity;
    if (setrlimit(RLIMIT_DATA, &limit) != 0) fail("RLIMIT_DATA");
}

static void touch(char *block, uint64_t size) {
    for (uint64_t at = 0; at < size; at += PAGE) ((volatile char *)block)[at] = 1;
    if (size) ((volatile char *)block)[size - 1] = 1;
}

static void give_back(void) {
    if (mi_collect) mi_collect(1);
    else if (MallocExtension_ReleaseFreeMemory) MallocExtension_ReleaseFreeMemory();
    else if (mallctl) mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* MALLCTL_ARENAS_ALL */
    else malloc_trim(0);
}

static int answer(const struct event *event, char *address) {
    uint64_t usable = address ? malloc_usable_size(address) : 0;
    answers[out->requests++] = (struct answer){(uint64_t)address, usable};
    calls++;
    if (address == NULL) return 0;
    struct block *block = &blocks[event->slot];
    allocated += usable - block->usable;
    *block = (struct block){address, usable};
    if (in->touch) touch(address, (uint64_t)event->size);
    return 1;
}

/* What a program does that needs more of realloc than malloc's own alignment: a new block, a copy, and a free of the old one. */
static char *realloc_aligned(const struct event *event, const struct block *block) {
    char *made = memalign((size_t)1 << event->align, (size_t)event->size);
    if (made == NULL) return NULL;
    memcpy(made, block->address, block->usable < (uint64_t)event->size ? block->usable : (uint64_t)event->size);
    free(block->address);
    return made;
}

/* One event; 0 if its request failed. */
static int replay(const struct event *event) {
    if (event->op == TRIM) {
        give_back();
        calls++;
        return 1;
    }
    if (event->slot == UINT32_MAX || event->op > CALLOC) return 1;
    struct block *block = &blocks[event->slot];
    if (event->op == ALLOC || event->op == CALLOC) {
        *block = (struct block){0};
        if (event->op == CALLOC) return answer(event, calloc(1, (size_t)event->size));
        return answer(event, event->align > 3 ? memalign((size_t)1 << event->align, (size_t)event->size) : malloc((size_t)event->size));
    }
    if (block->address == NULL) return 1; /* its request failed */
    if (event->op == REALLOC && event->align > 3) return answer(event, realloc_aligned(event, block));
    if (event->op == REALLOC) return answer(event, realloc(block->address, (size_t)event->size));
    free(block->address);
    allocated -= block->usable;
    block->address = NULL;
    calls++;
    return 1;
}

/* Events from this one on, up to the next of another thread; the number of that one. */
static uint64_t replay_run(uint64_t i, uint16_t thread) {
    uint64_t started = now();
    for (; i < in->events && (in->threads < 2 || events[i].thread == thread) && !stopped; i++) {
        int served = replay(&events[i]);
        if (!served && in->stop) stopped = 1;
        int sampled = sample < in->samples && (uint64_t)samples[sample] == i;
        if (sampled || !served || allocated > read_at + (read_at >> MARGIN_SHIFT)) {
            out->nanoseconds += now() - started;
            sample += (uint64_t)sampled;
            if (allocated > read_at) read_at = allocated;
            read_footprint(i);
            started = now();
        }
    }
    out->nanoseconds += now() - started;
    return i;
}

static void hand_on(uint32_t to) {
    atomic_store(&turn, to);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void *work(void *given) {
    uint32_t me = (uint32_t)(uintptr_t)given;
    for (;;) {
        for (uint32_t whose; (whose = atomic_load(&turn)) != me;) {
            if (whose == UINT32_MAX) return NULL;
            syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, whose, NULL, NULL, 0);
        }
        next_event = replay_run(next_event, (uint16_t)me);
        int over = stopped || next_event == in->events;
        hand_on(over ? UINT32_MAX : events[next_event].thread);
    }
}

static void begin(void) {
    out->base_mapped = mapped_bytes();
    out->base_resident = resident_bytes();
    if (in->capacity) limit_memory();
}

static void replay_in_threads(void) {
    uint64_t count = in->threads;
    pthread_t *threads = mmap(NULL, count * sizeof *threads, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (threads == MAP_FAILED) fail("threads");
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 16);
    turn = UINT32_MAX - 1; /* nobody's */
    for (uint64_t i = 1; i < count; i++) /* the first stream is this thread's, as it is a program's main thread that begins */
        if ((errno = pthread_create(&threads[i], &attributes, work, (void *)(uintptr_t)i)) != 0) fail("thread");
    begin();
    if (in->events) hand_on(events[0].thread);
    else hand_on(UINT32_MAX);
    work((void *)0);
    for (uint64_t i = 1; i < count; i++) pthread_join(threads[i], NULL);
    out->events = next_event;
}

static void *map(const char *path, int flags, int rights) {
    int file = open(path, flags | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) fail(path);
    void *found = mmap(NULL, (size_t)status.st_size, rights, MAP_SHARED | MAP_POPULATE, file, 0);
    if (found == MAP_FAILED) fail(path);
    close(file);
    return found;
}

/* Addresses are then the same from run to run; where that is forbidden, they are not. */
static void fix_addresses(char **argv) {
    int now_set = personality(0xffffffff);
    if (now_set == -1 || now_set & ADDR_NO_RANDOMIZE) return;
    if (personality((unsigned long)now_set | ADDR_NO_RANDOMIZE) != -1) execv("/proc/self/exe", argv);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    fix_addresses(argv);
    in = map(argv[1], O_RDONLY, PROT_READ);
    out = map(argv[2], O_RDWR, PROT_READ | PROT_WRITE);
    samples = (const int64_t *)(in + 1);
    events = (const struct event *)(samples + in->samples);
    answers = (struct answer *)(out + 1);
    readings = (struct reading *)(answers + in->events);
    blocks = mmap(NULL, (in->slots + 1) * sizeof *blocks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (blocks == MAP_FAILED) fail("blocks");
    Dl_info info;
    void *(*allocates)(size_t) = malloc;
    if (dladdr(*(void **)&allocates, &info) && info.dli_fname) strncpy(out->library, info.dli_fname, sizeof out->library - 1);
    if (in->threads > 1) {
        replay_in_threads();
    } else {
        begin();
        out->events = replay_run(0, 0);
    }
    fflush(NULL);
    _exit(0);
}
