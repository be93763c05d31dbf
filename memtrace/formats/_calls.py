"""Convert the calls of a recorded program (alloc, free, realloc of pointers) to events of numbered blocks.

The program is given the same pointer again and again, and a realloc may change it; the number of a block stays the same. The
table of live pointers is the hash table of `memtrace.trace.live_ids`, so memory grows with the number of live blocks. Calls
that contradict each other are resolved here, in the same way for all formats, and counted, so that a reader can say what it
assumed. The code is compiled once for all formats.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.formats._text import compiled
from memtrace.trace.batches import MISSING, UNREADABLE
from memtrace.trace.live_ids import find, remove
from memtrace.trace.model import Int64s

ALLOC, FREE, REALLOC = 0, 1, 2  # as in memtrace.trace.model.Op

# Kinds of calls. HALF_REALLOC: only the first half of a realloc, that names the old pointer, is recorded. THREAD_ENDS makes no
# event. BAD_LINE: the line cannot be read. FREES_AGAIN: a free that the recording may have a second time.
MALLOCS, FREES, REALLOCS, HALF_REALLOC, THREAD_ENDS, BAD_LINE, FREES_AGAIN = range(7)

# Indices in `Log.totals`: first the state (TIMED: 1 once a call had a time; CLOCK: the latest time), then how often each
# assumption was made (`_reading.settled` has the texts).
NEXT_BLOCK, LIVE, CLOCK, THREADS, TIMED = range(5)
FAILED, REUSED, UNKNOWN_FREES, UNKNOWN_REALLOCS, HALF_REALLOCS, CLOCK_BACK, ODD_ALIGNS, REPEATED_FREES = range(5, 13)
TOTALS = 16  # length of `Log.totals`

DONE, FULL, GROW = range(3)  # reasons why `convert_calls` returned
SPARE_ROWS = 3  # upper bound of the events that one call makes


class Calls(NamedTuple):
    """Store calls as a parser finds them, one element for each in every column.

    Pointer 0 is the null pointer; MISSING marks a value that the format does not have.
    """

    kind: NDArray[np.uint8]  # MALLOCS, FREES, ...
    pointer: Int64s  # the pointer that was returned, or freed
    old: Int64s  # of REALLOCS the pointer that realloc was given; of MALLOCS the alignment in bytes
    size: Int64s  # bytes requested; of a BAD_LINE the offset of the line in the text
    thread: Int64s  # thread or stream
    time: Int64s  # nanoseconds
    line: Int64s  # where the call is in the input; only passed on to the rows


class EventColumns(NamedTuple):
    """Receive the events that calls become, one element for each in every column."""

    op: NDArray[np.uint8]  # ALLOC, FREE, REALLOC, or UNREADABLE
    id: Int64s  # number of the block, MISSING for a free of null
    size: Int64s  # bytes; of an UNREADABLE row the offset of the line in the text
    time: Int64s  # nanoseconds, not decreasing
    align: Int64s  # bytes
    stream: Int64s
    line: Int64s


class Log(NamedTuple):
    """Keep the state of the conversion between batches of calls."""

    pairs: Int64s  # [2 * places] pointer and number of a live block; block -1: the place is empty
    threads: Int64s  # [2 * places] thread's id, and its number by first appearance, from 0; -1: the place is empty
    totals: Int64s  # [TOTALS] state and counts


def new_calls(count: int) -> Calls:
    """Return empty columns for `count` calls."""
    return Calls(np.empty(count, np.uint8), *_columns(count))


def new_rows(count: int) -> EventColumns:
    """Return empty columns for `count` events."""
    return EventColumns(np.empty(count, np.uint8), *_columns(count))


def _columns(count: int) -> tuple[Int64s, Int64s, Int64s, Int64s, Int64s, Int64s]:
    """Return the six int64 columns that Calls and Rows have."""
    a, b, c, d, e, f = (np.empty(count, np.int64) for _ in range(6))
    return a, b, c, d, e, f


def new_table(places: int) -> Int64s:
    """Return an empty hash table of `live_ids` with this number of places, a power of two."""
    return np.full(2 * places, -1, np.int64)


def new_log(places: int) -> Log:
    """Return the state before the first call, with tables of this number of places."""
    return Log(new_table(places), new_table(places), np.zeros(TOTALS, np.int64))


@compiled
def convert_calls(calls, start, count, rows, log, code_threads):  # type: ignore[no-untyped-def]
    """Convert the calls in the half-open interval [start, count) to events, written to `rows` from index 0 on.

    Returns (reason of return, next call, number of rows written). The reason is DONE (no call is left), FULL (`rows` is full) or
    GROW (a table of `log` is half full; the caller must enlarge it). `log` is changed in place. With `code_threads` the streams
    are numbers of threads by first appearance, else the threads' own ids. `rows.line` is `calls.line` of the event's call.
    """
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

        repeated = kind == FREES_AGAIN
        if repeated:
            kind = np.uint8(FREES)
        block = np.int64(-1)  # the block that the call was given, -1 if its pointer is not known
        if kind == FREES or kind == REALLOCS or kind == HALF_REALLOC:
            given = calls.old[i] if kind == REALLOCS else pointer
            place = find(pairs, mask, given)
            block = pairs[2 * place + 1]
            if kind == REALLOCS:
                if given == 0:
                    kind = np.uint8(MALLOCS)
                elif pointer == 0:
                    # The realloc freed the block (size 0), or failed, which makes no event.
                    kind = np.uint8(FREES if size == 0 else THREAD_ENDS)
                    totals[FAILED] += size != 0
                elif block < 0:
                    totals[UNKNOWN_REALLOCS] += 1
                    kind = np.uint8(MALLOCS)
                elif size == 0:
                    # realloc returned a block of 0 bytes: the old block ends, and another begins.
                    rows.op[filled], rows.id[filled], rows.size[filled] = FREE, block, MISSING
                    filled += 1
                    kind = np.uint8(MALLOCS)
                if given != 0 and block >= 0 and kind != THREAD_ENDS and (given != pointer or kind != REALLOCS):
                    remove(pairs, mask, place)
                    live -= 1
            elif block >= 0:
                remove(pairs, mask, place)
                live -= 1
            if kind == FREES or kind == HALF_REALLOC:
                totals[HALF_REALLOCS] += kind == HALF_REALLOC
                if given == 0:
                    rows.op[filled], rows.id[filled], rows.size[filled] = FREE, MISSING, MISSING
                    filled += 1
                elif block < 0:
                    totals[REPEATED_FREES if repeated else UNKNOWN_FREES] += 1
                else:
                    rows.op[filled], rows.id[filled], rows.size[filled] = FREE, block, MISSING
                    filled += 1
        if kind == MALLOCS and pointer == 0:
            totals[FAILED] += 1
        elif kind == MALLOCS or (kind == REALLOCS and pointer != calls.old[i]):
            place = find(pairs, mask, pointer)
            if pairs[2 * place + 1] >= 0:
                # The program was given this pointer, so the block known there was freed: the recording lacks its free.
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
