"""Index of a heap's holes by address: the lowest hole that is large enough, from any address on, and the rank of a hole.

The address space is cut into chunks of 2^shift bytes. The holes that start in a chunk form a treap ordered by address, in
which each node stores the size of the largest hole in its subtree. Over the chunks stands a complete binary tree of maxima:
each entry stores the size of the largest hole in the chunks below it (the root is entry 1, the children of entry i are 2i
and 2i + 1). With few holes in a chunk, a walk through either tree is short and touches few cache lines. ``rebuild`` doubles
the chunk width when the heap outgrows the chunks, and makes more and narrower chunks when more than two holes share a chunk
on average.
"""

import sys
from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import next_power
from memtrace.contract.calls import out_of_line, prefetch
from memtrace.contract.ledger import COUNT_INSPECTED, HOLES, RESERVED, new_ledger
from memtrace.structures import heap
from memtrace.structures.heap import FRESH, add_initial_hole, fits
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
                ("addr", "i8"),  # address of the block or hole
                ("extent", "i8"),  # its bytes
                ("most", "i8"),  # bytes of the largest hole in the node's subtree
                ("prev", "u4"),  # neighbours in the heap's list by address
                ("next", "u4"),
                ("left", "u4"),  # children and parent in the treap; 0: none
                ("right", "u4"),
                ("up", "u4"),
                ("free", "u4"),  # 1: a hole; 0: a block
                ("rank", "i4"),  # treap priority: no child's is above its parent's
                ("count", "i4"),  # number of holes in the node's subtree
            ],
            align=True,
        ),
    )
)

# in shape: log2 of a chunk's bytes; number of chunks; state of the generator of priorities; upper bound of the chunks
SHIFT, LEAVES, SEED, MOST_LEAVES = 0, 1, 2, 3
FIRST_LEAVES = 16  # chunks at the start


class State(NamedTuple):
    """State of a heap whose holes are indexed by address; the state of first fit, next fit, worst fit and bump."""

    nodes: np.ndarray  # nodes[node]: a NODE record of a block or hole; node 0 closes the heap's list
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # first fresh node and first spare node: see heap.FRESH and heap.SPARE
    roots: np.ndarray  # roots[chunk]: root node of the chunk's treap; 0 if no hole starts in the chunk
    most: np.ndarray  # most[entry]: the tree of maxima over chunks, in bytes; the leaf of chunk c is shape[LEAVES] + c
    counts: np.ndarray  # counts[entry]: a tree of the same form, of numbers of holes; kept while searches are counted
    shape: np.ndarray  # SHIFT, LEAVES, SEED, MOST_LEAVES
    rover: np.ndarray  # two addresses that next fit and bump keep from request to request: see these policies
    ledger: np.ndarray  # see ledger
    rules: Rules


def init(capacity, max_live, **options):
    """Return the state of a heap that is empty but for its initial hole.

    ``capacity`` is in bytes, ``max_live`` is the largest number of blocks alive at once, and ``options`` are those of
    ``heap_rules``. Raises ValueError if an option is invalid.
    """
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
    add_initial_hole(state, options.get("initial", 0), sys.modules[__name__])
    return state


def raise_leaf(most, i, size):
    """Raise the maxima from entry ``i`` of the tree ``most`` upward to ``size`` bytes; stop at the first that is not smaller."""
    while i != 0 and most[i] < size:
        most[i] = size
        i >>= 1


def set_leaf(most, i, size):
    """Set leaf ``i`` of the tree of maxima ``most`` to ``size`` bytes; correct the entries above it as far as they change."""
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
    """Add ``sign`` (1 or -1) to the number of holes of leaf ``i`` and of all entries above it, if searches are counted."""
    if state.ledger[COUNT_INSPECTED] == 0:
        return
    counts = state.counts
    while i != 0:
        counts[i] += sign
        i >>= 1


