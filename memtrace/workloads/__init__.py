"""Find the workloads that traces are generated from. Each workload is one file of this folder, without other registration.

Other installed packages add workloads by entry points of the group `memtrace.workloads`, each of which names a module.

A workload defines `generate(seed, option=default, ...)`, which checks what the limits of single options cannot say and returns
`memtrace.workloads.events.Made`. Options are annotated with their limits (`memtrace.workloads.options`).
`memtrace workloads` prints the first line of the file's docstring. The subfolders have the parts that workloads share.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from memtrace import plugins
from memtrace.errors import UsageError
from memtrace.names import unknown

PARTS = ("chance", "events", "lifespans", "options", "recipe")  # modules in this folder that are no workloads


@cache
def builtin_workloads() -> tuple[str, ...]:
    """Return the names of the package's workloads, sorted, without importing them."""
    files = [info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg and info.name not in PARTS]
    return tuple(sorted(name.replace("_", "-") for name in files))


@cache
def added_workloads() -> dict[str, plugins.Plugin]:
    """Return the workloads that other installed packages add, by name, without importing them."""
    return plugins.added("workloads", builtin_workloads())


def workload_names() -> tuple[str, ...]:
    """Return the names of all workloads, sorted, without importing them; some plug-ins among them may be of no use."""
    return tuple(sorted([*builtin_workloads(), *added_workloads()]))


def workloads() -> dict[str, ModuleType]:
    """Import all workloads, and return them by name, sorted."""
    found = {name: load(name) for name in builtin_workloads()} | plugins.usable(added_workloads(), check_plugin)
    return dict(sorted(found.items()))


def load(name: str) -> ModuleType:
    """Return the module of a workload.

    Raises UsageError, with the nearest name, if there is none of this name, and for a plug-in that cannot be used.
    """
    if name in builtin_workloads():
        return import_module(f"{__name__}.{name.replace('-', '_')}")
    if name in added_workloads():
        return plugins.load(added_workloads()[name], check_plugin)
    raise unknown("workload", name, workload_names())


def check_plugin(module: ModuleType) -> None:
    """Raise UsageError if the module of a plug-in is no workload."""
    from memtrace.workloads.options import options_of

    plugins.check_functions(module, ("generate",))
    try:
        for option in options_of(module.generate).values():
            option.takes()
    except Exception as error:
        what = f"the options of {module.__name__}.generate are not annotated as memtrace reads them"
        raise UsageError(f"{what}: {plugins.reason_of(error)}") from error
