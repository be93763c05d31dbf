"""Compiled kernel of the contention model: a discrete-event simulation of locks, fed with operations in the trace's order.

An operation arrives at its time, but not before its thread's last operation is done, nor before the block's last one is.
Locks are given in the order of arrival, ties in that of the trace. An operation whose predecessors are not done is kept as
a node until they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from memtrace.errors import InputError
from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Trace

ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)
# columns of nodes, one row per operation: event, thread, lock (-1: none), nanoseconds it holds the lock or the thread, earliest
# arrival, number of predecessors not done yet, next node of its thread and of its block (-1: none), slot
EVENT, THREAD, LOCK, HOLD, ARRIVAL, PENDING, NEXT_OF_THREAD, NEXT_OF_BLOCK, SLOT = range(9)
# places in counts: events of the batches before; nodes in the heap; first of the list of unused nodes; nodes in use; operations;
# of them with a lock; conflicts; nanoseconds waited in all and at most; frees from another arena; operations served by caches;
# bytes in caches now and at their peak; when the last operation is done
READ, HEAPED, SPARE, IN_USE, OPERATIONS, LOCKED, CONFLICTS, WAITED, LONGEST, FOREIGN, CACHED, CACHE_BYTES, CACHE_PEAK, END = (
    range(14)
)
COUNTS = 14
TAIL, DONE = range(2)  # of a thread and of a slot: node of its last operation, if not done (-1: none); when its last one was done
ARENA, SIZE, OWNER = range(3)  # of a slot: the block's arena, its bytes, the thread that allocated it
DONE_ALL, FULL = 0, 1  # why the kernel returned
CLASSES, CLASS_BYTES = 64, 16  # of thread caches: 64 size classes of 16 bytes each, up to 1024 bytes


@njit(cache=True, nogil=True)
def push(heap: Any, nodes: Any, counts: Any, node: Any) -> None:
    """Insert a node into the binary heap of operations that can arrive, ordered by ``earlier``; ``counts[HEAPED]`` goes up."""
    at = counts[HEAPED]
    counts[HEAPED] += 1
    while at > 0 and earlier(nodes, node, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = node


@njit(cache=True, nogil=True)
def pop(heap: Any, nodes: Any, counts: Any) -> Any:
    """Remove the operation that arrives first from the binary heap, and return its node; ``counts[HEAPED]`` goes down."""
    first = heap[0]
    counts[HEAPED] -= 1
    n, last, at = counts[HEAPED], heap[counts[HEAPED]], np.int64(0)
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and earlier(nodes, heap[child + 1], heap[child]):
            child += 1
        if not earlier(nodes, heap[child], last):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = last
    return first


@njit(cache=True, nogil=True)
def earlier(nodes: Any, a: Any, b: Any) -> Any:
    """Return whether the operation of node a arrives before that of node b; at the same time the earlier event is first."""
    if nodes[a, ARRIVAL] != nodes[b, ARRIVAL]:
        return nodes[a, ARRIVAL] < nodes[b, ARRIVAL]
    return nodes[a, EVENT] < nodes[b, EVENT]


@njit(cache=True, nogil=True)
def run_until(until, heap, nodes, counts, threads, slots, locks, lock_counts):  # type: ignore[no-untyped-def]
    """Carry out every operation that arrives before time ``until``, in order of arrival, and count its wait for the lock.

    A done operation's node is unused again. An operation whose last predecessor it was enters the heap, and arrives no
    earlier than that operation was done.
    """
    while counts[HEAPED] > 0 and nodes[heap[0], ARRIVAL] < until:
        node = pop(heap, nodes, counts)
        arrival, lock = nodes[node, ARRIVAL], nodes[node, LOCK]
        start = arrival
        if lock >= 0:
            counts[LOCKED] += 1
            lock_counts[lock, 0] += 1
            start = max(arrival, locks[lock])
            if start > arrival:
                counts[CONFLICTS] += 1
                counts[WAITED] += start - arrival
                counts[LONGEST] = max(counts[LONGEST], start - arrival)
                lock_counts[lock, 1] += 1
                lock_counts[lock, 2] += start - arrival
            locks[lock] = start + nodes[node, HOLD]
        done = start + nodes[node, HOLD]
        counts[END] = max(counts[END], done)
        thread, slot = nodes[node, THREAD], nodes[node, SLOT]
        threads[thread, DONE] = done
        if threads[thread, TAIL] == node:
            threads[thread, TAIL] = -1
        if slots[slot, TAIL] == node:
            slots[slot, TAIL], slots[slot, DONE] = -1, done
        for link in (NEXT_OF_THREAD, NEXT_OF_BLOCK):
            after = nodes[node, link]
            if after >= 0:
                nodes[after, ARRIVAL] = max(nodes[after, ARRIVAL], done)
                nodes[after, PENDING] -= 1
                if nodes[after, PENDING] == 0:
                    push(heap, nodes, counts, after)
        nodes[node, NEXT_OF_THREAD] = counts[SPARE]
        counts[SPARE] = node
        counts[IN_USE] -= 1


@njit(cache=True, nogil=True)
def enqueue(event, time, thread, slot, lock, hold, new, heap, nodes, counts, threads, slots):  # type: ignore[no-untyped-def]
    """Add an operation behind the last one of its thread and, unless its block is ``new``, the last one of the block.

    It gets an unused node, and enters the heap if nothing precedes it. ``lock`` -1: it takes no lock; ``hold`` is in
    nanoseconds.
    """
    node = counts[SPARE]
    counts[SPARE] = nodes[node, NEXT_OF_THREAD]
    counts[IN_USE] += 1
    nodes[node, EVENT], nodes[node, THREAD], nodes[node, LOCK], nodes[node, HOLD] = event, thread, lock, hold
    nodes[node, SLOT], nodes[node, NEXT_OF_THREAD], nodes[node, NEXT_OF_BLOCK] = slot, -1, -1
    arrival, pending = max(time, threads[thread, DONE]), 0
    if threads[thread, TAIL] >= 0:
        nodes[threads[thread, TAIL], NEXT_OF_THREAD] = node
        pending += 1
    if not new:
        if slots[slot, TAIL] >= 0:
            nodes[slots[slot, TAIL], NEXT_OF_BLOCK] = node
            pending += 1
        else:
            arrival = max(arrival, slots[slot, DONE])
    threads[thread, TAIL] = slots[slot, TAIL] = node
    nodes[node, ARRIVAL], nodes[node, PENDING] = arrival, pending
    if pending == 0:
        push(heap, nodes, counts, node)


@njit(cache=True, nogil=True)
def run(  # type: ignore[no-untyped-def]
    op,
    block,
    size,
    thread,
    time,
    home,
    hold,
    cached,
    room,
    owners_free,
    heap,
    nodes,
    counts,
    threads,
    slots,
    blocks,
    locks,
    lock_counts,
    filled,
    caches,
    start,
):
    """Simulate one batch from event ``start`` on; return how far it came, and FULL if there are too few nodes, else DONE_ALL.

    ``home`` is the arena of each thread, ``hold`` nanoseconds by op. A thread's cache holds ``room`` blocks of each size
    class; an operation that it serves takes ``cached`` nanoseconds and no lock. ``owners_free``: a block is freed by the
    thread that allocated it. ``filled`` is [thread, class], the blocks in a cache; ``caches`` is [thread, class, i], their
    arenas; ``locks`` is [arena], when the lock is free again; ``lock_counts`` is [arena, (operations, conflicts,
    nanoseconds waited)]. All are updated in place.
    """
    for i in range(start, op.size):
        kind, slot = op[i], np.int64(block[i])
        if kind > REALLOC or slot < 0:
            continue
        if counts[IN_USE] + 1 > nodes.shape[0]:
            run_until(time[i], heap, nodes, counts, threads, slots, locks, lock_counts)
            if counts[IN_USE] + 1 > nodes.shape[0]:
                return i, FULL
        run_until(time[i], heap, nodes, counts, threads, slots, locks, lock_counts)
        who = np.int64(thread[i])
        if kind == FREE and owners_free:
            who = blocks[slot, OWNER]
        takes = hold[kind]
        if kind == ALLOC:
            blocks[slot, ARENA], blocks[slot, SIZE], blocks[slot, OWNER] = home[who], size[i], who
        lock = blocks[slot, ARENA]
        if kind != ALLOC and home[blocks[slot, OWNER]] != home[who]:
            counts[FOREIGN] += kind == FREE
        of = (max(blocks[slot, SIZE], 1) - 1) // CLASS_BYTES
        if room > 0 and of < CLASSES and kind != REALLOC:
            if kind == ALLOC and filled[who, of] > 0:
                filled[who, of] -= 1
                blocks[slot, ARENA] = caches[who, of, filled[who, of]]
                counts[CACHE_BYTES] -= (of + 1) * CLASS_BYTES
                lock, takes = np.int64(-1), cached
            elif kind == FREE and filled[who, of] < room:
                caches[who, of, filled[who, of]] = lock
                filled[who, of] += 1
                counts[CACHE_BYTES] += (of + 1) * CLASS_BYTES
                counts[CACHE_PEAK] = max(counts[CACHE_PEAK], counts[CACHE_BYTES])
                lock, takes = np.int64(-1), cached
        if kind == REALLOC:
            blocks[slot, SIZE] = size[i]
        counts[CACHED] += lock < 0
        counts[OPERATIONS] += 1
        enqueue(counts[READ] + i, time[i], who, slot, lock, takes, kind == ALLOC, heap, nodes, counts, threads, slots)
    counts[READ] += op.size
    return op.size, DONE_ALL


Ints = NDArray[np.int64]
NEVER = np.int64(1 << 62)  # nanoseconds: later than any operation
FIRST_NODES = 1024  # operations in progress for which there is room at first


@dataclass(frozen=True)
class Timing:
    """Times of the model, in nanoseconds.

    An operation holds its arena's lock for ``alloc``, ``free`` or ``realloc``. An operation that a thread's cache serves
    takes ``cached`` and no lock. ``gap``: between events, where the trace has no times.
    """

    alloc: int = 100
    free: int = 50
    realloc: int = 150
    cached: int = 10
    gap: int = 100


@dataclass(frozen=True)
class Contention:
    """The counts of the model with one number of arenas; times are modelled nanoseconds."""

    arenas: int
    operations: int
    lock_operations: int  # operations that took a lock
    conflicts: int  # operations that waited for a lock
    waited_ns: int  # by all operations together
    longest_wait_ns: int
    cached_operations: int  # served by a thread's cache
    cached_bytes_peak: int
    foreign_frees: int  # by a thread of another arena than the block's owner
    end_ns: int  # when the last operation was done
    locks: tuple[tuple[int, int, int], ...]  # for each arena: operations, conflicts, nanoseconds waited


def threads_of(trace: Trace) -> Ints:
    """Return the streams of the trace in ascending order, each of which is a thread.

    Raise InputError if there are fewer than two, since nothing could conflict then.
    """
    found = np.zeros(0, np.int32)
    for events in trace.batches():
        found = np.union1d(found, events.stream)
    if found.size < 2:
        what = "has no column stream" if "stream" not in trace.columns else "has one thread only"
        raise InputError(f"{trace.name} {what}, so nothing can conflict; try: a trace whose column stream says who calls")
    return found.astype(np.int64)


def frees_name_threads(trace: Trace) -> bool:
    """Return whether a free has another stream than 0; if not, the trace does not say which thread frees."""
    return any(bool(np.any(e.stream[e.op == FREE])) for e in trace.batches() if e.stream.size > 1)


def contend(trace: Trace, arenas: int, timing: Timing, cache: int = 0, batch_rows: int = 1 << 18) -> Contention:
    """Return the conflicts when the trace's threads do every alloc, free and realloc over ``arenas`` locks.

    ``cache``: blocks per size class that each thread keeps. Where no free names a thread, blocks are freed by the thread
    that allocated them. Memory follows the live set, whatever ``batch_rows`` is.
    """
    known = threads_of(trace)
    owners_free = not frees_name_threads(trace)
    nodes, heap, counts = new_nodes(FIRST_NODES), np.zeros(FIRST_NODES, np.int64), np.zeros(COUNTS, np.int64)
    threads = np.tile(np.array([-1, 0], np.int64), (known.size, 1))
    slots = np.tile(np.array([-1, 0], np.int64), (trace.facts.max_live + 1, 1))
    blocks = np.zeros((trace.facts.max_live + 1, 3), np.int64)
    locks, lock_counts = np.zeros(arenas, np.int64), np.zeros((arenas, 3), np.int64)
    filled = np.zeros((known.size, CLASSES), np.int64)
    caches = np.zeros((known.size, CLASSES, max(cache, 1)), np.int64)
    hold = np.array([timing.alloc, timing.free, timing.realloc], np.int64)
    home, first = known % arenas, 0
    for e in trace.batches(batch_rows):
        numbers = np.arange(first, first + e.op.size, dtype=np.int64)
        time = trace.times(numbers) if "time" in trace.columns else numbers * timing.gap
        if first == 0:
            locks[:] = threads[:, 1] = time[0] if time.size else 0
        thread = np.searchsorted(known, np.broadcast_to(e.stream, e.op.size))
        start, why = 0, FULL
        while why == FULL:
            start, why = run(
                *(
                    e.op,
                    e.block,
                    e.size,
                    thread,
                    time,
                    home,
                    hold,
                    timing.cached,
                    cache,
                    owners_free,
                    heap,
                    nodes,
                    counts,
                ),
                *(threads, slots, blocks, locks, lock_counts, filled, caches, start),
            )
            if why == FULL:
                nodes, heap = more_nodes(nodes, counts), np.concatenate((heap, np.zeros_like(heap)))
        first += e.op.size
    run_until(NEVER, heap, nodes, counts, threads, slots, locks, lock_counts)
    return result_of(arenas, counts, lock_counts)


def result_of(arenas: int, counts: Ints, lock_counts: Ints) -> Contention:
    """Return the kernel's counts as a `Contention`. ``counts`` and ``lock_counts`` are those of the kernel."""
    return Contention(
        arenas=arenas,
        operations=int(counts[OPERATIONS]),
        lock_operations=int(counts[LOCKED]),
        conflicts=int(counts[CONFLICTS]),
        waited_ns=int(counts[WAITED]),
        longest_wait_ns=int(counts[LONGEST]),
        cached_operations=int(counts[CACHED]),
        cached_bytes_peak=int(counts[CACHE_PEAK]),
        foreign_frees=int(counts[FOREIGN]),
        end_ns=int(counts[END]),
        locks=tuple((row[0], row[1], row[2]) for row in lock_counts.tolist()),
    )


