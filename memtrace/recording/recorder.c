/* Records every call of malloc and its relatives in a program and the processes it starts, for memtrace's format `calls`.
 *
 *   cc -O2 -shared -fPIC -o recorder.so recorder.c
 *   MEMTRACE_CALLS=FOLDER LD_PRELOAD=./recorder.so program...
 *
 * It defines the allocation functions and passes each call on to glibc's own, so it needs no dlsym and allocates nothing.
 * Each process writes FOLDER/PID-N.calls (N counts what one process executes): a header, and the calls in the order in which
 * the allocator served them. The file is mapped, a window at a time: nothing is lost when the program ends without running
 * destructors, and it may grow as large as the disk. Where the disk is full, the recording ends and the program goes on: space
 * is reserved before it is mapped, since a write to a mapped page that the disk has no room for would kill the program. One lock is held over a call and its record; without it another thread
 * could be handed an address before the free that gave it back is written down.
 *
 * A forked child finds `mine` zeroed (MADV_WIPEONFORK) and begins a file of its own, which says how many of its parent's calls
 * came before it: what was allocated by then is live in the child too.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);
extern struct mallinfo2 mallinfo2(void) __attribute__((weak)); /* glibc 2.33 */

enum call { MALLOC, FREE, REALLOC, CALLOC, ALIGNED };

/* One call, little-endian as the machine is; 40 bytes. */
struct record {
    uint64_t time;   /* ns since the process began to record */
    uint64_t block;  /* the pointer that was returned, or freed */
    uint64_t old;    /* realloc: the pointer that was given */
    uint64_t size;   /* requested bytes */
    uint32_t thread; /* 0, 1, 2, ... in the order of their first call */
    uint8_t call;
    uint8_t align; /* aligned: log2 of the alignment; else 0 */
    uint16_t unused;
};

struct header {
    char magic[16];
    uint64_t count;      /* records that follow */
    uint64_t inherited;  /* of the parent's records: those before the fork */
    uint64_t heap_peak;  /* bytes glibc held from the system, at most, in the looks at it; 0: not known */
    uint64_t heap_count; /* records before the look that found it */
    uint32_t pid, parent, number, parent_number;
    char program[52];
    uint32_t cut; /* why the recording ended before the program: an errno; 0: it did not */
};
_Static_assert(sizeof(struct record) == 40 && sizeof(struct header) == 120, "memtrace/formats/calls.py reads these");

/* Records in a window; calls between looks at the heap. It is looked at too when what is allocated passes its peak by 1/256. */
enum { WINDOW = 1 << 14, LOOK = 1 << 12, MARGIN_SHIFT = 8 };

/* A page of this process alone. */
struct mine {
    atomic_flag lock;
    int recording;
};

static _Atomic(struct mine *) mine;
/* A forked child inherits these as they were. */
static struct header *header;
static struct record *window;
static uint64_t count, first, begun, allocated, looked_at;
static uint32_t threads, number;
static int file = -1;
static __thread uint32_t thread_number __attribute__((tls_model("initial-exec"))); /* from 1; 0: not numbered yet */

/* Of glibc's blocks, by the word before them: size, and in bit 1 whether it was mapped alone. A program that is linked to
 * another allocator would find that one's malloc_usable_size, so it is defined here too. */
static size_t usable(void *block) {
    size_t head = ((const size_t *)block)[-1];
    return (head & ~(size_t)7) - (head & 2 ? 2 : 1) * sizeof(size_t);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* End the recording of this process: what is written so far is a valid trace, and one with a gap would not be. */
static void give_up(int error) {
    static const char said[] = "memtrace: the recording of this process ends here, its program goes on: ";
    const char *why = strerrordesc_np(error);
    if (write(2, said, sizeof said - 1) < 0 || write(2, why, strlen(why)) < 0 || write(2, "\n", 1) < 0) {}
    header->cut = (uint32_t)error;
}

/* Map the window that begins with this record; return 0 where that fails. The header has a page of its own. */
static int map_window(uint64_t from) {
    const size_t bytes = WINDOW * sizeof(struct record), page = 4096;
    off_t at = (off_t)(page + from * sizeof(struct record));
    if (window != NULL) munmap(window, bytes);
    window = NULL;
    int error = posix_fallocate(file, at, (off_t)bytes);
    if (error == 0) {
        void *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, at);
        if (made == MAP_FAILED) error = errno;
        else window = made;
    }
    if (error != 0) give_up(error);
    first = from;
    return error == 0;
}

/* PID-N.calls, the first N that is free: a process that executes another program keeps its number. */
static int open_file(const char *folder) {
    char path[4096];
    for (number = 0; number < 1000; number++) {
        snprintf(path, sizeof path, "%s/%d-%u.calls", folder, (int)getpid(), number);
        file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (file >= 0) return 1;
        if (errno != EEXIST) return 0;
    }
    return 0;
}

