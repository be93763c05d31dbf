"""Turn blocks with times of birth and death into events in order of time, one stretch of time after the other.

A workload yields its blocks (spans) in stretches: at the end of a stretch, all blocks born before that time are known. Births
and deaths after the end wait for a later stretch, so memory grows with the number of live or planned blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int32s, Int64s, Op
from memtrace.workloads.events import PIECE_EVENTS, Piece

SECOND = 1_000_000_000  # ns
NEVER = 1 << 62  # ns; time of death of a block that is never freed


class Spans(NamedTuple):
    """Describe blocks by columns. A death not after the birth is moved to 1 ns after it."""

    birth: Int64s  # ns
    death: Int64s  # ns, or NEVER
    size: Int64s  # bytes
    tag: Int32s  # index into the workload's tags
    stream: Int64s


class Stretch(NamedTuple):
    """Describe the blocks that became known, and the time up to which no more will follow."""

    end: int  # ns; all blocks born before are known; NEVER for the last stretch
    spans: Spans
    # Blocks of earlier stretches that had death NEVER and die now: their numbers, from 0 over all spans.
    ended: Int64s | None = None
    deaths: Int64s | None = None  # times of these deaths in ns, not before the end of the stretch before
    stream: int = 0  # of these deaths


class _EventColumns(NamedTuple):
    """Store events in any order, one element for each in every column."""

    time: Int64s
    op: NDArray[np.uint8]
    id: Int64s
    size: Int64s
    tag: Int32s
    stream: Int64s


def events(stretches: Iterable[Stretch], last: int = NEVER) -> Iterator[Piece]:
    """Yield the events of all stretches in order of time, in pieces.

    At equal times deaths come first, then births in the order in which they were given. Events at `last` (ns) or later are
    left out.
    """
    waiting, born = _rows(empty(), 0), 0
    for stretch in stretches:
        new = _rows(stretch.spans, born)
        born += stretch.spans.birth.size
        late = _late(stretch)
        rows = _joined([waiting, new, late])
        due = rows.time < min(stretch.end, last)
        waiting = _selected(rows, ~due & (rows.time < last))
        rows = _selected(rows, due)
        order = np.lexsort((rows.id, rows.op == Op.ALLOC, rows.time))
        yield from _pieces(_selected(rows, order))


def _joined(parts: list[_EventColumns]) -> _EventColumns:
    """Return the events of all parts."""
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return _EventColumns(*columns)


def _selected(rows: _EventColumns, which: Any) -> _EventColumns:
    """Return some of the events; `which` is a mask or an array of indices."""
    columns: list[Any] = [column[which] for column in rows]
    return _EventColumns(*columns)


def _rows(spans: Spans, first_id: int) -> _EventColumns:
    """Return an alloc and a free of each block, without the frees of blocks that stay; ids count from `first_id`."""
    count = spans.birth.size
    id = first_id + np.arange(count)
    death = np.maximum(spans.death, spans.birth + 1)
    ends = spans.death < NEVER
    return _EventColumns(
        np.concatenate([spans.birth, death[ends]]),
        np.concatenate([np.full(count, Op.ALLOC, np.uint8), np.full(int(ends.sum()), Op.FREE, np.uint8)]),
        np.concatenate([id, id[ends]]),
        np.concatenate([spans.size, np.full(int(ends.sum()), MISSING)]),
        np.concatenate([spans.tag, np.full(int(ends.sum()), -1, np.int32)]),
        np.concatenate([spans.stream, spans.stream[ends]]),
    )


def _late(stretch: Stretch) -> _EventColumns:
    """Return the frees of blocks that an earlier stretch had without a death."""
    if stretch.ended is None or stretch.deaths is None:
        return _rows(empty(), 0)
    rows = stretch.ended.size
    op, missing, stream = np.full(rows, Op.FREE, np.uint8), np.full(rows, MISSING), np.full(rows, stretch.stream)
    return _EventColumns(stretch.deaths, op, stretch.ended, missing, np.full(rows, -1, np.int32), stream)


def _pieces(rows: _EventColumns) -> Iterator[Piece]:
    """Yield events in pieces of PIECE_EVENTS."""
    for start in range(0, rows.op.size, PIECE_EVENTS):
        part = slice(start, start + PIECE_EVENTS)
        yield Piece(rows.op[part], rows.id[part], rows.size[part], rows.tag[part], rows.time[part], rows.stream[part])


def spans(birth: Any, death: Any, size: Any, tag: int, stream: Any = 0) -> Spans:
    """Return blocks with one tag; a column given as one value is shared by all blocks."""
    shape = np.broadcast_shapes(*(np.shape(column) for column in (birth, death, size, stream)))
    given = (np.asarray(column, np.int64) for column in (birth, death, size, stream))
    births, deaths, sizes, streams = (np.broadcast_to(column, shape).ravel() for column in given)
    return Spans(births, deaths, sizes, np.full(births.size, tag, np.int32), streams)


def together(parts: Iterable[Spans]) -> Spans:
    """Return the blocks of all parts, in their order."""
    columns: list[Any] = [np.concatenate(column) for column in zip(empty(), *parts, strict=True)]
    return Spans(*columns)


def empty() -> Spans:
    """Return no blocks."""
    none = np.empty(0, np.int64)
    return Spans(none, none, none, np.empty(0, np.int32), none)
