"""Writing rows as memtrace.trace/1: zstd Parquet, or CSV. Columns that say nothing are left out."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = "memtrace.trace/1"
TYPES = {
    "op": pa.dictionary(pa.int8(), pa.string()),
    "id": pa.int64(),
    "size": pa.int64(),
    "time": pa.int64(),
    "align": pa.int64(),
    "stream": pa.int32(),
    "tag": pa.dictionary(pa.int8(), pa.string()),
}
DELTAS = ("id", "time")  # what counts up is stored as differences


class Row(NamedTuple):
    """An event of memtrace.trace/1."""

    op: str
    id: int
    size: int | None = None
    time: int | None = None
    align: int | None = None
    stream: int = 0
    tag: str | None = None


def write(rows: Sequence[Row], path: Path, metadata: dict[str, str]) -> None:
    """Write a trace in the format that its name asks for."""
    if path.suffix == ".csv":
        write_csv(rows, path)
    else:
        write_parquet(rows, path, metadata)


def write_parquet(rows: Sequence[Row], path: Path, metadata: dict[str, str]) -> None:
    """Write zstd Parquet with the schema's name, and where the trace came from, in the file's metadata."""
    columns = {name: [getattr(row, name) for row in rows] for name in used_columns(rows)}
    schema = pa.schema({name: TYPES[name] for name in columns}).with_metadata({"schema": SCHEMA, **metadata})
    pq.write_table(
        pa.table(columns, schema),
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in columns if name not in DELTAS],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in columns if name in DELTAS},
    )


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write CSV; a value that is not there is an empty field."""
    names = used_columns(rows)
    with path.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(names)
        lines.writerows([getattr(row, name) for name in names] for row in rows)


def used_columns(rows: Sequence[Row]) -> list[str]:
    """The three columns every trace has, and the others where they are ever set."""
    return [name for name in TYPES if name in ("op", "id", "size") or any(getattr(row, name) for row in rows)]
