"""Heaps of blocks: the one to evict on top, by two numbers of which the higher go first, then the older.

Pairing heaps, since most changes are of blocks just used, which lie at the bottom: they go, and come in again at the top, at
a comparison each. Node x is the block in slot x - 1, and node 0 none.
Source: Fredman, Sedgewick, Sleator and Tarjan 1986, "The pairing heap: a new form of self-adjusting heap".
"""

from typing import NamedTuple

import numpy as np

from memtrace.structures.calls import apart

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("first", "i8"),  # what it is ranked by
                ("second", "i8"),
                ("entry", "i8"),  # the how manieth entry it was
                ("child", "u4"),  # its first child in the heap
                ("side", "u4"),  # the next sibling
                ("back", "u4"),  # the previous sibling, or the parent of a first child
            ],
            align=True,
        ),
    )
)


class Order(NamedTuple):
    nodes: np.ndarray
    roots: np.ndarray  # roots[heap]: a node
    entries: np.ndarray


def init(tiers, slots):
    return Order(np.zeros(slots + 1, NODE).view(np.recarray), np.zeros(tiers, np.uint32), np.zeros(1, np.int64))


def goes_first(nodes, a, b):
    if nodes[a].first != nodes[b].first:
        return nodes[a].first > nodes[b].first
    if nodes[a].second != nodes[b].second:
        return nodes[a].second > nodes[b].second
    return nodes[a].entry < nodes[b].entry


def meld(nodes, a, b):
    """Join two heaps, neither of them empty; the root is returned."""
    if goes_first(nodes, b, a):
        a, b = b, a
    child = nodes[a].child
    nodes[b].side = child
    nodes[b].back = a
    nodes[child].back = b
    nodes[a].child = b
    return a


@apart
def combine(order, child):
    """Make one heap of a root's children, in two passes: pairs from the left, then all from the right."""
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


def join(order, heap, x):
    nodes, roots = order.nodes, order.roots
    nodes[x].child = 0
    nodes[x].side = 0
    nodes[x].back = 0
    root = np.int64(roots[heap])
    roots[heap] = x if root == 0 else meld(nodes, root, x)


def part(order, heap, x):
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
    node = order.nodes[slot + 1]
    node.first = first
    node.second = second
    node.entry = order.entries[0]
    order.entries[0] += 1
    join(order, heap, slot + 1)


def change(order, heap, slot, first, second):
    part(order, heap, slot + 1)
    node = order.nodes[slot + 1]
    node.first = first
    node.second = second
    join(order, heap, slot + 1)


def remove(order, heap, slot):
    part(order, heap, slot + 1)


def highest(order, heap, one, other):
    """The first of a heap that is neither of two, or -1."""
    slot = np.int64(order.roots[heap]) - 1
    if slot >= 0 and (slot == one or slot == other):
        return highest_but(order, heap, one, other)
    return slot


@apart
def highest_but(order, heap, one, other):
    """The same where one of the two is on top."""
    top = np.int64(order.roots[heap])
    part(order, heap, top)
    found = np.int64(order.roots[heap])
    if found != 0 and (found - 1 == one or found - 1 == other):
        part(order, heap, found)
        second, found = found, np.int64(order.roots[heap])
        join(order, heap, second)
    join(order, heap, top)
    return found - 1
