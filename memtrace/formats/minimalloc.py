"""minimalloc's CSV of lifetimes: `id,lower,upper,size`, half-open; `memtrace convert --to minimalloc` writes it too.

Names that its converter reads are read here: buffer, buffer_id for id, start, begin for lower, end (inclusive) for upper;
alignment is kept; gaps and hint are left out. The offset is where the file's own plan puts the block, and what
`memtrace bound` judges; it may be empty. Where lifetimes meet, frees come first. The file is sorted in memory, 24 bytes a
block. Source: google/minimalloc, src/converter.cc.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from memtrace.errors import InputError
from memtrace.formats._lifetimes import Lifetimes, batches
from memtrace.formats._reading import shown
from memtrace.formats._text import blocks
from memtrace.trace.batches import MISSING
from memtrace.trace.model import Int64s

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "minimalloc"
SUFFIXES = (".csv",)

# Names of the converter -> names of minimalloc.
NAMES = {"buffer": "id", "buffer_id": "id", "start": "lower", "begin": "lower", "end": "upper"}
NEED = ("id", "lower", "upper", "size")  # columns that a file must have
OPTIONAL = ("alignment", "offset")  # columns that may be absent, or have empty fields
LEFT_OUT = ("gaps", "hint")  # columns of the file that are ignored


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
    bad: dict[int, str] = {}
    yield from batches(_lifetimes(source, said, bad), {"format": NAME}, said, bad)


def _lifetimes(source: Source, said: list[str], bad: dict[int, str]) -> Lifetimes:
    """Return the lifetimes of a file; lines that are none are added to `bad`, which maps them to what is wrong.

    What is assumed of the file is appended to `said`.
    """
    parts: list[Int64s] = []
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
        parts.append(np.array(rows, np.int64).reshape(-1, 6))
    whole = np.concatenate(parts) if parts else np.empty((0, 6), np.int64)
    if inclusive:
        said.append("column 'end' is the last time of a lifetime: 1 is added")
        whole[:, 1] += 1
    left = [name for name in LEFT_OUT if name in names]
    if left:
        said.append(f"columns left out: {', '.join(left)}")
    lower, upper, size, align, offset, place = whole.T.copy()
    return Lifetimes(lower=lower, upper=upper, size=size, align=align, offset=offset, place=place)


def _checked(label: str, line: bytes) -> list[str]:
    """Return the names in the header line; raises InputError unless each needed one is there once."""
    names = _header(line)
    for name in NEED:
        if names.count(name) != 1:
            raise InputError(f"{label}:1: column {name!r} is there {names.count(name)} times\ntry: id,lower,upper,size")
    return names


def _row(text: bytes, names: list[str], line: int) -> tuple[int, ...] | str:
    """Return (lower, upper, size, align, offset, line) of a line of the file, or a text that says what is wrong with the line."""
    try:
        fields = next(csv.reader(io.StringIO(text.decode())))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        return f"the line is no CSV: {shown(text)}"
    if len(fields) != len(names):
        return f"the line has {len(fields)} fields, the header {len(names)}"
    given = dict(zip(names, fields, strict=True))
    numbers = []
    for name in ("lower", "upper", "size", *OPTIONAL):
        field = given.get(name, "").strip()
        if not field and name in OPTIONAL:
            numbers.append(MISSING)
            continue
        if not field.lstrip("+-").isdecimal() or not field.isascii() or len(field) > 19:
            return f"column {name!r}: {field[:40]!r} is no whole number"
        numbers.append(int(field))
    if max(abs(number) for number in numbers if number != MISSING) >= 1 << 62:
        return "a number is beyond 2^62"
    if numbers[4] < 0 and numbers[4] != MISSING:
        return f"column 'offset': {numbers[4]} is negative"
    if numbers[3] == 1:
        numbers[3] = MISSING  # minimalloc writes 1 for no alignment
    return (*numbers, line)
