"""Describe an invalid row in a sentence: its line, what is wrong, and where its block was last allocated or freed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from memtrace.trace import checking
from memtrace.trace.batches import MISSING, Batch, RowLocation
from memtrace.trace.model import Op

ADDRESS = 1 << 32  # ids from this number on look like addresses, and are shown in hexadecimal too


@dataclass
class Problem:
    """Describe one invalid row."""

    row: int  # number in the whole input, from 0
    place: RowLocation  # where the row is in the input
    text: str  # what is wrong
    id: int | None = None  # the id whose history explains the problem
    detail: str = field(default="")  # this history, filled in by `explain`

    def __str__(self) -> str:
        """Return the text, with the detail in brackets."""
        return f"{self.text} ({self.detail})" if self.detail else self.text

    def at(self, label: str) -> str:
        """Return the full message: `trace.csv:1048: free of id 77, which is not live (freed at line 1031)`."""
        return f"{self.place.of(label)}: {self}"


def problem(batch: Batch, row: int, wrong: int, before: int, last_time: int) -> Problem:
    """Return the Problem of a row of a batch.

    `wrong` is the kernel's code, `before` the number of rows in earlier batches, `last_time` the time of the last valid event.
    """
    subject = None
    if wrong in (checking.NOT_LIVE, checking.IS_LIVE):
        subject = _value(batch, "id", row)
    elif wrong == checking.DST_NOT_LIVE:
        subject = _value(batch, "dst", row)
    return Problem(before + row, batch.place(row), _text(batch, row, wrong, last_time), subject)


def _text(batch: Batch, row: int, wrong: int, last_time: int) -> str:
    """Return what is wrong with a row, as in `problem`."""
    if wrong in (checking.BAD_OP, checking.BAD_ROW):
        return batch.notes.get(row, "unknown op" if wrong == checking.BAD_OP else "the row cannot be read")
    op = Op(batch.rows.op[row]).name.lower()
    subject, size = _value(batch, "id", row), _value(batch, "size", row)
    who = f"{op} of id {shown(subject)}" if subject != MISSING else op
    if wrong == checking.SIZE_RANGE:
        return f"{who}: size {size} is {'negative' if size < 0 else 'more than 2^60 bytes'}"
    if wrong == checking.BAD_ALIGN:
        align = _value(batch, "align", row)
        hint = "; leave it empty for the policy's own" if align == 0 else ""
        return f"{who}: align {align} is no power of two up to 2^60{hint}"
    if wrong == checking.DST_NOT_LIVE:
        return f"{who}: dst {shown(_value(batch, 'dst', row))} is not live"
    if wrong in (checking.LIVE_RANGE, checking.TOTAL_RANGE):
        return f"{who}: with its {size} bytes more than 2^62 are {'live' if wrong == checking.LIVE_RANGE else 'requested in all'}"
    texts = {
        checking.NO_ID: f"{op} without an id",
        checking.NOT_LIVE: f"{who}, which is not live",
        checking.IS_LIVE: f"{who}, which is live already",
        checking.NO_SIZE: f"{who}: the size is missing",
        checking.NO_DST: f"{who}: the dst is missing",
        checking.BAD_STREAM: f"{who}: stream {_value(batch, 'stream', row)} does not fit int32",
        checking.TIME_BACK: f"{who}: time goes back, from {last_time} to {_value(batch, 'time', row)}",
    }
    return texts[wrong]


def shown(id: int) -> str:
    """Return an id as text, in decimal, and also in hexadecimal if it looks like an address."""
    return f"{id} (0x{id & (1 << 64) - 1:x})" if abs(id) >= ADDRESS else str(id)


def _value(batch: Batch, name: str, row: int) -> int:
    """Return the value of a column at a row of a batch; a column that the input lacks gives its default."""
    column = getattr(batch.rows, name)
    return int(column[row if column.size > 1 else 0])


@dataclass
class _Life:
    """Follow whether an id is live while the input is read again."""

    live: bool = False
    last: tuple[Batch, int] | None = None  # batch and row of the last alloc or free

    def follow(self, batch: Batch, row: int) -> None:
        """Update the state by a row that has this id."""
        op = batch.rows.op[row]
        born = op == Op.ALLOC and not self.live
        died = self.live and (op == Op.FREE or (op == Op.REALLOC and _value(batch, "size", row) == 0))
        if born or died:
            self.live, self.last = born, (batch, row)

    def detail(self) -> str:
        """Return where the id was last allocated or freed: "freed at line 1031", or "never allocated"."""
        if self.last is None:
            return "never allocated"
        batch, row = self.last
        return f"{'allocated' if self.live else 'freed'} at {batch.place(row)}"


def explain(problems: Sequence[Problem], again: Iterable[Batch]) -> None:
    """Fill in the detail of each problem that names an id: where this id was last allocated or freed before the invalid row.

    `problems` are in the order of their rows and changed in place; `again` yields the input's batches from the start.
    """
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
