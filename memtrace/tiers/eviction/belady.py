"""Belady's optimum: evict the block whose next use is farthest; of those never used again the largest, then the oldest.

The rule knows the future, so no real system can follow it; it is a bound: with blocks of one size nothing has fewer misses. With
several sizes another rule may do better, so it is no bound then. Cost: O(log n), and 21 bytes per use of the trace.
Source: Belady 1966, "A study of replacement algorithms for a virtual-storage computer".
"""

from memtrace.tiers.eviction.ranks import change, highest, init, insert, remove

FORESEES = True


def enter(order, blocks, tier, slot):
    """Insert the block in ``slot``, which has come into ``tier``, into the tier's heap, by next use, then stored bytes."""
    insert(order, tier, slot, blocks[slot].next, blocks[slot].stored)


def touch(order, blocks, tier, slot):
    """Move the block in ``slot``, which is used, in the heap of ``tier`` in ``order``: its next use has changed."""
    change(order, tier, slot, blocks[slot].next, blocks[slot].stored)


def leave(order, blocks, tier, slot):
    """Remove the block in ``slot``, which leaves ``tier``, from the tier's heap in ``order``."""
    remove(order, tier, slot)


def victim(order, blocks, tier, one, other, event):
    """Return the slot of the block in ``tier`` whose next use is farthest and that is neither ``one`` nor ``other``, or -1."""
    return highest(order, tier, one, other)
