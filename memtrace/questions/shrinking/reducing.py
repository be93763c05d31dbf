"""Delta debugging over lives: leave out as many as possible, then let one block stand for several.

Chunks of lives are tried from half of them down to one (Zeller and Hildebrandt 2002, Simplifying and isolating
failure-inducing input, complements only), until nothing more can go. After each pass lives to which nothing happens but
alloc and free are merged in chunks of the same size: those that end one after the other become one block of their bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrace.contract.ledger import ALLOCATED
from memtrace.engine.driver import loop_of
from memtrace.errors import UsageError
from memtrace.questions.shrinking.conditions import Condition
from memtrace.questions.shrinking.lives import Lives, lives_of
from memtrace.trace.model import Int64s

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.engine.replay import Placement
    from memtrace.trace import Trace

SECONDS = 60.0  # default time for trials

Progress = Callable[[int, int], None]  # events left, events at first


@dataclass(frozen=True)
class Shrunk:
    """The result of shrinking: the smallest trace found, and how it was found."""

    trace: Trace
    lives: int  # blocks that are left
    merged: int  # lives whose bytes another block stands for
    replays: int
    seconds: float  # of the search
    complete: bool  # True: nothing more could go; False: the time was up


@dataclass(frozen=True, eq=False)
class Choice:
    """A candidate trace: some of the lives, each with its bytes, and their events up to ``stop``."""

    kept: NDArray[np.bool_]  # per life
    sizes: Int64s  # per life: bytes
    stop: int  # events from this one on are left out
    null: bool  # events of no life, such as trims, are in it
    merged: int = 0  # lives whose bytes another block stands for


class OutOfTime(Exception):
    """The time for shrinking is over; the best choice so far is the result."""


class _Search:
    """The best choice so far, and the trials that look for a smaller one."""

    def __init__(
        self, lives: Lives, policy: Policy, condition: Condition, capacity: int | None, until: float, progress: Progress
    ) -> None:
        """Begin with the whole trace. ``until`` is the time of `time.monotonic` at which trials end."""
        self.lives, self.policy, self.condition, self.capacity = lives, policy, condition, capacity
        self.until, self.progress = until, progress
        self.replays, self.loop = 0, loop_of(policy)
        self.fragmented = False
        count = lives.op.size
        self.best = Choice(np.ones(lives.count, np.bool_), lives.sizes(), count, True)

    def shows(self, choice: Choice) -> Placement | None:
        """Replay a choice, and return its placement if it shows the condition, else None.

        If the whole trace ran out of memory with room enough for the request, in pieces, so must the choice. Raise
        OutOfTime after the end of the time.
        """
        if time.monotonic() > self.until:
            raise OutOfTime
        if not choice.kept.any():
            return None
        self.replays += 1
        part = self.lives.part(choice.kept, choice.sizes, choice.stop, choice.null)
        placement = self.condition.shown(part, self.policy, self.capacity, self.loop)
        if placement is not None and self.fragmented and not had_room(part, placement):
            return None
        return placement

    def keep(self, choice: Choice) -> bool:
        """Make a choice the best if it shows the condition; return whether it does.

        If it runs out of memory, the events after that are dropped from it, since nothing need follow.
        """
        placement = self.shows(choice)
        if placement is None:
            return False
        if self.condition.metric is None and placement.oom_event is not None:
            which = np.flatnonzero(self.lives.events(choice.kept, choice.stop, choice.null))
            choice = replace(choice, stop=int(which[placement.oom_event]) + 1)
        self.best = choice
        self.progress(int(self.lives.events(choice.kept, choice.stop, choice.null).sum()), self.lives.op.size)
        return True


def had_room(trace: Trace, placement: Placement) -> bool:
    """Return whether a replay ran out of memory though as many bytes were free, in pieces, as the request asks for."""
    event = placement.oom_event
    if event is None or placement.capacity is None:
        return False
    batch = next(trace.batches(event + 1))
    free = placement.capacity - int(placement.ledger[ALLOCATED])
    return bool(batch.op.size > event and free >= batch.size[event])


def shrink(
    trace: Trace,
    policy: Policy,
    condition: Condition,
    capacity: int | None = None,
    *,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> Shrunk:
    """Return the smallest trace found within ``seconds`` that still shows the condition.

    ``progress`` is called with the events left and the events at first. Raise UsageError if the whole trace does not show
    it.
    """
    began = time.monotonic()
    search = _Search(lives_of(trace), policy, condition, capacity, began + seconds, progress or (lambda left, of: None))
    whole = condition.shown(trace, policy, capacity)
    if whole is None:
        limit = "without a capacity" if capacity is None else f"with a capacity of {capacity:,} bytes"
        raise UsageError(f"{trace.name} does not show {condition.text} with {policy.label} {limit}: nothing to shrink")
    complete = True
    try:
        _cut_tail(search, whole)
        search.fragmented = had_room(trace, whole)
        _without_null(search)
        _reduce(search)
    except OutOfTime:
        complete = False
    best = search.best
    part = search.lives.part(best.kept, best.sizes, best.stop, best.null)
    said = f"{condition.text} with {policy.label}" + (f" in {capacity} bytes" if capacity is not None else "")
    metadata = {**trace.metadata, "shrunk": f"from {trace.facts.events} events of {trace.name}, keeping {said}"}
    part = replace(part, metadata=metadata)
    return Shrunk(part, int(best.kept.sum()), best.merged, search.replays, time.monotonic() - began, complete)


def _cut_tail(search: _Search, whole: Placement) -> None:
    """Drop the events after the out-of-memory one, or else the longest tail that bisection finds."""
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
    """Drop trims, frees of null, and lives that begin after the end of the best choice.

    Then try without all lives that have ended by then, since most of a full heap is live blocks.
    """
    begun = search.best.kept & (search.lives.born < search.best.stop)
    search.best = replace(search.best, kept=begun)
    search.keep(replace(search.best, null=False))
    # Most of a full heap is live blocks, so the ones freed before the end may not matter.
    live = begun & (search.lives.died >= search.best.stop)
    if live.sum() < begun.sum():
        search.keep(replace(search.best, kept=live))


def _reduce(search: _Search) -> None:
    """Try to leave out and merge chunks of lives, from halves down to single lives, until nothing changes.

    At each grain chunks are left out first and merged after that, so few lives are left when the grain is fine.
    """
    grains = 2
    while True:
        size = max(int(search.best.kept.sum()) // grains, 1)
        changed = _leave_out(search, size)
        changed |= _merge(search, max(size, 2))
        if changed:
            continue
        if size == 1:
            return
        grains *= 2


def _leave_out(search: _Search, size: int) -> bool:
    """Try to leave out each chunk of ``size`` lives, from the last to the first; return whether any could go."""
    members = np.flatnonzero(search.best.kept)
    changed = False
    for start in reversed(range(0, members.size, size)):
        kept = search.best.kept.copy()
        kept[members[start : start + size]] = False
        changed |= search.keep(replace(search.best, kept=kept))
    return changed


def _merge(search: _Search, size: int) -> bool:
    """Try to let one block stand for each chunk of ``size`` lives that end one after the other; return whether any does.

    Only lives to which nothing happens but alloc and free are merged, and the last one to be born is never merged.
    """
    lives, best = search.lives, search.best
    members = np.flatnonzero(best.kept & lives.plain)
    members = members[members != _last(search)]
    order = members[np.lexsort((lives.born[members], np.minimum(lives.died[members], best.stop)))]
    changed = False
    for start in range(0, order.size, size):
        chunk = order[start : start + size]
        changed |= chunk.size > 1 and search.keep(_merged(search.best, chunk, search.policy))
    return changed


def _last(search: _Search) -> int:
    """Return the life that is born last. It is the request that fails, so it keeps its size."""
    return int(np.flatnonzero(search.best.kept)[-1])


def _merged(choice: Choice, chunk: Int64s, policy: Policy) -> Choice:
    """Return the choice with the chunk of lives replaced by the first of them, with the bytes of all.

    The bytes are rounded as the policy's options `header` and `align` round blocks up, if it has them.
    """
    kept, sizes = choice.kept.copy(), choice.sizes.copy()
    first = int(chunk.min())
    header, align = (policy.options.get(name, default) for name, default in (("header", 0), ("align", 1)))
    if isinstance(header, int) and isinstance(align, int) and align > 0:
        blocks = -(-(choice.sizes[chunk] + header) // align) * align
        sizes[first] = int(blocks.sum()) - header
    else:
        sizes[first] = int(choice.sizes[chunk].sum())
    kept[chunk] = False
    kept[first] = True
    return replace(choice, kept=kept, sizes=sizes, merged=choice.merged + chunk.size - 1)
