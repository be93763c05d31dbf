"""A doubly linked list of blocks per tier, as links between slots: a block is in one tier, so it has one pair of links."""

from typing import NamedTuple

import numpy as np


class Order(NamedTuple):
    """The lists: circular, with a head for each tier."""

    after: np.ndarray  # after[slot]: the next slot; after[slots + tier]: the first slot of the tier's list
    before: np.ndarray  # the same the other way round
    used: np.ndarray  # [slot] the bit of clock
    slots: int  # number of slots; the head of a tier's list has index slots + tier


def init(tiers, slots):
    """Return empty lists for ``tiers`` tiers and ``slots`` slots."""
    ring = np.arange(slots + tiers, dtype=np.int32)
    return Order(ring, ring.copy(), np.zeros(slots, np.uint8), slots)


def push(order, tier, slot):
    """Insert ``slot`` at the front of the list of ``tier``."""
    head = order.slots + tier
    first = np.int64(order.after[head])
    order.after[slot] = first
    order.before[slot] = head
    order.before[first] = slot
    order.after[head] = slot


def unlink(order, slot):
    """Remove ``slot`` from the list that it is in."""
    after, before = np.int64(order.after[slot]), np.int64(order.before[slot])
    order.after[before] = after
    order.before[after] = before


def last(order, tier, one, other):
    """Return the last slot in the list of ``tier`` that is neither ``one`` nor ``other``, or -1."""
    head = order.slots + tier
    slot = np.int64(order.before[head])
    while slot == one or slot == other:
        slot = np.int64(order.before[slot])
    return slot if slot != head else np.int64(-1)
