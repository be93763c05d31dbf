"""Clock: evict the block that came first, but a block that was used since the hand last passed it gets another round.

Each block has a bit, which is clear when the block comes in, set when it is used, and cleared by the hand.
Cost: constant on average. Source: Corbató 1968, "A paging experiment with the Multics system".
"""

from memtrace.tiers.eviction.lists import init, last, push, unlink

FORESEES = False


def enter(order, blocks, tier, slot):
    """Put the block in ``slot``, which has come into ``tier``, at the front of the tier's list in ``order``, and clear the
    block's reference bit.
    """
    order.used[slot] = 0
    push(order, tier, slot)


def touch(order, blocks, tier, slot):
    """Set the bit of the block in ``slot``, which is used."""
    order.used[slot] = 1


def leave(order, blocks, tier, slot):
    """Remove the block in ``slot``, which leaves ``tier``, from the tier's list in ``order``."""
    unlink(order, slot)


def victim(order, blocks, tier, one, other, event):
    """Return the slot of the first block from the end of the tier's list whose bit is clear, or -1.

    It is neither ``one`` nor ``other``. A block whose bit is set has it cleared and goes to the front of the list.
    """
    slot = last(order, tier, one, other)
    while slot >= 0 and order.used[slot] != 0:
        order.used[slot] = 0
        unlink(order, slot)
        push(order, tier, slot)
        slot = last(order, tier, one, other)
    return slot
