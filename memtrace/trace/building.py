"""Rows made in Python -> a Trace: for tests, notebooks and generators."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from memtrace.errors import InputError, UsageError
from memtrace.trace.model import COLUMNS, Trace, read_only
from memtrace.trace.raw import (
    MISSING,
    UNKNOWN_OP,
    Batch,
    Place,
    op_code,
    part_of,
    rows_of,
)
from memtrace.trace.reading import MEMORY_LIMIT, check_invalid

if TYPE_CHECKING:
    from memtrace.trace.passes import Raw

BATCH_ROWS = 1 << 17


def from_events(
    rows: Iterable[Mapping[str, Any] | Sequence[Any]],
    *,
    name: str = "events",
    invalid: str = "error",
    keep_ids: bool = False,
) -> Trace:
    """A trace of rows: mappings, named tuples, or tuples (op, id, size, time, align, stream, dst, tag) cut anywhere."""
    given = [_fields(row) for row in rows]
    present = tuple(
        column
        for column in COLUMNS
        if column in ("op", "id", "size") or any(row.get(column) is not None for row in given)
    )
    op = np.array([op_code(row.get("op")) for row in given], np.uint8)
    notes = {row: f"unknown op {given[row].get('op')!r}" for row in np.flatnonzero(op == UNKNOWN_OP).tolist()}
    numbers = {
        column: np.array([MISSING if row.get(column) is None else row[column] for row in given], np.int64)
        for column in present
        if column not in ("op", "tag")
    }
    tag, tags = _tag_codes([row.get("tag") for row in given]) if "tag" in present else (None, ())
    whole = rows_of(op, numbers, tag)
    return _trace(Batch(whole, present, _place, tags, notes), name, invalid, keep_ids)


def from_columns(
    op: ArrayLike,
    id: ArrayLike,
    size: ArrayLike,
    *,
    time: ArrayLike | None = None,
    align: ArrayLike | None = None,
    stream: ArrayLike | None = None,
    dst: ArrayLike | None = None,
    tag: ArrayLike | None = None,
    tags: Sequence[str] = (),
    name: str = "events",
    invalid: str = "error",
    keep_ids: bool = False,
) -> Trace:
    """A trace of columns: op in codes of Op, `tag` in codes of `tags` (-1: none), `MISSING` where a number is missing.

    As in prepared columns, align 0 is the policy's own, and size -1 of a copy or swap the whole block.
    """
    codes = np.ascontiguousarray(op, np.uint8)
    sizes = np.asarray(size, np.int64)
    numbers = {"id": np.asarray(id, np.int64), "size": np.where(sizes == -1, _size_missing(codes), sizes)}
    optional = {"time": time, "align": align, "stream": stream, "dst": dst}
    numbers |= {
        column: np.asarray(given, np.int64) for column, given in optional.items() if given is not None
    }
    if "align" in numbers:
        numbers["align"] = np.where(numbers["align"] == 0, MISSING, numbers["align"])
    if any(column.shape != codes.shape for column in numbers.values()) or codes.ndim != 1:
        raise UsageError("the columns of a trace have one dimension and the same length")
    present = tuple(
        column for column in COLUMNS if column in (*numbers, "op") or (column == "tag" and tag is not None)
    )
    whole = rows_of(codes, numbers, None if tag is None else np.ascontiguousarray(tag, np.int32))
    return _trace(Batch(whole, present, _place, tuple(tags)), name, invalid, keep_ids)


def _size_missing(op: Any) -> Any:
    """What a size of -1 stands for: nothing said, for a copy or swap; elsewhere it is what it is."""
    from memtrace.trace.model import Op

    return np.where((op == Op.COPY) | (op == Op.SWAP), MISSING, -1)


def _trace(whole: Batch, name: str, invalid: str, keep_ids: bool) -> Trace:
    from memtrace.trace.passes import Raw, prepare

    check_invalid(invalid)
    raw: Raw = Raw(name, lambda: _pieces(whole))
    trace = prepare(raw, name=name, invalid=invalid, keep_ids=keep_ids, memory_limit=MEMORY_LIMIT)
    return replace(trace, sha256=_digest(whole))


def _pieces(whole: Batch) -> Iterator[Batch]:
    """The batch in smaller ones."""
    count = whole.rows.op.size
    for start in range(0, count, BATCH_ROWS) if count else (0,):
        stop = min(start + BATCH_ROWS, count)
        notes = {row - start: note for row, note in whole.notes.items() if start <= row < stop}
        yield replace(
            whole,
            rows=part_of(whole.rows, slice(start, stop)),
            place=_placer(start),
            notes=notes,
            done=stop,
            total=count,
        )


def _placer(start: int) -> Any:
    return lambda row: Place("row", start + row + 1)


_place = _placer(0)


def _digest(whole: Batch) -> str:
    """Of the columns: there is no file whose bytes could be hashed."""
    digest = hashlib.sha256()
    for name in whole.columns:
        digest.update(name.encode() + b"\0" + getattr(whole.rows, name).tobytes())
    digest.update("\0".join(whole.tags).encode())
    return digest.hexdigest()


def _fields(row: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    if isinstance(row, Mapping):
        fields = dict(row)
    else:
        names = getattr(row, "_fields", COLUMNS)
        fields = dict(zip(names, row, strict=False))
    strange = [name for name in fields if name not in COLUMNS]
    if strange:
        raise InputError(f"events have no column {strange[0]!r}; columns: {', '.join(COLUMNS)}")
    return fields


def _tag_codes(names: list[str | None]) -> tuple[Any, tuple[str, ...]]:
    codes: dict[str, int] = {}
    found = [-1 if name is None or name == "" else codes.setdefault(name, len(codes)) for name in names]
    return read_only(np.array(found, np.int32)), tuple(codes)
