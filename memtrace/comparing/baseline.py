"""A baseline: the rows that a budget is guarded against, as a small CSV file to commit, which a review can read."""

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

IDENTITY = ("trace", "trace_sha256", "policy", "capacity_bytes", "status", "oom_event", "failed_allocs")
MEASURES = ("peak_allocated_bytes", "peak_reserved_bytes", "internal_frag_at_peak", "external_frag_at_peak")
DIGITS = 16  # of a trace's SHA-256: enough to notice that it is another one


def columns(measures: Iterable[str] = ()) -> list[str]:
    """Who a row is, how it ended, the footprint, and the ``measures`` that gates look at."""
    return list(dict.fromkeys([*IDENTITY, *MEASURES, *measures]))


def baseline_text(rows: Sequence[Row], measures: Iterable[str] = ()) -> str:
    """Exact: floats are written in as many digits as tell them apart."""
    names = columns(measures)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in sorted(rows, key=lambda row: (row["trace"], row["policy"])):
        kept = {**row, "trace_sha256": row["trace_sha256"][:DIGITS]}
        writer.writerow(["" if kept[name] is None else kept[name] for name in names])
    return text.getvalue()


def write_baseline(rows: Sequence[Row], path: Path, measures: Iterable[str] = ()) -> None:
    """Written whole or not at all."""
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
    """InputError names the file, the line and what is wrong there."""
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
    from memtrace.results.schema import summary_columns

    for name in ("trace", "policy"):
        if name not in header:
            raise InputError(f"{path} is no baseline: it has no column {name}; `memtrace suite --update-baseline` writes one")
    for name in header:
        if name not in summary_columns():
            likely = nearest(name, summary_columns())
            raise InputError(f"{path}:1: unknown column {name!r}" + (f"; did you mean {likely!r}?" if likely else ""))


def _row(path: Path, line: int, header: list[str], fields: list[str]) -> Row:
    if len(fields) != len(header):
        raise InputError(f"{path}:{line}: {len(fields)} fields, but the header has {len(header)}")
    return {name: _value(path, line, name, text) for name, text in zip(header, fields, strict=True)}


def _value(path: Path, line: int, name: str, text: str) -> Any:
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
