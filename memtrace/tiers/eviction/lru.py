"""Least recently used: evict the block whose last use is longest ago.

Cost: constant. Source: Mattson, Gecsei, Slutz and Traiger 1970, "Evaluation techniques for storage hierarchies", which shows
that with blocks of one size more capacity never has fewer hits.
"""

from memtrace.tiers.eviction.lists import init, last, push, unlink

FORESEES = False


def enter(order, blocks, tier, slot):
    """Put the block in ``slot``, which has come into ``tier``, at the front of the tier's list in ``order``."""
    push(order, tier, slot)


def touch(order, blocks, tier, slot):
    """Move the block in ``slot``, which is used, to the front of the list of ``tier`` in ``order``."""
    unlink(order, slot)
    push(order, tier, slot)


def leave(order, blocks, tier, slot):
    """Remove the block in ``slot``, which leaves ``tier``, from the tier's list in ``order``."""
    unlink(order, slot)


def victim(order, blocks, tier, one, other, event):
    """Return the slot at the end of the tier's list that is neither ``one`` nor ``other``, or -1."""
    return last(order, tier, one, other)
