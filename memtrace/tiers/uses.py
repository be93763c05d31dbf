"""When blocks are used: at the access events of the trace, or by rules that derive uses from lifetimes.

- `access`: an access, record, realloc, copy or swap uses its blocks. An alloc writes the new block where it is placed.
- `lifetimes`: every free is a use too: the block was read just before.
- `training`: see `memtrace.tiers.training`.

`auto` takes access if the trace has access events, else training if it has the tags of a training step, and else refuses the
trace: nothing says when its blocks are used, and `lifetimes` is only taken if it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.names import unknown
from memtrace.trace.tags import kind_of, kinds_of

if TYPE_CHECKING:
    from memtrace.tiers.records import Future
    from memtrace.trace import Trace

RULES = ("auto", "access", "lifetimes", "training")
NEEDED = ("weight", "gradient", "activation")  # kinds of tags that the rule `training` needs
DROPPED_TAGS = (
    "weight",
    "gradient",
    "optimizer",
    "input",
)  # kinds whose blocks are dropped, not read, at their free (`training`)

# Uses for which the trace has no event, in order: the event before which each block is used, and its slot.
Extra = tuple[NDArray[np.int64], NDArray[np.int64]]
NO_EXTRA: Extra = (np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Uses:
    """When the blocks of a trace are used; the same for all replays of the trace by one plan."""

    rule: str  # access, lifetimes or training
    extra: Extra
    last: NDArray[np.uint8]  # [tag] 1: the free of a block is a use; the last entry is for blocks without a tag
    future: Future  # every use in order, if it was asked for


def uses_of(trace: Trace, rule: str, foresees: bool) -> Uses:
    """Return the uses of ``trace`` by ``rule``: "access", "lifetimes" or "training".

    ``foresees``: list every use in order too, for eviction rules that know the future and for prefetch.
    """
    from memtrace.tiers.future import future_of
    from memtrace.tiers.records import NO_FUTURE

    extra, last = extra_uses(trace, rule), free_is_use(trace, rule)
    return Uses(rule, extra, last, future_of(trace, last, extra) if foresees else NO_FUTURE)


def rule_of(trace: Trace, asked: str) -> str:
    """Return the name of the rule that says when the blocks of ``trace`` are used: ``asked``, or what "auto" chooses.

    "auto" chooses the trace's access events if it has any, else the training rule if the trace has the tags for it.

    Raises UsageError if ``asked`` is unknown, or if the trace lacks the events or tags that the rule needs.
    """
    if asked not in RULES:
        raise unknown("rule for uses", asked, RULES)
    missing = [kind for kind in NEEDED if kind not in kinds_of(trace.tags)]
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


def free_is_use(trace: Trace, rule: str) -> NDArray[np.uint8]:
    """Return, by tag code, 1 if the free of a block is a use, else 0; the last entry is for blocks without a tag."""
    if rule == "access":
        return np.zeros(len(trace.tags) + 1, np.uint8)
    kept = DROPPED_TAGS if rule == "training" else ()
    return np.array([kind_of(tag) not in kept for tag in (*trace.tags, "")], np.uint8)


def extra_uses(trace: Trace, rule: str) -> Extra:
    """Return the uses for which the trace has no event; only the rule ``training`` has any."""
    if rule != "training":
        return NO_EXTRA
    from memtrace.tiers.training import derive

    return derive(trace)