def new_nodes(count: int) -> Ints:
    """Return ``count`` unused nodes of operations, each linked to the next."""
    nodes = np.zeros((count, 9), np.int64)
    nodes[:, NEXT_OF_THREAD] = np.arange(1, count + 1)
    return nodes


def more_nodes(nodes: Ints, counts: Ints) -> Ints:
    """Return twice as many nodes, none of which was unused; the new ones are the list of unused nodes."""
    count = nodes.shape[0]
    more = new_nodes(count)
    more[:, NEXT_OF_THREAD] += count
    counts[SPARE] = count
    return np.concatenate((nodes, more))


@dataclass(frozen=True)
class Row:
    """The results for one number of arenas. ``blow_up`` is peak reserved bytes over those of one arena (Berger et al. 2000)."""

    contention: Contention
    peak_reserved_bytes: int
    blow_up: float


def policies_for(inner: str, counts: Sequence[int], page: int) -> list[Policy]:
    """Return the policies `arenas` over one inner policy, one for each count of arenas, with pages of ``page`` bytes.

    Raise UsageError for an inner policy that arenas cannot be made of.
    """
    from memtrace.engine.registry import parse_policy

    return [parse_policy(f"arenas:policy=[{inner}],count={count},page={page}") for count in counts]


def compare(
    trace: Trace,
    counts: Sequence[int],
    inner: str = "best-fit",
    timing: Timing | None = None,
    cache: int = 0,
    page: int = 65536,
    jobs: int = 1,
) -> list[Row]:
    """Return a row for each count of arenas, the same for any ``jobs`` (processes).

    ``inner`` is the policy in each arena, ``cache`` the blocks per size class that a thread keeps, ``page`` the bytes of an
    arena's page. The placement follows the trace's order, and knows of no thread caches.
    """
    from memtrace.results.running import Cell, replay_cells
    from memtrace.results.settings import Settings

    modelled = [contend(trace, count, timing or Timing(), cache) for count in counts]
    wanted = [*counts] if 1 in counts else [1, *counts]
    settings = Settings(samples=2)
    cells = [Cell(trace, policy, settings) for policy in policies_for(inner, wanted, page)]
    parts = replay_cells(cells, min(jobs, len(cells)), lambda cell, events: None)
    peaks = {count: int(part.summary["peak_reserved_bytes"]) for count, part in zip(wanted, parts, strict=True)}
    return [Row(one, peaks[one.arenas], peaks[one.arenas] / peaks[1] if peaks[1] else 1.0) for one in modelled]
