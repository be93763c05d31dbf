"""Holes by address: the lowest hole that is large enough, from any address on, and its rank.

The address space is cut into chunks of 2^shift bytes. The holes that start in a chunk are in a treap by address, each
node knowing the largest hole below it; over the chunks stands a complete binary tree of the same maxima (its root is
entry 1, the children of i are 2i and 2i + 1). With few holes in a chunk both walks are short and touch few cache lines.
Chunks double in width when the heap outgrows them, and are cut finer when more than two holes share one on average.
"""

import sys
from typing import NamedTuple

import numpy as np

from memtrace.structures import heap
from memtrace.structures.bits import next_power
from memtrace.structures.calls import apart, prefetch
from memtrace.structures.heap import FRESH, fits, open_heap
from memtrace.structures.ledger import HOLES, RESERVED, SEARCHES, new_ledger
from memtrace.structures.rules import Rules, heap_rules
from memtrace.structures.treap import (
    insert_node,
    last_until,
    lowest_in_treap,
    lowest_in_treap_from,
    pull_up,
    remove_node,
)

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),
                ("extent", "i8"),
                ("most", "i8"),  # largest hole in the subtree
                ("prev", "u4"),
                ("next", "u4"),
                ("left", "u4"),
                ("right", "u4"),
                ("up", "u4"),
                ("free", "u4"),
                ("rank", "i4"),  # treap priority: no child's is above its parent's
                ("count", "i4"),  # holes in the subtree
            ],
            align=True,
        ),
    )
)

SHIFT, LEAVES, SEED, MOST_LEAVES = 0, 1, 2, 3
FIRST_LEAVES = 16


class State(NamedTuple):
    nodes: np.ndarray
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray
    roots: np.ndarray  # roots[chunk]: its treap
    most: np.ndarray  # the tree of maxima over chunks; leaf of chunk c is LEAVES + c
    counts: np.ndarray  # the same tree, of numbers of holes
    shape: np.ndarray
    rover: np.ndarray  # next fit's, bump's: see there
    ledger: np.ndarray
    rules: Rules


def init(capacity, max_live, **options):
    rules = heap_rules(capacity, **options)
    leaves = max(FIRST_LEAVES, int(next_power(max_live)))
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    state = State(
        np.zeros(2 * max_live + 8, NODE).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.zeros(leaves, np.uint32),
        np.zeros(2 * leaves, np.int64),
        np.zeros(2 * leaves, np.int64),
        np.array([4, FIRST_LEAVES, 1, leaves], np.int64),
        np.full(2, options.get("base", 0), np.int64),
        new_ledger(rules.floor),
        rules,
    )
    open_heap(state, options.get("initial", 0), sys.modules[__name__])
    return state


def raise_leaf(most, i, size):
    while i != 0 and most[i] < size:
        most[i] = size
        i >>= 1


def set_leaf(most, i, size):
    """Correct the maxima above a leaf, as far as they change."""
    if size >= most[i]:
        raise_leaf(most, i, size)
        return
    while True:
        old = most[i]
        most[i] = size
        size = max(size, most[i ^ 1])
        i >>= 1
        if i == 0 or most[i] == size or most[i] != old:
            return


def add_count(state, i, sign):
    if state.ledger[SEARCHES] == 0:
        return
    counts = state.counts
    while i != 0:
        counts[i] += sign
        i >>= 1


def insert(state, x):
    # A generator that stays below 2^62, so it does not overflow; only its high bits matter here.
    shape = state.shape
    shape[SEED] = (shape[SEED] * 1103515245 + 12345) & 0x7FFFFFFF
    state.nodes[x].rank = shape[SEED]
    if outgrown(state) or crowded(state):
        rebuild(state)
    else:
        hang(state, x)


def outgrown(state):
    return state.ledger[RESERVED] >> state.shape[SHIFT] >= state.shape[LEAVES]


def crowded(state):
    return state.ledger[HOLES] > 2 * state.shape[LEAVES] and state.shape[LEAVES] < state.shape[MOST_LEAVES]


def hang(state, x):
    """Insert a node whose priority is set."""
    nodes, shape = state.nodes, state.shape
    nodes[x].left = 0
    nodes[x].right = 0
    nodes[x].up = 0
    nodes[x].most = nodes[x].extent
    nodes[x].count = 1
    chunk = nodes[x].addr >> shape[SHIFT]
    state.roots[chunk] = insert_node(nodes, state.roots[chunk], x)
    raise_leaf(state.most, shape[LEAVES] + chunk, nodes[x].extent)
    add_count(state, shape[LEAVES] + chunk, 1)


def remove(state, x):
    nodes, shape = state.nodes, state.shape
    chunk = nodes[x].addr >> shape[SHIFT]
    root = remove_node(nodes, state.roots[chunk], x)
    state.roots[chunk] = root
    leaf = shape[LEAVES] + chunk
    if state.most[leaf] != nodes[root].most:
        set_leaf(state.most, leaf, nodes[root].most)
    add_count(state, leaf, -1)


