"""An invalid row -> a sentence: its line, what is wrong with it, and where the block was last heard of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from memtrace.trace import kernel
from memtrace.trace.model import Op
from memtrace.trace.raw import MISSING, Batch, Place

ADDRESS = 1 << 32  # ids from here on look like addresses, and are shown in hexadecimal too


@dataclass
class Problem:
    """One invalid row."""

    row: int  # of the whole input, from 0
    place: Place
    text: str
    id: int | None = None  # whose history explains it
    detail: str = field(default="")

    def __str__(self) -> str:
        return f"{self.text} ({self.detail})" if self.detail else self.text

    def at(self, label: str) -> str:
        """`trace.csv:1048: free of id 77, which is not live (freed at line 1031)`."""
        return f"{self.place.of(label)}: {self}"


def problem(batch: Batch, row: int, wrong: int, before: int, last_time: int) -> Problem:
    """What is wrong with a row of a batch that comes after `before` other rows."""
    subject = None
    if wrong in (kernel.NOT_LIVE, kernel.IS_LIVE):
        subject = _value(batch, "id", row)
    elif wrong == kernel.DST_NOT_LIVE:
        subject = _value(batch, "dst", row)
    return Problem(before + row, batch.place(row), _text(batch, row, wrong, last_time), subject)


def _text(batch: Batch, row: int, wrong: int, last_time: int) -> str:
    if wrong in (kernel.BAD_OP, kernel.BAD_ROW):
        return batch.notes.get(row, "unknown op" if wrong == kernel.BAD_OP else "the row cannot be read")
    op = Op(batch.rows.op[row]).name.lower()
    subject, size = _value(batch, "id", row), _value(batch, "size", row)
    who = f"{op} of id {shown(subject)}" if subject != MISSING else op
    if wrong == kernel.SIZE_RANGE:
        return f"{who}: size {size} is {'negative' if size < 0 else 'more than 2^60 bytes'}"
    if wrong == kernel.BAD_ALIGN:
        align = _value(batch, "align", row)
        hint = "; leave it empty for the policy's own" if align == 0 else ""
        return f"{who}: align {align} is no power of two up to 2^60{hint}"
    if wrong == kernel.DST_NOT_LIVE:
        return f"{who}: dst {shown(_value(batch, 'dst', row))} is not live"
    texts = {
        kernel.NO_ID: f"{op} without an id",
        kernel.NOT_LIVE: f"{who}, which is not live",
        kernel.IS_LIVE: f"{who}, which is live already",
        kernel.NO_SIZE: f"{who}: the size is missing",
        kernel.NO_DST: f"{who}: the dst is missing",
        kernel.BAD_STREAM: f"{who}: stream {_value(batch, 'stream', row)} does not fit int32",
        kernel.TIME_BACK: f"{who}: time goes back, from {last_time} to {_value(batch, 'time', row)}",
    }
    return texts[wrong]


def shown(id: int) -> str:
    """An id as a reader finds it in the file."""
    return f"{id} (0x{id & (1 << 64) - 1:x})" if abs(id) >= ADDRESS else str(id)


def _value(batch: Batch, name: str, row: int) -> int:
    column = getattr(batch.rows, name)
    return int(column[row if column.size > 1 else 0])


@dataclass
class _Life:
    """What is known of an id while the input is read again."""

    live: bool = False
    last: tuple[Batch, int] | None = None  # the row that made it live, or that ended it

    def follow(self, batch: Batch, row: int) -> None:
        op = batch.rows.op[row]
        born = op == Op.ALLOC and not self.live
        died = self.live and (op == Op.FREE or (op == Op.REALLOC and _value(batch, "size", row) == 0))
        if born or died:
            self.live, self.last = born, (batch, row)

    def detail(self) -> str:
        if self.last is None:
            return "never allocated"
        batch, row = self.last
        return f"{'allocated' if self.live else 'freed'} at {batch.place(row)}"


def explain(problems: Sequence[Problem], again: Iterable[Batch]) -> None:
    """Add to each problem where its id was allocated or freed before, by reading the input a second time."""
    open_ones = [found for found in problems if found.id is not None]
    lives = {found.id: _Life() for found in open_ones}
    before = 0
    for batch in again:
        if not open_ones:
            return
        count = batch.rows.op.size
        here = [found for found in open_ones if found.row < before + count]
        open_ones = open_ones[len(here) :]
        for id, life in lives.items():
            asking = {found.row - before: found for found in here if found.id == id}
            for row in np.union1d(np.flatnonzero(batch.rows.id == id), list(asking)).astype(int).tolist():
                if row in asking:
                    asking[row].detail = life.detail()
                if batch.rows.id[row] == id:
                    life.follow(batch, row)
        before += count
