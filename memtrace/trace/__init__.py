"""Read a trace from any format, check it, renumber its block ids, count its facts, and write it as CSV or Parquet.

This package exports the names in `__all__`; the module that defines a name is imported when the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memtrace.reading.conversion import convert
    from memtrace.reading.traces import check, read
    from memtrace.trace.batches import MISSING
    from memtrace.trace.building import from_columns, from_events
    from memtrace.trace.model import SCHEMA, Events, Facts, Op, Trace
    from memtrace.trace.writing import write

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

# Module of this package -> the exported names that it defines.
_WHERE = {
    "building": ("from_columns", "from_events"),
    "model": ("SCHEMA", "Events", "Facts", "Op", "Trace"),
    "raw": ("MISSING",),
    "reading": ("check", "read"),
    "writing": ("convert", "write"),
}


def __getattr__(name: str) -> Any:
    """Return an exported name, importing the module that defines it; raises AttributeError for other names."""
    for module, names in _WHERE.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
