"""A baseline: the rows that a budget is compared with, as a small CSV file that can be committed and reviewed."""

from __future__ import annotations

import csv
import io
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from memtrace.comparing.model import Row
from memtrace.errors import InputError
from memtrace.names import nearest

# Columns that say what was replayed and how it ended.
IDENTITY = ("trace", "trace_sha256", "policy", "capacity_bytes", "status", "oom_event", "failed_allocs")
# Columns of measures that every baseline has; gates may add others.
MEASURES = ("peak_allocated_bytes", "peak_reserved_bytes", "internal_frag_at_peak", "external_frag_at_peak")
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
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", newline="", encoding="utf-8") as file:
            file.write(baseline_text(rows, measures))
        os.chmod(name, 0o644)
        os.replace(name, path)
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
