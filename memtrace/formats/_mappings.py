"""Turn calls of mmap, munmap, mremap and brk, which name ranges of addresses, to calls of blocks.

A mapping is a block. What a later call takes from its end or its beginning makes it smaller, what is taken from its middle makes
it two, and a mapping at an address that others have (MAP_FIXED) takes the place of what it covers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.formats._calls import BAD_LINE, FREES, MALLOCS, REALLOCS
from memtrace.formats._text import compiled
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int64s

PAGE = 4096
COUNT, BREAK, BREAK_NOW, SHRUNK, SPLIT, COVERED, PROGRAMS = range(7)  # indices in `Mapped.state`
STATE = 8
SPARE = 4  # rows that one call may make besides one for each mapping that it covers


class Mapped(NamedTuple):
    """Keep the live mappings, by address."""

    ranges: Int64s  # [n, 2] first address, and the first behind; the first `state[COUNT]` are used
    state: Int64s  # [STATE] number of mappings, where the break was at first, where it is, and what was counted


def new_mapped(count: int) -> Mapped:
    """Return no mappings, with room for `count`."""
    return Mapped(np.zeros((count, 2), np.int64), np.zeros(STATE, np.int64))


@out_of_line
def place_of(mapped, address):  # type: ignore[no-untyped-def]
    """Return the index of the first mapping that ends behind an address."""
    low, high = 0, mapped.state[COUNT]
    while low < high:
        middle = (low + high) // 2
        if mapped.ranges[middle, 1] > address:
            high = middle
        else:
            low = middle + 1
    return low


@out_of_line
def insert(mapped, start, end):  # type: ignore[no-untyped-def]
    """Add a mapping that overlaps no other."""
    ranges, count, place = mapped.ranges, mapped.state[COUNT], place_of(mapped, start)
    for index in range(count, place, -1):
        ranges[index, 0], ranges[index, 1] = ranges[index - 1, 0], ranges[index - 1, 1]
    ranges[place, 0], ranges[place, 1] = start, end
    mapped.state[COUNT] += 1


@out_of_line
def put(made, filled, given, row, kind, pointer, size, old):  # type: ignore[no-untyped-def]
    """Write a call to row `filled` of `made`; thread, time and line are those of the call in `row` of `given`."""
    made.kind[filled], made.pointer[filled], made.size[filled], made.old[filled] = kind, pointer, size, old
    made.thread[filled], made.time[filled], made.line[filled] = given.thread[row], given.time[row], row
    return filled + 1


@out_of_line
def unmap(mapped, start, end, made, filled, given, row):  # type: ignore[no-untyped-def]
    """Take a range from the mappings that have a part of it; returns the number of rows written."""
    ranges, state = mapped.ranges, mapped.state
    place = place_of(mapped, start)
    while place < state[COUNT] and ranges[place, 0] < end:
        low, high = ranges[place, 0], ranges[place, 1]
        if start <= low and high <= end:
            filled = put(made, filled, given, row, FREES, low, 0, MISSING)
            for index in range(place, state[COUNT] - 1):
                ranges[index, 0], ranges[index, 1] = ranges[index + 1, 0], ranges[index + 1, 1]
            state[COUNT] -= 1
            continue
        if low < start:
            filled = put(made, filled, given, row, REALLOCS, low, start - low, low)
            ranges[place, 1] = start
            if high > end:
                state[SPLIT] += 1
                filled = put(made, filled, given, row, MALLOCS, end, high - end, MISSING)
                insert(mapped, end, high)
            else:
                state[SHRUNK] += 1
        else:
            state[SHRUNK] += 1
            filled = put(made, filled, given, row, REALLOCS, end, high - end, low)
            ranges[place, 0] = end
        place += 1
    return filled


@out_of_line
def pages(size):  # type: ignore[no-untyped-def]
    """Return a size rounded up to whole pages."""
    return (size + PAGE - 1) // PAGE * PAGE


@compiled
def map_calls(given, start, count, made, mapped):  # type: ignore[no-untyped-def]
    """Convert the calls in the half-open interval [start, count) of `given` to calls of blocks in `made`.

    In `given` MALLOCS is mmap, FREES munmap with a size, REALLOCS mremap of a whole mapping, and a MALLOCS without a size is brk,
    whose `old` is the break that the program asks for, 0 where it asks only where the break is.
    `made.line` is the row of the call in `given`. Returns (next call, rows written);
    it returns early when there may be too little room in `made` or `mapped`.
    """
    filled, i, state = 0, start, mapped.state
    while i < count:
        if filled + state[COUNT] + SPARE > made.kind.size or state[COUNT] + SPARE > mapped.ranges.shape[0]:
            break
        kind, pointer, size, old = given.kind[i], given.pointer[i], given.size[i], given.old[i]
        if kind == BAD_LINE:
            filled = put(made, filled, given, i, kind, pointer, size, MISSING)
        elif pointer < 0 or size < 0 or pointer > (1 << 62) or size > (1 << 61):
            filled = put(made, filled, given, i, MALLOCS, 0, size, MISSING)  # no address of a program's: taken as failed
        elif kind == MALLOCS and size == 0:
            if old == 0 and state[BREAK] != 0 and pointer != state[BREAK_NOW]:  # brk(NULL) of another program
                state[PROGRAMS] += 1
                filled = unmap(mapped, 0, np.int64(1 << 62), made, filled, given, i)
                if state[BREAK_NOW] != state[BREAK]:
                    filled = put(made, filled, given, i, FREES, state[BREAK], 0, MISSING)
                state[BREAK] = 0
            base = state[BREAK]
            if base == 0:
                state[BREAK], state[BREAK_NOW] = pointer, pointer
            elif pointer > base and state[BREAK_NOW] == base:
                filled = put(made, filled, given, i, MALLOCS, base, pointer - base, MISSING)
            elif pointer > base and pointer != state[BREAK_NOW]:
                filled = put(made, filled, given, i, REALLOCS, base, pointer - base, base)
            elif pointer == base and state[BREAK_NOW] != base:
                filled = put(made, filled, given, i, FREES, base, 0, MISSING)
            if pointer >= state[BREAK]:
                state[BREAK_NOW] = pointer
        elif kind == MALLOCS:
            before = filled
            filled = unmap(mapped, pointer, pointer + pages(size), made, filled, given, i)
            state[COVERED] += filled > before
            filled = put(made, filled, given, i, MALLOCS, pointer, size, MISSING)
            insert(mapped, pointer, pointer + pages(size))
        elif kind == FREES:
            before = filled
            filled = unmap(mapped, pointer, pointer + pages(size), made, filled, given, i)
            if filled == before:  # nothing known is there
                filled = put(made, filled, given, i, FREES, pointer, 0, MISSING)
        else:
            place = place_of(mapped, old)
            known = place < state[COUNT] and mapped.ranges[place, 0] == old
            if known:
                for index in range(place, state[COUNT] - 1):
                    mapped.ranges[index, 0], mapped.ranges[index, 1] = mapped.ranges[index + 1, 0], mapped.ranges[index + 1, 1]
                state[COUNT] -= 1
            filled = unmap(mapped, pointer, pointer + pages(size), made, filled, given, i)
            filled = put(made, filled, given, i, REALLOCS, pointer, size, old)
            insert(mapped, pointer, pointer + pages(size))
        i += 1
    return i, filled
