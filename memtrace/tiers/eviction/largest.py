"""Largest first: the largest block, of equals the one that has been in the tier longest.

One eviction frees much, whatever it costs to bring back. Cost: O(log n) for n blocks in the tier.
Source: the SIZE rule of Williams, Abrams, Standridge, Abdulla and Fox 1996, "Removal policies in network caches".
"""

from memtrace.tiers.eviction.ranks import highest, init, insert, remove

FORESEES = False


def enter(order, blocks, tier, slot):
    insert(order, tier, slot, blocks[slot].stored, 0)


def touch(order, blocks, tier, slot):
    pass


def leave(order, blocks, tier, slot):
    remove(order, tier, slot)


def victim(order, blocks, tier, one, other, event):
    return highest(order, tier, one, other)
