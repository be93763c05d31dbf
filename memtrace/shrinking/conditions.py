"""What a shrunk trace has to show: `oom`, or a measure beyond a bound such as `external_frag_at_peak>0.3`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.errors import UsageError
from memtrace.names import unknown

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.replaying import Loop, Placement
    from memtrace.trace import Trace

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
SAMPLES = 2000

_BOUND = re.compile(r"\s*(\w+)\s*(>=|<=|==|>|<)\s*(.+?)\s*")


@dataclass(frozen=True)
class Condition:
    """`text` as it was given; without a metric it is oom."""

    text: str
    metric: str | None = None
    sign: str = ""
    bound: float = 0.0

    def shown(self, trace: Trace, policy: Policy, capacity: int | None, loop: Loop | None = None) -> Placement | None:
        """The placement that shows it, or None."""
        from memtrace.metrics import measure
        from memtrace.replaying import replay

        if self.metric is None:
            placement = replay(trace, policy, capacity, samples=1, detail="bare", loop=loop)
            return placement if placement.oom_event is not None else None
        placement = replay(trace, policy, capacity, samples=SAMPLES, loop=loop)
        value = measure(placement)[self.metric]
        return placement if value is not None and OPERATORS[self.sign](value, self.bound) else None


def parse_condition(text: str) -> Condition:
    """UsageError says what is wrong."""
    if text.strip() == "oom":
        return Condition("oom")
    found = _BOUND.fullmatch(text)
    if found is None:
        raise UsageError(f"--keep {text!r} is neither oom nor a bound\ntry: --keep oom, or --keep 'external_frag_at_peak>0.3'")
    from memtrace.metrics import declared

    known = {metric.name: metric for metric in declared()}
    name, sign, bound = found.groups()
    if name not in known:
        raise unknown("metric", name, known)
    if known[name].unit == "word":
        raise UsageError(f"--keep {text!r}: {name} is a word, which has no bound; --keep oom is one")
    return Condition(text, name, sign, _number(bound))


def _number(text: str) -> float:
    """A ratio, a percentage, or a size with its unit."""
    from memtrace.units import parse_size

    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return float(parse_size(text))
