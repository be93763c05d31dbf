"""Holes by address: the lowest hole that is large enough, from any address on, and its rank.

The address space is cut into chunks of 2^shift bytes. The holes that start in a chunk are in a treap by address, each
node knowing the largest hole below it; over the chunks stands a complete binary tree of the same maxima (its root is
entry 1, the children of i are 2i and 2i + 1). With few holes in a chunk both walks are short and touch few cache lines.
Chunks double in width when the heap outgrows them, and are cut finer when more than two holes share one on average.

Treaps: Seidel and Aragon 1996, "Randomized search trees"; maxima for first fit: Wilson et al. 1995, section 3.4.
"""

import sys
from typing import NamedTuple

import numpy as np

from memtrace.structures import heap
from memtrace.structures.bits import next_power
from memtrace.structures.calls import apart, prefetch
from memtrace.structures.heap import FRESH, Rules, fits, heap_rules, open_heap
from memtrace.structures.ledger import HOLES, RESERVED, SEARCHES, new_ledger

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


def pull(nodes, x):
    """Work out what a node knows of its subtree."""
    left, right = nodes[x].left, nodes[x].right
    nodes[x].most = max(nodes[x].extent, max(nodes[left].most, nodes[right].most))


def pull_up(nodes, x):
    """Correct the maxima above a node, as far as they change."""
    while x != 0:
        most = max(nodes[x].extent, max(nodes[nodes[x].left].most, nodes[nodes[x].right].most))
        if most == nodes[x].most:
            return
        nodes[x].most = most
        x = nodes[x].up


def rotate_up(nodes, x, root):
    """Lift a node above its parent; the treap's root is returned."""
    parent = nodes[x].up
    top = nodes[parent].up
    if nodes[parent].left == x:
        inner = nodes[x].right
        nodes[parent].left = inner
        nodes[x].right = parent
    else:
        inner = nodes[x].left
        nodes[parent].right = inner
        nodes[x].left = parent
    if inner != 0:
        nodes[inner].up = parent
    nodes[parent].up = x
    nodes[x].up = top
    if top == 0:
        root = x
    elif nodes[top].left == parent:
        nodes[top].left = x
    else:
        nodes[top].right = x
    nodes[x].most = nodes[parent].most
    nodes[x].count = nodes[parent].count
    pull(nodes, parent)
    nodes[parent].count = nodes[nodes[parent].left].count + nodes[nodes[parent].right].count + 1
    return root


def insert_node(nodes, root, x):
    """Insert into a treap; its root is returned."""
    address, size = nodes[x].addr, nodes[x].extent
    y = root
    parent = np.int64(0)
    while y != 0:
        if nodes[y].most < size:
            nodes[y].most = size
        nodes[y].count += 1
        parent = y
        y = nodes[y].left if address < nodes[y].addr else nodes[y].right
    nodes[x].up = parent
    if parent == 0:
        return x
    if address < nodes[parent].addr:
        nodes[parent].left = x
    else:
        nodes[parent].right = x
    while nodes[x].up != 0 and nodes[nodes[x].up].rank < nodes[x].rank:
        root = rotate_up(nodes, x, root)
    return root


def remove_node(nodes, root, x):
    """Take a node out of a treap; its root is returned."""
    while nodes[x].left != 0 and nodes[x].right != 0:
        left, right = nodes[x].left, nodes[x].right
        root = rotate_up(nodes, left if nodes[left].rank > nodes[right].rank else right, root)
    child = nodes[x].left if nodes[x].left != 0 else nodes[x].right
    parent = nodes[x].up
    if child != 0:
        nodes[child].up = parent
    if parent == 0:
        return child
    if nodes[parent].left == x:
        nodes[parent].left = child
    else:
        nodes[parent].right = child
    pull_up(nodes, parent)
    y = parent
    while y != 0:
        nodes[y].count -= 1
        y = nodes[y].up
    return root


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


def lowest_in_treap(nodes, x, size):
    """The lowest hole of at least ``size`` below node x; 0 if there is none."""
    if nodes[x].most < size:
        return np.int64(0)
    while True:
        left = nodes[x].left
        if nodes[left].most >= size:
            x = left
        elif nodes[x].extent >= size:
            return x
        else:
            x = nodes[x].right


def lowest_in_treap_from(nodes, root, low, size):
    """The same, of the holes that start at ``low`` or above."""
    candidate = np.int64(0)
    x = root
    while x != 0:
        if nodes[x].addr >= low:
            candidate = x
            x = nodes[x].left
        else:
            x = nodes[x].right
    while candidate != 0:
        if nodes[candidate].extent >= size:
            return candidate
        right = nodes[candidate].right
        if nodes[right].most >= size:
            return lowest_in_treap(nodes, right, size)
        child = candidate
        candidate = nodes[child].up
        while candidate != 0 and nodes[candidate].right == child:
            child = candidate
            candidate = nodes[child].up
    return np.int64(0)


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


def last_until(nodes, root, address):
    """The highest hole of a treap that starts at ``address`` or below; 0 if there is none."""
    found = np.int64(0)
    x = root
    while x != 0:
        if nodes[x].addr <= address:
            found = x
            x = nodes[x].right
        else:
            x = nodes[x].left
    return found


def largest_hole(state):
    return state.most[1]


def expect_soon(state, handle):
    """A block will be freed after the next few events: fetch its neighbours, and its chunk."""
    heap.expect_soon(state, handle)
    chunk = state.nodes[state.node_of[handle]].addr >> state.shape[SHIFT]
    prefetch(state.roots, chunk)
    prefetch(state.most, state.shape[LEAVES] + chunk)
