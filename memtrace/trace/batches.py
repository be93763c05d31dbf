"""Define raw rows, which a format yields and the preparing kernel reads: batches of columns.

Each batch also tells where each row is in its file, for messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.trace.model import Int32s, Int64s, Op, read_only

# Sentinel of an empty field. No sensible id, size or time is -2^63, and a sentinel needs no separate mask of missing values.
MISSING = -(1 << 63)

# Codes of `Rows.op` besides the codes of Op: the op is unknown; the row cannot be read (see `Batch.notes`).
UNKNOWN_OP = 254
UNREADABLE = 255

OPS = {op.name.lower(): int(op) for op in Op}  # name -> code
ALIASES = {
    "malloc": Op.ALLOC,
    "calloc": Op.ALLOC,
    "a": Op.ALLOC,
    "f": Op.FREE,
    "r": Op.REALLOC,
    "empty": Op.TRIM,
}
CODES = {**OPS, **{name: int(op) for name, op in ALIASES.items()}}  # name or alias -> code


class Rows(NamedTuple):
    """Store raw columns of equal length; a column that the input lacks is a single MISSING (tag: a single -1)."""

    op: NDArray[np.uint8]
    id: Int64s
    size: Int64s
    time: Int64s
    align: Int64s
    stream: Int64s
    dst: Int64s
    tag: Int32s  # index into Batch.tags, -1 for none


class RowLocation(NamedTuple):
    """Say where a row is in its input: `line 1048` of a text file, `row 1048` of a table; both count from 1."""

    word: str  # "line", "row", or another unit of the format
    number: int  # from 1

    def __str__(self) -> str:
        """Return the place as text: `line 1048`."""
        return f"{self.word} {self.number}"

    def of(self, label: str) -> str:
        """Return the place within the named input: `trace.csv:1048`, `trace.parquet: row 1048`."""
        return f"{label}:{self.number}" if self.word == "line" else f"{label}: {self}"


@dataclass(frozen=True)
class Batch:
    """Store some consecutive raw rows of an input, as a format yields them."""

    rows: Rows
    columns: tuple[str, ...]  # names of the columns that the input has, in the order of the schema
    place: Callable[[int], RowLocation]  # returns where a row of this batch is in the input
    tags: tuple[str, ...] = ()  # texts that the codes of Rows.tag index
    notes: Mapping[int, str] = field(default_factory=dict)  # row -> why it is UNREADABLE or UNKNOWN_OP
    done: int = 0  # how much of the input is read, in the unit of `total`
    total: int | None = None  # size of the input (often stored bytes), None if unknown
    metadata: Mapping[str, str] = field(default_factory=dict)  # what the input says of the whole trace
    # Where the input's own plan puts the block of each row, in bytes; MISSING where it does not say. None: it has no plan.
    offset: Int64s | None = None


def op_code(name: str | None) -> int:
    """Return the code of an op's name or alias, or UNKNOWN_OP if the text is neither."""
    return CODES.get(name.strip().lower(), UNKNOWN_OP) if name is not None else UNKNOWN_OP


def rows_of(op: NDArray[np.uint8], numbers: Mapping[str, Int64s], tag: Int32s | None = None) -> Rows:
    """Return Rows from the columns that the input has: op codes, numbers by name, and tag codes."""

    def column(name: str) -> Int64s:
        """Return a number column, or the single MISSING if the input lacks it."""
        return read_only(np.ascontiguousarray(numbers.get(name, _ABSENT), np.int64))

    return Rows(
        op=read_only(op),
        id=column("id"),
        size=column("size"),
        time=column("time"),
        align=column("align"),
        stream=column("stream"),
        dst=column("dst"),
        tag=_UNTAGGED if tag is None else read_only(tag),
    )


def part_of(rows: Rows, which: Any) -> Rows:
    """Return some of the rows; `which` is a slice or an array of row numbers. Single-element columns stay."""
    count = rows.op.size
    columns: list[Any] = [column[which] if column.size == count else column for column in rows]
    return Rows(*columns)


_ABSENT: Int64s = read_only(np.full(1, MISSING, np.int64))
_UNTAGGED: Int32s = read_only(np.full(1, -1, np.int32))
