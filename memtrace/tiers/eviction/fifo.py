"""First in, first out: the block that came into the tier longest ago, used since or not.

Cost: constant. Source: Belady 1966, "A study of replacement algorithms for a virtual-storage computer".
"""

from memtrace.tiers.eviction.lists import init, last, push, unlink

FORESEES = False


def enter(order, blocks, tier, slot):
    push(order, tier, slot)


def touch(order, blocks, tier, slot):
    pass


def leave(order, blocks, tier, slot):
    unlink(order, slot)


def victim(order, blocks, tier, one, other, event):
    return last(order, tier, one, other)
