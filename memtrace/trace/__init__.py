"""The trace: read from any format, checked, renumbered, counted; written as CSV or Parquet.

The names below load what they need when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memtrace.trace.building import from_columns, from_events
    from memtrace.trace.model import SCHEMA, Events, Facts, Op, Trace
    from memtrace.trace.raw import MISSING
    from memtrace.trace.reading import check, read
    from memtrace.trace.writing import convert, write

__all__ = [
    "MISSING",
    "SCHEMA",
    "Events",
    "Facts",
    "Op",
    "Trace",
    "check",
    "convert",
    "from_columns",
    "from_events",
    "read",
    "write",
]

_WHERE = {
    "building": ("from_columns", "from_events"),
    "model": ("SCHEMA", "Events", "Facts", "Op", "Trace"),
    "raw": ("MISSING",),
    "reading": ("check", "read"),
    "writing": ("convert", "write"),
}


def __getattr__(name: str) -> Any:
    for module, names in _WHERE.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
