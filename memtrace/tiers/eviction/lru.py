"""Least recently used: the block whose last use is longest ago.

Cost: constant. Source: Mattson, Gecsei, Slutz and Traiger 1970, "Evaluation techniques for storage hierarchies", which shows
that with blocks of one size more capacity never has fewer hits.
"""

from memtrace.tiers.eviction.lists import init, last, push, unlink

FORESEES = False


def enter(order, blocks, tier, slot):
    push(order, tier, slot)


def touch(order, blocks, tier, slot):
    unlink(order, slot)
    push(order, tier, slot)


def leave(order, blocks, tier, slot):
    unlink(order, slot)


def victim(order, blocks, tier, one, other, event):
    return last(order, tier, one, other)
