"""A placement -> the first event at which it is wrong, if any. Shares no code with policies, so no mistake either.

The live blocks are kept in address order: every address that the placement ever uses is known beforehand, so a block is
a leaf of a complete binary tree over them that counts the live blocks below each entry, and its neighbours are found by
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
    from memtrace.trace import Trace

Ints = NDArray[np.int64]

OVERLAP, OUTSIDE, BEYOND, MISALIGNED = 1, 2, 3, 4
KINDS = {OVERLAP: "overlap", OUTSIDE: "outside", BEYOND: "beyond", MISALIGNED: "misaligned"}
ALLOC, FREE, REALLOC = int(Op.ALLOC), int(Op.FREE), int(Op.REALLOC)


@dataclass(frozen=True)
class Block:
    """A block as it was placed: [start, end), and the event that placed it."""

    start: int
    end: int
    event: int

    def __str__(self) -> str:
        return f"[{self.start}, {self.end}) placed at event {self.event}"


@dataclass(frozen=True)
class Offence:
    """What is wrong at an event, and with which blocks."""

    event: int
    kind: str  # overlap, outside (what is reserved), beyond (the capacity), misaligned
    block: Block
    other: Block | None
    text: str


def validate(placement: Placement) -> Offence | None:
    """The first offence of a placement that was replayed with ``keep=True``; None if it is sound.

    Every block that is placed, [address, address + requested size), overlaps no live one, lies in what is reserved after
    the event and within the capacity, and is aligned to what the event asks for, else to the policy's option ``align``.
    """
    if placement.addresses is None or placement.reserved is None:
        raise ValueError("validate needs a placement with its addresses: replay(..., keep=True)")
    from memtrace.engine.registry import is_real

    align = int(placement.policy.options.get("align", 1))
    reserved, capacity = placement.reserved, placement.capacity
    if is_real(placement.policy.module):
        # Its addresses are those of an address space, of which it holds some pages.
        reserved, capacity = np.full(reserved.size, 1 << 62), None
    return validate_addresses(placement.trace, placement.addresses, reserved, capacity, align)


def validate_addresses(trace: Trace, addresses: Ints, reserved: Ints, capacity: int | None, align: int) -> Offence | None:
    """The first offence of addresses and reserved bytes by event; as many events as there are addresses are looked at."""
    starts = np.unique(addresses[addresses >= 0])
    leaves = 1 << max(int(starts.size - 1).bit_length(), 1)
    tree = np.zeros(2 * leaves, np.int32)
    owner = np.zeros(starts.size, np.int32)
    slots = np.full((trace.facts.max_live + 1, 3), -1, np.int64)  # start, size, event of the block in a slot
    limit = (1 << 62) if capacity is None else capacity
    done = 0
    for events in trace.batches():
        n = min(events.op.size, addresses.size - done)
        kind, i, other = _check(
            *(events.op[:n], events.block, events.size, events.align),
            *(addresses[done:], reserved[done:], done),
            *(starts, tree, owner, slots, align, limit),
        )
        if kind:
            found = int(slots[other, 0]), int(slots[other, 0] + slots[other, 1]), int(slots[other, 2])
            start = int(addresses[done + i])
            block = Block(start, start + int(events.size[i]), done + i)
            return _offence(kind, block, Block(*found) if other >= 0 else None, int(reserved[done + i]), capacity)
        done += n
    return None


@njit(cache=True, nogil=True, error_model="numpy")
def _check(op, block, size, align, addresses, reserved, first, starts, tree, owner, slots, own_align, capacity):  # type: ignore[no-untyped-def]
    """The first offence of a batch: its kind, the row, and the slot of the other block (-1: there is none)."""
    leaves = tree.size // 2
    for i in range(op.size):
        kind, slot = op[i], block[i]
        if kind == FREE and slot >= 0:
            _take_out(slot, slots, starts, tree, leaves)
        if kind != ALLOC and kind != REALLOC:
            continue
        start = addresses[i]
        if kind == REALLOC and start == -1:
            continue  # it failed, and the old block stays
        _take_out(slot, slots, starts, tree, leaves)
        if start < 0:
            continue
        slots[slot, 0], slots[slot, 1], slots[slot, 2] = start, size[i], first + i
        asked = align[i if align.size > 1 else 0]
        if start % (asked if asked > 0 else own_align) != 0:
            return MISALIGNED, i, -1
        if start + size[i] > capacity:
            return BEYOND, i, -1
        if start + size[i] > reserved[i]:
            return OUTSIDE, i, -1
        if size[i] == 0:
            continue
        at = np.searchsorted(starts, start)
        if tree[leaves + at] > 0:
            return OVERLAP, i, owner[at]
        below = _neighbour(tree, leaves, at, 0)
        if below >= 0 and slots[owner[below], 0] + slots[owner[below], 1] > start:
            return OVERLAP, i, owner[below]
        above = _neighbour(tree, leaves, at, 1)
        if above >= 0 and start + size[i] > starts[above]:
            return OVERLAP, i, owner[above]
        owner[at] = slot
        _count(tree, leaves + at, 1)
    return 0, 0, -1


@njit(cache=True, nogil=True, error_model="numpy")
def _take_out(slot, slots, starts, tree, leaves):  # type: ignore[no-untyped-def]
    """Forget the block in a slot, if there is one."""
    if slots[slot, 0] >= 0 and slots[slot, 1] > 0:
        _count(tree, leaves + np.searchsorted(starts, slots[slot, 0]), -1)
    slots[slot, 0] = -1


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


def _offence(kind: int, block: Block, other: Block | None, reserved: int, capacity: int | None) -> Offence:
    ends = {
        OVERLAP: f"overlaps the live block {other}",
        OUTSIDE: f"reaches beyond the {reserved} bytes reserved then",
        BEYOND: f"reaches beyond the capacity of {capacity}",
        MISALIGNED: "starts at an address that is not aligned as asked",
    }
    text = f"event {block.event}: the block [{block.start}, {block.end}) {ends[kind]}"
    return Offence(block.event, KINDS[kind], block, other, text)
