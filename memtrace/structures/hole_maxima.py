"""The size of the largest hole, known at all times while sizes are counted: a complete binary tree of maxima over the nodes.

The tree is the array ``sizes``, in bytes. Its root is entry 1, and the children of entry i are 2i and 2i + 1. The leaf of node
x is entry ``sizes.size // 2 + x``: the node's size while it is a hole, else 0. A change is carried upward only as far as maxima
change. The module serves ``heap`` as an index (it has insert, remove and move) for holes that no request searches.
"""

import numpy as np

from memtrace.contract.bits import next_power
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import COUNT_SIZES
from memtrace.structures.address_tree import raise_leaf, set_leaf


def new_sizes(nodes):
    """Return the tree of maxima for ``nodes`` nodes, none of which is a hole."""
    return np.zeros(2 * int(next_power(nodes)), np.int64)


def enlarged(sizes, nodes):
    """Return a tree for ``nodes`` nodes, more than before, with the same holes as the tree ``sizes``."""
    larger = new_sizes(nodes)
    for x in np.flatnonzero(sizes[sizes.size // 2 :]):
        raise_leaf(larger, larger.size // 2 + int(x), sizes[sizes.size // 2 + x])
    return larger


def set_hole_size(state, x, size):
    """Set the size of the hole at node x to ``size`` bytes; 0 means that x is no hole. Do nothing while sizes are not counted."""
    if state.ledger[COUNT_SIZES] != 0:
        sizes = state.sizes
        i = np.uint64((sizes.size >> 1) + np.int64(x))
        above = sizes[i >> np.uint64(1)]
        # The usual case: the leaf was not its parent's maximum and does not become larger than it, so only the leaf changes.
        if size <= above and sizes[i] != above:
            sizes[i] = size
        else:
            climb(sizes, np.int64(i), size)


@out_of_line
def climb(sizes, i, size):
    """Set leaf ``i`` of the tree to ``size`` bytes and correct the maxima above it; compiled out of line."""
    set_leaf(sizes, i, size)


def insert(state, x):
    """Enter node x, a new hole, under its extent."""
    set_hole_size(state, x, state.nodes[x].extent)


def remove(state, x):
    """Note that node x is no hole any more."""
    set_hole_size(state, x, 0)


def move(state, x, address, size):
    """Change hole x to ``address`` and ``size`` bytes, in its node and in the tree."""
    state.nodes[x].addr = address
    state.nodes[x].extent = size
    set_hole_size(state, x, size)


def largest_hole(state):
    """Return the bytes of the largest hole; 0 if there is none."""
    return state.sizes[1]
