"""The measures of a replay, which are the columns of summary.parquet that depend on the policy.

Each measure is declared once, as a function with `@metric` in a module of this package; its formula stands beside the
function. Modules are found by themselves. A module's ORDER says where its measures stand among the columns.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement
    from memtrace.measures.declaration import Metric


PARTS = ("address_map", "occupancy")  # modules here that declare no measure of the summary


@cache
def declared() -> tuple[Metric, ...]:
    """Return all declared metrics, in the order of their columns in summary.parquet."""
    import pkgutil
    from importlib import import_module

    from memtrace.measures.declaration import Metric

    names = [info.name for info in pkgutil.iter_modules(__path__) if info.name not in PARTS and not info.ispkg]
    modules = [import_module(f"{__name__}.{name}") for name in names]
    subjects = sorted((m for m in modules if hasattr(m, "ORDER")), key=lambda m: m.ORDER)
    return tuple(value for module in subjects for value in vars(module).values() if isinstance(value, Metric))


def measure(placement: Placement) -> dict[str, Any]:
    """Compute every declared metric of a placement, and return the values by metric name.

    These are the columns of one row of summary.parquet without those that identify the run.
    """
    from memtrace.measures.declaration import Readings

    readings = Readings(placement)
    return {metric.name: metric.compute(readings) for metric in declared()}
