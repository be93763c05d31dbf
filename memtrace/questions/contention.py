"""The contention of threads over the locks of arenas, and what the arenas cost in memory.

`contend` counts the conflicts with one number of arenas in a discrete-event simulation (`lock_simulation`). `compare` sets them,
for several numbers, against the peak of reserved memory, which a replay through policy `arenas` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import InputError
from memtrace.questions import lock_simulation as simulation
from memtrace.questions.lock_simulation import FREE, Batch, Costs, Queue

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Trace

Ints = NDArray[np.int64]

NEVER = np.int64(1 << 62)  # nanoseconds: later than any operation


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


@dataclass(frozen=True)
class Row:
    """The results for one number of arenas. ``blow_up`` is peak reserved bytes over those of one arena (Berger et al. 2000)."""

    contention: Contention
    peak_reserved_bytes: int
    blow_up: float


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
    costs = Costs(
        home=known % arenas,
        hold=np.array([timing.alloc, timing.free, timing.realloc], np.int64),
        cached=timing.cached,
        room=cache,
        owners_free=not frees_name_threads(trace),
    )
    slots = trace.facts.max_live + 1
    queue, first = simulation.new_queue(known.size, slots, arenas), 0
    caches = simulation.new_caches(known.size, slots, cache)
    for e in trace.batches(batch_rows):
        numbers = np.arange(first, first + e.op.size, dtype=np.int64)
        time = trace.times(numbers) if "time" in trace.columns else numbers * timing.gap
        if first == 0:
            queue.locks[:] = queue.threads[:, simulation.DONE] = time[0] if time.size else 0
        thread = np.searchsorted(known, np.broadcast_to(e.stream, e.op.size))
        batch = Batch(op=e.op, block=e.block, size=e.size, thread=thread, time=time)
        start, why = 0, simulation.FULL
        while why == simulation.FULL:
            start, why = simulation.run(batch, costs, queue, caches, start)
            if why == simulation.FULL:
                queue = simulation.with_more_nodes(queue)
        first += e.op.size
    simulation.run_until(NEVER, queue)
    return result_of(arenas, queue)


def result_of(arenas: int, queue: Queue) -> Contention:
    """Return the counts of a queue, whose operations are all done, as a `Contention`."""
    counts = queue.counts
    return Contention(
        arenas=arenas,
        operations=int(counts[simulation.OPERATIONS]),
        lock_operations=int(counts[simulation.LOCKED]),
        conflicts=int(counts[simulation.CONFLICTS]),
        waited_ns=int(counts[simulation.WAITED]),
        longest_wait_ns=int(counts[simulation.LONGEST]),
        cached_operations=int(counts[simulation.CACHED]),
        cached_bytes_peak=int(counts[simulation.CACHE_PEAK]),
        foreign_frees=int(counts[simulation.FOREIGN]),
        end_ns=int(counts[simulation.END]),
        locks=tuple((row[0], row[1], row[2]) for row in queue.lock_counts.tolist()),
    )


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
