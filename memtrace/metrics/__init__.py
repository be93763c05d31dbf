"""Placement -> measures. Each is declared once, beside its formula; every file here is found, in the order of ORDER."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memtrace.metrics.declaration import Metric
    from memtrace.replaying import Placement


@cache
def declared() -> tuple[Metric, ...]:
    """All metrics, in the order of the columns of summary.parquet."""
    import pkgutil
    from importlib import import_module

    from memtrace.metrics.declaration import Metric

    modules = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    subjects = sorted((m for m in modules if hasattr(m, "ORDER")), key=lambda m: m.ORDER)
    return tuple(value for module in subjects for value in vars(module).values() if isinstance(value, Metric))


def measure(placement: Placement) -> dict[str, Any]:
    """A row of summary.parquet without what the run is called: every declared metric by name."""
    from memtrace.metrics.readings import Readings

    readings = Readings(placement)
    return {metric.name: metric.compute(readings) for metric in declared()}
