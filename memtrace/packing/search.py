"""Depth-first search for a packing within a capacity: it finds one, proves that there is none, or gives up after its steps.

Buffers are placed from the bottom upwards, each as low as those placed before it allow. That is enough: if there is a packing
within the capacity, there is one in which every buffer rests on another or on the ground (let everything fall), and placing its
buffers by address gives that packing. Buffers of equal address go in a fixed order. So a buffer that could go lower than the
last one placed must wait until a neighbour lifts it, and none is placed where another buffer would fit beneath it (that one
could fall).

A branch ends where a section cannot hold the bytes still to be placed above its floor, the lowest address at which any of
them can start. A second bound is sharper: a buffer that must wait will stand on a neighbour that is not placed yet, so no
lower than the lowest top that any of those can have. With that, the buffers of a section that stand at or above a height
must fit above that height, for every height.

Where no buffer that is still to be placed lives across two sections, the sections on both sides are searched separately, and
if either side has no packing, the branch has none.
Steps are counted, not timed, and the random numbers are seeded: the result is the same on every machine.
Source: Moffitt 2023, "MiniMalloc: a lightweight memory allocator for hardware-accelerated machine learning", ASPLOS;
the second bound is that of Jackson 1955 for one machine with release dates, a section being the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.kernels import jit
from memtrace.packing.attempts import TOTAL, attempts
from memtrace.packing.buffers import sections

if TYPE_CHECKING:
    from memtrace.packing.buffers import Buffers, Overlaps

Ints = NDArray[np.int64]

MOST_BUFFERS = 1500  # the search keeps what it knows for every depth: some 100 bytes x buffers squared
FOUND, NONE, GAVE_UP = 1, 0, -1  # outcomes: a packing; a proof that there is none; neither
# States of the search: try the next candidate at this depth; a part is solved, go on to the next one; go back a depth.
TRY, SOLVED, FAILED = 0, 1, 2


class Fit(NamedTuple):
    """The result of a search; without ``addresses`` it gave up, unless ``impossible``."""

    addresses: Ints | None  # [buffer] bytes, if a packing was found
    impossible: bool  # it is proven that there is none
    steps: int  # placements tried


class Problem(NamedTuple):
    """The buffers to be packed: columns of Buffers, Overlaps and Sections."""

    size: Ints  # [buffer] bytes
    align: Ints  # [buffer] bytes
    first: Ints  # [buffer] the neighbours of buffer b are others[first[b] : first[b + 1]]
    others: NDArray[np.int32]
    begin: Ints  # [buffer] buffer b lives in the sections [begin[b], end[b])
    end: Ints
    section: Ints  # [section] the buffers of section s are members[section[s] : section[s + 1]]
    members: Ints
    across: Ints  # [section] buffers that live in it and in the next one


class Known(NamedTuple):
    """What is known at one depth, before its buffer is placed."""

    at: Ints  # [buffer] lowest address that it can have, in bytes; of a placed one its address
    placed: NDArray[np.bool_]  # [buffer]
    floor: Ints  # [section] lowest address of what is still to be placed
    rest: Ints  # [section] bytes still to be placed


class Scratch(NamedTuple):
    """Arrays that a step writes and reads."""

    touched: NDArray[np.bool_]  # [section] a buffer of it was lifted
    stands: Ints  # [buffer] how low a buffer still to be placed can stand, in bytes
    queue: Ints  # [i] buffers in order of height


class Parts(NamedTuple):
    """The parts that the buffers fall into. The lists grow with the depth, and shrink when the search goes back."""

    members: Ints  # [i] buffers
    sides: Ints  # [part, (low, high, left, right)] members[low:high], which live in the sections [left, right)


def fit(buffers: Buffers, overlaps: Overlaps, capacity: int, steps: int, lasts: Ints | None = None) -> Fit:
    """Look for a packing no higher than ``capacity`` bytes, in at most ``steps`` placements over all attempts.

    ``lasts`` is how long each buffer lives by the program's clock, None if that is unknown.
    """
    if buffers.bound > capacity:
        return Fit(None, True, 0)
    parts, addresses = sections(buffers), np.zeros(len(buffers), np.int64)
    problem = Problem(
        size=buffers.size,
        align=buffers.align,
        first=overlaps.first,
        others=overlaps.others,
        begin=parts.begin,
        end=parts.end,
        section=parts.first,
        members=parts.members,
        across=parts.across,
    )
    used = 0
    for order, keys, limit in attempts(buffers, overlaps, parts, lasts):
        outcome, taken = _search(problem, keys, order, capacity, min(limit, steps - used), addresses)
        used += taken
        if outcome != GAVE_UP or used >= steps:
            break
    return Fit(addresses if outcome == FOUND else None, outcome == NONE, used)


@jit()
def _search(problem: Any, keys: Any, order: Any, capacity: Any, limit: Any, addresses: Any) -> Any:
    """Search for a packing; return FOUND, NONE or GAVE_UP (after ``limit`` placements), and the placements tried.

    FOUND: the packing is in ``addresses``, in bytes by buffer. ``keys`` and ``order`` are as in `_before`. Row d of each table is
    what is known before the buffer of depth d is placed, so going back needs no undoing.
    """
    size, begin, end, across = problem.size, problem.begin, problem.end, problem.across
    n, width = size.size, across.size
    at, placed = np.zeros((n + 2, n), np.int64), np.zeros((n + 2, n), np.bool_)
    floor, rest = np.zeros((n + 2, width), np.int64), np.zeros((n + 2, width), np.int64)
    cross = np.zeros((n + 2, width), np.int64)
    scratch = Scratch(touched=np.zeros(width, np.bool_), stands=np.zeros(n, np.int64), queue=np.zeros(n, np.int64))
    for b in range(n):
        rest[1, begin[b] : end[b]] += size[b]
    cross[1] = across
    room = n * (n + 1) // 2 + 2 * n + 2
    members, options, sides = np.empty(room, np.int64), np.empty(room, np.int64), np.empty((room, 4), np.int64)
    parts = Parts(members, sides)
    members[:n] = np.arange(n)
    # By depth: its part of members and sections; address and index of the last buffer placed; its candidates, from the one
    # that is tried next; the parts that are to be solved once its buffer is placed, from the next one; the end of its members.
    part, bottom, turn = np.zeros((n + 2, 4), np.int64), np.zeros(n + 2, np.int64), np.zeros(n + 2, np.int64)
    option, options_end = np.zeros(n + 2, np.int64), np.zeros(n + 2, np.int64)
    side, sides_end, members_end = np.zeros(n + 2, np.int64), np.zeros(n + 2, np.int64), np.zeros(n + 2, np.int64)
    whole = np.array([0, n, 0, width])
    members_end[0], sides_end[0] = _split(whole, across, placed[1], begin, parts, n, 0)
    next_bottom, next_turn = np.zeros(n + 2, np.int64), np.full(n + 2, -1, np.int64)
    d, taken, state = 0, 0, SOLVED
    while True:
        if state == SOLVED:
            if side[d] == sides_end[d]:
                if d == 0:
                    return FOUND, taken
                d -= 1
                continue
            part[d + 1] = sides[side[d]]
            side[d] += 1
            bottom[d + 1], turn[d + 1] = next_bottom[d], next_turn[d]
            d += 1
            if turn[d] < 0:
                _sort(part[d], members, rest[d], problem, keys, order)
            start = options_end[d - 1]
            known = Known(at=at[d], placed=placed[d], floor=floor[d], rest=rest[d])
            count = _candidates(part[d], turn[d], bottom[d], problem, members, known, options[start:])
            option[d], options_end[d] = start, start + max(count, 0)
            if count < 0:
                d -= 1
                continue
            state = TRY
        if state == FAILED:
            d -= 1
            if d == 0:
                return NONE, taken
            state = TRY
        if option[d] == options_end[d]:
            state = FAILED
            continue
        if taken == limit:
            return GAVE_UP, taken
        taken += 1
        i = options[option[d]]
        option[d] += 1
        b = members[i]
        at[d + 1], placed[d + 1], floor[d + 1], rest[d + 1] = at[d], placed[d], floor[d], rest[d]
        after = Known(at=at[d + 1], placed=placed[d + 1], floor=floor[d + 1], rest=rest[d + 1])
        _place(b, problem, after, scratch.touched)
        if not _fits_above_floor(part[d], after, at[d, b], capacity):
            continue
        top = _lift_waiting(part[d], i, at[d, b], problem, members, after, scratch)
        if top < 0 or top > capacity or not _fits_above_heights(part[d], problem, after, scratch, capacity):
            continue
        addresses[b] = at[d, b]
        cross[d + 1] = cross[d]
        parted = False
        for s in range(begin[b], end[b] - 1):
            cross[d + 1, s] -= 1
            parted = parted or cross[d + 1, s] == 0
        m, c = members_end[d - 1], sides_end[d - 1]
        side[d], next_bottom[d] = c, at[d, b]
        if parted:
            m, c = _split(part[d], cross[d + 1], placed[d + 1], begin, parts, m, c)
            next_turn[d] = -1
        else:
            sides[c] = part[d]
            c += 1
            next_turn[d] = i
        members_end[d], sides_end[d] = m, c
        state = SOLVED


@jit()
def _split(part: Any, across: Any, placed: Any, begin: Any, parts: Any, m: Any, c: Any) -> Any:
    """Split a part where no buffer still to be placed lives across two sections; return the new ends (m, c) of members and sides.

    The buffers of each new part are written to ``parts.members`` from ``m`` on, the parts to ``parts.sides`` from row ``c`` on;
    empty ones are left out. ``across`` is [section] the buffers still to be placed that live in it and in the next one.
    """
    members, sides = parts.members, parts.sides
    low, high, left, right = part
    for s in range(left, right):
        if s + 1 < right and across[s] > 0:
            continue
        start = m
        for i in range(low, high):
            b = members[i]
            if not placed[b] and left <= begin[b] <= s:
                members[m] = b
                m += 1
        if m > start:
            sides[c, 0], sides[c, 1], sides[c, 2], sides[c, 3] = start, m, left, s + 1
            c += 1
        left = s + 1
    return m, c


@jit()
def _sort(part: Any, members: Any, rest: Any, problem: Any, keys: Any, order: Any) -> None:
    """Bring the buffers of a part in ``members`` into the fixed order, and their keys TOTAL up to date.

    Insertion sort, since they are nearly in order but for the first time. ``rest`` is that of `Known`, ``keys`` and ``order``
    are as in `_before`.
    """
    begin, end, low = problem.begin, problem.end, part[0]
    for i in range(low, part[1]):
        b = members[i]
        keys[TOTAL, b] = rest[begin[b] : end[b]].max()
        j = i
        while j > low and _before(b, members[j - 1], keys, order):
            members[j] = members[j - 1]
            j -= 1
        members[j] = b


@jit()
def _before(a: Any, b: Any, keys: Any, order: Any) -> Any:
    """Return whether buffer ``a`` precedes ``b`` in the fixed order: by the rows ``order`` of ``keys``, the larger first."""
    for k in order:
        if keys[k, a] != keys[k, b]:
            return keys[k, a] > keys[k, b]
    return a < b


@jit()
def _candidates(part: Any, turn: Any, bottom: Any, problem: Any, members: Any, known: Any, into: Any) -> Any:
    """Write to ``into`` the indices in members of the buffers of a part that may come next, the lowest first; return how many.

    Return -1 if all are placed. A buffer may come next unless another fits beneath it, or its lowest possible address is below
    that of the last one placed, ``bottom``, or equal with an index below ``turn``.
    """
    at, placed, size = known.at, known.placed, problem.size
    low, high = part[0], part[1]
    roof = np.int64(2**62)
    for i in range(low, high):
        b = members[i]
        if not placed[b]:
            roof = min(roof, at[b] + size[b])
    if roof == 2**62:
        return -1
    count = 0
    for i in range(low, high):
        b = members[i]
        if placed[b] or at[b] >= roof or at[b] < bottom or (at[b] == bottom and i < turn):
            continue
        j = count
        while j > 0 and at[members[into[j - 1]]] > at[b]:
            into[j] = into[j - 1]
            j -= 1
        into[j] = i
        count += 1
    return count


@jit()
def _place(b: Any, problem: Any, known: Any, touched: Any) -> None:
    """Place buffer ``b`` at its lowest possible address; lift its neighbours, and the floors of the sections concerned.

    ``touched`` is set to mark the sections of the lifted neighbours.
    """
    align, first, others, begin, end = problem.align, problem.first, problem.others, problem.begin, problem.end
    section, members = problem.section, problem.members
    at, floor, rest, placed = known.at, known.floor, known.rest, known.placed
    top = at[b] + problem.size[b]
    placed[b] = True
    touched[:] = False
    for q in range(first[b], first[b + 1]):
        other = others[q]
        if not placed[other] and at[other] < top:
            at[other] = (top + align[other] - 1) & -align[other]
            touched[begin[other] : end[other]] = True
    for s in range(begin[b], end[b]):
        floor[s] = top
        rest[s] -= problem.size[b]
    for s in range(floor.size):
        if touched[s] and rest[s] > 0:
            lowest = np.int64(2**62)
            for q in range(section[s], section[s + 1]):
                if not placed[members[q]]:
                    lowest = min(lowest, at[members[q]])
                    if lowest <= floor[s]:
                        break
            floor[s] = max(floor[s], lowest)


@jit()
def _fits_above_floor(part: Any, known: Any, bottom: Any, capacity: Any) -> Any:
    """Return whether each section of a part has room for the bytes still to be placed, within the capacity.

    They go above its floor, and above ``bottom``, the address of the last buffer placed.
    """
    floor, rest = known.floor, known.rest
    for s in range(part[2], part[3]):  # noqa: SIM110 (compiled)
        if max(floor[s], bottom) + rest[s] > capacity:
            return False
    return True


@jit()
def _lift_waiting(part: Any, turn: Any, bottom: Any, problem: Any, members: Any, known: Any, scratch: Any) -> Any:
    """Write to ``stands`` how low each buffer still to be placed can stand; return the highest top, -1 if one waits for ever.

    The last buffer placed has address ``bottom`` and index ``turn`` in members. A buffer of the part that is lower, or as low
    with a lower index, must wait until a neighbour lifts it; if that puts it higher than it could be before, its sections are
    marked in ``touched``.
    """
    size, align, first, others = problem.size, problem.align, problem.first, problem.others
    at, placed, stands = known.at, known.placed, scratch.stands
    top = np.int64(0)
    for i in range(part[0], part[1]):
        b = members[i]
        if placed[b]:
            continue
        stands[b] = at[b]
        if at[b] < bottom or (at[b] == bottom and i < turn):
            lowest = np.int64(2**62)
            for q in range(first[b], first[b + 1]):
                other = others[q]
                if not placed[other]:
                    lowest = min(lowest, max(at[other], bottom) + size[other])
            if lowest == 2**62:
                return -1
            if lowest > at[b]:
                stands[b] = (lowest + align[b] - 1) & -align[b]
                scratch.touched[problem.begin[b] : problem.end[b]] = True
        top = max(top, stands[b] + size[b])
    return top


@jit()
def _fits_above_heights(part: Any, problem: Any, known: Any, scratch: Any, capacity: Any) -> Any:
    """Return whether the unplaced buffers of each touched section can fit, by their sizes alone.

    For each height: the buffers that can stand no lower than this height must together fit between it and the capacity.

    `_place` and `_lift_waiting` marked the sections, and the latter wrote how low the buffers stand.
    """
    size, section, members, placed = problem.size, problem.section, problem.members, known.placed
    touched, stands, queue = scratch.touched, scratch.stands, scratch.queue
    for s in range(part[2], part[3]):
        if not touched[s]:
            continue
        count = 0
        for q in range(section[s], section[s + 1]):
            b = members[q]
            if not placed[b]:
                j = count
                while j > 0 and stands[queue[j - 1]] < stands[b]:
                    queue[j] = queue[j - 1]
                    j -= 1
                queue[j] = b
                count += 1
        total = np.int64(0)
        for j in range(count):
            total += size[queue[j]]
            if stands[queue[j]] + total > capacity:
                return False
    return True
