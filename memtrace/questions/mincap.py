"""Find the capacities at which a policy replays a trace without a failure.

A policy that uses the capacity only to refuse growth beyond it behaves the same at every capacity from the peak that it reserved
up to the one it was given: where it grew, it may still grow, and where it was refused, it is still refused. So one replay settles
a whole window of capacities, and walking down from window to window settles all of them, although success is not monotone.
Whether a policy is of that kind is tested: the top of the walk, and each window that works, are also replayed at their low end
and must reserve the same peak. If a policy is not (its structure depends on the capacity), capacities are sampled, and bisected
where failure turns to success. So they are for a policy that reserves all of its capacity at once, as a pool of fixed size does:
each of its windows is a byte or so, and a walk would not come far. Of a policy that always takes its pool whole, capacities are
multiples of 8 bytes, bisected, and then tried one by one above and below as far as the replays go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memtrace.errors import UsageError

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.engine.replay import Hooks
    from memtrace.trace import Trace

MOST_RUNS = 400  # default of ``most_runs``, see ``search``
LARGEST_POOL = 1 << 40  # steps
GRID = 48  # most capacities that are sampled
STEP = 512  # bytes: bisection ends at this precision, or at 1/4096 of the lower bound if that is less
FINE = 12  # log2 of 4096
RECENT = 8  # windows by which a walk is judged
POOL_STEP = 8  # bytes: pools that are taken whole are tried in multiples of it


@dataclass(frozen=True)
class Outcome:
    """Hold the outcome of one replay. Sizes are in bytes."""

    capacity: int  # without a limit, the peak of reserved bytes
    works: bool  # nothing failed
    peak: int  # of reserved bytes
    oom_event: int | None  # number of the event that failed


@dataclass(frozen=True)
class Window:
    """Hold capacities low <= C <= high, in bytes, at which a replay does the same; high None means that there is no end."""

    low: int
    high: int | None
    works: bool  # nothing fails
    oom_event: int | None = None  # number of the event that fails


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Hold the first request that a replay refused, and the holes then. Sizes are in bytes."""

    capacity: int
    event: int  # its number
    size: int  # what was asked for
    needed: int | None  # what the policy rounded that to; None where it does not tell
    free: int | None  # in holes; None where holes are not known
    holes: int | None
    largest: int | None  # the largest hole


@dataclass
class Mincap:
    """Hold what a search found for one policy. Sizes are in bytes."""

    policy: str
    lower_bound: int  # peak live bytes
    unbounded: int | None  # peak of reserved bytes without a limit; None: it fails even then, or takes a pool whole
    smallest: int | None = None  # smallest capacity found that works
    safe: int | None = None  # from here up, all capacities tested work
    exact: bool = True  # whether every capacity from `settled` up is known
    settled: int = 0
    runs: int = 0  # number of replays, without those of the curve
    tried: int = 0  # capacities tried below `settled`
    within: int = 0  # bytes: one so far below `smallest`, or nearer, fails; 0 if every capacity is known
    windows: list[Window] = field(default_factory=list)  # from the highest to the lowest
    curve: list[Outcome] = field(default_factory=list)  # evenly spaced capacities, if the caller asked for them
    step: int = 1  # bytes: the capacities searched are multiples of it
    stride: int = 1  # of these multiples, those tried above `safe` are so far apart; 1: all were tried


Run = Callable[[int | None], Outcome]  # replays at a capacity in bytes; None: without a limit


def find(trace: Trace, policy: Policy, curve: int = 0, most_runs: int = MOST_RUNS) -> Mincap:
    """Search the capacities of one policy on one trace.

    ``curve``: the number of evenly spaced capacities whose outcomes are listed as well. ``most_runs``: see ``search``.
    """
    run, whole = runs(trace, policy), takes_pool(policy)
    found = (search_pools if whole else search)(policy.label, trace.facts.peak_live_bytes, run, most_runs)
    if curve and found.safe is not None:
        found.curve = [run(capacity) for capacity in _evenly(found.lower_bound, max(found.unbounded or 0, found.safe), curve)]
    return found


def takes_pool(policy: Policy) -> bool:
    """Return whether a policy takes a pool of the capacity's size whole, and no option gives it another size."""
    from memtrace.contract.policy import constants_of

    return constants_of(policy.module).TAKES_POOL and not policy.options.get("pool")


def first_refusal(trace: Trace, policy: Policy, capacity: int) -> Refusal | None:
    """Return the first request that fails at a capacity, and the holes then; None if none does, or the capacity is refused."""
    from memtrace.engine.replay import replay
    from memtrace.results.failure import failure_row

    try:
        placed = replay(trace, policy, capacity, samples=0)
    except UsageError:
        return None
    if placed.oom_event is None:
        return None
    row = {name: values[0] for name, values in failure_row(placed).items()}
    return Refusal(
        capacity=capacity,
        event=row["event"],
        size=row["request_bytes"],
        needed=row.get("needed_bytes"),
        free=row.get("free_bytes"),
        holes=row.get("holes"),
        largest=row.get("largest_hole_bytes"),
    )


