"""A binary heap of blocks per tier: the one to evict on top, by two numbers of which the higher go first, then the older."""

from typing import NamedTuple

import numpy as np


class Order(NamedTuple):
    heap: np.ndarray  # heap[tier, i]: a slot; the children of i are 2i + 1 and 2i + 2
    filled: np.ndarray  # filled[tier]: how many
    place: np.ndarray  # place[slot]: where it is in its tier's heap
    first: np.ndarray  # first[slot], second[slot]: what it is ranked by
    second: np.ndarray
    entry: np.ndarray  # entry[slot]: the how manieth entry it was
    entries: np.ndarray
    aside: np.ndarray


def init(tiers, slots):
    numbers = [np.zeros(slots, np.int64) for _ in range(3)]
    shape = (tiers, slots)
    place = np.zeros(slots, np.int32)
    return Order(
        np.zeros(shape, np.int32), np.zeros(tiers, np.int64), place, *numbers, np.zeros(1, np.int64), np.zeros(2, np.int64)
    )


def goes_first(order, a, b):
    if order.first[a] != order.first[b]:
        return order.first[a] > order.first[b]
    if order.second[a] != order.second[b]:
        return order.second[a] > order.second[b]
    return order.entry[a] < order.entry[b]


def put(order, tier, i, slot):
    order.heap[tier, i] = slot
    order.place[slot] = i


def rise(order, tier, i):
    heap = order.heap
    slot = np.int64(heap[tier, i])
    while i > 0:
        above = (i - 1) >> 1
        other = np.int64(heap[tier, above])
        if not goes_first(order, slot, other):
            break
        put(order, tier, i, other)
        i = above
    put(order, tier, i, slot)


def sink(order, tier, i):
    heap, count = order.heap, order.filled[tier]
    slot = np.int64(heap[tier, i])
    while 2 * i + 1 < count:
        below = 2 * i + 1
        if below + 1 < count and goes_first(order, heap[tier, below + 1], heap[tier, below]):
            below += 1
        other = np.int64(heap[tier, below])
        if not goes_first(order, other, slot):
            break
        put(order, tier, i, other)
        i = below
    put(order, tier, i, slot)


def insert(order, tier, slot, first, second):
    order.entry[slot] = order.entries[0]
    order.entries[0] += 1
    insert_again(order, tier, slot, first, second)


def insert_again(order, tier, slot, first, second):
    order.first[slot] = first
    order.second[slot] = second
    i = order.filled[tier]
    order.filled[tier] = i + 1
    put(order, tier, i, slot)
    rise(order, tier, i)


def change(order, tier, slot, first, second):
    order.first[slot] = first
    order.second[slot] = second
    i = np.int64(order.place[slot])
    rise(order, tier, i)
    sink(order, tier, np.int64(order.place[slot]))


def remove(order, tier, slot):
    i = np.int64(order.place[slot])
    end = order.filled[tier] - 1
    order.filled[tier] = end
    if i == end:
        return
    put(order, tier, i, np.int64(order.heap[tier, end]))
    moved = np.int64(order.heap[tier, i])
    rise(order, tier, i)
    sink(order, tier, np.int64(order.place[moved]))


def highest(order, tier, one, other):
    """The first of a tier that is neither of two, or -1."""
    aside = np.int64(0)
    found = np.int64(-1)
    while order.filled[tier] > 0 and found < 0:
        top = np.int64(order.heap[tier, 0])
        if top == one or top == other:
            order.aside[aside] = top
            aside += 1
            remove(order, tier, top)
        else:
            found = top
    for i in range(aside):
        slot = order.aside[i]
        insert_again(order, tier, slot, order.first[slot], order.second[slot])
    return found
