"""Write a trace as a CSV or Parquet file of memtrace.trace/1, or as minimalloc's CSV of lifetimes.

The events are batches of raw rows, from another file or from a Trace in memory. Lifetimes have event numbers as times. A file is
written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace import temporary
from memtrace.errors import InputError, UsageError
from memtrace.trace.batches import MISSING, Batch, RowLocation, rows_of
from memtrace.trace.model import BATCH_ROWS, COLUMNS, SCHEMA, Int64s, Op, Trace

if TYPE_CHECKING:
    import pyarrow as pa


PACKED = {".gz": "gzip", ".zst": "zstd"}  # suffix -> compression, by pyarrow's name
COUNTING_UP = ("id", "time")  # columns that mostly increase: Parquet stores their differences
OP_NAMES = tuple(op.name.lower() for op in Op)
Put = Callable[[Batch], None]  # writes one batch to the open file
Born = tuple[int, int, int]  # a live block: event of its alloc, size in bytes, alignment in bytes


def writer(path: Path, to: str | None = None) -> AbstractContextManager[Put]:
    """Return a context manager that opens `path` and provides a function which writes one batch.

    The suffix of the path chooses the format, unless `to` names it ("csv", "parquet", or "minimalloc" for lifetimes).
    Raises UsageError for an unknown suffix or name.
    """
    if to is not None:
        return _named(path, to)
    packing = PACKED.get(path.suffix.lower())
    plain = path.with_suffix("") if packing else path
    if plain.suffix.lower() == ".csv":
        return _csv(path, packing)
    if plain.suffix.lower() in (".parquet", ".pq") and not packing:
        return _parquet(path)
    raise UsageError(f"{path}: traces are written as .parquet, .csv, .csv.gz or .csv.zst")


def _named(path: Path, to: str) -> AbstractContextManager[Put]:
    """Return the context manager of `writer` for a format given by name; raises UsageError for an unknown name."""
    from memtrace.names import unknown

    written = {"csv": lambda: _csv(path, PACKED.get(path.suffix.lower())), "parquet": lambda: _parquet(path)}
    written["minimalloc"] = lambda: lifetimes(path)
    if to not in written:
        raise unknown("format to write", to, written)
    return written[to]()


@contextmanager
def atomic_replace(path: Path) -> Iterator[str]:
    """Provide a temporary file name in a `with` block, and rename that file to `path` when the block ends without an error.

    A killed run therefore leaves either the old file or the complete new one. On an error the temporary file is removed;
    OSError becomes UsageError.
    """
    try:
        with temporary.replacement(path) as name:
            yield name
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _parquet(path: Path) -> Iterator[Put]:
    """Provide a function that writes batches to a Parquet file in row groups of BATCH_ROWS events.

    The file's metadata has the schema's name and the metadata of all batches.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_replace(path) as name:
        file: Any = None
        waiting: pa.Table | None = None
        known: dict[str, str] = {}
        begun: dict[str, str] = {}

        def put(batch: Batch) -> None:
            """Write a batch; rows that do not fill a row group wait in memory."""
            nonlocal file, waiting, begun
            known.update(batch.metadata)
            table = pa.Table.from_batches([_arrow(batch)])
            if file is None:
                schema = table.schema.with_metadata({"schema": SCHEMA, **known})
                begun = dict(known)
                file = pq.ParquetWriter(name, schema, **_encodings(batch.columns))
            waiting = pa.concat_tables([waiting, table]) if waiting is not None else table
            while waiting.num_rows >= BATCH_ROWS:
                file.write_table(waiting.slice(0, BATCH_ROWS).unify_dictionaries())
                waiting = waiting.slice(BATCH_ROWS)

        try:
            yield put
            if file is not None and waiting is not None and waiting.num_rows:
                file.write_table(waiting.unify_dictionaries())
            if file is not None and known != begun:
                file.add_key_value_metadata(known)  # some formats know a part of their metadata only after the last row
        finally:
            if file is not None:
                file.close()


