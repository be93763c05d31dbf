"""Arrow columns of a table of events -> Rows: ops as codes, numbers as int64, unreadable rows marked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import InputError
from memtrace.names import nearest
from memtrace.trace.model import COLUMNS, Int32s, Int64s
from memtrace.trace.raw import (
    CODES,
    MISSING,
    OPS,
    UNKNOWN_OP,
    UNREADABLE,
    Rows,
    op_code,
    rows_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

MOST_NOTES = 100  # of a batch: a trace of nothing but bad rows should not fill the memory with reasons
WHOLE = r"\s*(-?[0-9]{1,18}|0[xX][0-9a-fA-F]{1,16})\s*"  # what surely fits; the few others are read one by one
NUMBERS = tuple(name for name in COLUMNS if name not in ("op", "tag"))

_DECIMAL = re.compile(r"-?[0-9]+")
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,16}")


class Marks:
    """The rows of a batch that cannot be read, and why."""

    def __init__(self, rows: int) -> None:
        self.bad = np.zeros(rows, np.bool_)
        self.notes: dict[int, str] = {}

    def add(self, rows: NDArray[np.int64], why: Callable[[int], str]) -> None:
        self.bad[rows] = True
        for row in rows[:MOST_NOTES].tolist():
            self.notes.setdefault(row, why(row))


def check_columns(label: str, names: Sequence[str]) -> tuple[str, ...]:
    """The columns that belong to a trace, in the schema's order; InputError for a missing or double one."""
    for name in COLUMNS:
        if names.count(name) > 1:
            raise InputError(f"{label}: column {name!r} is there {names.count(name)} times\ntry: leave one of them")
    missing = [name for name in ("op", "id", "size") if name not in names]
    if not missing:
        return tuple(name for name in COLUMNS if name in names)
    likely = nearest(missing[0], [name for name in names if name not in COLUMNS])
    there = ", ".join(repr(name) for name in list(names)[:12]) or "none"
    hint = f"rename {likely!r} to {missing[0]!r}" if likely else "the first line names the columns: op,id,size"
    lacks = " and ".join(repr(name) for name in missing)
    raise InputError(f"{label}: column {lacks} missing; columns there: {there}\ntry: {hint}")


def to_rows(label: str, columns: dict[str, pa.Array]) -> tuple[Rows, tuple[str, ...], dict[int, str]]:
    """The rows, the names of their tags, and notes on those that cannot be read."""
    count = len(columns["op"])
    marks = Marks(count)
    op = _ops(label, columns["op"], marks)
    numbers = {name: _numbers(label, name, columns[name], marks) for name in NUMBERS if name in columns}
    tag, tags = _tags(label, columns["tag"], marks) if "tag" in columns else (None, ())
    op[marks.bad] = UNREADABLE
    return rows_of(op, numbers, tag), tags, marks.notes


def _ops(label: str, array: pa.Array, marks: Marks) -> NDArray[np.uint8]:
    names, codes = _dictionary(label, "op", array)
    table = np.array([op_code(name) for name in names] + [UNREADABLE], np.uint8)  # the last is for index -1
    op: NDArray[np.uint8] = table[codes]
    if op.size and op.max() >= UNKNOWN_OP:
        for row in np.flatnonzero(op == UNKNOWN_OP)[:MOST_NOTES].tolist():
            marks.notes[row] = unknown_op(names[codes[row]])
        marks.add(np.flatnonzero(codes < 0), lambda row: "the op is missing")
    return op


def unknown_op(name: str | None) -> str:
    """What to say of an op that is none."""
    if name is None:
        return "the op is not UTF-8 text"
    likely = nearest(name.strip(), CODES)
    return f"unknown op {name[:40]!r}; " + (f"did you mean {likely!r}?" if likely else f"known: {', '.join(OPS)}")


def _tags(label: str, array: pa.Array, marks: Marks) -> tuple[Int32s, tuple[str, ...]]:
    names, codes = _dictionary(label, "tag", array)
    unreadable = [code for code, name in enumerate(names) if name is None]
    if unreadable:
        marks.add(np.flatnonzero(np.isin(codes, unreadable)), lambda row: "column 'tag' is not UTF-8 text")
    return codes, tuple(name if name is not None else "" for name in names)


