"""The workloads that traces are generated from, one file each: the file is the registration.

A workload has `generate(seed, option=default, ...)`, which checks what its options' own limits cannot say and returns
`memtrace.workloads.events.Made`. Options are annotated with their limits (`memtrace.workloads.options`). The first
line of the file's docstring is what `memtrace workloads` prints. What the workloads are made of is in the folders.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from memtrace.names import unknown

PARTS = ("chance", "events", "lifespans", "options", "recipe")  # modules here that are no workloads


@cache
def workload_names() -> tuple[str, ...]:
    """All workloads, without importing one."""
    files = [info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg and info.name not in PARTS]
    return tuple(sorted(name.replace("_", "-") for name in files))


def load(name: str) -> ModuleType:
    """The module of a workload; UsageError with the nearest name if there is none."""
    if name not in workload_names():
        raise unknown("workload", name, workload_names())
    return import_module(f"{__name__}.{name.replace('-', '_')}")
