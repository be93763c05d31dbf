"""The measures of a replay, which are the columns of summary.parquet that depend on the policy.

Each measure is declared once, as a function with `@metric` in a module of this package; its formula stands beside the
function. Modules are found by themselves. A module's ORDER says where its measures stand among the columns. The measures of
modules that other installed packages name by entry points of the group `memtrace.measures` follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from memtrace import plugins

if TYPE_CHECKING:
    from types import ModuleType

    from memtrace.engine.replay import Placement
    from memtrace.measures.declaration import Metric


PARTS = ("address_map", "added", "occupancy")  # modules here that declare no measure of the summary
# Column -> arrow type of the summary's columns that are no measures: first what identifies a row.
IDENTITY = {
    "trace": "string",
    "trace_sha256": "string",
    "policy": "string",
    "options": "string",
    "capacity_bytes": "int64",
}
# Then facts of the trace, which are the same for all policies.
COUNTS = {
    "events": "int64",
    "allocs": "int64",
    "frees": "int64",
    "reallocs": "int64",
    "max_live_blocks": "int64",
    "requested_bytes": "int64",
}


@cache
def builtin_metrics() -> tuple[Metric, ...]:
    """Return the package's metrics, in the order of their columns in summary.parquet."""
    import pkgutil
    from importlib import import_module

    names = [info.name for info in pkgutil.iter_modules(__path__) if info.name not in PARTS and not info.ispkg]
    modules = [import_module(f"{__name__}.{name}") for name in names]
    subjects = sorted((m for m in modules if hasattr(m, "ORDER")), key=lambda m: m.ORDER)
    return tuple(metric for module in subjects for metric in metrics_of(module))


def metrics_of(module: ModuleType) -> Iterable[Metric]:
    """Yield the metrics that are names of a module."""
    from memtrace.measures.declaration import Metric

    return (value for value in vars(module).values() if isinstance(value, Metric))


@cache
def declared() -> tuple[Metric, ...]:
    """Return all declared metrics, in the order of their columns in summary.parquet."""
    found = builtin_metrics()
    added = plugins.added("measures", ())
    if not added:
        return found
    from memtrace.measures.added import guarded, new_metrics

    for name, plugin in added.items():
        taken = frozenset({*IDENTITY, *COUNTS, *(metric.name for metric in found)})
        for module in plugins.usable({name: plugin}, partial(new_metrics, taken=taken)).values():
            found = (*found, *(guarded(metric, plugin) for metric in new_metrics(module, taken)))
    return found


def measure(placement: Placement) -> dict[str, Any]:
    """Compute every declared metric of a placement, and return the values by metric name.

    These are the columns of one row of summary.parquet without those that identify the run. A measure of what is not known of
    the policy, or was not written down (``detail`` below "full"), is None.
    """
    from memtrace.measures.declaration import Readings

    readings = Readings(placement)
    return {metric.name: readings.value(metric) for metric in declared()}
