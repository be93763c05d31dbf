"""A list of blocks per tier, as links between slots: a block is in one tier, so it has one pair of links."""

from typing import NamedTuple

import numpy as np


class Order(NamedTuple):
    after: np.ndarray  # after[slot]: the slot behind it; after[slots + tier]: the first of the tier's list
    before: np.ndarray
    used: np.ndarray  # clock's bit
    slots: int


def init(tiers, slots):
    ring = np.arange(slots + tiers, dtype=np.int32)
    return Order(ring, ring.copy(), np.zeros(slots, np.uint8), slots)


def push(order, tier, slot):
    """To the front."""
    head = order.slots + tier
    first = np.int64(order.after[head])
    order.after[slot] = first
    order.before[slot] = head
    order.before[first] = slot
    order.after[head] = slot


def unlink(order, slot):
    after, before = np.int64(order.after[slot]), np.int64(order.before[slot])
    order.after[before] = after
    order.before[after] = before


def last(order, tier, one, other):
    """The last of a tier's list that is neither of two, or -1."""
    head = order.slots + tier
    slot = np.int64(order.before[head])
    while slot == one or slot == other:
        slot = np.int64(order.before[slot])
    return slot if slot != head else np.int64(-1)
