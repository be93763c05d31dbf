"""Build a Trace from rows or columns made in Python: for tests, notebooks and workloads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from memtrace.errors import InputError, UsageError
from memtrace.names import unknown
from memtrace.trace.batches import MISSING, Batch, RowLocation, part_of, rows_of
from memtrace.trace.model import COLUMNS, Op, Trace
from memtrace.trace.passes import MEMORY_LIMIT, check_invalid
from memtrace.trace.records import batches

BATCH_ROWS = 1 << 17  # rows of a raw batch
OPTIONAL = COLUMNS[3:]  # columns that a trace may lack


def from_events(
    rows: Iterable[Mapping[str, Any] | Sequence[Any]],
    *,
    name: str = "events",
    invalid: str = "error",
    keep_ids: bool = False,
) -> Trace:
    """Return a Trace of rows that are mappings, named tuples, or tuples (op, id, size, time, align, stream, dst, tag).

    A tuple may stop early; None is a missing value. `invalid` is "error" (raise InputError at the first invalid row) or "skip";
    `keep_ids` keeps the given ids for `Trace.ids`.
    """
    given = [_fields(row) for row in rows]
    columns = tuple(
        column for column in COLUMNS if column in ("op", "id", "size") or any(row.get(column) is not None for row in given)
    )
    numbered = [(number, *(row.get(column) for column in columns)) for number, row in enumerate(given, 1)]
    return _trace(lambda: batches(numbered, columns, word="row"), name, invalid, keep_ids)


def from_columns(
    op: ArrayLike,
    id: ArrayLike,
    size: ArrayLike,
    *,
    tags: Sequence[str] = (),
    name: str = "events",
    invalid: str = "error",
    keep_ids: bool = False,
    **optional: ArrayLike | None,
) -> Trace:
    """Return a Trace of columns of equal length: `op` holds codes of Op, `tag` indices into `tags` (-1: none).

    The columns time, align, stream, dst and tag are optional; None is no column. MISSING stands for a missing number. As in
    prepared columns, align 0 is the policy's own alignment, and size -1 of a copy or swap is the whole block. `invalid` and
    `keep_ids` are as in `from_events`.
    Raises UsageError for columns of different lengths or of more than one dimension, and for a column that a trace does not have.
    """
    strange = [key for key in optional if key not in OPTIONAL]
    if strange:
        raise unknown("column", strange[0], COLUMNS)
    codes = np.ascontiguousarray(op, np.uint8).copy()
    given = {key: column for key, column in optional.items() if column is not None}
    tag = given.pop("tag", None)
    numbers = {key: np.array(column, np.int64) for key, column in {"id": id, "size": size, **given}.items()}
    shapes = {np.shape(codes if tag is None else tag), *(column.shape for column in numbers.values())}
    if shapes != {(codes.size,)} or codes.ndim != 1:
        raise UsageError("the columns of a trace have one dimension and the same length")
    whole_block = ((codes == Op.COPY) | (codes == Op.SWAP)) & (numbers["size"] == -1)
    numbers["size"][whole_block] = MISSING
    if "align" in numbers:
        numbers["align"][numbers["align"] == 0] = MISSING
    columns = tuple(key for key in COLUMNS if key in (*numbers, "op") or (key == "tag" and tag is not None))
    rows = rows_of(codes, numbers, None if tag is None else np.array(tag, np.int32))
    batch = Batch(rows, columns, lambda row: RowLocation("row", row + 1), tuple(tags))
    return _trace(lambda: _pieces(batch), name, invalid, keep_ids)


def _trace(again: Callable[[], Iterator[Batch]], name: str, invalid: str, keep_ids: bool) -> Trace:
    """Prepare the raw rows that `again()` yields from the start at each call, and return them as a Trace with a digest."""
    from memtrace.trace.passes import Raw, prepare

    check_invalid(invalid)
    raw = Raw(name, again)
    trace = prepare(raw, name=name, invalid=invalid, keep_ids=keep_ids, memory_limit=MEMORY_LIMIT)
    return replace(trace, sha256=_digest(again()))


def _pieces(whole: Batch) -> Iterator[Batch]:
    """Yield the rows of one large batch in batches of at most BATCH_ROWS rows (one empty batch if there are none)."""
    count = whole.rows.op.size
    for start in range(0, max(count, 1), BATCH_ROWS):
        stop = min(start + BATCH_ROWS, count)
        part = part_of(whole.rows, slice(start, stop))
        yield replace(whole, rows=part, place=_placer(start), done=stop, total=count)


def _placer(start: int) -> Callable[[int], RowLocation]:
    """Return a function from a row of a batch to the Place that error messages name; `start` is the batch's first row, from 0."""
    return lambda row: RowLocation("row", start + row + 1)


def _digest(parts: Iterator[Batch]) -> str:
    """Return the SHA-256 of the columns and tags in hexadecimal, since there is no file whose bytes could be hashed."""
    digest = hashlib.sha256()
    for batch in parts:
        for name in batch.columns:
            digest.update(name.encode() + b"\0" + getattr(batch.rows, name).tobytes())
        digest.update("\0".join(batch.tags).encode())
    return digest.hexdigest()


def _fields(row: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """Return a row as a dictionary from column name to value; raises InputError for a column that a trace does not have."""
    fields = dict(row) if isinstance(row, Mapping) else dict(zip(getattr(row, "_fields", COLUMNS), row, strict=False))
    strange = [name for name in fields if name not in COLUMNS]
    if strange:
        raise InputError(f"events have no column {strange[0]!r}; columns: {', '.join(COLUMNS)}")
    return fields
