"""Holes that no request looks for: they are listed only while sizes are counted, to know the largest."""

from memtrace.structures import class_lists
from memtrace.structures.ledger import CENSUS


def insert(state, x):
    if state.ledger[CENSUS] != 0:
        class_lists.insert(state, x)


def remove(state, x):
    if state.ledger[CENSUS] != 0:
        class_lists.remove(state, x)


def move(state, x, address, size):
    remove(state, x)
    state.nodes[x].addr = address
    state.nodes[x].extent = size
    insert(state, x)
