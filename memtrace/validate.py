"""A placement -> the first event at which it is wrong, if any. Shares no code with policies, so no mistake either.

Most blocks are one range that stays where the placement's addresses say. Blocks that move, or come in pieces, are where
the placement's rows of ``places`` say, from the event of the row on.

The live ranges are kept in address order: every address that the placement ever uses is known beforehand, so a range is
a leaf of a complete binary tree over them that counts the live ranges below each entry, and its neighbours are found by
walking up and down. Memory grows with the number of events, time with its logarithm times that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.replaying import Placement
    from memtrace.trace import Events, Trace

Ints = NDArray[np.int64]

OVERLAP, OUTSIDE, BEYOND, MISALIGNED, SHORT = 1, 2, 3, 4, 5
KINDS = {OVERLAP: "overlap", OUTSIDE: "outside", BEYOND: "beyond", MISALIGNED: "misaligned", SHORT: "short"}
ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)

# of a slot: first range (-1: none), bytes asked for, bytes it has, alignment
FIRST, WANTED, HELD, ALIGN = range(4)
# of a range, by the index of its start: end, slot, event, the block's next range (-1: none)
END, SLOT, EVENT, NEXT = range(4)


@dataclass(frozen=True)
class Block:
    """A block, or a piece of one, as it was placed: [start, end), and the event that placed it."""

    start: int
    end: int
    event: int

    def __str__(self) -> str:
        return f"[{self.start}, {self.end}) placed at event {self.event}"


@dataclass(frozen=True)
class Offence:
    """What is wrong at an event, and with which blocks."""

    event: int
    kind: str  # overlap, outside (what is reserved), beyond (the capacity), misaligned, short (of what was asked for)
    block: Block
    other: Block | None
    text: str


@dataclass(frozen=True)
class Claim:
    """What is said of where the blocks of a trace lie, and is to be checked."""

    trace: Trace
    addresses: Ints  # per event: of an alloc or realloc; below 0 where there is none
    reserved: Ints  # per event: bytes reserved after it
    places: Ints  # rows (event, block, address, bytes) of blocks that move or come in pieces
    capacity: int | None
    align: int  # of blocks whose event asks for none
    pieces: bool  # blocks are where the rows say, and only there


def validate(placement: Placement) -> Offence | None:
    """The first offence of a placement that was replayed with ``keep=True``; None if it is sound.

    After every event each block, [address, address + requested size), overlaps no other, lies within the capacity, lay in
    what was reserved when it was placed or moved, and is aligned to what its event asks for, else to the policy's option
    ``align``. A block in pieces has at least the bytes it asked for; no piece overlaps another; all together are no more
    than what is reserved. Its alignment is that of the address under which the pieces are mapped, and is not looked at.
    Of a policy whose addresses are virtual (``VIRTUAL``), neither what is reserved nor the capacity bounds the addresses.
    """
    if placement.addresses is None or placement.reserved is None or placement.places is None:
        raise ValueError("validate needs a placement with its addresses: replay(..., keep=True)")
    align = int(placement.policy.options.get("align", 1))
    pieces = hasattr(placement.policy.module, "first_piece")
    capacity, reserved = placement.capacity, placement.reserved
    if getattr(placement.policy.module, "VIRTUAL", False):
        capacity, reserved = None, np.full(reserved.size, 1 << 62)
    return first_offence(Claim(placement.trace, placement.addresses, reserved, placement.places, capacity, align, pieces))


def first_offence(claim: Claim) -> Offence | None:
    """As many events as there are addresses are looked at."""
    starts = np.unique(np.concatenate((claim.addresses[claim.addresses >= 0], claim.places[:, 2])))
    leaves = 1 << max(int(starts.size - 1).bit_length(), 1)
    tree = np.zeros(2 * leaves, np.int32)
    ranges = np.zeros((starts.size, 4), np.int64)
    slots = np.tile(np.array([-1, 0, 0, 0], np.int64), (claim.trace.facts.max_live + 1, 1))
    capacity = (1 << 62) if claim.capacity is None else claim.capacity
    total, done = np.zeros(1, np.int64), 0
    for events in claim.trace.batches():
        n = min(events.op.size, claim.addresses.size - done)
        rows = places_of(claim, events, done, n)
        kind, row, other = _check(
            *(events.op[:n], events.block, events.size, events.align),
            *(claim.addresses[done:], claim.reserved[done:], done, rows),
            *(starts, tree, ranges, slots, total, claim.align, capacity, claim.pieces),
        )
        if kind:
            place = rows[row] if row >= 0 else np.array([done - 1 - row, -1, claim.addresses[done - 1 - row], 0])
            return _offence(kind, place, other, starts, ranges, claim)
        done += n
    return None


def places_of(claim: Claim, events: Events, done: int, n: int) -> Ints:
    """Rows (event, block, address, bytes) of every range that events ``done`` to ``done + n`` place or move, in order."""
    first, last = np.searchsorted(claim.places[:, 0], (done, done + n))
    rows = claim.places[first:last]
    if claim.pieces:
        return rows
    addresses = claim.addresses[done : done + n]
    own = np.flatnonzero(((events.op[:n] == ALLOC) | (events.op[:n] == REALLOC)) & (addresses >= 0))
    placed = np.stack((own + done, events.block[own], addresses[own], events.size[own]), axis=1)
    # The event's own block may have moved after it was placed; its address is already the last one.
    at = rows[:, 0] - done
    moved = rows[(rows[:, 1] != events.block[at]) | (addresses[at] < 0)]
    both = np.concatenate((moved, placed))
    return np.ascontiguousarray(both[np.argsort(both[:, 0], kind="stable")])


@njit(cache=True, nogil=True, error_model="numpy")
def _check(  # type: ignore[no-untyped-def]
    op, block, size, align, addresses, reserved, first, rows, starts, tree, ranges, slots, total, own_align, capacity, pieces
):
    """The first offence of a batch: its kind, the row, and the range it is with (-1: there is none).

    A block without a row that lacks bytes is told by row -1 - i.
    """
    row = 0
    for i in range(op.size):
        kind, slot = op[i], block[i]
        last = row
        while last < rows.shape[0] and rows[last, 0] == first + i:
            last += 1
        placed = kind == ALLOC or kind == REALLOC
        if (kind == FREE and slot >= 0) or (placed and addresses[i] != -1):
            _take_out(slot, slots, starts, tree, ranges, total)
        if placed and addresses[i] >= 0:
            asked = align[i if align.size > 1 else 0]
            slots[slot, WANTED], slots[slot, ALIGN] = size[i], asked if asked > 0 else own_align
        for k in range(row, last):
            _take_out(rows[k, 1], slots, starts, tree, ranges, total)
        for k in range(row, last):
            fault, other = _put_in(rows[k], slots, starts, tree, ranges, total, reserved[i], capacity, pieces)
            if fault != 0:
                return fault, k, other
        for k in range(row, last):
            if slots[rows[k, 1], HELD] < slots[rows[k, 1], WANTED]:
                return SHORT, k, -1
            if pieces and total[0] > reserved[i]:
                return OUTSIDE, k, -1
        if placed and addresses[i] >= 0 and slots[slot, HELD] < size[i]:
            return SHORT, -1 - i, -1
        row = last
    return 0, 0, -1


@njit(cache=True, nogil=True, error_model="numpy")
def _put_in(place, slots, starts, tree, ranges, total, reserved, capacity, pieces):  # type: ignore[no-untyped-def]
    """One range of a block: what is wrong with it, and the range it is wrong with."""
    event, slot, start, size = place
    leaves = tree.size // 2
    if not pieces and start % slots[slot, ALIGN] != 0:
        return MISALIGNED, -1
    if start + size > capacity:
        return BEYOND, -1
    if not pieces and start + size > reserved:
        return OUTSIDE, -1
    slots[slot, HELD] += size
    if size == 0:
        return 0, -1
    at = np.searchsorted(starts, start)
    if tree[leaves + at] > 0:
        return OVERLAP, at
    below = _neighbour(tree, leaves, at, 0)
    if below >= 0 and ranges[below, END] > start:
        return OVERLAP, below
    above = _neighbour(tree, leaves, at, 1)
    if above >= 0 and start + size > starts[above]:
        return OVERLAP, above
    ranges[at, END], ranges[at, SLOT], ranges[at, EVENT], ranges[at, NEXT] = start + size, slot, event, slots[slot, FIRST]
    slots[slot, FIRST] = at
    total[0] += size
    _count(tree, leaves + at, 1)
    return 0, -1


@njit(cache=True, nogil=True, error_model="numpy")
def _take_out(slot, slots, starts, tree, ranges, total):  # type: ignore[no-untyped-def]
    """Forget the ranges of the block in a slot, if there is one."""
    at = slots[slot, FIRST]
    while at >= 0:
        _count(tree, tree.size // 2 + at, -1)
        total[0] -= ranges[at, END] - starts[at]
        at = ranges[at, NEXT]
    slots[slot, FIRST] = -1
    slots[slot, HELD] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def _count(tree, entry, change):  # type: ignore[no-untyped-def]
    while entry > 0:
        tree[entry] += change
        entry >>= 1


@njit(cache=True, nogil=True, error_model="numpy")
def _neighbour(tree, leaves, at, side):  # type: ignore[no-untyped-def]
    """The nearest live leaf below (side 0) or above (side 1) a leaf; -1 if there is none."""
    entry = leaves + at
    while entry > 1 and (entry & 1 == side or tree[entry ^ 1] == 0):
        entry >>= 1
    if entry <= 1:
        return -1
    entry ^= 1
    while entry < leaves:
        entry = 2 * entry + (1 - side)
        if tree[entry] == 0:
            entry ^= 1
    return entry - leaves


def _offence(kind: int, place: Ints, other: int, starts: Ints, ranges: Ints, claim: Claim) -> Offence:
    event, start, size = int(place[0]), int(place[2]), int(place[3])
    block = Block(start, start + size, event)
    found = Block(int(starts[other]), int(ranges[other, END]), int(ranges[other, EVENT])) if other >= 0 else None
    ends = {
        OVERLAP: f"overlaps the live block {found}",
        OUTSIDE: f"reaches beyond the {int(claim.reserved[event])} bytes reserved then",
        BEYOND: f"reaches beyond the capacity of {claim.capacity}",
        MISALIGNED: "starts at an address that is not aligned as asked",
        SHORT: "and its other pieces have fewer bytes than were asked for",
    }
    return Offence(event, KINDS[kind], block, found, f"event {event}: the block [{start}, {start + size}) {ends[kind]}")
