"""Convert rows made one at a time in Python to batches of raw rows: for line-by-line formats, tests and notebooks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from numbers import Integral
from typing import Any

import numpy as np

from memtrace.trace.batches import MISSING, UNKNOWN_OP, UNREADABLE, Batch, RowLocation, op_code, rows_of
from memtrace.trace.columns import Marks, unknown_op
from memtrace.trace.model import Int32s, Int64s, read_only

BATCH_ROWS = 1 << 16  # rows of a raw batch


def batches(
    rows: Iterable[Sequence[Any]],
    columns: tuple[str, ...],
    *,
    word: str = "line",
    metadata: Mapping[str, str] | None = None,
) -> Iterator[Batch]:
    """Yield batches of raw rows from sequences (place, *values of `columns`), where None is a missing value.

    The op is a name or a code of Op. The place is the number of the line, or of the unit that `word` names, that errors report.
    Yields one empty batch if there are no rows.
    """
    coming, first = iter(rows), True
    while (some := list(islice(coming, BATCH_ROWS))) or first:
        yield _batch(some, columns, word, metadata or {})
        first = False


def _batch(rows: list[Sequence[Any]], columns: tuple[str, ...], word: str, metadata: Mapping[str, str]) -> Batch:
    """Return one batch of the given rows, with the reasons for rows that cannot be read."""
    places, *values = zip(*rows, strict=True) if rows else ((), *(() for _ in columns))
    given = dict(zip(columns, values, strict=True))
    marks = Marks(len(rows))
    numbers = {name: _numbers(name, column, marks) for name, column in given.items() if name not in ("op", "tag")}
    op = np.array([op_code(op) if op is None or isinstance(op, str) else op for op in given["op"]], np.uint8)
    for row in np.flatnonzero(op == UNKNOWN_OP).tolist():
        name = given["op"][row]
        marks.notes.setdefault(row, "the op is missing" if name is None else unknown_op(name))
    op[marks.bad] = UNREADABLE
    tag, tags = _tags(given["tag"]) if "tag" in given else (None, ())
    return Batch(rows_of(op, numbers, tag), columns, _placer(word, places), tags, marks.notes, metadata=metadata)


def _placer(word: str, places: Sequence[int]) -> Callable[[int], RowLocation]:
    """Return a function from a row of the batch to its Place."""
    return lambda row: RowLocation(word, places[row])


def _numbers(name: str, values: Sequence[Any], marks: Marks) -> Int64s:
    """Return a column as int64, MISSING for None and NaN; values that are not whole numbers of 64 bits are marked in `marks`."""
    plain = np.array([MISSING if value is None else value for value in values])
    if plain.dtype == np.int64 or not values:
        return plain.astype(np.int64)
    read = [_number(value) for value in values]
    wrong = np.array([row for row, value in enumerate(read) if value is None], np.int64)
    marks.add(wrong, lambda row: f"column {name!r}: {values[row]!r} is no whole number of 64 bits")
    return np.array([MISSING if value is None else value for value in read], np.int64)


def _number(value: Any) -> int | None:
    """Return a value as int64, MISSING for None and NaN (pandas' missing value), None if it is not a whole number of 64 bits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else None
    return int(value) if isinstance(value, Integral) and MISSING < int(value) < 1 << 63 else None


def _tags(names: Sequence[Any]) -> tuple[Int32s, tuple[str, ...]]:
    """Return the tag code of each row (-1 for none or empty), and the distinct tags that the codes index."""
    codes: dict[str, int] = {}
    found = [codes.setdefault(name, len(codes)) if isinstance(name, str) and name else -1 for name in names]
    return read_only(np.array(found, np.int32)), tuple(codes)
