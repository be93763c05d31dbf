"""Clock: first in first out, but a block used since the hand last passed gets another round.

The bit is clear when a block comes in, set when it is used there, cleared by the hand. Cost: constant on average.
Source: Corbató 1968, "A paging experiment with the Multics system".
"""

from memtrace.tiers.eviction.lists import init, last, push, unlink

FORESEES = False


def enter(order, blocks, tier, slot):
    order.used[slot] = 0
    push(order, tier, slot)


def touch(order, blocks, tier, slot):
    order.used[slot] = 1


def leave(order, blocks, tier, slot):
    unlink(order, slot)


def victim(order, blocks, tier, one, other, event):
    slot = last(order, tier, one, other)
    while slot >= 0 and order.used[slot] != 0:
        order.used[slot] = 0
        unlink(order, slot)
        push(order, tier, slot)
        slot = last(order, tier, one, other)
    return slot
