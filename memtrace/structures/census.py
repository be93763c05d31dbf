"""The largest hole, known while sizes are counted: a complete binary tree of maxima over the nodes' numbers.

Its root is entry 1, the children of i are 2i and 2i + 1, and the leaf of node x has its size while it is a hole. A change
climbs as far as maxima change. It serves as an index (see ``heap``) for holes that no request looks for.
"""

import numpy as np

from memtrace.structures.address_tree import raise_leaf, set_leaf
from memtrace.structures.bits import next_power
from memtrace.structures.calls import apart
from memtrace.structures.ledger import CENSUS


def new_sizes(nodes):
    """No holes yet, among so many nodes."""
    return np.zeros(2 * int(next_power(nodes)), np.int64)


def enlarged(sizes, nodes):
    """The same holes among more nodes."""
    larger = new_sizes(nodes)
    for x in np.flatnonzero(sizes[sizes.size // 2 :]):
        raise_leaf(larger, larger.size // 2 + int(x), sizes[sizes.size // 2 + x])
    return larger


def note(state, x, size):
    """Node x is a hole of ``size``; 0: it is none."""
    if state.ledger[CENSUS] != 0:
        sizes = state.sizes
        i = np.uint64((sizes.size >> 1) + np.int64(x))
        above = sizes[i >> np.uint64(1)]
        if size <= above and sizes[i] != above:
            sizes[i] = size
        else:
            climb(sizes, np.int64(i), size)


@apart
def climb(sizes, i, size):
    set_leaf(sizes, i, size)


def insert(state, x):
    note(state, x, state.nodes[x].extent)


def remove(state, x):
    note(state, x, 0)


def move(state, x, address, size):
    state.nodes[x].addr = address
    state.nodes[x].extent = size
    note(state, x, size)


def largest_hole(state):
    return state.sizes[1]
