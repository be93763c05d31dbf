"""Batches of raw rows -> a CSV or Parquet file, under a temporary name until it is whole."""

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

PACKED = {".gz": "gzip", ".zst": "zstd"}
COUNTING_UP = ("id", "time")  # stored as differences
OP_NAMES = tuple(op.name.lower() for op in Op)

Put = Callable[[Batch], None]


def writer(path: Path) -> AbstractContextManager[Put]:
    """What writes batches to this path, in the format of its suffix; UsageError for any other suffix."""
    packing = PACKED.get(path.suffix.lower())
    plain = path.with_suffix("") if packing else path
    if plain.suffix.lower() == ".csv":
        return _csv(path, packing)
    if plain.suffix.lower() in (".parquet", ".pq") and not packing:
        return _parquet(path)
    raise UsageError(f"{path}: traces are written as .parquet, .csv, .csv.gz or .csv.zst")


@contextmanager
def whole(path: Path) -> Iterator[str]:
    """A temporary name, which becomes the path at the end: a killed run leaves the old file or the new."""
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
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole(path) as name:
        file: Any = None
        waiting: pa.Table | None = None

        def put(batch: Batch) -> None:
            nonlocal file, waiting
            table = pa.Table.from_batches([_arrow(batch)])
            if file is None:
                schema = table.schema.with_metadata({"schema": SCHEMA, **batch.metadata})
                file = pq.ParquetWriter(name, schema, **_encodings(batch.columns))
            waiting = pa.concat_tables([waiting, table]) if waiting is not None else table
            while waiting.num_rows >= BATCH_ROWS:
                file.write_table(waiting.slice(0, BATCH_ROWS).unify_dictionaries())
                waiting = waiting.slice(BATCH_ROWS)

        try:
            yield put
            if file is not None and waiting is not None and waiting.num_rows:
                file.write_table(waiting.unify_dictionaries())
        finally:
            if file is not None:
                file.close()


def _encodings(columns: tuple[str, ...]) -> dict[str, Any]:
    return {
        "compression": "zstd",
        "use_dictionary": [name for name in columns if name not in COUNTING_UP],
        "column_encoding": {name: "DELTA_BINARY_PACKED" for name in columns if name in COUNTING_UP},
    }


def _arrow(batch: Batch) -> pa.RecordBatch:
    """The batch as Arrow columns, null where a value is missing."""
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
    """Tags with those in the dictionary that occur."""
    import pyarrow as pa

    used, local = np.unique(codes, return_inverse=True)
    missing = int(used.size > 0 and used[0] < 0)
    names = pa.array([tags[code] for code in used[missing:].tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(local.astype(np.int32) - missing, mask=codes < 0), names)


@contextmanager
def _csv(path: Path, packing: str | None) -> Iterator[Put]:
    import pyarrow as pa

    with whole(path) as name, pa.OSFile(name, "wb") as file:
        stream = pa.CompressedOutputStream(file, packing) if packing else file
        begun = False

        def put(batch: Batch) -> None:
            nonlocal begun
            if not begun:
                stream.write((",".join(batch.columns) + "\n").encode())
                begun = True
            stream.write(_lines(batch, path))

        yield put
        if packing:
            stream.close()


def _lines(batch: Batch, path: Path) -> Any:
    """The rows as text, each with its line end."""
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
    if "\n" in tag or "\r" in tag:
        raise InputError(f"{path}: CSV cannot hold the tag {tag!r}, which has a line break\ntry: .parquet instead")
    return '"' + tag.replace('"', '""') + '"' if '"' in tag or "," in tag else tag
