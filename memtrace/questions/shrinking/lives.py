"""Takes a trace apart into the lives of its blocks, and puts it together again from some of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.trace.batches import MISSING, Batch, RowLocation, rows_of
from memtrace.trace.model import Int32s, Int64s, Op
from memtrace.trace.preparing import Preparer, request_of_rank
from memtrace.trace.store import ColumnCollector, columns_of

if TYPE_CHECKING:
    from memtrace.trace import Trace

NO_LIFE = -1  # in place of a life
MEMORY = 1 << 62  # bytes that the prepared columns may take: no limit, so they stay in memory


@dataclass(frozen=True, eq=False)
class Lives:
    """The events of a trace in columns, each with its life: a block from its alloc to its free, numbered by birth."""

    trace: Trace
    op: NDArray[np.uint8]
    life: Int64s  # per event; NO_LIFE: a trim, a free of null, a completion after the block's end
    other: Int64s  # per event: the life of the second block of a copy or swap, NO_LIFE else
    size: Int64s
    align: Int64s
    stream: Int64s
    tag: Int32s
    time: Int64s
    born: Int64s  # per life: the event
    died: Int64s  # per life: the event, or the number of events
    plain: NDArray[np.bool_]  # per life: it is allocated, and perhaps freed, and nothing else happens to it

    @property
    def count(self) -> int:
        """The number of lives."""
        return self.born.size

    def sizes(self) -> Int64s:
        """Return the bytes of each life's alloc."""
        return self.size[self.born]

    def events(self, kept: NDArray[np.bool_], stop: int, null: bool) -> NDArray[np.bool_]:
        """Return a mask of the first ``stop`` events, which is true for the events of the lives in ``kept``.

        ``null``: events that belong to no life are true too. A copy or swap needs both its lives.
        """
        known = np.append(kept, null)  # the last element is the one that NO_LIFE (-1) indexes
        found: NDArray[np.bool_] = known[self.life] & (known[self.other] | (self.other == NO_LIFE))
        found[stop:] = False
        return found

    def part(self, kept: NDArray[np.bool_], sizes: Int64s, stop: int, null: bool = False) -> Trace:
        """Return the trace of the lives in ``kept`` alone, with ``sizes`` as bytes of their allocs, up to event ``stop``.

        ``null``: events that belong to no life are in it too.
        """
        which = np.flatnonzero(self.events(kept, stop, null))
        op, life = self.op[which], self.life[which]
        size, allocs = self.size[which], op == Op.ALLOC
        size[allocs] = sizes[life[allocs]]
        request = (op == Op.ALLOC) | (op == Op.REALLOC)
        moved = ((op == Op.COPY) | (op == Op.SWAP)) & (size >= 0)
        given: dict[str, Any] = {
            "id": np.where(life == NO_LIFE, MISSING, life),
            "size": np.where(request | moved, size, MISSING),
            "time": self.time[which],
            "align": np.where(self.align[which] > 0, self.align[which], MISSING),
            "stream": self.stream[which],
            "dst": np.where(self.other[which] == NO_LIFE, MISSING, self.other[which]),
        }
        columns = self.trace.columns
        numbers = {name: column for name, column in given.items() if name in columns}
        batch = Batch(rows_of(op, numbers, self.tag[which]), columns, lambda row: RowLocation("row", row + 1), self.trace.tags)
        return _prepared(self.trace, batch)


def _prepared(whole: Trace, batch: Batch) -> Trace:
    """Return the trace ``whole`` with the events of one batch; no threads prepare it, as that is done thousands of times."""
    preparer = Preparer(batch.columns)
    keeper = ColumnCollector(MEMORY)
    for out in [*preparer.prepare(batch, None), preparer.taken()]:
        keeper.add(columns_of(out, preparer.filling))
    prepared = keeper.finish(preparer.dull())
    facts = preparer.facts(lambda bins, percent: request_of_rank(prepared, bins, percent))
    return replace(whole, metadata={}, facts=facts, prepared=prepared)


def lives_of(trace: Trace) -> Lives:
    """Read all events of a trace into memory, and return them with the life of each."""
    batches = list(trace.batches())

    def whole(name: str, kind: Any) -> Any:
        """Return the column ``name`` of all batches as one array."""
        parts = [np.broadcast_to(getattr(batch, name), batch.op.size) for batch in batches]
        return np.concatenate(parts).astype(kind) if parts else np.empty(0, kind)

    op, block, dst = whole("op", np.uint8), whole("block", np.int64), whole("dst", np.int64)
    count = op.size
    born = np.flatnonzero(op == Op.ALLOC)
    keys = block[born] * count + born
    order = np.argsort(keys)

    def life(slot: Int64s) -> Int64s:
        """Return the life of the block in ``slot[event]`` at each event: the latest that was allocated there; NO_LIFE for -1."""
        place = np.searchsorted(keys[order], slot * count + np.arange(count), side="right") - 1
        return np.where(slot >= 0, order[np.maximum(place, 0)] if born.size else NO_LIFE, NO_LIFE)

    lives, others = life(block), life(dst)
    size = whole("size", np.int64)
    died = np.full(born.size, count, np.int64)
    freed = np.flatnonzero((op == Op.FREE) & (lives != NO_LIFE))
    died[lives[freed]] = freed
    plain = np.ones(born.size, np.bool_)
    for column in (lives[(op != Op.ALLOC) & (op != Op.FREE)], others):
        plain[column[column != NO_LIFE]] = False
    return Lives(
        trace,
        op,
        lives,
        others,
        size,
        whole("align", np.int64),
        whole("stream", np.int64),
        whole("tag", np.int32),
        trace.times(np.arange(count)),
        born,
        died,
        plain,
    )
