"""Find the calls in the lines of a log by the patterns of `_patterns`, in one compiled loop for all formats."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.formats._calls import BAD_LINE, MALLOCS, REALLOCS
from memtrace.formats._fitting import DAY, DAYS, LAST, fit
from memtrace.formats._patterns import (
    ALIGN,
    BEGUN,
    COUNT,
    DELTA,
    OLD,
    PROCESS,
    PTR,
    SIZE,
    SKIPPED,
    TAG,
    TAG_END,
    THREAD,
    VALUES,
    WHEN,
    WHOLE,
)
from memtrace.formats._text import compiled, next_line, product
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int64s

# Indices in `Memory.state`; LAST and DAYS of `_fitting` follow. HALF_TAG: the tag of a first half; SUM: the sum of
# times that are since the line before.
LINE, TAGS, FRESH, PIDS = range(4)
HALF_TAG, SUM = 6, 7
STATE = 8
# Indices in `Memory.counts`; a format's own notes follow.
FOREIGN, OTHERS, UNJOINED, UNTAGGED = range(4)
NOTES = 4
COUNTS = 16
MOST_TAGS = 4096  # further tags are left out
MOST_PIDS = 256  # processes that are told apart
MOST_HALVES = 1024  # threads whose first half of a call is kept
ALL, FIRST = -2, -1  # which process is read: all, that of the first call, or the one of this number
SPACE = 48  # bits of a pointer below the number of its process
MOST_ORDER = 32  # logarithm of the number of pages


class Memory(NamedTuple):
    """Keep what is known from the lines before."""

    state: Int64s  # [STATE]
    counts: Int64s  # [COUNTS] how many lines were left out, by reason
    tags: Int64s  # [2 * MOST_TAGS, 2] hash table: hash of a tag, and its code + 1; 0: empty
    fresh: Int64s  # [MOST_TAGS, 2] offsets of tags that were new in this call
    pids: Int64s  # [MOST_PIDS, 2] process, and the number of its calls
    halves: Int64s  # [MOST_HALVES, VALUES + 2] thread, call (-1: none) and values of a call's first half


def new_memory() -> Memory:
    """Return what is known before the first line."""
    memory = Memory(
        state=np.zeros(STATE, np.int64),
        counts=np.zeros(COUNTS, np.int64),
        tags=np.zeros((2 * MOST_TAGS, 2), np.int64),
        fresh=np.zeros((MOST_TAGS, 2), np.int64),
        pids=np.zeros((MOST_PIDS, 2), np.int64),
        halves=np.full((MOST_HALVES, VALUES + 2), MISSING, np.int64),
    )
    memory.state[LINE] = 1
    return memory


@out_of_line
def tag_of(text, start, end, memory):  # type: ignore[no-untyped-def]
    """Return the code of the tag in the half-open interval [start, end) of the text, -1 beyond MOST_TAGS of them.

    A new tag is noted in `memory.fresh`.
    """
    code = np.int64(7)
    for place in range(start, end):
        code = (code * 131 + text[place]) & ((1 << 62) - 1)
    tags = memory.tags
    place = (code ^ (code >> 17)) & (tags.shape[0] - 1)
    while tags[place, 1] != 0:
        if tags[place, 0] == code:
            return tags[place, 1] - 1
        place = (place + 1) & (tags.shape[0] - 1)
    number = memory.state[TAGS]
    if number >= MOST_TAGS:
        memory.counts[UNTAGGED] += 1
        return np.int64(-1)
    tags[place, 0], tags[place, 1] = code, number + 1
    fresh = memory.state[FRESH]
    memory.fresh[fresh, 0], memory.fresh[fresh, 1] = start, end
    memory.state[FRESH] += 1
    memory.state[TAGS] += 1
    return number


@out_of_line
def process_of(pid, memory):  # type: ignore[no-untyped-def]
    """Return the number of a process by first appearance, and count the call; those beyond the last place share it."""
    pids = memory.pids
    for place in range(memory.state[PIDS]):
        if pids[place, 0] == pid:
            pids[place, 1] += 1
            return place
    new = memory.state[PIDS]
    if new < MOST_PIDS:
        memory.state[PIDS] += 1
        pids[new, 0] = pid
    else:
        new = np.int64(MOST_PIDS - 1)
    pids[new, 1] += 1
    return new


@out_of_line
def half_of(thread, memory):  # type: ignore[no-untyped-def]
    """Return the row of a thread in `memory.halves`, -1 if there is no room for it."""
    halves = memory.halves
    place = thread & (MOST_HALVES - 1)
    for _ in range(MOST_HALVES):
        if halves[place, 1] == MISSING:
            halves[place, 0], halves[place, 1] = thread, -1
        if halves[place, 0] == thread:
            return place
        place = (place + 1) & (MOST_HALVES - 1)
    return np.int64(-1)


@out_of_line
def joined(values, call, half, code, memory):  # type: ignore[no-untyped-def]
    """Keep the first half of a call, or add it to the values of its second half; returns whether the call is now whole.

    `code` is the tag of a first half, which is left in `memory.state` with the second one.
    """
    place = half_of(values[THREAD], memory)
    if place < 0:
        memory.counts[UNJOINED] += 1
        return False
    row = memory.halves[place]
    if half == BEGUN:
        memory.counts[UNJOINED] += row[1] >= 0
        row[1] = call
        for index in range(VALUES):
            row[2 + index] = values[index]
        row[2 + TAG] = code
        return False
    if row[1] != call:
        memory.counts[UNJOINED] += 1
        return False
    row[1], memory.state[HALF_TAG] = -1, row[2 + TAG]
    for index in range(TAG):  # what only the first half says
        if values[index] == MISSING:
            values[index] = row[2 + index]
    return True


@compiled
def match_lines(text, at, calls, tag, program, memory, process):  # type: ignore[no-untyped-def]
    """Match lines from offset `at` on, and write their calls into `calls` and the codes of their tags into `tag`.

    `process` says which process is read. Returns (offset of the next line, number of calls written).
    """
    filled, state, counts = 0, memory.state, memory.counts
    values, of_head = np.empty(VALUES, np.int64), np.empty(VALUES, np.int64)
    state[FRESH] = 0
    while at < text.size and filled < calls.kind.size:
        start, end, following = next_line(text, at)
        at, line = following, state[LINE]
        state[LINE] += 1
        if start == end:
            continue
        begin = np.int64(-1)
        for head in program.heads:
            values[:] = MISSING
            begin = fit(text, start, end, program, head, values, state)
            if begin >= 0:
                break
        found = -1
        if begin >= 0 and values[DELTA] != MISSING:
            state[SUM] += values[DELTA]
            values[WHEN] = state[SUM]
        of_head[:] = values
        for index in range(program.lines.shape[0] if begin >= 0 else 0):
            byte = program.lines[index, 1]
            if byte != 0 and (begin >= end or text[begin] != byte):
                continue
            if fit(text, begin, end, program, program.lines[index, 0], values, state) >= 0:
                found = index
                break
            values[:] = of_head
        if found < 0:
            counts[FOREIGN] += 1
            continue
        _, _, kind, half, call, note, pages, code = program.lines[found]
        counts[NOTES - 1 + note] += note > 0
        if kind == SKIPPED:
            continue
        space = np.int64(0)
        if values[PROCESS] != MISSING:
            space = process_of(values[PROCESS], memory)
            if process >= 0 and memory.pids[space, 0] != process:
                counts[OTHERS] += 1
                continue
            if process == FIRST and space != 0:
                counts[OTHERS] += 1
                continue
            space = space << SPACE if process == ALL else np.int64(0)
        if half != WHOLE:
            if not joined(values, call, half, code, memory):
                continue
            code = state[HALF_TAG]
        ptr, size, old = values[PTR], values[SIZE], values[OLD]
        time = values[WHEN]
        if time != MISSING and time >= DAY * state[DAYS]:
            state[DAYS] = time // DAY if time // DAY == state[DAYS] + 1 else state[DAYS]
            state[LAST] = time % DAY
        if size == MISSING:
            size = np.int64(0)
        if pages:
            if size > MOST_ORDER or ptr > 1 << 50:
                kind = np.int64(BAD_LINE)
            else:
                size, ptr = np.int64(4096) << size, ptr << 12
                if old == 0:  # the page is null: the request failed
                    ptr = np.int64(0)
        if values[COUNT] != MISSING:
            size = product(values[COUNT], size)
        if kind == BAD_LINE:
            calls.kind[filled], calls.size[filled], calls.pointer[filled] = BAD_LINE, start, 0
            calls.old[filled], calls.thread[filled], calls.time[filled] = MISSING, MISSING, MISSING
            calls.line[filled], tag[filled] = line, -1
            filled += 1
            continue
        if space != 0:
            ptr = ptr ^ space if ptr != 0 else ptr
            old = old ^ space if old != 0 and old != MISSING else old
        if kind == MALLOCS:
            old = values[ALIGN]
            if code < 0 and values[TAG] != MISSING:
                code = tag_of(text, values[TAG], values[TAG_END], memory)
        elif kind == REALLOCS:
            if code < 0 and values[TAG] != MISSING:
                code = tag_of(text, values[TAG], values[TAG_END], memory)
        else:
            old, code = np.int64(MISSING), np.int64(-1)
        calls.kind[filled], calls.pointer[filled], calls.old[filled], calls.size[filled] = kind, ptr, old, size
        calls.thread[filled], calls.time[filled], calls.line[filled] = values[THREAD], time, line
        tag[filled] = code
        filled += 1
    return at, filled
