"""Calls that a format makes in Python, one at a time -> batches of events, through the same rules as compiled parsers."""

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

MOST = 1 << 63


class Call(NamedTuple):
    """One call; a pointer is any whole number, 0 is null, and each is that of its own heap."""

    kind: int
    line: int
    pointer: int = 0
    size: int = 0
    old: int = MISSING  # what realloc was given; of an alloc the alignment
    thread: int = MISSING
    time: int = MISSING
    tag: str | None = None
    why: str = ""  # of a BAD_LINE


def alloc(line: int, pointer: int, size: int, **more: Any) -> Call:
    return Call(MALLOCS, line, pointer, size, **more)


def free(line: int, pointer: int, **more: Any) -> Call:
    return Call(FREES, line, pointer, **more)


def realloc(line: int, old: int, pointer: int, size: int, **more: Any) -> Call:
    return Call(REALLOCS, line, pointer, size, old, **more)


def bad(line: int, why: str) -> Call:
    return Call(BAD_LINE, line, why=why)


def batches(given: Iterable[Call], events: Events) -> Iterator[Batch]:
    """The events of these calls; the caller adds `events.last`."""
    coming = iter(given)
    while some := list(islice(coming, BATCH_ROWS)):
        kind, line, pointer, size, old, thread, time, tag, why = zip(*some, strict=True)
        lines = np.array(line, np.int64)
        which = np.arange(len(some))  # settle hands it on, so that a row knows its call
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
    codes: dict[str, int] = {}
    found = [codes.setdefault(name, len(codes)) if name else -1 for name in names]
    return np.array(found, np.int32), tuple(codes)


def _int64s(values: tuple[int, ...]) -> Int64s:
    """As int64; what is beyond it is held to its ends."""
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return np.array([max(1 - MOST, min(value, MOST - 1)) for value in values], np.int64)