def _dictionary(label: str, name: str, array: pa.Array) -> tuple[list[str | None], Int32s]:
    """Distinct texts (None: not UTF-8), and for each row which one; -1 for null and for empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    if not is_text(array.type.value_type):
        kind = array.type.value_type
        raise InputError(f"{label}: column {name!r} holds {kind}, not text\ntry: cast it to string")
    names = [_text(value) for value in array.dictionary.to_pylist()]
    codes = pc.fill_null(array.indices.cast(pa.int32()), -1) if array.null_count else array.indices.cast(pa.int32())
    found: Int32s = codes.to_numpy()
    blank = [code for code, name in enumerate(names) if name == ""]
    if blank:
        found = np.where(np.isin(found, blank), np.int32(-1), found)
    return names, found


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is one of those for text (bytes too: text is checked row by row)."""
    import pyarrow as pa

    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_string_view(kind))


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return None if value is None else str(value)


def _numbers(label: str, name: str, array: pa.Array, marks: Marks) -> Int64s:
    """A column as int64, MISSING where it is null or unreadable (which is marked)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), MISSING, np.int64)
    if is_text(kind):
        return _text_numbers(name, array, marks)
    if pa.types.is_floating(kind):
        return _float_numbers(name, array, marks)
    if not pa.types.is_integer(kind):
        raise InputError(f"{label}: column {name!r} holds {kind}, not whole numbers (int64)\ntry: cast it to int64")
    if pa.types.is_uint64(kind) and name not in ("id", "dst"):
        large = pc.fill_null(pc.greater(array, (1 << 63) - 1), False).to_numpy(zero_copy_only=False)
        marks.add(np.flatnonzero(large), lambda row: f"column {name!r}: {array[row].as_py()} does not fit int64")
    array = array.cast(pa.int64(), safe=False)  # ids are handles: those from 2^63 on wrap round
    found: Int64s = (pc.fill_null(array, MISSING) if array.null_count else array).to_numpy()
    return found


def _float_numbers(name: str, array: pa.Array, marks: Marks) -> Int64s:
    """Whole numbers that became floats because others were missing, as pandas does it."""
    floats = array.cast("float64").to_numpy(zero_copy_only=False)
    given = ~np.isnan(floats)
    # From 2^53 on a float no longer tells neighbours apart.
    good = given & (np.abs(floats) < 2.0**53) & (np.floor(floats) == floats)
    marks.add(np.flatnonzero(given & ~good), lambda row: f"column {name!r}: {floats[row]} is no whole number")
    found: Int64s = np.where(good, np.where(good, floats, 0).astype(np.int64), MISSING)
    return found


def _text_numbers(name: str, array: pa.Array, marks: Marks) -> Int64s:
    """Numbers in a text: decimal or 0x hexadecimal, empty for none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    good = pc.fill_null(pc.match_substring_regex(array, f"^{WHOLE}$"), False)
    texts = pc.ascii_trim_whitespace(pc.if_else(good, array, pa.scalar(None, array.type)).cast(pa.string()))
    values: Int64s = pc.fill_null(texts.cast(pa.int64()), MISSING).to_numpy().copy()
    rest = np.flatnonzero(~good.to_numpy(zero_copy_only=False) & array.is_valid().to_numpy(zero_copy_only=False))
    read = {int(row): _number(array[int(row)].as_py()) for row in rest}
    for row, value in read.items():
        values[row] = MISSING if value is None else value
    wrong = np.array([row for row, value in read.items() if value is None], np.int64)
    marks.add(wrong, lambda row: f"column {name!r}: {_shown(array[row].as_py())} is no whole number")
    return values


def _number(text: str | bytes) -> int | None:
    """The int64 in a text, MISSING if it is blank, None if it is no number."""
    plain = (text.decode(errors="replace") if isinstance(text, bytes) else text).strip()
    if not plain:
        return MISSING
    if _HEX.fullmatch(plain):
        value = int(plain, 16)
        return value - (1 << 64) if value >= 1 << 63 else value
    if _DECIMAL.fullmatch(plain) and len(plain) <= 20 and MISSING < int(plain) < 1 << 63:
        return int(plain)
    return None


def _shown(text: str | bytes) -> str:
    plain = text.decode(errors="replace") if isinstance(text, bytes) else text
    return repr(plain if len(plain) <= 40 else plain[:37] + "...")
