"""The rows that are compared: of a results folder, its summary.parquet, a baseline file, or Results in memory.

A baseline has the rows that a budget is compared with, as a small CSV file that can be committed and reviewed.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace import temporary
from memtrace.comparing.comparison import Row
from memtrace.errors import InputError, UsageError
from memtrace.names import nearest
from memtrace.results.tables import Results

if TYPE_CHECKING:
    Place = str | os.PathLike[str] | Results

# Columns that say what was replayed and how it ended.
IDENTITY = ("trace", "trace_sha256", "policy", "capacity_bytes", "status", "oom_event", "failed_allocs")
# Columns of measures that every baseline has; gates may add others.
MEASURES = ("peak_live_bytes", "peak_allocated_bytes", "peak_reserved_bytes", "internal_frag_at_peak", "external_frag_at_peak")
DIGITS = 16  # hexadecimal digits of a trace's SHA-256 that are kept: enough to notice that the trace is another one


def columns(measures: Iterable[str] = ()) -> list[str]:
    """Return the columns of a baseline: what identifies a row, how it ended, the footprint, and ``measures``."""
    return list(dict.fromkeys([*IDENTITY, *MEASURES, *measures]))


def baseline_text(rows: Sequence[Row], measures: Iterable[str] = ()) -> str:
    """Return the rows as CSV. Values are exact: floats have as many digits as are needed to read the same float back."""
    names = columns(measures)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in sorted(rows, key=lambda row: (row["trace"], row["policy"])):
        kept = {**row, "trace_sha256": row["trace_sha256"][:DIGITS]}
        writer.writerow(["" if kept[name] is None else kept[name] for name in names])
    return text.getvalue()


def write_baseline(rows: Sequence[Row], path: Path, measures: Iterable[str] = ()) -> None:
    """Write the rows to a CSV file, whole or not at all. Raise InputError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.replacement(path) as name, open(name, "w", newline="", encoding="utf-8") as file:
            file.write(baseline_text(rows, measures))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_baseline(path: Path) -> list[Row]:
    """Return the rows of a baseline file. Raise InputError, with the file and the line, if it cannot be read or parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    lines = csv.reader(io.StringIO(text))
    try:
        header = next(lines, [])
        _check_header(path, header)
        return [_row(path, lines.line_num, header, fields) for fields in lines if fields]
    except csv.Error as error:
        raise InputError(f"{path}:{lines.line_num}: {error}") from error


def _check_header(path: Path, header: list[str]) -> None:
    """Raise InputError if the header lacks the trace or the policy, or has a column that the summary does not have."""
    from memtrace.results.schema import summary_columns

    for name in ("trace", "policy"):
        if name not in header:
            raise InputError(f"{path} is no baseline: it has no column {name}; `memtrace suite --update-baseline` writes one")
    for name in header:
        if name not in summary_columns():
            likely = nearest(name, summary_columns())
            raise InputError(f"{path}:1: unknown column {name!r}" + (f"; did you mean {likely!r}?" if likely else ""))


def _row(path: Path, line: int, header: list[str], fields: list[str]) -> Row:
    """Return one line's fields by column; raise InputError if their number is not that of the header."""
    if len(fields) != len(header):
        raise InputError(f"{path}:{line}: {len(fields)} fields, but the header has {len(header)}")
    return {name: _value(path, line, name, text) for name, text in zip(header, fields, strict=True)}


def _value(path: Path, line: int, name: str, text: str) -> Any:
    """Return a field as a value of its column's type, None if it is empty.

    Raise InputError if it is not a finite number where a number is expected.
    """
    from memtrace.results.schema import summary_columns

    kind = summary_columns()[name]
    if text == "":
        return None
    if kind == "string":
        return text
    try:
        value = int(text) if kind == "int64" else float(text)
    except ValueError:
        raise InputError(f"{path}:{line}: {name} is {text!r}, no number") from None
    if not math.isfinite(value):
        raise InputError(f"{path}:{line}: {name} is {text!r}, no finite number")
    return value


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

    from memtrace.results.folder import check_tables
    from memtrace.results.schema import FORMAT

    file = path / "summary.parquet" if path.is_dir() else path
    if path.is_dir():
        check_tables(path, ("summary",))
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