static int start(const char *folder) {
    uint32_t parent = header != NULL ? header->pid : 0, parent_number = number;
    uint64_t inherited = header != NULL ? count : 0;
    if (!open_file(folder)) return 0;
    if (posix_fallocate(file, 0, 4096) != 0) return 0;
    struct header *made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (made == MAP_FAILED) return 0;
    *made = (struct header){.inherited = inherited, .pid = (uint32_t)getpid(), .parent = parent, .number = number, .parent_number = parent_number};
    memcpy(made->magic, "memtrace.calls/1", 16);
    strncpy(made->program, program_invocation_short_name, sizeof made->program - 1);
    header = made;
    count = 0;
    if (parent == 0) begun = now();
    window = NULL; /* a forked child's is its parent's */
    return map_window(0);
}

/* At the first call, while there is one thread; NULL where the environment is not there yet. */
static struct mine *begin(void) {
    if (environ == NULL) return NULL;
    int saved = errno;
    struct mine *here = atomic_load(&mine);
    if (here == NULL) {
        here = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (here == MAP_FAILED || madvise(here, 4096, MADV_WIPEONFORK) != 0) abort();
    }
    const char *folder = getenv("MEMTRACE_CALLS");
    here->recording = folder != NULL && start(folder) ? 1 : -1;
    atomic_store(&mine, here);
    errno = saved;
    return here;
}

/* What is mine, locked, if this process is being recorded. */
static struct mine *enter(void) {
    struct mine *here = atomic_load(&mine);
    if (here == NULL || here->recording == 0) here = begin();
    if (here == NULL || here->recording < 0) return NULL;
    while (atomic_flag_test_and_set_explicit(&here->lock, memory_order_acquire)) sched_yield();
    if (here->recording > 0) return here;
    atomic_flag_clear_explicit(&here->lock, memory_order_release); /* it ended while this thread waited */
    return NULL;
}

static void leave(struct mine *here) {
    if (here != NULL) atomic_flag_clear_explicit(&here->lock, memory_order_release);
}

static void look(void) {
    if (mallinfo2 == NULL) return;
    struct mallinfo2 all = mallinfo2();
    if (all.arena + all.hblkhd > header->heap_peak) {
        header->heap_peak = all.arena + all.hblkhd;
        header->heap_count = count;
    }
}

static void note(struct mine *here, enum call call, const void *block, const void *old, size_t size, size_t align) {
    if (here == NULL) return;
    if (count - first == WINDOW && !map_window(count)) {
        here->recording = -1;
        return;
    }
    if (thread_number == 0) thread_number = ++threads;
    window[count - first] = (struct record){
        .time = now() - begun,
        .block = (uint64_t)block,
        .old = (uint64_t)old,
        .size = size,
        .thread = thread_number - 1,
        .call = (uint8_t)call,
        .align = align > 1 ? (uint8_t)(63 - __builtin_clzl(align)) : 0,
    };
    header->count = ++count;
    if (call != FREE) allocated += usable((void *)block);
    if (allocated > looked_at + (looked_at >> MARGIN_SHIFT)) {
        looked_at = allocated;
        look();
    } else if (count % LOOK == 0) look();
}

/* Before a block is freed or resized. */
static void forget(struct mine *here, void *block) {
    if (here != NULL && block != NULL) allocated -= usable(block);
}

void *malloc(size_t size) {
    struct mine *here = enter();
    void *block = __libc_malloc(size);
    if (block != NULL) note(here, MALLOC, block, NULL, size, 0);
    leave(here);
    return block;
}

void free(void *block) {
    if (block == NULL) return;
    struct mine *here = enter();
    forget(here, block);
    note(here, FREE, block, NULL, 0, 0);
    __libc_free(block);
    leave(here);
}

void *calloc(size_t members, size_t size) {
    struct mine *here = enter();
    void *block = __libc_calloc(members, size);
    if (block != NULL) note(here, CALLOC, block, NULL, members * size, 0);
    leave(here);
    return block;
}

void *realloc(void *old, size_t size) {
    struct mine *here = enter();
    forget(here, old);
    void *block = __libc_realloc(old, size);
    if (block != NULL) note(here, REALLOC, block, old, size, 0);
    else if (old != NULL && size == 0) note(here, FREE, old, NULL, 0, 0); /* glibc: realloc to nothing frees */
    else if (here != NULL && old != NULL) allocated += usable(old);
    leave(here);
    return block;
}

size_t malloc_usable_size(void *block) { return block == NULL ? 0 : usable(block); }

void *reallocarray(void *old, size_t members, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(members, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, bytes);
}

static void *aligned(size_t align, size_t size) {
    struct mine *here = enter();
    void *block = __libc_memalign(align, size);
    if (block != NULL) note(here, ALIGNED, block, NULL, size, align);
    leave(here);
    return block;
}

void *memalign(size_t align, size_t size) { return aligned(align, size); }
void *aligned_alloc(size_t align, size_t size) { return aligned(align, size); }
void *valloc(size_t size) { return aligned((size_t)sysconf(_SC_PAGESIZE), size); }

void *pvalloc(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return aligned(page, (size + page - 1) / page * page);
}

int posix_memalign(void **result, size_t align, size_t size) {
    if (align % sizeof(void *) != 0 || align == 0 || (align & (align - 1)) != 0) return EINVAL;
    int saved = errno;
    void *block = aligned(align, size);
    errno = saved;
    if (block == NULL) return ENOMEM;
    *result = block;
    return 0;
}
