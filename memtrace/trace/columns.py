"""Convert the Arrow columns of a table of events to raw Rows.

Ops become codes, numbers int64, tags indices of distinct texts. Rows that cannot be read are marked, each with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import InputError
from memtrace.names import nearest
from memtrace.trace.batches import CODES, MISSING, OPS, UNKNOWN_OP, UNREADABLE, Rows, op_code, rows_of
from memtrace.trace.model import COLUMNS, Int32s, Int64s

if TYPE_CHECKING:
    import pyarrow as pa

MOST_NOTES = 100  # reasons kept by one call of Marks.add: a trace of bad rows only must not fill the memory with texts
# Texts that Arrow parses as int64 in bulk; the few others are parsed one by one in Python.
WHOLE = r"\s*(-?[0-9]{1,18}|0[xX][0-9a-fA-F]{1,16})\s*"
NUMBERS = tuple(name for name in COLUMNS if name not in ("op", "tag"))

_DECIMAL = re.compile(r"-?[0-9]+")
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,16}")


class Marks:
    """Collect the rows of one batch that cannot be read, with the reasons.

    `bad[row]` is True for such a row. `notes` maps a row of the batch to its reason; not every bad row has one.
    """

    def __init__(self, rows: int) -> None:
        """Start with no row of `rows` marked."""
        self.bad = np.zeros(rows, np.bool_)
        self.notes: dict[int, str] = {}

    def add(self, rows: NDArray[np.int64], why: Callable[[int], str]) -> None:
        """Mark the given rows (their indices in the batch) as bad.

        `why(row)` makes the reason, for the first MOST_NOTES of them; a reason that a row has already stays.
        """
        self.bad[rows] = True
        for row in rows[:MOST_NOTES].tolist():
            self.notes.setdefault(row, why(row))


def check_columns(label: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the trace's columns among `names`, in the order of COLUMNS; other names are ignored.

    Raises InputError, with the file's `label`, if op, id or size is missing or a column appears twice.
    """
    for name in COLUMNS:
        if names.count(name) > 1:
            raise InputError(f"{label}: column {name!r} is there {names.count(name)} times\ntry: leave one of them")
    missing = [name for name in ("op", "id", "size") if name not in names]
    if not missing:
        return tuple(name for name in COLUMNS if name in names)
    likely = nearest(missing[0], [name for name in names if name not in COLUMNS])
    there = ", ".join(repr(name) for name in list(names)[:12]) or "none"
    hint = f"rename {likely!r} to {missing[0]!r}" if likely else "a trace has columns named op, id and size"
    lacks = " and ".join(repr(name) for name in missing)
    raise InputError(f"{label}: column {lacks} missing; columns there: {there}\ntry: {hint}")


def to_rows(label: str, columns: dict[str, pa.Array]) -> tuple[Rows, tuple[str, ...], dict[int, str]]:
    """Convert Arrow columns (name -> array, all of one length) to raw rows.

    Returns the rows, the texts that the codes of `Rows.tag` index, and a map from row to the reason why it cannot be read.
    Such rows have UNREADABLE or UNKNOWN_OP as op. Raises InputError if a column has a type that cannot hold its values.
    """
    count = len(columns["op"])
    marks = Marks(count)
    op = _ops(label, columns["op"], marks)
    numbers = {name: _numbers(label, name, columns[name], marks) for name in NUMBERS if name in columns}
    tag, tags = _tags(label, columns["tag"], marks) if "tag" in columns else (None, ())
    op[marks.bad] = UNREADABLE
    return rows_of(op, numbers, tag), tags, marks.notes


def _ops(label: str, array: pa.Array, marks: Marks) -> NDArray[np.uint8]:
    """Return the op codes of a text column, UNKNOWN_OP for an unknown op and UNREADABLE for a missing one.

    The reasons for both are added to `marks`.
    """
    names, codes = _dictionary(label, "op", array)
    table = np.array([op_code(name) for name in names] + [UNREADABLE], np.uint8)  # the last entry is for code -1, a missing op
    op: NDArray[np.uint8] = table[codes]
    if op.size and op.max() >= UNKNOWN_OP:
        for row in np.flatnonzero(op == UNKNOWN_OP)[:MOST_NOTES].tolist():
            marks.notes[row] = unknown_op(names[codes[row]])
        marks.add(np.flatnonzero(codes < 0), lambda row: "the op is missing")
    return op


