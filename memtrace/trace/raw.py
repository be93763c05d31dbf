"""A format's rows on their way to the preparing kernel: a batch of raw columns, and where each row stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.trace.model import Int32s, Int64s, Op, read_only

# A field that is empty. No id, size or time that makes sense is -2^63, and a sentinel spares masks.
MISSING = -(1 << 63)

# Codes of `Rows.op` besides those of Op: the op is not known; the row cannot be read (see `Batch.notes`).
UNKNOWN_OP = 254
UNREADABLE = 255

OPS = {op.name.lower(): int(op) for op in Op}
ALIASES = {
    "malloc": Op.ALLOC,
    "calloc": Op.ALLOC,
    "a": Op.ALLOC,
    "f": Op.FREE,
    "r": Op.REALLOC,
    "empty": Op.TRIM,
}
CODES = {**OPS, **{name: int(op) for name, op in ALIASES.items()}}


class Rows(NamedTuple):
    """Raw columns; one that the input lacks is a single MISSING (tag: a single -1)."""

    op: NDArray[np.uint8]
    id: Int64s
    size: Int64s
    time: Int64s
    align: Int64s
    stream: Int64s
    dst: Int64s
    tag: Int32s  # code into the names of the batch


class Place(NamedTuple):
    """Where a row stands: `line 1048` of a text file, `row 1048` of a table; both count from 1."""

    word: str
    number: int

    def __str__(self) -> str:
        return f"{self.word} {self.number}"

    def of(self, label: str) -> str:
        """`trace.csv:1048`, `trace.parquet: row 1048`."""
        return f"{label}:{self.number}" if self.word == "line" else f"{label}: {self}"


@dataclass(frozen=True)
class Batch:
    """What a format yields."""

    rows: Rows
    columns: tuple[str, ...]  # those that the input has, in the order of the schema
    place: Callable[[int], Place]  # of a row of this batch
    tags: tuple[str, ...] = ()
    notes: Mapping[int, str] = field(default_factory=dict)  # row -> why it is UNREADABLE or UNKNOWN_OP
    done: int = 0  # of the input, in the unit of `total`
    total: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def op_code(name: str | None) -> int:
    """The code of an op's name or alias; UNKNOWN_OP if it is neither."""
    return CODES.get(name.strip().lower(), UNKNOWN_OP) if name is not None else UNKNOWN_OP


def rows_of(op: NDArray[np.uint8], numbers: Mapping[str, Int64s], tag: Int32s | None = None) -> Rows:
    """Rows from the columns that there are."""

    def column(name: str) -> Int64s:
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
    """Some of the rows, by a slice or by their numbers."""
    count = rows.op.size
    columns: list[Any] = [column[which] if column.size == count else column for column in rows]
    return Rows(*columns)


_ABSENT: Int64s = read_only(np.full(1, MISSING, np.int64))
_UNTAGGED: Int32s = read_only(np.full(1, -1, np.int32))
