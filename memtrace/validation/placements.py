"""The validator: finds the first event at which a placement is wrong. It shares no code with policies, so no mistakes either.

Most blocks are one range that stays where the placement's addresses say. A block that moves, or comes in pieces, lies where
the placement's rows of ``places`` say, from the event of the row on.

The live ranges are kept in address order. Every address that the placement ever uses is known beforehand, so a range is a leaf
of a complete binary tree over the addresses, each entry of which counts the live ranges below it. The neighbours of a range are
found by a walk up and down. Memory grows with the number of events, and time with that number times its logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.contract.policy import constants_of, function_of
from memtrace.engine.compile import FAST, OPTIONS, knows_fast
from memtrace.lean import njit
from memtrace.trace import Op

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement
    from memtrace.trace import Events, Trace

Ints = NDArray[np.int64]

OVERLAP, OUTSIDE, BEYOND, MISALIGNED, SHORT = 1, 2, 3, 4, 5
KINDS = {OVERLAP: "overlap", OUTSIDE: "outside", BEYOND: "beyond", MISALIGNED: "misaligned", SHORT: "short"}
ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)

# columns of Live.slots: the block's first range (-1: none), bytes requested, bytes it has, alignment in bytes
FIRST, WANTED, HELD, ALIGN = range(4)
# columns of Live.ranges: end, slot, event, the block's next range (-1: none)
END, SLOT, EVENT, NEXT = range(4)
UNLIMITED = 1 << 62  # bytes: no address is as high

compiled = njit(**OPTIONS, **(FAST if knows_fast() else {}))


@dataclass(frozen=True)
class Block:
    """A block, or a piece of a block, as it was placed: the range [start, end) in bytes, and the event that placed it."""

    start: int
    end: int
    event: int

    def __str__(self) -> str:
        """Return the range and its event as text."""
        return f"[{self.start}, {self.end}) placed at event {self.event}"


@dataclass(frozen=True)
class Offence:
    """A fault of a placement: the event, the kind of fault, and the blocks concerned."""

    event: int
    kind: str  # overlap, outside (the reserved bytes), beyond (the capacity), misaligned, short (fewer bytes than requested)
    block: Block
    other: Block | None
    text: str


@dataclass(frozen=True)
class Claim:
    """A claim of where the blocks of a trace lie, which is to be checked."""

    trace: Trace
    addresses: Ints  # per event: the address that an alloc or realloc got; below 0 where there is none
    reserved: Ints  # per event: bytes reserved after it
    places: Ints  # rows (event, block, address, bytes) of blocks that move or come in pieces
    capacity: int | None
    align: int  # bytes: of blocks whose event asks for no alignment
    pieces: bool  # blocks come in pieces: they lie where the rows say, and only there
    most_align: int = UNLIMITED  # bytes: no larger alignment is owed


class Part(NamedTuple):
    """The part of a claim that is about one batch of events."""

    first: int  # number of the first event
    addresses: Ints  # [event] as in Claim; as many events of the batch are checked
    reserved: Ints  # [event] bytes
    rows: Ints  # [place, (event, block, address, bytes)] all ranges that these events place or move; see `places_of`


class Bounds(NamedTuple):
    """What holds for all events of a claim."""

    align: int  # bytes: of blocks whose event asks for no alignment
    capacity: int  # bytes, UNLIMITED if there is none
    pieces: bool  # as in Claim
    most_align: int  # bytes, as in Claim


class Live(NamedTuple):
    """The live ranges, by address and by block; updated in place."""

    starts: Ints  # [leaf] every address that the claim ever uses, in ascending order
    tree: NDArray[np.int32]  # [entry] number of live ranges below; entry 1 is the root, entry e has the children 2 e and 2 e + 1
    ranges: Ints  # [leaf, (END, SLOT, EVENT, NEXT)] the live range that starts there
    slots: Ints  # [slot, (FIRST, WANTED, HELD, ALIGN)]
    total: Ints  # [1] bytes of all live ranges


def validate(placement: Placement) -> Offence | None:
    """Return the first offence of a placement that was replayed with ``keep=True``; None if it is sound.

    After every event each block, [address, address + requested size), overlaps no other, lies within the capacity, lay
    within the reserved bytes when it was placed or moved, and is aligned to what its event asks for, else to the policy's
    option ``align``. A block in pieces has at least the bytes it asked for; no piece overlaps another; all together are no
    more than the reserved bytes. Its alignment is that of the address under which the pieces are mapped, and is not
    checked. For a policy whose addresses are virtual (``VIRTUAL``), neither the reserved bytes nor the capacity bounds the
    addresses.

    Raise ValueError if the placement has no addresses.
    """
    if placement.addresses is None or placement.reserved is None or placement.places is None:
        raise ValueError("validate needs a placement with its addresses: replay(..., keep=True)")
    align = int(placement.policy.options.get("align", 1))
    pieces = function_of(placement.policy.module, "first_piece") is not None
    capacity, reserved = placement.capacity, placement.reserved
    if constants_of(placement.policy.module).VIRTUAL:
        capacity, reserved = None, np.full(reserved.size, UNLIMITED)
    return first_offence(
        Claim(
            trace=placement.trace,
            addresses=placement.addresses,
            reserved=reserved,
            places=placement.places,
            capacity=capacity,
            align=align,
            most_align=constants_of(placement.policy.module).MAX_ALIGN,
            pieces=pieces,
        )
    )


def first_offence(claim: Claim) -> Offence | None:
    """Return the first offence of a claim, or None. As many events are checked as the claim has addresses."""
    live, done = no_ranges(claim), 0
    bounds = Bounds(
        align=claim.align,
        capacity=UNLIMITED if claim.capacity is None else claim.capacity,
        pieces=claim.pieces,
        most_align=claim.most_align,
    )
    for events in claim.trace.batches():
        n = min(events.op.size, claim.addresses.size - done)
        rows = places_of(claim, events, done, n)
        part = Part(first=done, addresses=claim.addresses[done : done + n], reserved=claim.reserved[done : done + n], rows=rows)
        kind, row, other = _check(events, part, bounds, live)
        if kind:
            place = rows[row] if row >= 0 else np.array([done - 1 - row, -1, claim.addresses[done - 1 - row], 0])
            return _offence(kind, place, other, live, claim)
        done += n
    return None


def no_ranges(claim: Claim) -> Live:
    """Return the state before the first event of a claim, with a leaf for each address that the claim ever uses."""
    starts = np.unique(np.concatenate((claim.addresses[claim.addresses >= 0], claim.places[:, 2])))
    leaves = 1 << max(int(starts.size - 1).bit_length(), 1)
    return Live(
        starts=starts,
        tree=np.zeros(2 * leaves, np.int32),
        ranges=np.zeros((starts.size, 4), np.int64),
        slots=np.tile(np.array([-1, 0, 0, 0], np.int64), (claim.trace.facts.max_live + 1, 1)),
        total=np.zeros(1, np.int64),
    )


def places_of(claim: Claim, events: Events, done: int, n: int) -> Ints:
    """Return rows (event, block, address, bytes) of all ranges that events ``done`` to ``done + n`` place or move, in order.

    ``events`` is the batch, of which ``n`` events count; ``done`` is the number of its first event.
    """
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


@compiled
def _check(events, part, bounds, live):  # type: ignore[no-untyped-def]
    """Check one batch; return the kind of its first offence (0: none), the row of it, and the range it conflicts with (-1: none).

    A block without a row that has too few bytes is reported as row -1 - i, where i is its event in the batch.
    """
    op, block, size, align = events.op, events.block, events.size, events.align
    addresses, reserved, rows, slots = part.addresses, part.reserved, part.rows, live.slots
    row = 0
    for i in range(addresses.size):
        kind, slot = op[i], block[i]
        last = row
        while last < rows.shape[0] and rows[last, 0] == part.first + i:
            last += 1
        placed = kind == ALLOC or kind == REALLOC
        if (kind == FREE and slot >= 0) or (placed and addresses[i] != -1):
            _take_out(slot, live)
        if placed and addresses[i] >= 0:
            asked = align[i if align.size > 1 else 0]
            slots[slot, WANTED], slots[slot, ALIGN] = size[i], min(asked, bounds.most_align) if asked > 0 else bounds.align
        for k in range(row, last):
            _take_out(rows[k, 1], live)
        for k in range(row, last):
            fault, other = _put_in(rows[k], reserved[i], bounds, live)
            if fault != 0:
                return fault, k, other
        for k in range(row, last):
            if slots[rows[k, 1], HELD] < slots[rows[k, 1], WANTED]:
                return SHORT, k, -1
            if bounds.pieces and live.total[0] > reserved[i]:
                return OUTSIDE, k, -1
        if placed and addresses[i] >= 0 and slots[slot, HELD] < size[i]:
            return SHORT, -1 - i, -1
        row = last
    return 0, 0, -1


@compiled
def _put_in(place, reserved, bounds, live):  # type: ignore[no-untyped-def]
    """Insert one range of a block; return the offence (0: none) and the range it overlaps (-1: none).

    ``place`` is a row (event, block, address, bytes), ``reserved`` the bytes reserved after the event.
    """
    event, slot, start, size = place
    starts, tree, ranges, slots = live.starts, live.tree, live.ranges, live.slots
    leaves = tree.size // 2
    if not bounds.pieces and start % slots[slot, ALIGN] != 0:
        return MISALIGNED, -1
    if start + size > bounds.capacity:
        return BEYOND, -1
    if not bounds.pieces and start + size > reserved:
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
    live.total[0] += size
    _add_to_ancestors(tree, leaves + at, 1)
    return 0, -1


@compiled
def _take_out(slot, live):  # type: ignore[no-untyped-def]
    """Remove the ranges of the block in a slot, if there is one."""
    slots, tree, ranges = live.slots, live.tree, live.ranges
    at = slots[slot, FIRST]
    while at >= 0:
        _add_to_ancestors(tree, tree.size // 2 + at, -1)
        live.total[0] -= ranges[at, END] - live.starts[at]
        at = ranges[at, NEXT]
    slots[slot, FIRST] = -1
    slots[slot, HELD] = 0


@compiled
def _add_to_ancestors(tree, entry, change):  # type: ignore[no-untyped-def]
    """Add ``change`` to the number of live ranges at an entry of the tree and at all its ancestors."""
    while entry > 0:
        tree[entry] += change
        entry >>= 1


@compiled
def _neighbour(tree, leaves, at, side):  # type: ignore[no-untyped-def]
    """Return the nearest live leaf below (side 0) or above (side 1) the leaf ``at``; -1 if there is none.

    ``leaves`` is the number of leaves of the tree, which are numbered from 0.
    """
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


def _offence(kind: int, place: Ints, other: int, live: Live, claim: Claim) -> Offence:
    """Return the offence of a kind with its text. ``place`` is a row (event, block, address, bytes), ``other`` a range or -1."""
    event, start, size = int(place[0]), int(place[2]), int(place[3])
    block = Block(start, start + size, event)
    found = Block(int(live.starts[other]), int(live.ranges[other, END]), int(live.ranges[other, EVENT])) if other >= 0 else None
    ends = {
        OVERLAP: f"overlaps the live block {found}",
        OUTSIDE: f"reaches beyond the {int(claim.reserved[event])} bytes reserved then",
        BEYOND: f"reaches beyond the capacity of {claim.capacity}",
        MISALIGNED: "starts at an address that is not aligned as asked",
        SHORT: "and its other pieces have fewer bytes than were asked for",
    }
    return Offence(event, KINDS[kind], block, found, f"event {event}: the block [{start}, {start + size}) {ends[kind]}")
