"""Cost-aware: the block that costs least to bring back in time, size / (events until its next use).

That is the rate at which its bytes must come back. A block never used again costs nothing and goes first; of equals the
larger one, then the one that came first. It knows the future, as a framework that owns its schedule does.

Of blocks of one size the one whose next use is farthest costs least, whenever it is asked: so the blocks of each size in a
tier are a heap, and the tops of the heaps are compared. Cost: O(k + log n) per eviction for k sizes among the n blocks of
the tier; 20 bytes per use.
Source: as Capuchin's ranking by bytes and by the time in which a swap can be hidden (Peng et al. 2020), in one number.
"""

from typing import NamedTuple

import numpy as np

from memtrace.structures.bits import next_power
from memtrace.structures.calls import apart
from memtrace.tiers.eviction import ranks
from memtrace.tiers.eviction.ranks import change, highest, insert, remove

FORESEES = True
NEVER = 1 << 62


class Order(NamedTuple):
    """A heap, of the blocks of one size in one tier, is there as long as it has blocks: there are no more than slots."""

    nodes: np.ndarray
    roots: np.ndarray
    entries: np.ndarray
    heap_of: np.ndarray  # heap_of[slot]
    size: np.ndarray  # size[heap]
    present: np.ndarray  # present[tier, i]: its heaps, in no order
    filled: np.ndarray  # filled[tier]: how many
    place: np.ndarray  # place[heap]: where it is among those of its tier
    buckets: np.ndarray  # buckets[tier, i]: the first heap + 1 of a bucket of sizes, or 0
    chain: np.ndarray  # chain[heap]: the heap + 1 behind it in its bucket, or 0
    spare: np.ndarray  # heaps that are not there ...
    spares: np.ndarray  # ... and how many


def init(tiers, slots):
    nodes, roots, entries = ranks.init(slots, slots)
    numbers, buckets = [np.zeros(slots, np.int32) for _ in range(3)], int(next_power(slots))
    return Order(
        nodes, roots, entries, numbers[0], np.zeros(slots, np.int64), np.zeros((tiers, slots), np.int32),
        np.zeros(tiers, np.int64), numbers[1], np.zeros((tiers, buckets), np.int32), numbers[2],
        np.arange(slots, dtype=np.int32), np.array([slots]),
    )  # fmt: skip


def bucket_of(order, size):
    mixed = (size ^ (size >> 31)) & 0x7FFFFFFF
    return ((mixed * 2654435761) >> 15) & (order.buckets.shape[1] - 1)


def heap_for(order, tier, size):
    """The heap of a size in a tier; a new one if there is none."""
    bucket = bucket_of(order, size)
    heap = np.int64(order.buckets[tier, bucket]) - 1
    while heap >= 0 and order.size[heap] != size:
        heap = np.int64(order.chain[heap]) - 1
    return heap if heap >= 0 else new_heap(order, tier, size, bucket)


@apart
def new_heap(order, tier, size, bucket):
    order.spares[0] -= 1
    heap = np.int64(order.spare[order.spares[0]])
    order.size[heap] = size
    order.chain[heap] = order.buckets[tier, bucket]
    order.buckets[tier, bucket] = heap + 1
    i = order.filled[tier]
    order.filled[tier] = i + 1
    order.present[tier, i] = heap
    order.place[heap] = i
    return heap


@apart
def drop_heap(order, tier, heap):
    bucket = bucket_of(order, order.size[heap])
    before = np.int64(order.buckets[tier, bucket]) - 1
    if before == heap:
        order.buckets[tier, bucket] = order.chain[heap]
    else:
        while order.chain[before] != heap + 1:
            before = np.int64(order.chain[before]) - 1
        order.chain[before] = order.chain[heap]
    end = order.filled[tier] - 1
    order.filled[tier] = end
    i, moved = np.int64(order.place[heap]), np.int64(order.present[tier, end])
    order.present[tier, i] = moved
    order.place[moved] = i
    order.spare[order.spares[0]] = heap
    order.spares[0] += 1


def rank(b):
    """Blocks without bytes cost nothing, whenever they are used."""
    return b.next if b.stored > 0 else np.int64(NEVER)


def enter(order, blocks, tier, slot):
    heap = heap_for(order, tier, blocks[slot].stored)
    order.heap_of[slot] = heap
    insert(order, heap, slot, rank(blocks[slot]), 0)


def touch(order, blocks, tier, slot):
    change(order, np.int64(order.heap_of[slot]), slot, rank(blocks[slot]), 0)


def leave(order, blocks, tier, slot):
    heap = np.int64(order.heap_of[slot])
    remove(order, heap, slot)
    if order.roots[heap] == 0:
        drop_heap(order, tier, heap)


def victim(order, blocks, tier, one, other, event):
    found, least, largest = np.int64(-1), 0.0, np.int64(0)
    for i in range(order.filled[tier]):
        heap = np.int64(order.present[tier, i])
        slot = highest(order, heap, one, other)
        if slot < 0:
            continue
        size, following = order.size[heap], order.nodes[slot + 1].first
        price = 0.0 if following == NEVER else size / max(following - event, 1)
        if found < 0 or price < least or (price == least and size > largest):
            found, least, largest = slot, price, size
    if found >= 0 and order.nodes[found + 1].first <= event + 1:
        return oldest(order, np.int64(order.roots[order.heap_of[found]]), one, other)
    return found


@apart
def oldest(order, root, one, other):
    """That of a heap which came first, where all are used too soon to tell them apart."""
    nodes, found, x = order.nodes, np.int64(0), root
    while x != 0:
        if x - 1 != one and x - 1 != other and (found == 0 or nodes[x].entry < nodes[found].entry):
            found = x
        # The next in preorder: the first child, the sibling, or that of the nearest ancestor that has one.
        if nodes[x].child != 0:
            x = np.int64(nodes[x].child)
            continue
        while x != 0 and nodes[x].side == 0:
            while nodes[x].back != 0 and nodes[nodes[x].back].child != x:
                x = np.int64(nodes[x].back)
            x = np.int64(nodes[x].back)
        x = np.int64(nodes[x].side)
    return found - 1
