"""The declaration of a metric: its name, unit, formula and source beside the function that computes its value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from memtrace.metrics.readings import Readings

Unit = Literal["bytes", "ratio", "count", "event", "holes", "word"]
Direction = Literal["lower", "higher", ""]  # the direction that is better; "" where neither is
Value = int | float | str | None
DESIGN = "this project"  # the source of measures that were not taken from a publication
JOHNSTONE_WILSON = "Johnstone and Wilson 1998, The memory fragmentation problem: solved?, section 3"


@dataclass(frozen=True)
class Metric:
    """One measure, which is one column of summary.parquet."""

    name: str  # of the column
    unit: Unit
    direction: Direction
    formula: str  # the definition in words, printed by `memtrace metrics`
    source: str  # the paper or book that defines the measure, or DESIGN
    compute: Callable[[Readings], Value]  # None where the measure has no value


def metric(
    unit: Unit, direction: Direction, formula: str, source: str = DESIGN
) -> Callable[[Callable[[Readings], Value]], Metric]:
    """Return a decorator that turns a function of Readings into a Metric of the function's name."""

    def declare(compute: Callable[[Readings], Value]) -> Metric:
        """Wrap the function in a Metric."""
        return Metric(compute.__name__, unit, direction, formula, source, compute)

    return declare
