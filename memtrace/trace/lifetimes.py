"""Batches of raw rows -> minimalloc's CSV of lifetimes, whose times are the events' numbers."""

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

Born = tuple[int, int, int]  # event, size, alignment


class Lifetimes:
    """Blocks that are live, until their end is known: memory follows the live set."""

    def __init__(self) -> None:
        self.live: dict[int, Born] = {}
        self.events = self.written = 0

    def lines(self, batch: Batch) -> Iterator[str]:
        """A line for each block that ends here. A realloc ends one lifetime and begins another."""
        rows, count = batch.rows, batch.rows.op.size
        columns = (np.broadcast_to(column, count).tolist() for column in (rows.id, rows.size, rows.align))
        for op, id, size, align in zip(rows.op.tolist(), *columns, strict=True):
            if op in (Op.FREE, Op.REALLOC) and id in self.live:
                yield self._line(self.live.pop(id), self.events)
            if op == Op.ALLOC or (op == Op.REALLOC and size > 0):
                self.live[id] = (self.events, size, 1 if align == MISSING else align)
            self.events += 1

    def rest(self) -> Iterator[str]:
        """The lines of blocks that are never freed."""
        for born in self.live.values():
            yield self._line(born, self.events)

    def _line(self, born: Born, end: int) -> str:
        begin, size, align = born
        self.written += 1
        return f"{self.written},{begin},{end},{size},{align}\n"


@contextmanager
def lifetimes(path: Path) -> Iterator[Put]:
    """What writes batches as lifetimes; copies, swaps, accesses and records have no place in them."""
    found = Lifetimes()
    with whole(path) as name, open(name, "w", encoding="ascii") as file:
        file.write("id,lower,upper,size,alignment\n")
        yield lambda batch: file.writelines(found.lines(batch))
        file.writelines(found.rest())
