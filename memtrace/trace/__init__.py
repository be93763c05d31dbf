"""The trace: its events checked, renumbered and counted, in memory or in a file, and written as CSV or Parquet.

This package exports the names in `__all__`; the module that defines a name is imported when the name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    "from_columns",
    "from_events",
    "write",
]

# Module of this package -> the exported names that it defines.
_WHERE = {
    "building": ("from_columns", "from_events"),
    "model": ("SCHEMA", "Events", "Facts", "Op", "Trace"),
    "batches": ("MISSING",),
    "writing": ("write",),
}


def __getattr__(name: str) -> Any:
    """Return an exported name, importing the module that defines it; raises AttributeError for other names."""
    for module, names in _WHERE.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
