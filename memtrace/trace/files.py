"""Write batches of raw rows to a CSV or Parquet file.

The file is written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import InputError, UsageError
from memtrace.trace.model import BATCH_ROWS, COLUMNS, SCHEMA, Op
from memtrace.trace.raw import MISSING, Batch

if TYPE_CHECKING:
    import pyarrow as pa

PACKED = {".gz": "gzip", ".zst": "zstd"}  # suffix -> compression, by pyarrow's name
COUNTING_UP = ("id", "time")  # columns that mostly increase: Parquet stores their differences
OP_NAMES = tuple(op.name.lower() for op in Op)

Put = Callable[[Batch], None]  # writes one batch to the open file


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
    from memtrace.trace.lifetimes import lifetimes

    written = {"csv": lambda: _csv(path, PACKED.get(path.suffix.lower())), "parquet": lambda: _parquet(path)}
    written["minimalloc"] = lambda: lifetimes(path)
    if to not in written:
        raise unknown("format to write", to, written)
    return written[to]()


@contextmanager
def whole(path: Path) -> Iterator[str]:
    """Provide a temporary file name in a `with` block, and rename that file to `path` when the block ends without an error.

    A killed run therefore leaves either the old file or the complete new one. On an error the temporary file is removed;
    OSError becomes UsageError.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    os.close(handle)
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(name, 0o666 & ~mask)
    try:
        yield name
        os.replace(name, path)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError):
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise


@contextmanager
def _parquet(path: Path) -> Iterator[Put]:
    """Provide a function that writes batches to a Parquet file in row groups of BATCH_ROWS events.

    The file's metadata has the schema's name and the metadata of all batches.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole(path) as name:
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

    with whole(path) as name, pa.OSFile(name, "wb") as file:
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