def unknown_op(name: str | None) -> str:
    """Return the reason for an op that is not known; `name` is its text, or None if the bytes are not UTF-8."""
    if name is None:
        return "the op is not UTF-8 text"
    likely = nearest(name.strip(), CODES)
    return f"unknown op {name[:40]!r}; " + (f"did you mean {likely!r}?" if likely else f"known: {', '.join(OPS)}")


def _tags(label: str, array: pa.Array, marks: Marks) -> tuple[Int32s, tuple[str, ...]]:
    """Return the tag code of each row (-1: no tag), and the texts that the codes index.

    Rows whose tag is not UTF-8 are marked in `marks`.
    """
    names, codes = _dictionary(label, "tag", array)
    unreadable = [code for code, name in enumerate(names) if name is None]
    if unreadable:
        marks.add(np.flatnonzero(np.isin(codes, unreadable)), lambda row: "column 'tag' is not UTF-8 text")
    return codes, tuple(name if name is not None else "" for name in names)


def _dictionary(label: str, name: str, array: pa.Array) -> tuple[list[str | None], Int32s]:
    """Return the distinct texts of column `name` and, for each row, the index of its text, -1 for null and for empty.

    A text that is not UTF-8 is None. Raises InputError if the column is not of a text type.
    """
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
    """Return whether an Arrow type holds text. Bytes count as text: whether they are UTF-8 is checked value by value."""
    import pyarrow as pa

    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_string_view(kind))


def _text(value: Any) -> str | None:
    """Return a value of a text column as str, or None if it is null or not UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return None if value is None else str(value)


def _numbers(label: str, name: str, array: pa.Array, marks: Marks) -> Int64s:
    """Return an Arrow column as int64, MISSING where the value is null or unreadable.

    Unreadable values are marked in `marks`. Integers, floats and texts are accepted; raises InputError for other types.
    """
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
    # Only ids can be 2^63 or more here. They are only compared, so they may wrap round.
    array = array.cast(pa.int64(), safe=False)
    found: Int64s = (pc.fill_null(array, MISSING) if array.null_count else array).to_numpy()
    return found


def _float_numbers(name: str, array: pa.Array, marks: Marks) -> Int64s:
    """Return a column of floats as int64, MISSING for NaN; pandas makes such columns of whole numbers when some are missing.

    Values that are not whole, or not below 2^53 in magnitude, are marked in `marks` and MISSING.
    """
    floats = array.cast("float64").to_numpy(zero_copy_only=False)
    given = ~np.isnan(floats)
    # From 2^53 on, a float64 cannot represent every whole number.
    good = given & (np.abs(floats) < 2.0**53) & (np.floor(floats) == floats)
    marks.add(np.flatnonzero(given & ~good), lambda row: f"column {name!r}: {floats[row]} is no whole number")
    found: Int64s = np.where(good, np.where(good, floats, 0).astype(np.int64), MISSING)
    return found


def _text_numbers(name: str, array: pa.Array, marks: Marks) -> Int64s:
    """Return a column of texts as int64: decimal or 0x hexadecimal, MISSING for an empty text.

    Texts that are not such numbers are marked in `marks` and MISSING.
    """
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
    marks.add(wrong, lambda row: f"column {name!r}: {_shown(array[row].as_py())} {_wrong(array[row].as_py())}")
    return values


def _number(text: str | bytes) -> int | None:
    """Return the int64 in a text, MISSING if the text is blank, None if it is not a number of 64 bits.

    A hexadecimal number from 2^63 on wraps round to a negative one.
    """
    plain = (text.decode(errors="replace") if isinstance(text, bytes) else text).strip()
    if not plain:
        return MISSING
    if _HEX.fullmatch(plain):
        value = int(plain, 16)
        return value - (1 << 64) if value >= 1 << 63 else value
    if _DECIMAL.fullmatch(plain) and len(plain) <= 20 and MISSING < int(plain) < 1 << 63:
        return int(plain)
    return None


def _wrong(text: str | bytes) -> str:
    """Return what is wrong with a text that is not a number of 64 bits."""
    plain = (text.decode(errors="replace") if isinstance(text, bytes) else text).strip()
    return "is beyond 2^63 - 1" if _DECIMAL.fullmatch(plain) and not plain.startswith("-") else "is no whole number"


def _shown(text: str | bytes) -> str:
    """Return a value of a text column in quotes, cut to 40 characters, for an error message."""
    plain = text.decode(errors="replace") if isinstance(text, bytes) else text
    return repr(plain if len(plain) <= 40 else plain[:37] + "...")