def insert(state, x):
    """Insert node x, a new hole, into the index under a pseudorandom priority.

    If the heap has outgrown or crowded the chunks, the index is rebuilt. The node must be in the heap's list and marked free
    already, because a rebuild inserts every hole of the list.
    """
    # A linear congruential generator whose products stay below 2^62, so nothing overflows. Only its high bits matter here.
    shape = state.shape
    shape[SEED] = (shape[SEED] * 1103515245 + 12345) & 0x7FFFFFFF
    state.nodes[x].rank = shape[SEED]
    if outgrown(state) or crowded(state):
        rebuild(state)
    else:
        insert_with_priority(state, x)


def outgrown(state):
    """Return whether the reserved end of the heap is at or above the end of the last chunk."""
    return state.ledger[RESERVED] >> state.shape[SHIFT] >= state.shape[LEAVES]


def crowded(state):
    """Return whether more than two holes share a chunk on average and the number of chunks may still grow."""
    return state.ledger[HOLES] > 2 * state.shape[LEAVES] and state.shape[LEAVES] < state.shape[MOST_LEAVES]


def insert_with_priority(state, x):
    """Insert node x, a hole whose priority is set, into the treap of its chunk, and update the trees over the chunks."""
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
    """Remove node x, a hole, from the treap of its chunk, and update the trees over the chunks.

    The node's address and extent must still be those under which it was inserted.
    """
    nodes, shape = state.nodes, state.shape
    chunk = nodes[x].addr >> shape[SHIFT]
    root = remove_node(nodes, state.roots[chunk], x)
    state.roots[chunk] = root
    leaf = shape[LEAVES] + chunk
    if state.most[leaf] != nodes[root].most:
        set_leaf(state.most, leaf, nodes[root].most)
    add_count(state, leaf, -1)


def move(state, x, address, size):
    """Change hole x to ``address`` and ``size`` bytes, in its node and in the index.

    The hole keeps its neighbours in the heap's list, so it keeps its place among the holes; as long as it also stays in its
    chunk, the treap keeps its form.
    """
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
        insert_with_priority(state, x)


@out_of_line
def rebuild(state):
    """Adapt the width and number of the chunks to the heap and its number of holes, and insert every hole of the list anew."""
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
            insert_with_priority(state, x)
        x = nodes[x].next


def lowest(state, size):
    """Return the lowest hole of at least ``size`` bytes, as a node; 0 if there is none."""
    return lowest_below(state, 1, size) if state.most[1] >= size else np.int64(0)


def lowest_below(state, i, size):
    """Return the lowest hole of at least ``size`` bytes in the chunks below entry ``i`` of the tree; there must be one."""
    most, leaves = state.most, state.shape[LEAVES]
    while i < leaves:
        i <<= 1
        if most[i] < size:
            i += 1
    return lowest_in_treap(state.nodes, state.roots[i - leaves], size)


def lowest_from(state, low, size):
    """Return the lowest hole of at least ``size`` bytes that starts at address ``low`` or above; 0 if there is none."""
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
    """Return the lowest hole that starts at ``low`` or above and in which a block fits; 0 if there is none.

    The block has ``size`` bytes and the alignment ``align``, a power of two; ``low`` is an address.
    """
    x = lowest_from(state, low, size) if low > 0 else lowest(state, size)
    while x != 0 and not fits(state.nodes[x], size, align):
        x = lowest_from(state, state.nodes[x].addr + 1, size)
    return x


def holes_below(state, x):
    """Return the number of holes that start below hole x; valid only while searches are counted."""
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
    """Return the hole that contains ``address``, as a node; 0 if no hole contains it."""
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
    """Return the bytes of the largest hole; 0 if there is none."""
    return state.most[1]


def expect_soon(state, handle):
    """Prefetch the list neighbours and the chunk of the block ``handle``, which will be freed within the next few events."""
    heap.expect_soon(state, handle)
    chunk = state.nodes[state.node_of[handle]].addr >> state.shape[SHIFT]
    prefetch(state.roots, chunk)
    prefetch(state.most, state.shape[LEAVES] + chunk)
