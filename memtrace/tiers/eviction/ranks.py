"""Pairing heaps of blocks, with the block to evict on top: ranked by two numbers, the higher the sooner, then by age.

Pairing heaps are fast here because most changes are of blocks that were just used, which lie at the bottom: such a block
leaves the heap and is melded in again at the top, with a comparison each. Node x is the block in slot x - 1, and node 0 none.
Source: Fredman, Sedgewick, Sleator and Tarjan 1986, "The pairing heap: a new form of self-adjusting heap".
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("first", "i8"),  # what it is ranked by, the higher the sooner evicted
                ("second", "i8"),  # ranks blocks whose first is the same
                ("entry", "i8"),  # number of its insertion: of equals the earlier goes first
                ("child", "u4"),  # its first child, here and below as a node, 0 for none
                ("side", "u4"),  # the next sibling
                ("back", "u4"),  # the previous sibling, or the parent of a first child
            ],
            align=True,
        ),
    )
)


class Order(NamedTuple):
    """The heaps: a node for each slot, and the roots."""

    nodes: np.ndarray  # [slot + 1] NODE
    roots: np.ndarray  # [heap] a node, 0 if the heap is empty
    entries: np.ndarray  # one element: insertions so far


def init(tiers, slots):
    """Return ``tiers`` empty heaps for ``slots`` slots."""
    return Order(np.zeros(slots + 1, NODE).view(np.recarray), np.zeros(tiers, np.uint32), np.zeros(1, np.int64))


def goes_first(nodes, a, b):
    """Return whether node ``a`` ranks before node ``b``: the higher ``first`` ranks first, on a tie the higher ``second``, then
    the lower ``entry``.
    """
    if nodes[a].first != nodes[b].first:
        return nodes[a].first > nodes[b].first
    if nodes[a].second != nodes[b].second:
        return nodes[a].second > nodes[b].second
    return nodes[a].entry < nodes[b].entry


def meld(nodes, a, b):
    """Meld the heaps of the roots ``a`` and ``b``, neither of them empty; return the root."""
    if goes_first(nodes, b, a):
        a, b = b, a
    child = nodes[a].child
    nodes[b].side = child
    nodes[b].back = a
    nodes[child].back = b
    nodes[a].child = b
    return a


@out_of_line
def combine(order, child):
    """Make one heap of the siblings from ``child`` on, the children of a removed root; return its root.

    Two passes: pairs are melded from the left, then all pairs from the right.
    """
    nodes = order.nodes
    pairs = np.int64(0)
    while child != 0:
        other = np.int64(nodes[child].side)
        if other == 0:
            nodes[child].side = pairs
            pairs = child
            break
        rest = np.int64(nodes[other].side)
        joined = meld(nodes, child, other)
        nodes[joined].side = pairs
        pairs = joined
        child = rest
    root = pairs
    pairs = np.int64(nodes[root].side)
    while pairs != 0:
        rest = np.int64(nodes[pairs].side)
        root = meld(nodes, root, pairs)
        pairs = rest
    nodes[root].back = 0
    nodes[root].side = 0
    return root


def attach_node(order, heap, x):
    """Insert node ``x`` into a heap, as a root without children."""
    nodes, roots = order.nodes, order.roots
    nodes[x].child = 0
    nodes[x].side = 0
    nodes[x].back = 0
    root = np.int64(roots[heap])
    roots[heap] = x if root == 0 else meld(nodes, root, x)


def detach_node(order, heap, x):
    """Remove node ``x`` from a heap."""
    nodes, roots = order.nodes, order.roots
    root, child = np.int64(roots[heap]), np.int64(nodes[x].child)
    if root == x:
        roots[heap] = combine(order, child) if child != 0 else child
        return
    back, side = np.int64(nodes[x].back), np.int64(nodes[x].side)
    if nodes[back].child == x:
        nodes[back].child = side
    else:
        nodes[back].side = side
    nodes[side].back = back
    if child != 0:
        roots[heap] = meld(nodes, root, combine(order, child))


def insert(order, heap, slot, first, second):
    """Insert the block in ``slot`` into a heap, ranked by ``first``, then ``second``; its entry is the latest."""
    node = order.nodes[slot + 1]
    node.first = first
    node.second = second
    node.entry = order.entries[0]
    order.entries[0] += 1
    attach_node(order, heap, slot + 1)


def change(order, heap, slot, first, second):
    """Rank the block in ``slot``, which is in the heap, by ``first`` and ``second`` from now on; its entry stays the same."""
    detach_node(order, heap, slot + 1)
    node = order.nodes[slot + 1]
    node.first = first
    node.second = second
    attach_node(order, heap, slot + 1)


def remove(order, heap, slot):
    """Remove the block in ``slot`` from a heap."""
    detach_node(order, heap, slot + 1)


def highest(order, heap, one, other):
    """Return the slot of the highest ranked block in a heap that is neither ``one`` nor ``other``, or -1."""
    slot = np.int64(order.roots[heap]) - 1
    if slot >= 0 and (slot == one or slot == other):
        return highest_but(order, heap, one, other)
    return slot


@out_of_line
def highest_but(order, heap, one, other):
    """Return the same as `highest` where the block on top is ``one`` or ``other``."""
    top = np.int64(order.roots[heap])
    detach_node(order, heap, top)
    found = np.int64(order.roots[heap])
    if found != 0 and (found - 1 == one or found - 1 == other):
        detach_node(order, heap, found)
        second, found = found, np.int64(order.roots[heap])
        attach_node(order, heap, second)
    attach_node(order, heap, top)
    return found - 1
