"""Blocks with the times of their birth and death -> events in order of time, a stretch of time after the other.

A workload yields spans in stretches: all blocks that are born before the end of a stretch are known by then. Births
and deaths beyond it wait for theirs, so memory follows what is live or planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.trace.model import Int32s, Int64s, Op
from memtrace.trace.raw import MISSING
from memtrace.workloads.events import PIECE_EVENTS, Piece

SECOND = 1_000_000_000
NEVER = 1 << 62  # ns: a block that stays


class Spans(NamedTuple):
    """Blocks; a block dies at least 1 ns after its birth."""

    birth: Int64s  # ns
    death: Int64s
    size: Int64s
    tag: Int32s
    stream: Int64s


class Stretch(NamedTuple):
    """What became known, and up to when nothing more will."""

    end: int  # ns; NEVER for the last
    spans: Spans
    ended: Int64s | None = None  # blocks given before as staying, by their number, counted from 0 over all spans
    deaths: Int64s | None = None  # when those die after all: not before the last stretch's end
    stream: int = 0  # of those deaths


class _Waiting(NamedTuple):
    time: Int64s
    op: NDArray[np.uint8]
    id: Int64s
    size: Int64s
    tag: Int32s
    stream: Int64s


def events(stretches: Iterable[Stretch], last: int = NEVER) -> Iterator[Piece]:
    """At the same time deaths come first, then births in the order in which they were given; none after `last`."""
    waiting, born = _rows(empty(), 0), 0
    for stretch in stretches:
        new = _rows(stretch.spans, born)
        born += stretch.spans.birth.size
        late = _late(stretch)
        rows = _joined([waiting, new, late])
        due = rows.time < min(stretch.end, last)
        waiting = _taken(rows, ~due & (rows.time < last))
        rows = _taken(rows, due)
        order = np.lexsort((rows.id, rows.op == Op.ALLOC, rows.time))
        yield from _pieces(_taken(rows, order))


def _joined(parts: list[_Waiting]) -> _Waiting:
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return _Waiting(*columns)


def _taken(rows: _Waiting, which: Any) -> _Waiting:
    columns: list[Any] = [column[which] for column in rows]
    return _Waiting(*columns)


def _rows(spans: Spans, first_id: int) -> _Waiting:
    """A birth and a death of each; the deaths of blocks that stay are left out."""
    count = spans.birth.size
    id = first_id + np.arange(count)
    death = np.maximum(spans.death, spans.birth + 1)
    ends = spans.death < NEVER
    return _Waiting(
        np.concatenate([spans.birth, death[ends]]),
        np.concatenate([np.full(count, Op.ALLOC, np.uint8), np.full(int(ends.sum()), Op.FREE, np.uint8)]),
        np.concatenate([id, id[ends]]),
        np.concatenate([spans.size, np.full(int(ends.sum()), MISSING)]),
        np.concatenate([spans.tag, np.full(int(ends.sum()), -1, np.int32)]),
        np.concatenate([spans.stream, spans.stream[ends]]),
    )


def _late(stretch: Stretch) -> _Waiting:
    if stretch.ended is None or stretch.deaths is None:
        return _rows(empty(), 0)
    rows = stretch.ended.size
    op, missing, stream = np.full(rows, Op.FREE, np.uint8), np.full(rows, MISSING), np.full(rows, stretch.stream)
    return _Waiting(stretch.deaths, op, stretch.ended, missing, np.full(rows, -1, np.int32), stream)


def _pieces(rows: _Waiting) -> Iterator[Piece]:
    for start in range(0, rows.op.size, PIECE_EVENTS):
        part = slice(start, start + PIECE_EVENTS)
        yield Piece(rows.op[part], rows.id[part], rows.size[part], rows.tag[part], rows.time[part], rows.stream[part])


def spans(birth: Any, death: Any, size: Any, tag: int, stream: Any = 0) -> Spans:
    """Blocks of one kind, which share what is given once."""
    shape = np.broadcast_shapes(*(np.shape(column) for column in (birth, death, size, stream)))
    given = (np.asarray(column, np.int64) for column in (birth, death, size, stream))
    births, deaths, sizes, streams = (np.broadcast_to(column, shape).ravel() for column in given)
    return Spans(births, deaths, sizes, np.full(births.size, tag, np.int32), streams)


def together(parts: Iterable[Spans]) -> Spans:
    columns: list[Any] = [np.concatenate(column) for column in zip(empty(), *parts, strict=True)]
    return Spans(*columns)


def empty() -> Spans:
    none = np.empty(0, np.int64)
    return Spans(none, none, none, np.empty(0, np.int32), none)
