"""RMM's CSV log (RMM_LOG_FILE, LoggingResourceAdaptor): Thread,Time,Action,Pointer,Size,Stream, also without the header.

Streams are CUDA stream handles, numbered by first appearance. A time of day that goes back by half a day or more is
the next day's. Sizes may be rounded by the layers above the adaptor. Lines of a program that logs to the same stream are left
out, counted. The log of RMM before 0.14 (Event Type,Device ID,...) is read too. Source: rapidsai/rmm, logging_resource_adaptor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.formats import _rmm_events
from memtrace.formats._calls import BAD_LINE, FREES, MALLOCS, new_calls
from memtrace.formats._reading import BATCH_ROWS, LINE, STATE, EventBatcher, without_cut_line
from memtrace.formats._text import MARK, after, blocks, code_of, compiled, decimal, hexadecimal, next_line, word
from memtrace.trace.batches import MISSING

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "rmm"
SUFFIXES = (".csv", ".log", ".dev0", ".txt")

# Indices in the parser's state: the last time of day in ns, the number of days that have begun since, and the number of lines
# that are not RMM's.
LAST, DAYS, FOREIGN = 1, 2, 3
SECOND = 10**9  # nanoseconds
DAY = 86_400 * SECOND
COMMA, COLON, DOT, DASH = 44, 58, 46, 45  # ASCII codes
ALLOCATE, FREE, DEALLOCATE = code_of(b"allocate"), code_of(b"free"), code_of(b"deallocate")
FAILURE, THREAD = code_of(b"failure"), code_of(b"Thread")

_HEADER = re.compile(rb"^(\xef\xbb\xbf)?Thread,Time,Action,Pointer,Size,Stream\s*$", re.MULTILINE)
_LINE = re.compile(
    rb"^\d+,[-0-9:.T ]+,(allocate|free|deallocate|allocate failure),(0x[0-9a-fA-F]+|\(nil\)|0|),\d+,[^,\s]*\s*$", re.MULTILINE
)


def sniff(head: bytes, path: str) -> bool:
    """Return whether a line is a header of RMM's or an action; the program's own lines may stand before it."""
    return _HEADER.search(head) is not None or _LINE.search(head) is not None or head.startswith(_rmm_events.START)


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks, with times and CUDA streams."""
    if source.head().removeprefix(MARK).startswith(_rmm_events.START):
        yield from _rmm_events.read(source, NAME)
        return
    state = np.zeros(STATE, np.int64)
    state[LINE] = 1
    said: list[str] = []
    seen: set[int] = set()
    events = EventBatcher(NAME, ("op", "id", "size", "time", "stream"), True, source.size)
    events.counted = "streams"
    for block in blocks(source, said.append):
        text = np.frombuffer(block.text, np.uint8)
        at = 0
        while at < text.size:
            calls, threads = new_calls(BATCH_ROWS), np.empty(BATCH_ROWS, np.int64)
            with np.errstate(over="ignore"):
                at, count = parse(text, at, calls, state, threads)
            if block.cut:
                count = without_cut_line(block, calls.kind, count, int(state[LINE]) - 1, said)
            seen.update(np.unique(threads[:count][calls.kind[:count] != BAD_LINE]).tolist())
            yield from events.batches(calls, count, block.text, block.done)
    if state[DAYS]:
        said.append(f"times of day that go back by half a day or more, taken as the next day: {state[DAYS]}")
    if state[FOREIGN]:
        said.append(f"lines that are not RMM's, left out: {state[FOREIGN]:,}")
    yield events.last(said, {"threads": str(len(seen))})


@out_of_line
def clock(text, at, end, state):  # type: ignore[no-untyped-def]
    """Return (nanoseconds, offset behind) of a time of day `14:21:19.998533`, with or without a date before it, or of seconds.

    Seconds are since the epoch; dates are not read, but a time of day that goes back by half a day or more begins the next day
    (in `state`). The offset is -1 if there is no time.
    """
    hours, place = decimal(text, at, end)
    if after(text, place, end, DASH) >= 0:
        while place < end and text[place] != 32 and text[place] != 84 and text[place] != COMMA:
            place += 1
        hours, place = decimal(text, place + 1 if place < end and text[place] != COMMA else -1, end)
    of_day = after(text, place, end, COLON)
    seconds = hours
    if of_day >= 0:
        minutes, place = decimal(text, of_day, end)
        seconds, place = decimal(text, after(text, place, end, COLON), end)
        if hours > 99 or minutes > 59 or seconds > 60:
            return np.int64(0), np.int64(-1)
        seconds += 60 * minutes + 3600 * hours
    point = after(text, place, end, DOT)
    if point < 0 and of_day >= 0:
        point = after(text, place, end, COLON)
    fraction, unit = np.int64(0), np.int64(SECOND)
    if point >= 0:
        start = point
        while point < end and np.uint8(text[point] - 48) <= 9:
            unit //= 10
            fraction += np.int64(text[point] - 48) * unit
            point += 1
        place = point if point > start else -1
    if place < 0 or seconds > 1 << 33:
        return np.int64(0), np.int64(-1)
    time = seconds * SECOND + fraction
    if of_day >= 0:
        state[DAYS] += state[LAST] - time > DAY // 2
        state[LAST] = time
        time += state[DAYS] * DAY
    return time, np.int64(place)


@compiled
def parse(text, at, calls, state, threads):  # type: ignore[no-untyped-def]
    """Parse lines from offset `at` on into `calls`, and the thread of each call into `threads`.

    `calls.thread` is the CUDA stream. Returns (offset of the next line, number of calls written).
    """
    filled = 0
    while at < text.size and filled < calls.kind.size:
        start, end, following = next_line(text, at)
        at, line = following, state[LINE]
        state[LINE] += 1
        if start == end:
            continue
        kind, pointer, size, stream, time = BAD_LINE, 0, 0, 0, MISSING
        thread, place = decimal(text, start, end)
        if after(text, place, end, COMMA) < 0:
            mark = start + 3 if text[start] == 239 else start
            name, behind = word(text, mark, end)
            # The header, which is repeated where logs were concatenated.
            state[FOREIGN] += name != THREAD or after(text, behind, end, COMMA) < 0
            continue
        place = after(text, place, end, COMMA)
        if place >= 0:
            time, place = clock(text, place, end, state)
            place = after(text, place, end, COMMA)
        if place >= 0:
            name, place = word(text, place, end)
            if name == ALLOCATE:
                kind = MALLOCS
            elif name == FREE or name == DEALLOCATE:
                kind = FREES
            failed = after(text, place, end, 32)
            if failed >= 0:
                name, place = word(text, failed, end)
                if name != FAILURE or kind != MALLOCS:
                    place = -1
            place = after(text, place, end, COMMA)
            if failed < 0 or after(text, place, end, COMMA) < 0:  # a request that failed may have no pointer
                pointer, place = hexadecimal(text, place, end)
            pointer = 0 if failed >= 0 else pointer
            size, place = decimal(text, after(text, place, end, COMMA), end)
            place = after(text, place, end, COMMA)
            if place >= 0 and place < end:
                stream, behind = hexadecimal(text, place, end)
                if behind != end:
                    name, behind = word(text, place, end)  # `default`
                    stream = 0
                place = behind
            if place != end:
                kind = BAD_LINE
        if kind == BAD_LINE:
            size, stream, time = start, MISSING, MISSING
        calls.kind[filled], calls.pointer[filled], calls.old[filled], calls.size[filled] = kind, pointer, MISSING, size
        calls.thread[filled], calls.time[filled], calls.line[filled] = stream, time, line
        threads[filled] = thread
        filled += 1
    return at, filled
