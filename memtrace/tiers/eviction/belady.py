"""Belady's optimum: the block whose next use is farthest; of those never used again the largest, then the oldest.

It knows the future, so no rule that can be built is meant: with blocks of one size nothing has fewer misses. With several
sizes another rule may do better, so it is no bound then. Cost: O(log n), and 20 bytes per use of the trace.
Source: Belady 1966, "A study of replacement algorithms for a virtual-storage computer".
"""

from memtrace.tiers.eviction.ranks import change, highest, init, insert, remove

FORESEES = True


def enter(order, blocks, tier, slot):
    insert(order, tier, slot, blocks[slot].next, blocks[slot].stored)


def touch(order, blocks, tier, slot):
    change(order, tier, slot, blocks[slot].next, blocks[slot].stored)


def leave(order, blocks, tier, slot):
    remove(order, tier, slot)


def victim(order, blocks, tier, one, other, event):
    return highest(order, tier, one, other)
