"""Cost-aware: evict the block that costs least to bring back in time, by size / (events until its next use).

The cost is the rate at which the block's bytes must come back. A block never used again costs nothing and goes first; of
equals the larger goes first, then the block that came first. The rule knows the future, as a framework that owns its schedule
does.

Of blocks of one size the block whose next use is farthest costs least, at any time: so the blocks of each size in a tier are
a heap, and the tops of the heaps are compared. Cost: O(k + log n) per eviction for k sizes among the n blocks of the tier;
21 bytes per use.
Source: as Capuchin's ranking by bytes and by the time in which a swap can be hidden (Peng et al. 2020), in one number.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import next_power
from memtrace.contract.calls import out_of_line
from memtrace.tiers.eviction import ranks
from memtrace.tiers.eviction.ranks import change, highest, insert, remove

FORESEES = True
NEVER = 1 << 62  # event of a use that does not come


class Order(NamedTuple):
    """The heaps, one for each size of blocks in each tier, with a hash table to find them.

    A heap is in use as long as it has blocks, so no more heaps than slots are needed.
    """

    nodes: np.ndarray  # as in ranks.Order
    roots: np.ndarray
    entries: np.ndarray
    heap_of: np.ndarray  # [slot] the heap of a block
    size: np.ndarray  # [heap] bytes of each of its blocks
    present: np.ndarray  # [tier, i] the tier's heaps in use, in no order
    filled: np.ndarray  # [tier] number of heaps in use
    place: np.ndarray  # [heap] its index i in present
    buckets: np.ndarray  # [tier, bucket] hash table of sizes: the first heap + 1 of the bucket, or 0
    chain: np.ndarray  # [heap] the next heap + 1 in its bucket, or 0
    spare: np.ndarray  # stack of the heaps that are not in use
    spares: np.ndarray  # one element: height of the stack


def init(tiers, slots):
    """Return the arrays for ``tiers`` tiers and ``slots`` slots, without a block."""
    nodes, roots, entries = ranks.init(slots, slots)
    numbers, buckets = [np.zeros(slots, np.int32) for _ in range(3)], int(next_power(slots))
    return Order(
        nodes, roots, entries, numbers[0], np.zeros(slots, np.int64), np.zeros((tiers, slots), np.int32),
        np.zeros(tiers, np.int64), numbers[1], np.zeros((tiers, buckets), np.int32), numbers[2],
        np.arange(slots, dtype=np.int32), np.array([slots]),
    )  # fmt: skip


def bucket_of(order, size):
    """Return the bucket of ``size`` in the hash tables of the tiers."""
    mixed = (size ^ (size >> 31)) & 0x7FFFFFFF
    return ((mixed * 2654435761) >> 15) & (order.buckets.shape[1] - 1)


def heap_for(order, tier, size):
    """Return the heap of the blocks of ``size`` bytes in ``tier``; a new one is made if there is none."""
    bucket = bucket_of(order, size)
    heap = np.int64(order.buckets[tier, bucket]) - 1
    while heap >= 0 and order.size[heap] != size:
        heap = np.int64(order.chain[heap]) - 1
    return heap if heap >= 0 else new_heap(order, tier, size, bucket)


@out_of_line
def new_heap(order, tier, size, bucket):
    """Take a spare heap into use for the blocks of ``size`` bytes in ``tier``, and enter it in ``bucket``; return it."""
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


@out_of_line
def drop_heap(order, tier, heap):
    """Take an empty heap of ``tier`` out of use."""
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
    """Return what the block of record ``b`` is ranked by: the event of its next use, NEVER if it stores no bytes."""
    return b.next if b.stored > 0 else np.int64(NEVER)


def enter(order, blocks, tier, slot):
    """Insert the block in ``slot``, which has come into ``tier``, into the tier's heap of its size, by its next use."""
    heap = heap_for(order, tier, blocks[slot].stored)
    order.heap_of[slot] = heap
    insert(order, heap, slot, rank(blocks[slot]), 0)


def touch(order, blocks, tier, slot):
    """Move the block in ``slot``, which is used, in its heap: its next use has changed."""
    change(order, np.int64(order.heap_of[slot]), slot, rank(blocks[slot]), 0)


def leave(order, blocks, tier, slot):
    """Remove the block in ``slot``, which leaves ``tier``, from its heap, and drop the heap if it is empty."""
    heap = np.int64(order.heap_of[slot])
    remove(order, heap, slot)
    if order.roots[heap] == 0:
        drop_heap(order, tier, heap)


def victim(order, blocks, tier, one, other, event):
    """Return the slot of the block in ``tier`` that costs least to bring back at ``event``, or -1; neither ``one`` nor ``other``.

    If even that block is used by the next event, the block of its size that came first is returned.
    """
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


@out_of_line
def oldest(order, root, one, other):
    """Return the slot of the block that came first in the heap of ``root``, or -1; neither ``one`` nor ``other``.

    It serves where all blocks are used so soon that their costs are equal.
    """
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
