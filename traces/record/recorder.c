/* Records every call of malloc and its relatives in one program, for traces/record/decode.py.
 *
 *   cc -O2 -shared -fPIC -o recorder.so recorder.c
 *   LD_PRELOAD=./recorder.so MEMTRACE_RECORD=out.bin [MEMTRACE_RECORD_PROGRAM=cc1plus] program...
 *
 * It defines the allocation functions and passes each call on to glibc's own, so it needs no dlsym and allocates nothing. Calls
 * are written, in the order in which the allocator served them, into a file that is mapped into memory: nothing is lost when
 * the program ends without running destructors. One lock is held over a call and its record; without it another thread could
 * be handed an address before the free that gave it back is written down.
 *
 * With MEMTRACE_RECORD_PROGRAM only the process of that name is recorded, so that `g++` records the compiler and not its driver.
 * A forked child is not recorded: the state below reads as zeros there (MADV_WIPEONFORK).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum call { MALLOC, FREE, REALLOC, CALLOC, ALIGNED };

/* One call. The file is a header of the same length, whose first word is the number of records, and then the records. */
struct record {
    uint64_t time;   /* ns since the recording began */
    uint64_t block;  /* the pointer that was returned, or freed */
    uint64_t old;    /* realloc: the pointer that was given */
    uint64_t size;   /* requested bytes */
    uint32_t align;  /* aligned: the alignment; else 0 */
    uint16_t thread; /* 0, 1, 2, ... in the order of their first call */
    uint16_t call;
};

/* What belongs to this process alone: a page that a forked child finds zeroed. */
struct state {
    atomic_flag lock;
    int recording;
    uint64_t begin;
    uint16_t threads;
    struct record *records; /* [0] is the header */
};

static const size_t capacity = 1 << 24; /* records; the file is sparse */
static _Atomic(struct state *) state;
static __thread uint16_t thread_number __attribute__((tls_model("initial-exec"))); /* from 1; 0: not numbered yet */

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int is_wanted(void) {
    const char *program = getenv("MEMTRACE_RECORD_PROGRAM");
    return program == NULL || strcmp(program, program_invocation_short_name) == 0;
}

static struct record *map_records(const char *path) {
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) return NULL;
    void *records = MAP_FAILED;
    if (ftruncate(file, (off_t)(capacity * sizeof(struct record))) == 0)
        records = mmap(NULL, capacity * sizeof(struct record), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return records == MAP_FAILED ? NULL : records;
}

/* At the first call of the program, while there is one thread; NULL where the environment is not there yet. */
static struct state *begin(void) {
    if (environ == NULL) return NULL;
    int saved = errno;
    const char *path = getenv("MEMTRACE_RECORD");
    struct state *made = mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED || madvise(made, sizeof *made, MADV_WIPEONFORK) != 0) abort();
    if (path != NULL && is_wanted()) made->records = map_records(path);
    made->recording = made->records != NULL;
    made->begin = now();
    atomic_store(&state, made);
    errno = saved;
    return made;
}

/* The state, locked, if this process is being recorded. */
static struct state *enter(void) {
    struct state *here = atomic_load(&state);
    if (here == NULL) here = begin();
    if (here == NULL || !here->recording) return NULL;
    while (atomic_flag_test_and_set_explicit(&here->lock, memory_order_acquire)) sched_yield();
    return here;
}

static void leave(struct state *here) {
    if (here != NULL) atomic_flag_clear_explicit(&here->lock, memory_order_release);
}

static void note(struct state *here, enum call call, const void *block, const void *old, size_t size, size_t align) {
    if (here == NULL) return;
    uint64_t *count = (uint64_t *)here->records;
    if (*count + 1 >= capacity) abort(); /* a recording that is cut short would not be a valid trace */
    if (thread_number == 0) thread_number = ++here->threads;
    here->records[++*count] = (struct record){
        .time = now() - here->begin,
        .block = (uint64_t)block,
        .old = (uint64_t)old,
        .size = size,
        .align = (uint32_t)align,
        .thread = (uint16_t)(thread_number - 1),
        .call = (uint16_t)call,
    };
}

void *malloc(size_t size) {
    struct state *here = enter();
    void *block = __libc_malloc(size);
    if (block != NULL) note(here, MALLOC, block, NULL, size, 0);
    leave(here);
    return block;
}

void free(void *block) {
    struct state *here = enter();
    if (block != NULL) note(here, FREE, block, NULL, 0, 0);
    __libc_free(block);
    leave(here);
}

void *calloc(size_t count, size_t size) {
    struct state *here = enter();
    void *block = __libc_calloc(count, size);
    if (block != NULL) note(here, CALLOC, block, NULL, count * size, 0);
    leave(here);
    return block;
}

void *realloc(void *old, size_t size) {
    struct state *here = enter();
    void *block = __libc_realloc(old, size);
    if (block != NULL) note(here, REALLOC, block, old, size, 0);
    else if (old != NULL && size == 0) note(here, FREE, old, NULL, 0, 0); /* glibc: realloc to nothing frees */
    leave(here);
    return block;
}

void *reallocarray(void *old, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, bytes);
}

static void *aligned(size_t align, size_t size) {
    struct state *here = enter();
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