def _encodings(columns: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments of ParquetWriter that choose compression and encoding for the given columns."""
    return {
        "compression": "zstd",
        "use_dictionary": [name for name in columns if name not in COUNTING_UP],
        "column_encoding": {name: "DELTA_BINARY_PACKED" for name in columns if name in COUNTING_UP},
    }


def _arrow(batch: Batch) -> pa.RecordBatch:
    """Return the batch as an Arrow record batch, with null where a value is missing."""
    import pyarrow as pa

    ops = pa.DictionaryArray.from_arrays(pa.array(batch.rows.op.astype(np.int8)), list(OP_NAMES))
    columns: dict[str, Any] = {"op": ops}
    for name in batch.columns:
        column = getattr(batch.rows, name)
        if name == "tag":
            columns[name] = _arrow_tags(column, batch.tags)
        elif name != "op":
            kind = pa.int32() if name == "stream" else pa.int64()
            columns[name] = pa.array(column, mask=column == MISSING).cast(kind)
    return pa.RecordBatch.from_pydict({name: columns[name] for name in COLUMNS if name in columns})


def _arrow_tags(codes: Any, tags: tuple[str, ...]) -> pa.DictionaryArray:
    """Return tag codes as an Arrow dictionary array whose dictionary holds only the tags that occur; code -1 becomes null."""
    import pyarrow as pa

    used, local = np.unique(codes, return_inverse=True)
    missing = int(used.size > 0 and used[0] < 0)
    names = pa.array([tags[code] for code in used[missing:].tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(local.astype(np.int32) - missing, mask=codes < 0), names)


@contextmanager
def _csv(path: Path, packing: str | None) -> Iterator[Put]:
    """Provide a function that writes batches to a CSV file with a header; `packing` is a compression of pyarrow, or None."""
    import pyarrow as pa

    with atomic_replace(path) as name, pa.OSFile(name, "wb") as file:
        stream = pa.CompressedOutputStream(file, packing) if packing else file
        begun = False

        def put(batch: Batch) -> None:
            """Write a batch, and before the first one the header."""
            nonlocal begun
            if not begun:
                stream.write((",".join(batch.columns) + "\n").encode())
                begun = True
            stream.write(_lines(batch, path))

        yield put
        if packing:
            stream.close()


def _lines(batch: Batch, path: Path) -> Any:
    """Return the rows of a batch as bytes of CSV, one line for each row; `path` is named in errors only."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = _arrow(batch)
    texts = []
    for name in batch.columns:
        column = table.column(name)
        if name == "tag":
            quoted = pa.array([_quoted(tag, path) for tag in column.dictionary.to_pylist()], pa.string())
            column = pa.DictionaryArray.from_arrays(column.indices, quoted)
        texts.append(pc.fill_null(column.cast(pa.string()), ""))
    lines = pc.binary_join_element_wise(*texts, "\n" if len(texts) == 1 else ",")
    whole = pa.ListArray.from_arrays([0, len(lines)], lines)
    return bytes(pc.binary_join(whole, "\n")[0].as_buffer()) + (b"\n" if len(lines) else b"")


def _quoted(tag: str, path: Path) -> str:
    """Return a tag as a field of CSV, quoted if needed; raises InputError if it has a line break."""
    if "\n" in tag or "\r" in tag:
        raise InputError(f"{path}: CSV cannot hold the tag {tag!r}, which has a line break\ntry: .parquet instead")
    return '"' + tag.replace('"', '""') + '"' if '"' in tag or "," in tag else tag


class Lifetimes:
    """Turn rows into lines of lifetimes, and keep the live blocks until they end: memory grows with the number of live blocks."""

    def __init__(self) -> None:
        """Start with no live block; `events` counts the rows so far, `written` the lines so far."""
        self.live: dict[int, Born] = {}
        self.events = self.written = 0

    def lines(self, batch: Batch) -> Iterator[str]:
        """Yield a line for each block that ends in this batch. A realloc ends one lifetime and begins another."""
        rows, count = batch.rows, batch.rows.op.size
        columns = (np.broadcast_to(column, count).tolist() for column in (rows.id, rows.size, rows.align))
        for op, id, size, align in zip(rows.op.tolist(), *columns, strict=True):
            if op in (Op.FREE, Op.REALLOC) and id in self.live:
                yield self._line(self.live.pop(id), self.events)
            if op == Op.ALLOC or (op == Op.REALLOC and size > 0):
                self.live[id] = (self.events, size, 1 if align == MISSING else align)
            self.events += 1

    def rest(self) -> Iterator[str]:
        """Yield the lines of the blocks that are never freed; their lifetimes end after the last event."""
        for born in self.live.values():
            yield self._line(born, self.events)

    def _line(self, born: Born, end: int) -> str:
        """Return the CSV line `id,lower,upper,size,alignment` of a block that is live in the half-open interval [begin, `end`).

        Lines are numbered from 1, which is the id.
        """
        begin, size, align = born
        self.written += 1
        return f"{self.written},{begin},{end},{size},{align}\n"


@contextmanager
def lifetimes(path: Path) -> Iterator[Put]:
    """Provide a function that writes batches as lifetimes to `path`; the lines of never freed blocks follow at the end.

    Copies, swaps, accesses and records only count as events.
    """
    found = Lifetimes()
    with atomic_replace(path) as name, open(name, "w", encoding="ascii") as file:
        file.write("id,lower,upper,size,alignment\n")
        yield lambda batch: file.writelines(found.lines(batch))
        file.writelines(found.rest())


def write(trace: Trace, target: str | os.PathLike[str], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a prepared trace as CSV or Parquet, with its slots as ids; `convert` keeps a file's own ids.

    `metadata` is added to the trace's own.
    """
    known = {**trace.metadata, **(metadata or {})}
    with writer(Path(target)) as put:
        for batch in raw_batches(trace):
            put(replace(batch, metadata=known))


def raw_batches(trace: Trace) -> Iterator[Batch]:
    """Yield raw rows, with slots as ids, that preparation would turn into this trace again."""
    start, columns = 0, tuple(name for name in COLUMNS if name in trace.columns)
    for events in trace.batches(BATCH_ROWS):
        count = events.op.size
        numbers = np.arange(start, start + count)
        pair = (events.op == Op.COPY) | (events.op == Op.SWAP)
        request = (events.op == Op.ALLOC) | (events.op == Op.REALLOC)
        given = {
            "id": _or_missing(events.block >= 0, events.block, count),
            "size": _or_missing(request | (pair & (events.size >= 0)), events.size, count),
            "time": trace.times(numbers) if "time" in columns else None,
            "align": _or_missing(events.align > 0, events.align, count),
            "stream": np.broadcast_to(events.stream.astype(np.int64), count),
            "dst": _or_missing(events.dst >= 0, events.dst, count),
        }
        tag = np.ascontiguousarray(np.broadcast_to(events.tag, count))
        numbered = {name: column for name, column in given.items() if name in columns and column is not None}
        yield Batch(rows_of(events.op, numbered, tag), columns, lambda row: RowLocation("row", row + 1), trace.tags)
        start += count


def _or_missing(given: Any, column: Any, count: int) -> Int64s:
    """Return a column of `count` int64 values: `column` where `given` is true, else MISSING. Single elements are repeated."""
    found: Int64s = np.broadcast_to(np.where(given, column.astype(np.int64), MISSING), count)
    return found
