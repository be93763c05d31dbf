"""What stands where a trace is expected, a file of any format or a workload, read to a trace, checked, or converted.

The names below load what they need when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memtrace.reading.conversion import anonymize, convert
    from memtrace.reading.recognition import recognise
    from memtrace.reading.traces import check, read

__all__ = ["anonymize", "check", "convert", "read", "recognise"]

_WHERE = {"traces": ("check", "read"), "conversion": ("anonymize", "convert"), "recognition": ("recognise",)}


def __getattr__(name: str) -> Any:
    for module, names in _WHERE.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
