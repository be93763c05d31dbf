"""Read the rows of a summary from a results folder, its summary.parquet, a baseline file, or Results in memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.comparing.baseline import read_baseline
from memtrace.comparing.model import Row
from memtrace.errors import InputError, UsageError
from memtrace.results.tables import Results

if TYPE_CHECKING:
    Place = str | os.PathLike[str] | Results


def rows_of(place: Place) -> list[Row]:
    """Return the rows. Raise UsageError if the path does not exist, InputError if it cannot be read or has no rows."""
    if isinstance(place, Results):
        return list(place.summary)
    path = Path(place)
    if not path.exists():
        raise _missing(path)
    baseline = path.is_file() and path.suffix.lower() == ".csv"
    rows = read_baseline(path) if baseline else _read_summary(path)
    if not rows:
        raise InputError(f"{path} holds no rows")
    return rows


def _missing(path: Path) -> UsageError:
    """Return the error for a path that does not exist, with the nearest name that does."""
    from memtrace.names import nearest

    beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    likely = nearest(path.name, beside)
    hint = f"; did you mean {path.parent / likely}?" if likely else "; `memtrace run TRACE -o DIR` writes one"
    return UsageError(f"there are no results {path}{hint}")


def _read_summary(path: Path) -> list[Row]:
    """Return the rows of summary.parquet; ``path`` is the file or its folder. Raise InputError if it has another schema."""
    import pyarrow.parquet as pq

    from memtrace.results.schema import FORMAT

    file = path / "summary.parquet" if path.is_dir() else path
    try:
        table = pq.read_table(file)
    except (OSError, ValueError) as error:
        said = (str(error).splitlines() or ["?"])[0]
        raise InputError(f"{path} is no results folder that can be read: {said}") from error
    schema = (table.schema.metadata or {}).get(b"schema", b"").decode(errors="replace")
    if schema != f"{FORMAT} summary":
        raise InputError(f"{file} has the schema {schema!r}; this version compares {FORMAT} summary")
    rows: list[Row] = table.to_pylist()
    return rows


def source_name(place: Place) -> str:
    """Return what error messages call the source: its path, or "the results"."""
    return "the results" if isinstance(place, Results) else os.fspath(place)
