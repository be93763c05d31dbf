"""Trace and policy -> the capacities at which nothing fails.

A policy that looks at the capacity only to refuse growth beyond it does the same at every capacity from the peak that
it reserved up to the one it was given: where it grew, it may grow, and where it was refused, it is refused. So one
replay settles a whole window of capacities, and walking down from window to window settles all of them, though success
is not monotone. Whether a policy is of that kind is tested: the top of the walk, and each window that works, are
replayed at their low end as well, and must reserve the same peak. Of a policy that is not (its structure depends on
the capacity), capacities are sampled, and bisected where they turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memtrace.errors import UsageError

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Trace

MOST_RUNS = 400
GRID = 48
STEP = 512  # bytes: bisection ends here


@dataclass(frozen=True)
class Outcome:
    """One replay."""

    capacity: int
    works: bool
    peak: int  # bytes reserved at most
    oom_event: int | None


@dataclass(frozen=True)
class Window:
    """Capacities low <= C <= high at which the same happens; high None: no end."""

    low: int
    high: int | None
    works: bool
    oom_event: int | None = None


@dataclass
class Mincap:
    """What was found for one policy. All in bytes."""

    policy: str
    lower_bound: int  # peak live bytes
    unbounded: int | None  # peak reserved without a limit; None: it fails even so
    smallest: int | None = None
    safe: int | None = None  # from here on all that were tested work
    exact: bool = True  # every capacity from `settled` on is known
    settled: int = 0
    runs: int = 0
    windows: list[Window] = field(default_factory=list)  # from the top
    curve: list[Outcome] = field(default_factory=list)


Run = Callable[[int | None], Outcome]


def find(trace: Trace, policy: Policy, curve: int = 0, most_runs: int = MOST_RUNS) -> Mincap:
    """Search the capacities of one policy on one trace; `curve` of them, evenly spaced, are listed as well."""
    run = runs(trace, policy)
    found = search(policy.label, trace.facts.peak_live_bytes, run, most_runs)
    if curve and found.unbounded is not None:
        found.curve = [run(capacity) for capacity in _evenly(found.lower_bound, max(found.unbounded, found.safe or 0), curve)]
    return found


def runs(trace: Trace, policy: Policy) -> Run:
    from memtrace.replaying import replay

    known: dict[int | None, Outcome] = {}

    def run(capacity: int | None) -> Outcome:
        if capacity not in known:
            try:
                placed = replay(trace, policy, capacity, detail="bare")
            except UsageError:  # its options do not fit so small a capacity
                if capacity is None:
                    raise
                known[capacity] = Outcome(capacity, False, 0, 0)
                return known[capacity]
            given = capacity if capacity is not None else placed.peak_reserved_bytes
            known[capacity] = Outcome(given, placed.oom_event is None, placed.peak_reserved_bytes, placed.oom_event)
        return known[capacity]

    return run


def search(label: str, bound: int, run: Run, most_runs: int = MOST_RUNS) -> Mincap:
    """The search itself, over anything that runs at a capacity (None: without a limit)."""
    counted = _Counted(run, most_runs)
    top = counted(None)
    if not top.works:
        return Mincap(label, bound, None, runs=counted.used)
    found = Mincap(label, bound, top.peak, settled=bound)
    if _same(counted(top.peak), top):
        found.windows.append(Window(top.peak, None, True))
        _walk(found, counted)
    else:
        found.exact, found.settled = False, top.peak
    if not found.exact:
        _sample(found, counted)
    _conclude(found)
    found.runs = counted.used
    return found


def bisect(bound: int, top: Outcome, run: Run, step: int) -> int:
    """A capacity that works, with one that fails less than `step` below it; `top` is an outcome without a limit.

    Not every capacity above has been tried: where success is not monotone, `search` says more.
    """
    low, high = bound - 1, top.peak
    while high - low > step:
        came = run((low + high) // 2)
        low, high = (low, max(min(high, came.peak, came.capacity), low + 1)) if came.works else (came.capacity, high)
    return high


class _Counted:
    """Runs, up to a number of them."""

    def __init__(self, run: Run, most: int) -> None:
        self.run, self.most, self.used = run, most, 0

    def __call__(self, capacity: int | None) -> Outcome:
        self.used += 1
        return self.run(capacity)

    def left(self) -> int:
        return self.most - self.used


def _same(one: Outcome, other: Outcome) -> bool:
    return (one.works, one.peak) == (other.works, other.peak)


def _walk(found: Mincap, run: _Counted) -> None:
    """From the top down, window by window, as far as the runs go."""
    capacity = (found.unbounded or 0) - 1
    while capacity >= found.lower_bound:
        if run.left() <= GRID:
            found.exact, found.settled = False, capacity + 1
            return
        came = run(capacity)
        low = max(min(came.peak, capacity), 0)
        if came.works and low < capacity and not _same(run(low), came):
            found.exact, found.settled = False, capacity
            found.windows.append(Window(capacity, capacity, True))
            return
        found.windows.append(Window(low, capacity, came.works, came.oom_event))
        capacity = low - 1
    if found.lower_bound > 0:
        found.windows.append(Window(0, min(capacity, found.lower_bound - 1), False))


def _sample(found: Mincap, run: _Counted) -> None:
    """Below what is settled: a grid, and a bisection at the lowest turn from failure to success."""
    high = max(found.settled, found.lower_bound + 1)
    if not found.windows:
        found.settled = high = _first_that_works(high, run)
        found.windows.append(Window(high, high, True))
    tried = [run(capacity) for capacity in reversed(_evenly(found.lower_bound, high - 1, GRID))]
    found.windows += [Window(one.capacity, one.capacity, one.works, one.oom_event) for one in tried]
    high = min(window.low for window in found.windows if window.works)
    low = max((window.low for window in found.windows if not window.works and window.low < high), default=found.lower_bound - 1)
    while high - low > STEP:
        middle = run((low + high) // 2)
        found.windows.append(Window(middle.capacity, middle.capacity, middle.works, middle.oom_event))
        low, high = (low, middle.capacity) if middle.works else (middle.capacity, high)


def _first_that_works(capacity: int, run: _Counted) -> int:
    """Double until it works: a structure that depends on the capacity may need more than it reserves without a limit."""
    while not run(capacity).works and capacity < 1 << 61:
        capacity *= 2
    return capacity


def _conclude(found: Mincap) -> None:
    """The smallest that works, and from where on all do."""
    found.windows.sort(key=lambda window: -window.low)
    working = [window.low for window in found.windows if window.works]
    found.smallest = min(working, default=None)
    for window in found.windows:
        if not window.works:
            break
        found.safe = window.low


def _evenly(low: int, high: int, count: int) -> list[int]:
    """So many capacities from low to high, both among them."""
    if count < 2 or high <= low:
        return [high]
    return sorted({low + (high - low) * k // (count - 1) for k in range(count)})
