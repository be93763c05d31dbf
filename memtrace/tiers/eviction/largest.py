"""Largest first: evict the largest block; of equals, the block that has been in the tier longest.

One eviction frees much, whatever it costs to bring the block back. Cost: O(log n) for n blocks in the tier.
Source: the SIZE rule of Williams, Abrams, Standridge, Abdulla and Fox 1996, "Removal policies in network caches".
"""

from memtrace.tiers.eviction.ranks import highest, init, insert, remove

FORESEES = False


def enter(order, blocks, tier, slot):
    """Insert the block in ``slot``, which has come into ``tier``, into the tier's heap in ``order``, by its stored bytes."""
    insert(order, tier, slot, blocks[slot].stored, 0)


def touch(order, blocks, tier, slot):
    """Do nothing: a use does not change the order."""


def leave(order, blocks, tier, slot):
    """Remove the block in ``slot``, which leaves ``tier``, from the tier's heap in ``order``."""
    remove(order, tier, slot)


def victim(order, blocks, tier, one, other, event):
    """Return the slot of the largest block in ``tier`` that is neither ``one`` nor ``other``, or -1."""
    return highest(order, tier, one, other)
