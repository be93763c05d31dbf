"""Convert calls that a format's reader makes in Python, one at a time, to batches of events.

The calls go through `_calls.settle`, so the same rules hold as for compiled parsers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from memtrace.formats._calls import BAD_LINE, FREES, MALLOCS, REALLOCS, Calls
from memtrace.formats._reading import BATCH_ROWS, MOST_NOTES, Events
from memtrace.trace.model import Int32s, Int64s, read_only
from memtrace.trace.raw import MISSING, UNREADABLE, Batch

MOST = 1 << 63  # the first number beyond int64


class Call(NamedTuple):
    """Describe one call of a recorded program.

    A pointer is any whole number, and 0 is null. A reader of several heaps must make the pointers of different heaps different.
    """

    kind: int  # MALLOCS, FREES, REALLOCS or BAD_LINE
    line: int  # where the call is in the input, from 1
    pointer: int = 0  # the pointer that was returned, or freed
    size: int = 0  # bytes
    old: int = MISSING  # of a realloc the pointer that it was given; of an alloc the alignment in bytes
    thread: int = MISSING  # thread or stream
    time: int = MISSING  # nanoseconds
    tag: str | None = None
    why: str = ""  # of a BAD_LINE the reason


def alloc(line: int, pointer: int, size: int, **more: Any) -> Call:
    """Return a call that allocated a block of `size` bytes at `pointer`; `more` sets further fields of Call."""
    return Call(MALLOCS, line, pointer, size, **more)


def free(line: int, pointer: int, **more: Any) -> Call:
    """Return a call that freed the block at `pointer`; `more` sets further fields of Call."""
    return Call(FREES, line, pointer, **more)


def realloc(line: int, old: int, pointer: int, size: int, **more: Any) -> Call:
    """Return a call that resized the block at `old` to `size` bytes, now at `pointer`; `more` sets further fields of Call."""
    return Call(REALLOCS, line, pointer, size, old, **more)


def bad(line: int, why: str) -> Call:
    """Return a stand-in for a line that cannot be read; `why` is the reason."""
    return Call(BAD_LINE, line, why=why)


def batches(given: Iterable[Call], events: Events) -> Iterator[Batch]:
    """Yield the events of these calls in batches; the caller must yield `events.last` after them."""
    coming = iter(given)
    while some := list(islice(coming, BATCH_ROWS)):
        kind, line, pointer, size, old, thread, time, tag, why = zip(*some, strict=True)
        lines = np.array(line, np.int64)
        # In place of line numbers: `settle` passes this column on, so that each row has the index of its call.
        which = np.arange(len(some))
        codes, tags = _tags(tag)
        calls = Calls(
            np.array(kind, np.uint8), _int64s(pointer), _int64s(old), _int64s(size), _int64s(thread), _int64s(time), which
        )
        for rows in events.settled(calls, len(some)):
            bad_rows = np.flatnonzero(rows.op == UNREADABLE)[:MOST_NOTES].tolist()
            notes = {row: why[int(rows.line[row])] for row in bad_rows}
            rows.size[rows.op == UNREADABLE] = MISSING
            batch = events.batch(rows._replace(line=lines[rows.line]), notes, int(lines[-1]))
            if "tag" in events.columns:
                batch = replace(batch, rows=batch.rows._replace(tag=read_only(codes[rows.line])), tags=tags)
            yield batch


def _tags(names: tuple[str | None, ...]) -> tuple[Int32s, tuple[str, ...]]:
    """Return the tag code of each call (-1 for none), and the distinct tags that the codes index."""
    codes: dict[str, int] = {}
    found = [codes.setdefault(name, len(codes)) if name else -1 for name in names]
    return np.array(found, np.int32), tuple(codes)


def _int64s(values: tuple[int, ...]) -> Int64s:
    """Return values as an int64 array; a value beyond the range becomes the nearest end of the range."""
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return np.array([max(1 - MOST, min(value, MOST - 1)) for value in values], np.int64)