def runs(trace: Trace, policy: Policy, hooks: Callable[[], Hooks] | None = None) -> Run:
    """Return a function that replays the trace at a capacity, with new ``hooks`` each time; it caches its outcomes."""
    from memtrace.engine.replay import Hooks, replay

    known: dict[int | None, Outcome] = {}

    def run(capacity: int | None) -> Outcome:
        """Return the outcome at a capacity; a capacity that the policy does not accept counts as one that fails."""
        if capacity not in known:
            try:
                placed = replay(trace, policy, capacity, detail="bare", hooks=(hooks or Hooks)())
            except UsageError:  # the policy's options do not allow so small a capacity
                if capacity is None:
                    raise
                known[capacity] = Outcome(capacity, False, 0, 0)
                return known[capacity]
            given = capacity if capacity is not None else placed.peak_reserved_bytes
            known[capacity] = Outcome(given, placed.oom_event is None, placed.peak_reserved_bytes, placed.oom_event)
        return known[capacity]

    return run


def search(label: str, bound: int, run: Run, most_runs: int = MOST_RUNS) -> Mincap:
    """Search the capacities with any function ``run`` that returns the outcome at a capacity.

    ``label`` is the policy's, ``bound`` a lower bound of the capacities that work (the peak of live bytes). At most
    ``most_runs`` replays are made, 8 or more; a walk leaves half of them, but no more than GRID, for sampling.
    """
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


