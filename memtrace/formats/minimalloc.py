"""minimalloc's CSV of lifetimes: `id,lower,upper,size`, half-open; `memtrace convert --to minimalloc` writes it too.

Names that its converter reads are read here: buffer, buffer_id for id, start, begin for lower, end (inclusive) for upper;
alignment is kept; gaps, hint and offset are left out. Where lifetimes meet, frees come first. The file is sorted in
memory, 24 bytes a block. Source: google/minimalloc, src/converter.cc.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import InputError
from memtrace.formats._reading import shown
from memtrace.formats._text import blocks
from memtrace.trace.batches import MISSING, UNREADABLE, Batch, RowLocation, rows_of
from memtrace.trace.model import Int64s, Op

if TYPE_CHECKING:
    from memtrace.trace.sources import Source

NAME = "minimalloc"
SUFFIXES = (".csv",)

# Names of the converter -> names of minimalloc.
NAMES = {"buffer": "id", "buffer_id": "id", "start": "lower", "begin": "lower", "end": "upper"}
NEED = ("id", "lower", "upper", "size")  # columns that a file must have
COLUMNS = ("op", "id", "size", "time", "align")  # of the trace
LEFT_OUT = ("gaps", "hint", "offset")  # columns of the file that are ignored
BATCH_ROWS = 1 << 17  # rows of a batch
# The order of events at one time: frees, allocs, and then the frees of empty lifetimes.
FREE_FIRST, BORN, FREE_LAST = range(3)


def sniff(head: bytes, path: str) -> bool:
    """Return whether the first line names a lifetime's columns, and no op."""
    names = _header(head.partition(b"\n")[0])
    return all(names.count(name) == 1 for name in NEED) and "op" not in names


def _header(line: bytes) -> list[str]:
    """Return the names in a header line, with those of the converter's names that differ replaced by minimalloc's."""
    text = line.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").strip()
    return [NAMES.get(name.strip(), name.strip()) for name in text.split(",")]


def read(source: Source) -> Iterator[Batch]:
    """Yield allocs and frees in the order of time; a block's id is the number of its lifetime in the file, from 1."""
    said: list[str] = []
    columns, lines, bad = _lifetimes(source, said)
    lower, upper, size, align = columns
    count = lower.size
    wrong = upper < lower
    for row in np.flatnonzero(wrong).tolist():
        bad[int(lines[row])] = f"the lifetime ends at {upper[row]}, before it begins at {lower[row]}"
    empty = int(((upper == lower) & ~wrong).sum())
    if empty:
        said.append(f"empty lifetimes, allocated and freed at once: {empty:,}")
    good = np.flatnonzero(~wrong)
    time = np.concatenate([lower[good], upper[good]])
    kind = np.concatenate([np.full(good.size, BORN), np.where(upper[good] > lower[good], FREE_FIRST, FREE_LAST)])
    order = np.lexsort((kind, time))
    which = np.concatenate([good, good])[order]
    born = kind[order] == BORN
    names = COLUMNS if (align != MISSING).any() else COLUMNS[:-1]
    yield from _bad_batch(bad, names)
    for start in range(0, max(order.size, 1), BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        rows, alloc = which[part], born[part]
        given = {
            "id": rows + 1,
            "size": np.where(alloc, size[rows], MISSING),
            "time": time[order[part]],
            "align": np.where(alloc, align[rows], MISSING),
        }
        op = np.where(alloc, np.uint8(Op.ALLOC), np.uint8(Op.FREE)).astype(np.uint8)
        said_now = {"assumed": "\n".join(said)} if said else {}
        yield Batch(
            rows_of(op, {name: given[name] for name in names[1:]}),
            names,
            _placer(lines[rows]),
            done=min(start + BATCH_ROWS, 2 * count),
            total=2 * count,
            metadata={"format": NAME, **said_now},
        )


def _placer(lines: Int64s) -> Any:
    """Return a function from a row of a batch to its Place; `lines` has the line of each row."""
    return lambda row: RowLocation("line", int(lines[row]))


def _bad_batch(bad: dict[int, str], names: tuple[str, ...]) -> Iterator[Batch]:
    """Yield a batch of unreadable rows, one for each line that is no lifetime, if there are any; `bad` maps lines to reasons."""
    if bad:
        lines = np.array(sorted(bad), np.int64)
        op = np.full(lines.size, UNREADABLE, np.uint8)
        notes = {row: bad[line] for row, line in enumerate(lines.tolist())}
        empty = {name: np.full(lines.size, MISSING, np.int64) for name in names[1:]}
        yield Batch(rows_of(op, empty), names, _placer(lines), notes=notes)


def _lifetimes(source: Source, said: list[str]) -> tuple[tuple[Int64s, ...], Int64s, dict[int, str]]:
    """Return (lower, upper, size, align) as columns, the line of each lifetime, and a map from other lines to what is wrong.

    What is assumed of the file is appended to `said`.
    """
    parts: list[Int64s] = []
    bad: dict[int, str] = {}
    names: list[str] = []
    line, inclusive = 0, False
    for block in blocks(source, said.append):
        if block.cut:
            said.append("the last line has no line end: taken as it stands")
        rows: list[tuple[int, ...]] = []
        for text in block.text.splitlines():
            line += 1
            if not text.strip():
                continue
            if not names:
                names, inclusive = _checked(source.label, text), b"end" in [name.strip() for name in text.split(b",")]
                continue
            found = _row(text, names, line)
            if isinstance(found, str):
                bad[line] = found
            else:
                rows.append(found)
        parts.append(np.array(rows, np.int64).reshape(-1, 5))
    whole = np.concatenate(parts) if parts else np.empty((0, 5), np.int64)
    if inclusive:
        said.append("column 'end' is the last time of a lifetime: 1 is added")
        whole[:, 1] += 1
    left = [name for name in LEFT_OUT if name in names]
    if left:
        said.append(f"columns left out: {', '.join(left)}")
    return (whole[:, 0], whole[:, 1], whole[:, 2], whole[:, 3]), whole[:, 4], bad


def _checked(label: str, line: bytes) -> list[str]:
    """Return the names in the header line; raises InputError unless each needed one is there once."""
    names = _header(line)
    for name in NEED:
        if names.count(name) != 1:
            raise InputError(f"{label}:1: column {name!r} is there {names.count(name)} times\ntry: id,lower,upper,size")
    return names


def _row(text: bytes, names: list[str], line: int) -> tuple[int, ...] | str:
    """Return (lower, upper, size, align, line) of a line of the file, or a text that says what is wrong with the line."""
    try:
        fields = next(csv.reader(io.StringIO(text.decode())))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        return f"the line is no CSV: {shown(text)}"
    if len(fields) != len(names):
        return f"the line has {len(fields)} fields, the header {len(names)}"
    given = dict(zip(names, fields, strict=True))
    numbers = []
    for name in ("lower", "upper", "size", "alignment"):
        field = given.get(name, "").strip()
        if not field and name == "alignment":
            numbers.append(MISSING)
            continue
        if not field.lstrip("+-").isdecimal() or not field.isascii() or len(field) > 19:
            return f"column {name!r}: {field[:40]!r} is no whole number"
        numbers.append(int(field))
    if max(abs(number) for number in numbers if number != MISSING) >= 1 << 62:
        return "a number is beyond 2^62"
    if numbers[3] == 1:
        numbers[3] = MISSING  # minimalloc writes 1 for no alignment
    return (*numbers, line)
