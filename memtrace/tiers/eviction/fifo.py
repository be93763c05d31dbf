"""First in, first out: evict the block that came into the tier longest ago, whether it was used since or not.

Cost: constant. Source: Belady 1966, "A study of replacement algorithms for a virtual-storage computer".
"""

from memtrace.tiers.eviction.lists import init, last, push, unlink

FORESEES = False


def enter(order, blocks, tier, slot):
    """Put the block in ``slot``, which has come into ``tier``, at the front of the tier's list in ``order``."""
    push(order, tier, slot)


def touch(order, blocks, tier, slot):
    """Do nothing: a use does not change the order."""


def leave(order, blocks, tier, slot):
    """Remove the block in ``slot``, which leaves ``tier``, from the tier's list in ``order``."""
    unlink(order, slot)


def victim(order, blocks, tier, one, other, event):
    """Return the slot at the end of the tier's list that is neither ``one`` nor ``other``, or -1."""
    return last(order, tier, one, other)
