"""The conditions that a shrunk trace has to show: `oom`, or a measure beyond a bound such as `external_frag_at_peak>0.3`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.errors import UsageError
from memtrace.names import unknown

if TYPE_CHECKING:
    from memtrace.engine.driver import Loop
    from memtrace.engine.registry import Policy
    from memtrace.engine.replay import Placement
    from memtrace.trace import Trace

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
SAMPLES = 2000  # events sampled in a replay that measures

_BOUND = re.compile(r"\s*(\w+)\s*(>=|<=|==|>|<)\s*(.+?)\s*")


@dataclass(frozen=True)
class Condition:
    """A condition that a shrunk trace has to meet: out of memory if ``metric`` is None, else a metric beyond a bound."""

    text: str  # as it was given
    metric: str | None = None  # name of the metric; None for `oom`
    sign: str = ""  # key of OPERATORS
    bound: float = 0.0

    def shown(self, trace: Trace, policy: Policy, capacity: int | None, loop: Loop | None = None) -> Placement | None:
        """Replay a trace, and return the placement if it shows the condition, else None.

        ``loop`` is the policy's compiled loop, for a caller that replays often.
        """
        from memtrace.engine.replay import Hooks, replay
        from memtrace.measures import measure

        if self.metric is None:
            placement = replay(trace, policy, capacity, samples=1, detail="bare", hooks=Hooks(loop=loop))
            return placement if placement.oom_event is not None else None
        placement = replay(trace, policy, capacity, samples=SAMPLES, hooks=Hooks(loop=loop))
        value = measure(placement)[self.metric]
        return placement if value is not None and OPERATORS[self.sign](value, self.bound) else None


def parse_condition(text: str) -> Condition:
    """Return the condition that a text describes: `oom`, or `METRIC>BOUND` with one of the OPERATORS.

    Raise UsageError for a text that is neither, or an unknown metric or one that is no number.
    """
    if text.strip() == "oom":
        return Condition("oom")
    found = _BOUND.fullmatch(text)
    if found is None:
        raise UsageError(f"--keep {text!r} is neither oom nor a bound\ntry: --keep oom, or --keep 'external_frag_at_peak>0.3'")
    from memtrace.measures import declared

    known = {metric.name: metric for metric in declared()}
    name, sign, bound = found.groups()
    if name not in known:
        raise unknown("metric", name, known)
    if known[name].unit == "word":
        raise UsageError(f"--keep {text!r}: {name} is a word, which has no bound; --keep oom is one")
    return Condition(text, name, sign, _number(bound))


def _number(text: str) -> float:
    """Return the number in a text: a ratio, a percentage, or a size with its unit."""
    from memtrace.units import parse_size

    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return float(parse_size(text))
