"""memtrace replays allocation traces through allocation policies, and measures what each policy would have cost.

The public names of ``__all__`` are imported from their modules when they are first used, so that ``import memtrace`` is
fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memtrace.comparing import compare
    from memtrace.engine.heap import Heap
    from memtrace.engine.registry import policy
    from memtrace.engine.replay import Placement, replay
    from memtrace.gpu.answer import whatif
    from memtrace.measures import measure
    from memtrace.reading import read
    from memtrace.results.calls import load, run
    from memtrace.results.tables import Results
    from memtrace.trace import Trace

__version__ = "0.1.0"
__all__ = [
    "Heap",
    "Placement",
    "Results",
    "Trace",
    "__version__",
    "compare",
    "figures",
    "load",
    "measure",
    "policy",
    "read",
    "replay",
    "run",
    "torch",
    "whatif",
]

# Public name -> the module that defines it.
_WHERE = {
    "Heap": "memtrace.engine.heap",
    "Placement": "memtrace.engine.replay",
    "Results": "memtrace.results.tables",
    "Trace": "memtrace.trace",
    "compare": "memtrace.comparing",
    "load": "memtrace.results.calls",
    "measure": "memtrace.measures",
    "policy": "memtrace.engine.registry",
    "read": "memtrace.reading",
    "replay": "memtrace.engine.replay",
    "run": "memtrace.results.calls",
    "whatif": "memtrace.gpu.answer",
}
_MODULES = ("figures", "torch")  # public modules


def __dir__() -> list[str]:
    """Return the public names, those that were not used yet included."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import a public name from its module on its first use. Raise AttributeError for any other name."""
    if name in _MODULES:
        return import_module(f"memtrace.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value
