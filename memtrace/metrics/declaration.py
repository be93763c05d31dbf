"""What a metric is: its definition in words beside the function that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from memtrace.metrics.readings import Readings

Unit = Literal["bytes", "ratio", "count", "event", "holes", "word"]
Direction = Literal["lower", "higher", ""]  # which is better; "" where neither is
Value = int | float | str | None
DESIGN = "this project"
JOHNSTONE_WILSON = "Johnstone and Wilson 1998, The memory fragmentation problem: solved?, section 3"


@dataclass(frozen=True)
class Metric:
    """One column of summary.parquet."""

    name: str
    unit: Unit
    direction: Direction
    formula: str
    source: str
    compute: Callable[[Readings], Value]


def metric(
    unit: Unit, direction: Direction, formula: str, source: str = DESIGN
) -> Callable[[Callable[[Readings], Value]], Metric]:
    """Declare a function of Readings as a metric of the same name."""

    def declare(compute: Callable[[Readings], Value]) -> Metric:
        return Metric(compute.__name__, unit, direction, formula, source, compute)

    return declare
