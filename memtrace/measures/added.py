"""The measures that other installed packages add: what is checked of their declarations, and of the values that they compute."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import wraps
from math import isfinite
from types import ModuleType
from typing import Any, get_args

import numpy as np

from memtrace import plugins
from memtrace.errors import UsageError
from memtrace.measures import builtin_metrics, metrics_of
from memtrace.measures.declaration import DESIGN, Direction, Metric, Readings, Unit, Value

LEAST, MOST = -(1 << 63), (1 << 63) - 1  # of a whole number in summary.parquet


def new_metrics(module: ModuleType, taken: Collection[str]) -> list[Metric]:
    """Return the metrics that a plug-in's module adds.

    ``taken`` are the names of columns that there are. Raise UsageError if there is no metric, or one that cannot be a column.
    """
    found = [metric for metric in dict.fromkeys(metrics_of(module)) if metric not in builtin_metrics()]  # it may import those
    if not found:
        raise UsageError(f"{module.__name__} declares no measure with @metric")
    names = [metric.name for metric in found]
    for metric in found:
        if metric.name in taken or names.count(metric.name) > 1:
            raise UsageError(f"there is a column {metric.name} already")
        if metric.unit not in get_args(Unit) or metric.direction not in get_args(Direction):
            raise UsageError(f"{metric.name}: unknown unit {metric.unit!r} or direction {metric.direction!r}")
    return found


def guarded(metric: Metric, plugin: plugins.Plugin) -> Metric:
    """Return a plug-in's metric with a function that returns None where the plug-in's own fails, and says so."""

    @wraps(metric.compute)
    def compute(readings: Readings) -> Value:
        """Return the checked value, or None."""
        try:
            return checked(metric, metric.compute(readings))
        except Exception as error:
            plugins.say(plugin, f"has no value for {metric.name}: {plugins.reason_of(error)}")
            return None

    source = plugin.distribution if metric.source == DESIGN else metric.source
    return replace(metric, compute=compute, source=source)


def checked(metric: Metric, value: Any) -> Value:
    """Return a value as the column of the metric takes it; raise TypeError for one that it does not take."""
    value = value.item() if isinstance(value, np.generic) else value
    fractions = metric.unit == "ratio" or metric.name.endswith("_mean")
    if (
        value is None
        or (isinstance(value, str) and metric.unit == "word")
        or (metric.unit != "word" and type(value) is int and LEAST <= value <= MOST)
        or (metric.unit != "word" and type(value) is float and fractions and isfinite(value))
    ):
        return value
    raise TypeError(f"{value!r} is no value in the unit {metric.unit!r}")
