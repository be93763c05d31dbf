"""memtrace's own columns as CSV: a header, any column order, ids decimal or 0x hex, empty fields for none."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import InputError
from memtrace.trace.batches import MISSING, UNREADABLE, Batch, RowLocation, Rows
from memtrace.trace.columns import NUMBERS, check_columns, to_rows
from memtrace.trace.model import COLUMNS, read_only

if TYPE_CHECKING:
    import pyarrow as pa

    from memtrace.trace.sources import Source

NAME = "csv"
SUFFIXES = (".csv",)

BLOCK_BYTES = 4 << 20  # bytes read at once
MOST_LINE_BYTES = 1 << 20  # upper bound of the length of a line
PARSERS = 2  # threads that parse blocks


def sniff(head: bytes, path: str) -> bool:
    """Return whether the first line names the columns of a trace."""
    names = _names(head.partition(b"\n")[0])
    return "op" in names and "id" in names


@dataclass(frozen=True)
class Block:
    """Store consecutive whole lines of the file, without its header."""

    text: bytes
    start: int  # offset in the decompressed file, in bytes
    done: int  # stored bytes of the file read so far
    header: tuple[str, ...]  # names of all columns of the file


def read(source: Source) -> Iterator[Batch]:
    """Yield batches of rows in order; threads parse up to PARSERS blocks ahead."""
    total = source.size
    columns: tuple[str, ...] = ()
    with ThreadPoolExecutor(PARSERS, "memtrace-csv") as pool:
        parsing: deque[Future[Batch]] = deque()
        try:
            for block in _blocks(source):
                columns = columns or check_columns(source.label, block.header)
                parsing.append(pool.submit(_parse, source, block, columns, total))
                if len(parsing) > PARSERS:
                    yield parsing.popleft().result()
            while parsing:
                yield parsing.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _blocks(source: Source) -> Iterator[Block]:
    """Yield the file in blocks of whole lines, without its header; at least one block, which may be empty.

    Raises InputError for a line longer than MOST_LINE_BYTES, or if the first line is no header.
    """
    with source.open() as stream:
        rest, start = b"", 0
        header: tuple[str, ...] = ()
        while data := stream.read(BLOCK_BYTES):
            text = rest + data
            if not header and b"\n" in text:
                line, _, text = text.partition(b"\n")
                header, start = _header(source.label, line), len(line) + 1
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            if len(rest) > MOST_LINE_BYTES:
                place = _place(source, start + end, rest, 0)
                raise InputError(
                    f"{place.of(source.label)}: the line is longer than {MOST_LINE_BYTES >> 20} MiB\n"
                    "try: another --format; this looks like no CSV trace"
                )
            if end:
                yield Block(text[:end], start, stream.done(), header)
                start += end
        header = header or _header(source.label, rest)
        yield Block(rest if start else b"", start, stream.done(), header)


def _names(line: bytes) -> tuple[str, ...]:
    """Return the names in a header line; a UTF-8 byte order mark is left out."""
    text = line.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").rstrip("\r").replace("\0", "\ufffd")
    try:
        return tuple(name.strip() for row in csv.reader([text]) for name in row)
    except csv.Error:
        return tuple(text.split(","))


def _header(label: str, line: bytes) -> tuple[str, ...]:
    """Return the names of the columns; raises InputError if the first line names no column of a trace."""
    if len(line) > MOST_LINE_BYTES:
        raise InputError(f"{label}:1: the line is longer than {MOST_LINE_BYTES >> 20} MiB; this looks like no CSV trace")
    names = _names(line)
    if not set(names) & set(COLUMNS):
        shown = line[:60].decode(errors="replace")
        raise InputError(f"{label}:1: no header; the first line is {shown!r}\ntry: a first line such as op,id,size")
    return names


def _parse(source: Source, block: Block, columns: tuple[str, ...], total: int) -> Batch:
    """Return the rows of a block as a batch; `total` is the number of the file's stored bytes."""
    import pyarrow as pa

    try:
        found = _table(block, columns, _types(columns))
    except pa.ArrowInvalid:
        return _parse_by_row(source, block, columns, total)
    rows, tags, notes = to_rows(source.label, found)
    return Batch(rows, columns, _placer(source, block), tags, notes, block.done, total)


