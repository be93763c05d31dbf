"""Write batches of raw rows as minimalloc's CSV of lifetimes, with event numbers as times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from memtrace.trace.files import Put, whole
from memtrace.trace.model import Op
from memtrace.trace.raw import MISSING

if TYPE_CHECKING:
    from memtrace.trace.raw import Batch

Born = tuple[int, int, int]  # a live block: event of its alloc, size in bytes, alignment in bytes


class Lifetimes:
    """Turn rows into lines of lifetimes, and keep the live blocks until they end: memory grows with the number of live blocks."""

    def __init__(self) -> None:
        """Start with no live block; `events` counts the rows so far, `written` the lines so far."""
        self.live: dict[int, Born] = {}
        self.events = self.written = 0

    def lines(self, batch: Batch) -> Iterator[str]:
        """Yield a line for each block that ends in this batch. A realloc ends one lifetime and begins another."""
        rows, count = batch.rows, batch.rows.op.size
        columns = (np.broadcast_to(column, count).tolist() for column in (rows.id, rows.size, rows.align))
        for op, id, size, align in zip(rows.op.tolist(), *columns, strict=True):
            if op in (Op.FREE, Op.REALLOC) and id in self.live:
                yield self._line(self.live.pop(id), self.events)
            if op == Op.ALLOC or (op == Op.REALLOC and size > 0):
                self.live[id] = (self.events, size, 1 if align == MISSING else align)
            self.events += 1

    def rest(self) -> Iterator[str]:
        """Yield the lines of the blocks that are never freed; their lifetimes end after the last event."""
        for born in self.live.values():
            yield self._line(born, self.events)

    def _line(self, born: Born, end: int) -> str:
        """Return the CSV line `id,lower,upper,size,alignment` of a block that is live in the half-open interval [begin, `end`).

        Lines are numbered from 1, which is the id.
        """
        begin, size, align = born
        self.written += 1
        return f"{self.written},{begin},{end},{size},{align}\n"


@contextmanager
def lifetimes(path: Path) -> Iterator[Put]:
    """Provide a function that writes batches as lifetimes to `path`; the lines of never freed blocks follow at the end.

    Copies, swaps, accesses and records only count as events.
    """
    found = Lifetimes()
    with whole(path) as name, open(name, "w", encoding="ascii") as file:
        file.write("id,lower,upper,size,alignment\n")
        yield lambda batch: file.writelines(found.lines(batch))
        file.writelines(found.rest())