def move(state, x, address, size):
    """A hole changes its extent; its neighbours stay the same, so within a chunk the treap keeps its form."""
    nodes, shape = state.nodes, state.shape
    chunk = nodes[x].addr >> shape[SHIFT]
    if chunk == address >> shape[SHIFT]:
        nodes[x].addr = address
        nodes[x].extent = size
        pull_up(nodes, x)
        leaf, most = shape[LEAVES] + chunk, nodes[state.roots[chunk]].most
        if state.most[leaf] != most:
            set_leaf(state.most, leaf, most)
        return
    remove(state, x)
    nodes[x].addr = address
    nodes[x].extent = size
    if outgrown(state):
        rebuild(state)
    else:
        hang(state, x)


@apart
def rebuild(state):
    """Fit the chunks to the heap and to the number of holes, and hang every hole of the list in anew."""
    nodes, shape = state.nodes, state.shape
    state.most[:] = 0
    state.counts[:] = 0
    state.roots[:] = 0
    if crowded(state):
        shape[LEAVES] = min(4 * shape[LEAVES], shape[MOST_LEAVES])
        shape[SHIFT] = 0
    while outgrown(state):
        shape[SHIFT] += 1
    x = nodes[0].next
    while x != 0:
        if nodes[x].free == 1:
            hang(state, x)
        x = nodes[x].next


def lowest(state, size):
    """The lowest hole of at least ``size``; 0 if there is none."""
    return lowest_below(state, 1, size) if state.most[1] >= size else np.int64(0)


def lowest_below(state, i, size):
    """The lowest hole of at least ``size`` in the chunks below entry i of the tree, which has one."""
    most, leaves = state.most, state.shape[LEAVES]
    while i < leaves:
        i <<= 1
        if most[i] < size:
            i += 1
    return lowest_in_treap(state.nodes, state.roots[i - leaves], size)


def lowest_from(state, low, size):
    """The lowest hole of at least ``size`` that starts at ``low`` or above; 0 if there is none."""
    most, shape = state.most, state.shape
    if most[1] < size:
        return np.int64(0)
    chunk = low >> shape[SHIFT]
    if chunk >= shape[LEAVES]:
        return np.int64(0)
    i = shape[LEAVES] + chunk
    if most[i] >= size:
        x = lowest_in_treap_from(state.nodes, state.roots[chunk], low, size)
        if x != 0:
            return x
    while i & 1 == 1 or most[i ^ 1] < size:
        i >>= 1
        if i <= 1:
            return np.int64(0)
    return lowest_below(state, i ^ 1, size)


def first_fit(state, low, size, align):
    """The lowest hole from ``low`` on in which a block of ``size`` fits at the alignment; 0 if there is none."""
    x = lowest_from(state, low, size) if low > 0 else lowest(state, size)
    while x != 0 and not fits(state.nodes[x], size, align):
        x = lowest_from(state, state.nodes[x].addr + 1, size)
    return x


def rank(state, x):
    """How many holes start below hole x."""
    nodes, counts = state.nodes, state.counts
    below = np.int64(nodes[nodes[x].left].count)
    child = x
    while nodes[child].up != 0:
        parent = nodes[child].up
        if nodes[parent].right == child:
            below += nodes[nodes[parent].left].count + 1
        child = parent
    i = state.shape[LEAVES] + (nodes[x].addr >> state.shape[SHIFT])
    while i > 1:
        if i & 1 == 1:
            below += counts[i - 1]
        i >>= 1
    return below


def hole_at(state, address):
    """The hole that contains an address; 0 if there is none."""
    nodes, most, shape = state.nodes, state.most, state.shape
    chunk = address >> shape[SHIFT]
    if chunk >= shape[LEAVES]:
        chunk = shape[LEAVES] - 1
    x = last_until(nodes, state.roots[chunk], address)
    if x == 0:
        i = shape[LEAVES] + chunk
        while i > 1 and (i & 1 == 0 or most[i - 1] == 0):
            i >>= 1
        if i <= 1:
            return np.int64(0)
        i -= 1
        while i < shape[LEAVES]:
            i = 2 * i + 1
            if most[i] == 0:
                i -= 1
        x = last_until(nodes, state.roots[i - shape[LEAVES]], address)
    return x if nodes[x].addr + nodes[x].extent > address else np.int64(0)


def largest_hole(state):
    return state.most[1]


def expect_soon(state, handle):
    """A block will be freed after the next few events: fetch its neighbours, and its chunk."""
    heap.expect_soon(state, handle)
    chunk = state.nodes[state.node_of[handle]].addr >> state.shape[SHIFT]
    prefetch(state.roots, chunk)
    prefetch(state.most, state.shape[LEAVES] + chunk)
