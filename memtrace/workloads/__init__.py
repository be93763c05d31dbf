"""Find the workloads that traces are generated from. Each workload is one file of this folder, without other registration.

A workload defines `generate(seed, option=default, ...)`, which checks what the limits of single options cannot say and returns
`memtrace.workloads.events.Made`. Options are annotated with their limits (`memtrace.workloads.options`).
`memtrace workloads` prints the first line of the file's docstring. The subfolders have the parts that workloads share.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from memtrace.names import unknown

PARTS = ("chance", "events", "lifespans", "options", "recipe")  # modules in this folder that are no workloads


@cache
def workload_names() -> tuple[str, ...]:
    """Return the names of all workloads, sorted, without importing them."""
    files = [info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg and info.name not in PARTS]
    return tuple(sorted(name.replace("_", "-") for name in files))


def load(name: str) -> ModuleType:
    """Return the module of a workload; raises UsageError, with the nearest name, if there is none of this name."""
    if name not in workload_names():
        raise unknown("workload", name, workload_names())
    return import_module(f"{__name__}.{name.replace('-', '_')}")