def search_pools(label: str, bound: int, run: Run, most_runs: int = MOST_RUNS) -> Mincap:
    """Search the capacities of a policy that takes a pool whole, in multiples of POOL_STEP; the arguments are those of `search`.

    A pool that works is found by doubling and bisecting. A larger one may fail, and a smaller one work. So pools up to a quarter
    larger are tried from the top down to the first that fails, with up to half of the replays: all of them, or evenly spaced
    ones. Then all below are tried, the largest first, down to the bound or as far as ``most_runs`` go.
    """
    counted, outcomes = _Counted(run, most_runs), {}

    def works(pool: int) -> bool:
        """Return whether a pool of so many steps works, and keep the outcome."""
        if pool not in outcomes:
            outcomes[pool] = counted(pool * POOL_STEP)
        return outcomes[pool].works

    least = -(-max(bound, 1) // POOL_STEP)
    low, high = least - 1, least
    while not works(high):
        if high > LARGEST_POOL:
            return Mincap(label, bound, None, runs=counted.used, step=POOL_STEP)
        low, high = high, 2 * high
    high = _bisected(low, high, works)
    top = high + high // 4
    stride = max(1, -(-(top - high) // max(most_runs // 2, 1)))
    failed = next((pool for pool in range(top, high, -stride) if not works(pool)), high)
    if failed > high and stride > 1:
        _bisected(failed, min(failed + stride, top), works)
    tried = high
    while tried > least and counted.left() > 0:
        tried -= 1
        works(tried)
    found = Mincap(label, bound, None, exact=tried == least, settled=tried * POOL_STEP, step=POOL_STEP, stride=stride)
    found.windows = [Window(each.capacity, each.capacity, each.works, each.oom_event) for each in outcomes.values()]
    _conclude(found)
    found.runs = counted.used
    return found


def _bisected(low: int, high: int, works: Callable[[int], bool]) -> int:
    """Return a number above ``low`` that works while the one below it does not; ``low`` does not work, and ``high`` does."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def bisect(bound: int, top: Outcome, run: Run, step: int) -> int:
    """Return a capacity that works, such that one at most ``step`` bytes below it fails; ``top`` is an outcome that works.

    ``bound`` is a lower bound of the capacities that work. Not every capacity above the result has been tried: if success is not
    monotone, `search` finds more.
    """
    low, high = bound - 1, top.peak
    while high - low > step:
        came = run((low + high) // 2)
        low, high = (low, max(min(high, came.peak, came.capacity), low + 1)) if came.works else (came.capacity, high)
    return high


class _Counted:
    """Count the calls of a function that replays, and how many are left of ``most``; one for the same capacity counts once."""

    def __init__(self, run: Run, most: int) -> None:
        """Start at 0 calls of ``run``."""
        self.run, self.most = run, most
        self.known: dict[int | None, Outcome] = {}

    def __call__(self, capacity: int | None) -> Outcome:
        """Return the outcome at a capacity, and count the call."""
        if capacity not in self.known:
            self.known[capacity] = self.run(capacity)
        return self.known[capacity]

    @property
    def used(self) -> int:
        """How many replays were made."""
        return len(self.known)

    def left(self) -> int:
        """Return how many calls are left."""
        return self.most - self.used


def _same(one: Outcome, other: Outcome) -> bool:
    """Return whether two outcomes agree in success and in the peak of reserved bytes."""
    return (one.works, one.peak) == (other.works, other.peak)


def _walk(found: Mincap, run: _Counted) -> None:
    """Walk from the peak without a limit down to the lower bound, window by window, and append the windows to ``found``.

    The walk ends early, with ``found.exact`` false and ``found.settled`` set, if only the runs for sampling are left, if its
    windows are so narrow that it would not come to the lower bound, or if the policy turns out to depend on the capacity.
    """
    capacity, kept = (found.unbounded or 0) - 1, min(GRID, run.most // 2)
    recent: list[int] = []  # bytes of the last windows
    while capacity >= found.lower_bound:
        hopeless = len(recent) == RECENT and capacity - found.lower_bound > 2 * max(recent) * run.left()
        if run.left() <= kept or hopeless:
            found.exact, found.settled = False, capacity + 1
            return
        came = run(capacity)
        low = max(min(came.peak, capacity), 0)
        if came.works and low < capacity and not _same(run(low), came):
            found.exact, found.settled = False, capacity
            found.windows.append(Window(capacity, capacity, True))
            return
        found.windows.append(Window(low, capacity, came.works, came.oom_event))
        recent = [*recent[1 - RECENT :], capacity - low + 1]
        capacity = low - 1
    if found.lower_bound > 0:
        found.windows.append(Window(0, min(capacity, found.lower_bound - 1), False))


def _sample(found: Mincap, run: _Counted) -> None:
    """Sample capacities below ``found.settled``, and bisect at the lowest and at the highest change from failure to success.

    Appends a window of one capacity for each replay to ``found``.
    """
    high = max(found.settled, found.lower_bound + 1)
    if not found.windows:
        found.settled = high = _first_that_works(high, run)
        if not run(high).works:
            return
        found.windows.append(Window(high, high, True))
    before = run.used
    points = _evenly(found.lower_bound, high - 1, max(2, min(GRID, run.left() // 3)))
    for capacity in reversed(points[: max(run.left(), 0)]):
        _try(found, run, capacity)
    step = max(1, min(STEP, found.lower_bound >> FINE))
    _bisect_change(found, run, step, lowest=True)
    _bisect_change(found, run, step, lowest=False)
    found.tried = run.used - before


def _try(found: Mincap, run: _Counted, capacity: int) -> None:
    """Append the window of one capacity to ``found``."""
    came = run(capacity)
    found.windows.append(Window(capacity, capacity, came.works, came.oom_event))


def _bisect_change(found: Mincap, run: _Counted, step: int, *, lowest: bool) -> None:
    """Narrow the lowest, or the highest, change from failure to success down to ``step`` bytes, while runs are left."""
    while run.left() > 0:
        below, above = _change(found, lowest)
        if above - below <= step:
            return
        _try(found, run, (below + above) // 2)


def _change(found: Mincap, lowest: bool) -> tuple[int, int]:
    """Return a capacity that fails and the next one tried above it, which works; below the lower bound all fail."""
    windows = sorted(found.windows, key=lambda window: window.low)
    below: int | None = found.lower_bound - 1
    changes = []
    for window in windows:
        if window.works and below is not None:
            changes.append((below, window.low))
        below = None if window.works else window.low if window.high is None else window.high
    return changes[0] if lowest else changes[-1]


def _first_that_works(capacity: int, run: _Counted) -> int:
    """Return the first of ``capacity`` and its doubles that works, or the last for which there was a run.

    A policy whose structure depends on the capacity may need a larger one than it reserves without a limit.
    """
    while not run(capacity).works and capacity < 1 << 61 and run.left() > 2:
        capacity *= 2
    return capacity


def _conclude(found: Mincap) -> None:
    """Sort the windows of ``found`` and set its smallest capacity that works and the one from which all work."""
    found.windows.sort(key=lambda window: -window.low)
    working = [window.low for window in found.windows if window.works]
    found.smallest = min(working, default=None)
    for window in found.windows:
        if not window.works:
            break
        found.safe = window.low
    if found.smallest is not None and not found.exact:
        below, above = _change(found, lowest=True)
        found.within = above - below


def _evenly(low: int, high: int, count: int) -> list[int]:
    """Return ``count`` evenly spaced capacities from ``low`` to ``high``, both included; only ``high`` if there is no room."""
    if count < 2 or high <= low:
        return [high]
    return sorted({low + (high - low) * k // (count - 1) for k in range(count)})
