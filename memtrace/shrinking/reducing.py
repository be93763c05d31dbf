"""Delta debugging over lives: leave out as many as possible, then let one block stand for several.

Chunks of lives are tried from half of them down to one (Zeller and Hildebrandt 2002, Simplifying and isolating
failure-inducing input, complements only), again and again until nothing more can go. Lives that are left and to which
nothing happens but alloc and free are then merged in the same way: neighbours in birth become one block of their bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.shrinking.conditions import Condition
from memtrace.shrinking.lives import Lives, lives_of
from memtrace.trace.model import Int64s, Op

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.replaying import Placement
    from memtrace.trace import Trace

SECONDS = 60.0

Progress = Callable[[int, int], None]  # events left, events at first


@dataclass(frozen=True)
class Shrunk:
    """What was found."""

    trace: Trace
    lives: int
    merged: int  # lives for whose bytes another block stands
    replays: int
    seconds: float
    complete: bool  # nothing more could go; else the time was up


@dataclass(frozen=True, eq=False)
class Choice:
    """Some of the lives, up to an event, each with its bytes; `null`: events of no life are in it too."""

    kept: NDArray[np.bool_]
    sizes: Int64s
    stop: int
    null: bool
    merged: int = 0


class OutOfTime(Exception):
    """The best so far has to do."""


class _Search:
    """The best choice so far, and the trials."""

    def __init__(
        self, lives: Lives, policy: Policy, condition: Condition, capacity: int | None, until: float, progress: Progress
    ) -> None:
        self.lives, self.policy, self.condition, self.capacity = lives, policy, condition, capacity
        self.until, self.progress = until, progress
        self.replays = 0
        self.fragmented = False
        count = lives.op.size
        self.best = Choice(np.ones(lives.count, np.bool_), lives.sizes(), count, True)

    def shows(self, choice: Choice) -> Placement | None:
        """The placement if the choice still shows it; an OOM with room enough for the request has to stay one."""
        if time.monotonic() > self.until:
            raise OutOfTime
        if not choice.kept.any():
            return None
        self.replays += 1
        part = self.lives.part(choice.kept, choice.sizes, choice.stop, choice.null)
        placement = self.condition.shown(part, self.policy, self.capacity)
        if placement is not None and self.fragmented and not self.has_room(part, placement):
            return None
        return placement

    def has_room(self, part: Trace, placement: Placement) -> bool:
        """Whether the bytes live at the OOM and the request that failed are no more than the capacity."""
        event = placement.oom_event
        if event is None or self.capacity is None:
            return False
        return live_after(lives_of(part), event) <= self.capacity

    def keep(self, choice: Choice) -> bool:
        """Make it the best if it shows it."""
        if self.shows(choice) is None:
            return False
        self.best = choice
        self.progress(int(self.lives.events(choice.kept, choice.stop, choice.null).sum()), self.lives.op.size)
        return True


def live_after(lives: Lives, event: int) -> int:
    """Bytes live once this event is done, were it served."""
    bytes = {}
    for op, life, size in zip(*(column[: event + 1].tolist() for column in (lives.op, lives.life, lives.size)), strict=True):
        if op in (Op.ALLOC, Op.REALLOC):
            bytes[life] = size
        elif op == Op.FREE:
            bytes.pop(life, None)
    return sum(bytes.values())


def shrink(
    trace: Trace,
    policy: Policy,
    condition: Condition,
    capacity: int | None = None,
    *,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> Shrunk:
    """The smallest trace found within `seconds` that still shows the condition; UsageError if the whole one does not."""
    began = time.monotonic()
    search = _Search(lives_of(trace), policy, condition, capacity, began + seconds, progress or (lambda left, of: None))
    whole = condition.shown(trace, policy, capacity)
    if whole is None:
        limit = "without a capacity" if capacity is None else f"with a capacity of {capacity:,} bytes"
        raise UsageError(f"{trace.name} does not show {condition.text} with {policy.label} {limit}: nothing to shrink")
    complete = True
    try:
        _cut_tail(search, whole)
        search.fragmented = search.has_room(trace, whole)
        _without_null(search)
        left = -1
        while left != (left := int(search.best.kept.sum())):
            _leave_out(search)
            _merge(search)
    except OutOfTime:
        complete = False
    best = search.best
    part = search.lives.part(best.kept, best.sizes, best.stop, best.null)
    said = f"{condition.text} with {policy.label}" + (f" in {capacity} bytes" if capacity is not None else "")
    metadata = {**trace.metadata, "shrunk": f"from {trace.facts.events} events of {trace.name}, keeping {said}"}
    part = replace(part, metadata=metadata)
    return Shrunk(part, int(best.kept.sum()), best.merged, search.replays, time.monotonic() - began, complete)


def _cut_tail(search: _Search, whole: Placement) -> None:
    """Leave out what comes after the OOM; else the longest tail that halving finds."""
    if whole.oom_event is not None and search.condition.metric is None:
        search.keep(replace(search.best, stop=whole.oom_event + 1))
        return
    low, high = 0, search.best.stop
    while high - low > 1:
        middle = (low + high) // 2
        if search.keep(replace(search.best, stop=middle)):
            high = middle
        else:
            low = middle


def _without_null(search: _Search) -> None:
    """Leave out trims, frees of null, and lives that begin after the end."""
    begun = search.best.kept & (search.lives.born < search.best.stop)
    search.best = replace(search.best, kept=begun)
    search.keep(replace(search.best, null=False))
    # Most of a heap that is full is what is live: try without all that has gone before.
    live = begun & (search.lives.died >= search.best.stop)
    if live.sum() < begun.sum():
        search.keep(replace(search.best, kept=live))


def _leave_out(search: _Search) -> None:
    """Leave out chunks of lives, from the largest to single ones, until a round of single ones changes nothing."""
    size = max(int(search.best.kept.sum()) // 2, 1)
    while True:
        changed = False
        members = np.flatnonzero(search.best.kept)
        for start in reversed(range(0, members.size, size)):
            kept = search.best.kept.copy()
            kept[members[start : start + size]] = False
            changed |= search.keep(replace(search.best, kept=kept))
        if size > 1:
            size = max(size // 2, 1)
        elif not changed:
            return


def _merge(search: _Search) -> None:
    """Let one block stand for a chunk of neighbours, from half of them down to two."""
    lives = search.lives
    size = max(int(search.best.kept.sum()) // 2, 2)
    while size >= 2:
        best = search.best
        members = np.flatnonzero(best.kept & lives.plain)
        members = members[members != _last(search)]
        order = members[np.lexsort((lives.born[members], np.minimum(lives.died[members], best.stop)))]
        start = 0
        while start < order.size:
            chunk = order[start : start + size]
            start += size
            if chunk.size > 1:
                search.keep(_merged(search.best, chunk))
        size //= 2


def _last(search: _Search) -> int:
    """The life that is born last: the request that fails keeps its size."""
    return int(np.flatnonzero(search.best.kept)[-1])


def _merged(choice: Choice, chunk: Int64s) -> Choice:
    """The first of these lives, with the bytes of all."""
    kept, sizes = choice.kept.copy(), choice.sizes.copy()
    first = int(chunk.min())
    sizes[first] = int(choice.sizes[chunk].sum())
    kept[chunk] = False
    kept[first] = True
    return replace(choice, kept=kept, sizes=sizes, merged=choice.merged + chunk.size - 1)
