"""Infer the ages of what was there before the first event, which a recording does not hold, from where it places later blocks.

By PyTorch's rule since 2.13, of equal free blocks the one in the oldest segment is taken; by that of 2.12 the one whose block
object is oldest. If a block is recorded in another place than where the replay puts it, what is free at the recorded place must
be older than what is free at the other. Each such pair is one more condition on the order of ages.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import Any

import numpy as np

from memtrace.gpu.fidelity import Fidelity, Rerun, compared, replayed
from memtrace.gpu.initial_state import first_ranges
from memtrace.structures.caching.versions import OLDEST_OBJECT, OLDEST_SEGMENT, ties_of
from memtrace.trace.model import Op

MOST_SEGMENTS = 200  # upper bound of the pairs of segments whose order is inferred
MOST_OBJECTS = 2000  # upper bound of the pairs of block objects ...
MOST_REPLAYED = 20_000_000  # ... and of the events that are replayed for them


def with_ages(rerun: Rerun) -> Fidelity | None:
    """Return the best of several replays with more and more ages inferred; None if the version's rule does not regard ages."""
    ties = ties_of(rerun.version)
    if ties == OLDEST_SEGMENT:
        return with_segments(rerun)
    return with_objects(rerun) if ties == OLDEST_OBJECT else None


def with_segments(rerun: Rerun) -> Fidelity:
    """Return the best of several replays, each with one more inferred order of age between two segments.

    This stops when nothing differs, when nothing new can be inferred or ages contradict each other, when the first difference
    comes earlier than before, or after MOST_SEGMENTS pairs.
    """
    older: list[tuple[int, int]] = []
    best, wrong = compared(rerun)
    ranges = first_ranges(rerun.recorded.recording, 20 << 20)
    starts = np.array([one.start for one in ranges], np.int64)
    ends = np.array([one.start + one.extent for one in ranges], np.int64)

    def segment_at(address: int) -> int | None:
        """Return the start of the segment, among those at the first event, that contains an address; None if there is none."""
        i = int(np.searchsorted(starts, address, side="right")) - 1
        return int(starts[i]) if i >= 0 and address < ends[i] else None

    while wrong is not None and len(older) < MOST_SEGMENTS:
        recorded, replayed_at = (segment_at(address) for address in wrong)
        if recorded is None or replayed_at is None or recorded == replayed_at or (recorded, replayed_at) in older:
            break
        older.append((recorded, replayed_at))
        order = by_age(starts.tolist(), older)
        if order is None:
            break
        found, wrong = compared(rerun, order)
        if reached(rerun, found) < reached(rerun, best):
            break
        if found.exact or reached(rerun, found) > reached(rerun, best):
            best = replace(found, ages_inferred=len(older), order=tuple(order))
    return best


def with_objects(rerun: Rerun) -> Fidelity:
    """Return the best of several replays, each with one more inferred order of age between two block objects.

    An object has the address of its block at the first event as its name. A condition may bring an earlier difference back,
    which then is one more condition. This stops when nothing differs, when nothing new can be inferred or ages contradict each
    other, or after MOST_OBJECTS pairs or MOST_REPLAYED events.
    """
    best, wrong = compared(rerun)
    found, base = best, list(rerun.objects)
    order, older = base, set[tuple[int, int]]()
    most = min(MOST_OBJECTS, MOST_REPLAYED // (2 * max(rerun.recorded.trace.facts.events, 1)))
    while wrong is not None and len(older) < most:
        pair = _objects_at(rerun, order, found, wrong)
        if pair is None or pair in older:
            break
        older.add(pair)
        sorted_ = by_age(base, sorted(older))
        if sorted_ is None:
            break
        order = sorted_
        found, wrong = compared(rerun, order)
        if found.exact or reached(rerun, found) > reached(rerun, best):
            best = replace(found, ages_inferred=len(older), order=tuple(order))
    return best


def _objects_at(rerun: Rerun, order: list[int], found: Fidelity, wrong: tuple[int, int]) -> tuple[int, int] | None:
    """Return the objects that are free at the recorded and at the replayed address of the first difference; None if unknown.

    ``order``: the objects from the oldest to the newest, as of the replay ``found``.
    """
    from memtrace.structures.caching.state import FREE, FRESH

    rows = rerun.recorded.rows
    asked = np.flatnonzero((rows.op == Op.ALLOC) & (rows.event == found.first_difference))
    if not asked.size or asked[0] < 1:
        return None
    numbers: list[int] = []

    def look(state: Any) -> None:
        """Note the numbers of the free blocks at the two addresses."""
        nodes = np.asarray(state.nodes)[1 : int(state.at[FRESH])]
        nodes = nodes[nodes["state"] == FREE]
        for address in wrong:
            numbers.extend(nodes["number"][nodes["addr"] == address].tolist()[:1])

    replayed(rerun, order, (int(asked[0]) - 1, look))
    if len(numbers) < 2 or max(numbers) > len(order) or numbers[0] == numbers[1]:
        return None
    return order[numbers[0] - 1], order[numbers[1] - 1]


def reached(rerun: Rerun, found: Fidelity) -> int:
    """Return the number of the first event that differs, or the number of events if none does."""
    return found.first_difference if found.first_difference is not None else rerun.recorded.recording.events.action.size


def by_age(names: list[int], older: list[tuple[int, int]]) -> list[int] | None:
    """Return names from the oldest to the newest; None if ``older`` contradicts itself.

    ``older``: pairs, of which the first is older than the second. Where the pairs leave the order open, it is that of ``names``.
    """
    place = {name: i for i, name in enumerate(names)}
    before = dict.fromkeys(names, 0)
    behind: dict[int, list[int]] = {}
    for first, second in older:
        before[second] += 1
        behind.setdefault(first, []).append(second)
    ready = [place[name] for name in names if before[name] == 0]
    heapq.heapify(ready)
    found = []
    while ready:
        name = names[heapq.heappop(ready)]
        found.append(name)
        for after in behind.get(name, ()):
            before[after] -= 1
            if before[after] == 0:
                heapq.heappush(ready, place[after])
    return found if len(found) == len(names) else None
