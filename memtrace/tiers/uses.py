"""When blocks are used: as the trace's access events say, or by documented rules from the lifetimes, or not at all.

- `access`: an access, record, realloc, copy or swap uses its blocks. An alloc writes the new block where it is placed.
- `lifetimes`: so does every free: what is about to be freed was read just before.
- `training`: see `memtrace.tiers.training`.

A trace without access events and without the tags of training is refused, unless `lifetimes` is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.names import unknown

if TYPE_CHECKING:
    from memtrace.tiers.books import Future
    from memtrace.trace import Trace

RULES = ("auto", "access", "lifetimes", "training")
NEEDED = ("weight", "gradient", "activation")
NOT_AT_FREE = ("weight", "gradient", "optimizer", "input")  # of training: dropped, not read, when they are freed

Extra = tuple[NDArray[np.int64], NDArray[np.int64]]
NO_EXTRA: Extra = (np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Uses:
    """When the blocks of a trace are used, worked out once for all its replays of one plan."""

    rule: str
    extra: Extra  # events before which a block is used, and its slot
    last: NDArray[np.uint8]  # by tag, and last for blocks without one: whether a free is a use
    future: Future


def uses_of(trace: Trace, rule: str, foresees: bool) -> Uses:
    """``foresees``: every use in order too, for those that know the future."""
    from memtrace.tiers.books import NO_FUTURE
    from memtrace.tiers.future import future_of

    extra, last = extra_uses(trace, rule), last_uses(trace, rule)
    return Uses(rule, extra, last, future_of(trace, last, extra) if foresees else NO_FUTURE)


def rule_of(trace: Trace, asked: str) -> str:
    """The rule for this trace; UsageError if none can say when its blocks are used."""
    if asked not in RULES:
        raise unknown("rule for uses", asked, RULES)
    missing = [tag for tag in NEEDED if tag not in trace.tags]
    if asked == "access" and not trace.facts.accesses:
        raise UsageError(f"{trace.name} has no access events\ntry: --uses lifetimes, which takes allocs and frees for uses")
    if asked == "training" and missing:
        raise UsageError(
            f"{trace.name} has no blocks tagged {' or '.join(missing)}, from which the uses of a training step are derived\n"
            "try: --uses lifetimes"
        )
    if asked != "auto":
        return asked
    if trace.facts.accesses:
        return "access"
    if not missing:
        return "training"
    raise UsageError(
        f"{trace.name} has neither access events nor the tags of a training step ({', '.join(NEEDED)}): nothing says when its "
        "blocks are used\ntry: --uses lifetimes, if a block is written at its alloc, read before its free, and not between"
    )


def last_uses(trace: Trace, rule: str) -> NDArray[np.uint8]:
    """By tag, and last for blocks without one: whether a free is a use."""
    if rule == "access":
        return np.zeros(len(trace.tags) + 1, np.uint8)
    kept = NOT_AT_FREE if rule == "training" else ()
    return np.array([tag not in kept for tag in (*trace.tags, "")], np.uint8)


def extra_uses(trace: Trace, rule: str) -> Extra:
    """Events before which a block is used, and its slot."""
    if rule != "training":
        return NO_EXTRA
    from memtrace.tiers.training import derive

    return derive(trace)
