"""Choose the searches for a packing that are made one after the other: the order of the buffers and the most steps of each.

The order decides how soon a packing is met, by luck as much as by rule. So most steps go to many short searches whose orders
are disturbed at random. The others go to searches of undisturbed orders, each round twice as long as the last, so that one
ends at some time. Lifetimes count in events, and in turn by the program's clock where the trace has one.
Source: Gomes, Selman and Kautz 1998, "Boosting combinatorial search through randomization"; orders: Moffitt 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from memtrace.packing.buffers import sections

if TYPE_CHECKING:
    from memtrace.packing.buffers import Buffers, Overlaps, Sections

Ints = NDArray[np.int64]
Keys = NDArray[np.float64]
# Rows of the keys of a buffer: bytes still to be placed in its fullest section, lifetime, bytes x lifetime, bytes, number of
# sections, number of neighbours.
TOTAL, WIDTH, AREA, SIZE, SPAN, NEIGHBOURS = range(6)
ORDERS = (
    (WIDTH, AREA, TOTAL),
    (TOTAL, AREA, WIDTH),
    (TOTAL, WIDTH, AREA),
    (AREA,),
    (SPAN,),
    (NEIGHBOURS,),
    (SIZE,),
)  # the largest key first; of equals the next key decides
DISTURBED = 0.3  # standard deviation of the logarithm of the factor that a disturbed key is multiplied by
SHORT = 16  # steps of a short search, per buffer
RESTARTS = 4  # steps of the short searches, per step of the undisturbed search before them


def attempts(buffers: Buffers, overlaps: Overlaps, parts: Sections, lasts: Ints | None) -> Iterator[tuple[Ints, Keys, int]]:
    """Yield the order (rows of the keys, the first to compare first), the keys and the most steps of each search, without end.

    ``parts`` are the sections of ``buffers``; ``lasts`` is how long each lives by the program's clock, None if that is unknown.
    """
    lives = buffers.upper - buffers.lower
    tables = [_keys(buffers, overlaps, parts, lives)]
    if lasts is not None and not np.array_equal(lasts, lives):
        tables.insert(0, _keys(buffers, overlaps, parts, lasts))
    chance, limit, short = np.random.default_rng(0), 2 * len(buffers), SHORT * len(buffers)
    for turn in count():
        for keys in tables:
            yield np.array(ORDERS[turn % len(ORDERS)]), keys.copy(), limit
            for restart in range(-(-RESTARTS * limit // short)):
                factors = np.exp(chance.normal(0, DISTURBED, keys.shape))
                yield np.array(ORDERS[restart % len(ORDERS)]), keys * factors, short
        limit *= 2


def _keys(buffers: Buffers, overlaps: Overlaps, parts: Sections, lives: Ints) -> Keys:
    """Return what buffers are ordered by, `[key, buffer]`: rows TOTAL to NEIGHBOURS; TOTAL is 0, since the search fills it."""
    long = lives.astype(np.float64)
    rows = (np.zeros(len(buffers)), long, long * buffers.size, buffers.size, parts.end - parts.begin, np.diff(overlaps.first))
    return np.stack([row.astype(np.float64) for row in rows])


MOST_BUFFERS = 1500  # the search keeps what it knows for every depth: some 100 bytes x buffers squared
FOUND, NONE, GAVE_UP = 1, 0, -1  # outcomes: a packing; a proof that there is none; neither
# States of the search: try the next candidate at this depth; a part is solved, go on to the next one; go back a depth.
TRY, SOLVED, FAILED = 0, 1, 2


class Fit(NamedTuple):
    """The result of a search; without ``addresses`` it gave up, unless ``impossible``."""

    addresses: Ints | None  # [buffer] bytes, if a packing was found
    impossible: bool  # it is proven that there is none
    steps: int  # placements tried


def fit(buffers: Buffers, overlaps: Overlaps, capacity: int, steps: int, lasts: Ints | None = None) -> Fit:
    """Look for a packing no higher than ``capacity`` bytes, in at most ``steps`` placements over all attempts.

    ``lasts`` is how long each buffer lives by the program's clock, None if that is unknown.
    """
    if buffers.bound > capacity:
        return Fit(None, True, 0)
    parts, addresses = sections(buffers), np.zeros(len(buffers), np.int64)
    problem = (buffers.size, buffers.align, overlaps.first, overlaps.others, *parts)
    used = 0
    for order, keys, limit in attempts(buffers, overlaps, parts, lasts):
        outcome, taken = _search(problem, keys, order, capacity, min(limit, steps - used), addresses)
        used += taken
        if outcome != GAVE_UP or used >= steps:
            break
    return Fit(addresses if outcome == FOUND else None, outcome == NONE, used)


@njit(cache=True, nogil=True)
def _before(a: Any, b: Any, keys: Any, order: Any) -> Any:
    """Return whether buffer ``a`` precedes ``b`` in the fixed order: by the rows ``order`` of ``keys``, the larger first."""
    for k in order:
        if keys[k, a] != keys[k, b]:
            return keys[k, a] > keys[k, b]
    return a < b


@njit(cache=True, nogil=True)
def _sort(members: Any, low: Any, high: Any, keys: Any, order: Any, rest: Any, begin: Any, end: Any) -> None:
    """Bring members[low:high] into the fixed order, and their keys TOTAL up to date.

    Insertion sort, since the members are nearly in order but for the first time. ``rest`` has the bytes still to be placed in
    each section, and buffer b lives in the sections [begin[b], end[b]).
    """
    for i in range(low, high):
        b = members[i]
        keys[TOTAL, b] = rest[begin[b] : end[b]].max()
        j = i
        while j > low and _before(b, members[j - 1], keys, order):
            members[j] = members[j - 1]
            j -= 1
        members[j] = b


@njit(cache=True, nogil=True)
def _candidates(members: Any, low: Any, high: Any, at: Any, placed: Any, size: Any, bottom: Any, turn: Any, into: Any) -> Any:
    """Write to ``into`` the indices in members[low:high] of the buffers that may come next, the lowest first; return how many.

    Return -1 if all are placed. ``at`` has the lowest possible address of each buffer. A buffer may come next unless another
    fits beneath it, or its address is below that of the last one placed, ``bottom``, or equal with an index below ``turn``.
    """
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


@njit(cache=True, nogil=True)
def _place(b: Any, problem: Any, at: Any, floor: Any, rest: Any, placed: Any, touched: Any) -> None:
    """Place buffer ``b`` at its address ``at[b]``; lift its neighbours in ``at``, and the floors of the sections concerned.

    ``floor`` and ``rest`` have, by section, the lowest address and the bytes of what is still to be placed; ``touched`` is
    set to mark the sections of the lifted neighbours. ``problem`` is (size, align, first, others, begin, end, section, members,
    across), from Buffers, Overlaps and Sections.
    """
    size, align, first, others, begin, end, section, members, _ = problem
    top = at[b] + size[b]
    placed[b] = True
    touched[:] = False
    for q in range(first[b], first[b + 1]):
        other = others[q]
        if not placed[other] and at[other] < top:
            at[other] = (top + align[other] - 1) & -align[other]
            touched[begin[other] : end[other]] = True
    for s in range(begin[b], end[b]):
        floor[s] = top
        rest[s] -= size[b]
    for s in range(floor.size):
        if touched[s] and rest[s] > 0:
            lowest = np.int64(2**62)
            for q in range(section[s], section[s + 1]):
                if not placed[members[q]]:
                    lowest = min(lowest, at[members[q]])
                    if lowest <= floor[s]:
                        break
            floor[s] = max(floor[s], lowest)


@njit(cache=True, nogil=True)
def _fits_above_floor(low: Any, high: Any, floor: Any, rest: Any, bottom: Any, capacity: Any) -> Any:
    """Return whether each section [``low``, ``high``) has room for the bytes still to be placed, ``rest``, within the capacity.

    They go above its floor, and above ``bottom``, the address of the last buffer placed.
    """
    for s in range(low, high):  # noqa: SIM110 (compiled)
        if max(floor[s], bottom) + rest[s] > capacity:
            return False
    return True


@njit(cache=True, nogil=True)
def _lift_waiting(
    part: Any, turn: Any, bottom: Any, problem: Any, members: Any, at: Any, placed: Any, touched: Any, stands: Any
) -> Any:
    """Write to ``stands`` how low each buffer still to be placed can stand; return the highest top, -1 if one waits for ever.

    ``part`` is (low, high, left, right): members[low:high] in the sections [left, right). The last buffer placed has address
    ``bottom`` and index ``turn`` in members. A buffer that is lower, or as low with a lower index, must wait until a neighbour
    lifts it; if that puts it higher than ``at``, its sections are marked in ``touched``.
    """
    size, align, first, others, begin, end = problem[:6]
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
                touched[begin[b] : end[b]] = True
        top = max(top, stands[b] + size[b])
    return top


@njit(cache=True, nogil=True)
def _fits_above_heights(part: Any, problem: Any, placed: Any, touched: Any, stands: Any, capacity: Any, queue: Any) -> Any:
    """Return whether, for all heights, the buffers of each touched section that stand at or above a height fit above it.

    ``part`` and ``stands`` are as in `_lift_waiting`; `_place` and `_lift_waiting` marked the sections.
    ``queue`` is scratch, by buffer.
    """
    size, section, members = problem[0], problem[6], problem[7]
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


@njit(cache=True, nogil=True)
def _split(members: Any, m: Any, sides: Any, c: Any, part: Any, across: Any, placed: Any, begin: Any) -> Any:
    """Split a part where no buffer still to be placed lives across two sections; return the new ends (m, c) of members and sides.

    ``part`` and each row of ``sides`` is (low, high, left, right): members[low:high] in the sections [left, right). The buffers
    of each new part are written to ``members`` from ``m`` on, the parts to ``sides`` from row ``c`` on; empty ones are left out.
    """
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


@njit(cache=True, nogil=True)
def _search(problem: Any, keys: Any, order: Any, capacity: Any, limit: Any, addresses: Any) -> Any:
    """Search for a packing; return FOUND, NONE or GAVE_UP (after ``limit`` placements), and the placements tried.

    FOUND: the packing is in ``addresses``, in bytes by buffer. ``problem`` is as in `_place`, ``keys`` and ``order`` as in
    `_before`. Row d of each table is what is known before the buffer of depth d is placed, so going back needs no undoing.
    """
    size, begin, end, across = problem[0], problem[4], problem[5], problem[8]
    n, width = size.size, across.size
    at, placed = np.zeros((n + 2, n), np.int64), np.zeros((n + 2, n), np.bool_)
    floor, rest, cross = (
        np.zeros((n + 2, width), np.int64),
        np.zeros((n + 2, width), np.int64),
        np.zeros((n + 2, width), np.int64),
    )
    touched, stands, queue = np.zeros(width, np.bool_), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for b in range(n):
        rest[1, begin[b] : end[b]] += size[b]
    cross[1] = across
    room = n * (n + 1) // 2 + 2 * n + 2
    members, options, sides = np.empty(room, np.int64), np.empty(room, np.int64), np.empty((room, 4), np.int64)
    members[:n] = np.arange(n)
    # By depth: its part of members and sections; address and index of the last buffer placed; its candidates, from the one
    # that is tried next; the parts that are to be solved once its buffer is placed, from the next one; the end of its members.
    part, bottom, turn = np.zeros((n + 2, 4), np.int64), np.zeros(n + 2, np.int64), np.zeros(n + 2, np.int64)
    option, options_end = np.zeros(n + 2, np.int64), np.zeros(n + 2, np.int64)
    side, sides_end, members_end = np.zeros(n + 2, np.int64), np.zeros(n + 2, np.int64), np.zeros(n + 2, np.int64)
    whole = np.array([0, n, 0, width])
    members_end[0], sides_end[0] = _split(members, n, sides, 0, whole, across, placed[1], begin)
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
            low, high = part[d, 0], part[d, 1]
            if turn[d] < 0:
                _sort(members, low, high, keys, order, rest[d], begin, end)
            start = options_end[d - 1]
            count = _candidates(members, low, high, at[d], placed[d], size, bottom[d], turn[d], options[start:])
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
        _place(b, problem, at[d + 1], floor[d + 1], rest[d + 1], placed[d + 1], touched)
        if not _fits_above_floor(part[d, 2], part[d, 3], floor[d + 1], rest[d + 1], at[d, b], capacity):
            continue
        top = _lift_waiting(part[d], i, at[d, b], problem, members, at[d + 1], placed[d + 1], touched, stands)
        if (
            top < 0
            or top > capacity
            or not _fits_above_heights(part[d], problem, placed[d + 1], touched, stands, capacity, queue)
        ):
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
            m, c = _split(members, m, sides, c, part[d], cross[d + 1], placed[d + 1], begin)
            next_turn[d] = -1
        else:
            sides[c] = part[d]
            c += 1
            next_turn[d] = i
        members_end[d], sides_end[d] = m, c
        state = SOLVED
