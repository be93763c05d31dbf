"""Replays a trace's threads over a number of arenas in the model of docs/contention.md: conflicts and the time waited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrace.contention import kernel
from memtrace.errors import InputError

if TYPE_CHECKING:
    from memtrace.trace import Trace

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
    return any(bool(np.any(e.stream[e.op == kernel.FREE])) for e in trace.batches() if e.stream.size > 1)


def contend(trace: Trace, arenas: int, timing: Timing, cache: int = 0, batch_rows: int = 1 << 18) -> Contention:
    """Return the conflicts when the trace's threads do every alloc, free and realloc over ``arenas`` locks.

    ``cache``: blocks per size class that each thread keeps. Where no free names a thread, blocks are freed by the thread
    that allocated them. Memory follows the live set, whatever ``batch_rows`` is.
    """
    known = threads_of(trace)
    owners_free = not frees_name_threads(trace)
    nodes, heap, counts = new_nodes(FIRST_NODES), np.zeros(FIRST_NODES, np.int64), np.zeros(kernel.COUNTS, np.int64)
    threads = np.tile(np.array([-1, 0], np.int64), (known.size, 1))
    slots = np.tile(np.array([-1, 0], np.int64), (trace.facts.max_live + 1, 1))
    blocks = np.zeros((trace.facts.max_live + 1, 3), np.int64)
    locks, lock_counts = np.zeros(arenas, np.int64), np.zeros((arenas, 3), np.int64)
    filled = np.zeros((known.size, kernel.CLASSES), np.int64)
    caches = np.zeros((known.size, kernel.CLASSES, max(cache, 1)), np.int64)
    hold = np.array([timing.alloc, timing.free, timing.realloc], np.int64)
    home, first = known % arenas, 0
    for e in trace.batches(batch_rows):
        numbers = np.arange(first, first + e.op.size, dtype=np.int64)
        time = trace.times(numbers) if "time" in trace.columns else numbers * timing.gap
        if first == 0:
            locks[:] = threads[:, 1] = time[0] if time.size else 0
        thread = np.searchsorted(known, np.broadcast_to(e.stream, e.op.size))
        start, why = 0, kernel.FULL
        while why == kernel.FULL:
            start, why = kernel.run(
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
            if why == kernel.FULL:
                nodes, heap = more_nodes(nodes, counts), np.concatenate((heap, np.zeros_like(heap)))
        first += e.op.size
    kernel.settle(NEVER, heap, nodes, counts, threads, slots, locks, lock_counts)
    return counted(arenas, counts, lock_counts)


def counted(arenas: int, counts: Ints, lock_counts: Ints) -> Contention:
    """Return the kernel's counts as a `Contention`. ``counts`` and ``lock_counts`` are those of the kernel."""
    return Contention(
        arenas=arenas,
        operations=int(counts[kernel.OPERATIONS]),
        lock_operations=int(counts[kernel.LOCKED]),
        conflicts=int(counts[kernel.CONFLICTS]),
        waited_ns=int(counts[kernel.WAITED]),
        longest_wait_ns=int(counts[kernel.LONGEST]),
        cached_operations=int(counts[kernel.CACHED]),
        cached_bytes_peak=int(counts[kernel.CACHE_PEAK]),
        foreign_frees=int(counts[kernel.FOREIGN]),
        end_ns=int(counts[kernel.END]),
        locks=tuple((row[0], row[1], row[2]) for row in lock_counts.tolist()),
    )


def new_nodes(count: int) -> Ints:
    """Return ``count`` unused nodes of operations, each linked to the next."""
    nodes = np.zeros((count, 9), np.int64)
    nodes[:, kernel.NEXT_OF_THREAD] = np.arange(1, count + 1)
    return nodes


def more_nodes(nodes: Ints, counts: Ints) -> Ints:
    """Return twice as many nodes, none of which was unused; the new ones are the list of unused nodes."""
    count = nodes.shape[0]
    more = new_nodes(count)
    more[:, kernel.NEXT_OF_THREAD] += count
    counts[kernel.SPARE] = count
    return np.concatenate((nodes, more))