def _parse_by_row(source: Source, block: Block, columns: tuple[str, ...], total: int) -> Batch:
    """Return the rows of a block as `_parse`, for a block with a row that cannot be read.

    All columns are parsed as bytes, and each value is then checked by itself.
    """
    import pyarrow as pa

    odd: list[tuple[int, str]] = []

    def skip(row: Any) -> str:
        """Note a line with too few or too many fields, and tell pyarrow to skip the line."""
        fields = f"{row.actual_columns} field{'s' if row.actual_columns != 1 else ''}"
        odd.append((row.number - 1, f"the line has {fields}, the header {row.expected_columns}"))
        return "skip"

    whole = block
    if not _is_utf8(block.text):
        # pyarrow decodes a line for its handler, which must not fail. In this encoding every byte is a character.
        _table(replace(block, text=block.text.decode("latin-1").encode()), columns, dict.fromkeys(columns, pa.binary()), skip)
        block = replace(block, text=_without(block.text, {row for row, _ in odd}))
    found = _table(block, columns, dict.fromkeys(columns, pa.binary()), skip)
    rows, tags, notes = to_rows(source.label, found)
    rows, notes = _with_odd_rows(rows, notes, odd)
    return Batch(rows, columns, _placer(source, whole), tags, notes, block.done, total)


def _is_utf8(text: bytes) -> bool:
    """Return whether the bytes are a text in UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without(text: bytes, rows: set[int]) -> bytes:
    """Return a text without the rows of these numbers. A row is a line that is not empty; the first has number 0."""
    lines = [line for line in text.split(b"\n") if line.rstrip(b"\r")]
    return b"".join(line + b"\n" for row, line in enumerate(lines) if row not in rows)


def _table(block: Block, columns: tuple[str, ...], types: dict[str, Any], odd: Any = None) -> dict[str, pa.Array]:
    """Return the trace's columns of a block as Arrow arrays of the given types.

    `odd` is pyarrow's handler of invalid rows; without it, such a row raises ArrowInvalid.
    """
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    if not block.text or block.text.isspace():
        return {name: pa.array([], types[name]) for name in columns}
    # Other columns than a trace's may have any names, even equal ones, so each gets a unique name.
    names = [name if name in columns else f"{place}:{name}" for place, name in enumerate(block.header)]
    table = arrow_csv.read_csv(
        pa.BufferReader(block.text),
        arrow_csv.ReadOptions(use_threads=False, block_size=len(block.text) + 1, column_names=names),
        arrow_csv.ParseOptions(invalid_row_handler=odd),
        arrow_csv.ConvertOptions(column_types=types, include_columns=list(columns), null_values=[""], strings_can_be_null=True),
    )
    return {name: table.column(name).combine_chunks() for name in columns}


def _types(columns: tuple[str, ...]) -> dict[str, Any]:
    """Return the Arrow type in which each column is parsed."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    return {name: pa.int64() if name in NUMBERS else text for name in columns}


def _with_odd_rows(rows: Rows, notes: dict[int, str], odd: list[tuple[int, str]]) -> tuple[Rows, dict[int, str]]:
    """Insert unreadable rows for the lines with too few or too many fields, so that row numbers count all lines.

    `odd` has their row numbers, ascending, and reasons; returns the rows, and `notes` extended to the new row numbers.
    """
    if not odd:
        return rows, notes
    places = np.array([row for row, _ in odd]) - np.arange(len(odd))  # row numbers among the rows without them
    fill = {"op": UNREADABLE, "tag": -1}
    filled: list[Any] = []
    for name, column in rows._asdict().items():
        grown = column.size == rows.op.size
        filled.append(read_only(np.insert(column, places, fill.get(name, MISSING))) if grown else column)
    kept = np.delete(np.arange(rows.op.size + len(odd)), [row for row, _ in odd])
    moved = {int(kept[row]): note for row, note in notes.items()}
    return Rows(*filled), {**moved, **dict(odd)}


def _placer(source: Source, block: Block) -> Any:
    """Return a function from a row of the block to its Place."""
    return lambda row: _place(source, block.start, block.text, row)


def _place(source: Source, start: int, text: bytes, row: int) -> RowLocation:
    """Return the line of a row, by counting lines from the start of the file: only messages need it. Empty lines are no rows.

    `start` is the offset of `text`, the block, in the decompressed file; `row` is the row's number in the block.
    """
    line = 1
    with source.open() as stream:
        while start > 0 and (data := stream.read(min(start, BLOCK_BYTES))):
            line += data.count(b"\n")
            start -= len(data)
    for content in text.split(b"\n"):
        if content.rstrip(b"\r"):
            if row == 0:
                break
            row -= 1
        line += 1
    return RowLocation("line", line)
