"""memtrace's own columns in Apache Parquet: typed, small, and the fastest to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from memtrace.errors import InputError
from memtrace.trace.batches import Batch, RowLocation
from memtrace.trace.columns import check_columns, is_text, to_rows
from memtrace.trace.model import SCHEMA
from memtrace.trace.sources import reading_errors

if TYPE_CHECKING:
    from memtrace.trace.sources import Source

NAME = "parquet"
SUFFIXES = (".parquet", ".pq")

BATCH_ROWS = 1 << 17  # rows of a batch
TOOLS = ("ARROW:schema", "pandas")  # keys of metadata that describe the file, not the trace


def sniff(head: bytes, path: str) -> bool:
    """Return whether the file starts with Parquet's magic bytes."""
    return head.startswith(b"PAR1")


def read(source: Source) -> Iterator[Batch]:
    """Yield batches of at most BATCH_ROWS rows."""
    import pyarrow.parquet as pq

    with source.seekable() as path:
        with reading_errors(source.label):
            schema = pq.read_schema(path)
            texts = [field.name for field in schema if field.name in ("op", "tag") and is_text(field.type)]
            file = pq.ParquetFile(path, read_dictionary=texts)
        with file:
            yield from _batches(source.label, file)


def _batches(label: str, file: Any) -> Iterator[Batch]:
    """Yield the rows of an open Parquet file in batches; raises InputError if a column is missing or a part cannot be read."""
    names = check_columns(label, file.schema_arrow.names)
    metadata = _metadata(label, {**(file.schema_arrow.metadata or {}), **(file.metadata.metadata or {})})
    total, first = file.metadata.num_rows, 0
    batches = file.iter_batches(batch_size=BATCH_ROWS, columns=list(names))
    while True:
        with reading_errors(label):
            batch = next(batches, None)
        if batch is None:
            return
        rows, tags, notes = to_rows(label, {name: batch.column(name) for name in names})
        done = first + batch.num_rows
        yield Batch(rows, names, _placer(first), tags, notes, done, total, metadata)
        first = done


def _placer(first: int) -> Any:
    """Return a function from a row of a batch to its Place; `first` is the batch's first row in the file, from 0."""
    return lambda row: RowLocation("row", first + row + 1)


def _metadata(label: str, stored: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the trace's metadata among the file's; raises InputError for a schema of memtrace that is not SCHEMA."""
    found = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in stored.items()}
    schema = found.pop("schema", SCHEMA)
    if schema.startswith("memtrace.") and schema != SCHEMA:
        raise InputError(f"{label}: its schema is {schema}, this memtrace reads {SCHEMA}\ntry: a newer memtrace")
    return {key: value for key, value in found.items() if key not in TOOLS}
