"""Calls of a recorded program (alloc, free, realloc of pointers) -> events of numbered blocks, compiled once for all.

A pointer is given out again and again, and a realloc may change it; a block's number stays. The table of live
pointers is that of `memtrace.trace.kernel`: memory follows the live set. Calls that do not fit together are settled
here, in one way for all formats, and counted, so that a reader can say what it assumed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.formats._compiling import compiled
from memtrace.trace.live_ids import find, take_out
from memtrace.trace.model import Int64s
from memtrace.trace.raw import MISSING, UNREADABLE

ALLOC, FREE, REALLOC = 0, 1, 2

# Kinds of calls.
MALLOCS, FREES, REALLOCS, HALF_REALLOC, THREAD_ENDS, BAD_LINE = range(6)

# Places in `Log.totals`: the state, then what was assumed how often.
NEXT_BLOCK, LIVE, CLOCK, THREADS, TIMED = range(5)
FAILED, REUSED, UNKNOWN_FREES, UNKNOWN_REALLOCS, HALF_REALLOCS, CLOCK_BACK, ODD_ALIGNS = range(5, 12)
TOTALS = 16

DONE, FULL, GROW = range(3)
SPARE_ROWS = 3  # a call makes at most this many events


class Calls(NamedTuple):
    """Calls as a parser finds them; 0 is the null pointer, MISSING says nothing."""

    kind: NDArray[np.uint8]
    pointer: Int64s  # returned, or freed
    old: Int64s  # the pointer that realloc was given; for MALLOCS the alignment
    size: Int64s  # of a BAD_LINE: where it starts in the text
    thread: Int64s
    time: Int64s
    line: Int64s


class Rows(NamedTuple):
    """Where events go."""

    op: NDArray[np.uint8]
    id: Int64s
    size: Int64s
    time: Int64s
    align: Int64s
    stream: Int64s
    line: Int64s


class Log(NamedTuple):
    """What is known so far."""

    pairs: Int64s  # [2 * places] pointer, block; block -1: the place is empty
    threads: Int64s  # [2 * places] thread, its number by first appearance
    totals: Int64s  # [TOTALS]


def new_calls(count: int) -> Calls:
    return Calls(np.empty(count, np.uint8), *_columns(count))


def new_rows(count: int) -> Rows:
    return Rows(np.empty(count, np.uint8), *_columns(count))


def _columns(count: int) -> tuple[Int64s, Int64s, Int64s, Int64s, Int64s, Int64s]:
    a, b, c, d, e, f = (np.empty(count, np.int64) for _ in range(6))
    return a, b, c, d, e, f


def new_table(places: int) -> Int64s:
    return np.full(2 * places, -1, np.int64)


def new_log(places: int) -> Log:
    return Log(new_table(places), new_table(places), np.zeros(TOTALS, np.int64))


@compiled
def settle(calls, start, count, rows, log, code_threads):  # type: ignore[no-untyped-def]
    """Calls from `start` on -> events; returns (why, next call, rows filled)."""
    pairs, threads, totals = log.pairs, log.threads, log.totals
    mask, thread_mask = pairs.size // 2 - 1, threads.size // 2 - 1
    filled, i, why = 0, start, DONE
    live, clock, last_thread, code = totals[LIVE], totals[CLOCK], np.int64(-2), np.int64(0)
    while i < count:
        if filled + SPARE_ROWS > rows.op.size:
            why = FULL
            break
        if 4 * (live + 1) > pairs.size or 4 * (totals[THREADS] + 1) > threads.size:
            why = GROW
            break
        kind, pointer, size = calls.kind[i], calls.pointer[i], calls.size[i]
        thread, time, align = calls.thread[i], calls.time[i], np.int64(MISSING)
        first = filled
        if thread != MISSING and thread != last_thread:
            place = find(threads, thread_mask, thread)
            if threads[2 * place + 1] < 0:
                threads[2 * place], threads[2 * place + 1] = thread, totals[THREADS]
                totals[THREADS] += 1
            last_thread, code = thread, threads[2 * place + 1]
        if code_threads and thread != MISSING:
            thread = code
        if time != MISSING:
            totals[TIMED] = 1
            if time < clock:
                totals[CLOCK_BACK] += 1
            else:
                clock = time
            time = clock

        block = np.int64(-1)  # the one that the call was given
        if kind == FREES or kind == REALLOCS or kind == HALF_REALLOC:
            given = calls.old[i] if kind == REALLOCS else pointer
            place = find(pairs, mask, given)
            block = pairs[2 * place + 1]
            if kind == REALLOCS:
                if given == 0:
                    kind = np.uint8(MALLOCS)
                elif pointer == 0:
                    # It failed, or gave the memory back.
                    kind = np.uint8(FREES if size == 0 else THREAD_ENDS)
                    totals[FAILED] += size != 0
                elif block < 0:
                    totals[UNKNOWN_REALLOCS] += 1
                    kind = np.uint8(MALLOCS)
                elif size == 0:
                    # A block of no size: the old one ends, another begins.
                    rows.op[filled], rows.id[filled], rows.size[filled] = FREE, block, MISSING
                    filled += 1
                    kind = np.uint8(MALLOCS)
                if given != 0 and block >= 0 and kind != THREAD_ENDS and (given != pointer or kind != REALLOCS):
                    take_out(pairs, mask, place)
                    live -= 1
            elif block >= 0:
                take_out(pairs, mask, place)
                live -= 1
            if kind == FREES or kind == HALF_REALLOC:
                totals[HALF_REALLOCS] += kind == HALF_REALLOC
                if given == 0:
                    rows.op[filled], rows.id[filled], rows.size[filled] = FREE, MISSING, MISSING
                    filled += 1
                elif block < 0:
                    totals[UNKNOWN_FREES] += 1
                else:
                    rows.op[filled], rows.id[filled], rows.size[filled] = FREE, block, MISSING
                    filled += 1
        if kind == MALLOCS and pointer == 0:
            totals[FAILED] += 1
        elif kind == MALLOCS or (kind == REALLOCS and pointer != calls.old[i]):
            place = find(pairs, mask, pointer)
            if pairs[2 * place + 1] >= 0:
                # The program was given this pointer, so the block that was there is gone: its free was not recorded.
                rows.op[filled], rows.id[filled], rows.size[filled] = FREE, pairs[2 * place + 1], MISSING
                filled += 1
                totals[REUSED] += 1
                live -= 1
            if kind == MALLOCS:
                block = totals[NEXT_BLOCK]
                totals[NEXT_BLOCK] += 1
                if calls.kind[i] == MALLOCS and calls.old[i] != MISSING:
                    align = calls.old[i]
                    if align <= 0 or align > 1 << 60 or align & (align - 1) != 0:
                        totals[ODD_ALIGNS] += 1
                        align = np.int64(MISSING)
            pairs[2 * place], pairs[2 * place + 1] = pointer, block
            live += 1
            rows.op[filled], rows.id[filled], rows.size[filled] = (ALLOC if kind == MALLOCS else REALLOC), block, size
            filled += 1
        elif kind == REALLOCS:
            rows.op[filled], rows.id[filled], rows.size[filled] = REALLOC, block, size
            filled += 1
        elif kind == BAD_LINE:
            rows.op[filled], rows.id[filled], rows.size[filled] = UNREADABLE, MISSING, size
            filled += 1
        for row in range(first, filled):
            rows.time[row], rows.align[row] = time, MISSING
            rows.stream[row], rows.line[row] = thread, calls.line[i]
        if filled > first:
            rows.align[filled - 1] = align
        i += 1
    totals[LIVE], totals[CLOCK] = live, clock
    return why, i, filled
