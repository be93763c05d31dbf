"""Index of a heap's holes in the order of a free list: by size and then by their places in the list, or by their places alone.

A hole's place is its key, the lowest that of the head. A new hole is the head of the list (LIFO), or its end (FIFO), and a hole
that moves or changes its size keeps its key; or the key is the hole's address (ADDRESS); or it is new whenever the size changes
(SIZE); or small holes are as in LIFO and others as in FIFO (BINS). The holes form one treap in this order, in which each node
stores the largest size and the number of holes in its subtree: so it finds the first hole of the list that is large enough, and
how many holes come before it.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.ledger import ALLOCATED, MERGES, new_ledger, open_hole
from memtrace.structures.heap import FRESH, SPARE, change_hole, drop_hole, drop_node, unlink
from memtrace.structures.rules import Rules, heap_rules
from memtrace.structures.treap import lowest_in_treap, pull_up, remove_node, rotate_up

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),  # address of the block or hole
                ("extent", "i8"),  # its bytes
                ("most", "i8"),  # bytes of the largest hole in the node's subtree
                ("key", "i8"),  # place in the list: that of the head is the lowest
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

ROOT, SEED, HEAD, END = range(4)  # in tree: the treap's root, the generator of priorities, the keys of the list's head and end
# Orders of the list. With SIZE the newest of equals comes first, with BINS among holes of less than LARGE bytes the newest and
# among others the oldest, so `by_size` has to be set for both.
LIFO, FIFO, ADDRESS, SIZE, BINS = range(5)
LARGE = 256  # bytes


class State(NamedTuple):
    """State of a heap whose holes are indexed in the order of a list."""

    nodes: np.ndarray  # nodes[node]: a NODE record of a block or hole; node 0 closes the heap's list by address
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # first fresh node and first spare node: see heap.FRESH and heap.SPARE
    tree: np.ndarray  # ROOT, SEED and HEAD
    ledger: np.ndarray  # see ledger
    rules: Rules
    by_size: bool  # the order is by size, then key; False: by key alone
    order: int  # LIFO to BINS


def new_state(capacity, max_live, by_size, order=LIFO, **options):
    """Return the state of a heap without blocks and holes; ``options`` are those of ``heap_rules``."""
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    return State(
        np.zeros(2 * max_live + 8, NODE).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.array([0, 1, 0, 0], np.int64),
        new_ledger(0),
        heap_rules(capacity, **options),
        by_size,
        order,
    )


def has_room(state, count):
    """Return whether the arrays have room for ``count`` more nodes."""
    return state.pool[SPARE] != 0 or state.pool[FRESH] + count <= state.nodes.size


def with_more_nodes(state):
    """Return the state with room for twice as many nodes."""
    nodes = np.zeros(2 * state.nodes.size, state.nodes.dtype).view(np.recarray)
    nodes[: state.nodes.size] = state.nodes
    return state._replace(nodes=nodes)


def precedes(state, x, y):
    """Return whether hole x comes before hole y in the order."""
    nodes = state.nodes
    if state.by_size and nodes[x].extent != nodes[y].extent:
        return nodes[x].extent < nodes[y].extent
    return nodes[x].key < nodes[y].key


def insert(state, x):
    """Insert node x, a new hole, at the place in the list that its order gives a new hole."""
    set_key(state, x)
    insert_by_key(state, x)


def set_key(state, x):
    """Give hole x the key of a new hole."""
    if state.order == ADDRESS:
        state.nodes[x].key = state.nodes[x].addr
    elif state.order == FIFO or (state.order == BINS and state.nodes[x].extent >= LARGE):
        state.tree[END] += 1
        state.nodes[x].key = state.tree[END]
    else:
        state.tree[HEAD] -= 1
        state.nodes[x].key = state.tree[HEAD]


def insert_by_key(state, x):
    """Insert node x, a hole that has its key, with a pseudorandom priority."""
    nodes, tree = state.nodes, state.tree
    tree[SEED] = (tree[SEED] * 1103515245 + 12345) & 0x7FFFFFFF
    size = nodes[x].extent
    nodes[x].rank = tree[SEED]
    nodes[x].left = 0
    nodes[x].right = 0
    nodes[x].most = size
    nodes[x].count = 1
    root = tree[ROOT]
    y, parent, lower = root, np.int64(0), False
    while y != 0:
        nodes[y].most = max(nodes[y].most, size)
        nodes[y].count += 1
        parent = y
        lower = precedes(state, x, y)
        y = np.int64(nodes[y].left) if lower else np.int64(nodes[y].right)
    nodes[x].up = parent
    if parent == 0:
        tree[ROOT] = x
        return
    if lower:
        nodes[parent].left = x
    else:
        nodes[parent].right = x
    while nodes[x].up != 0 and nodes[nodes[x].up].rank < nodes[x].rank:
        root = np.int64(rotate_up(nodes, x, root))
    tree[ROOT] = root


def remove(state, x):
    """Remove hole x from the list; its extent must still be that under which it was inserted."""
    state.tree[ROOT] = remove_node(state.nodes, state.tree[ROOT], x, True)


def move(state, x, address, size):
    """Change hole x to ``address`` and ``size`` bytes; it keeps its key, unless the order is SIZE or ADDRESS.

    Its neighbours by address stay the same.
    """
    nodes = state.nodes
    if state.by_size:
        remove(state, x)
    nodes[x].addr = address
    nodes[x].extent = size
    if state.order >= ADDRESS:
        set_key(state, x)
    if state.by_size:
        insert_by_key(state, x)
    else:
        pull_up(nodes, x)


def first_of_size(state, size):
    """Return the first hole in the order that has at least ``size`` bytes, as a node; 0 if there is none."""
    nodes, x = state.nodes, state.tree[ROOT]
    if not state.by_size:
        return np.int64(lowest_in_treap(nodes, x, size))
    found = np.int64(0)
    while x != 0:
        if nodes[x].extent >= size:
            found = x
            x = np.int64(nodes[x].left)
        else:
            x = np.int64(nodes[x].right)
    return found


def next_of_size(state, x, size):
    """Return the first hole behind hole x in the order that has at least ``size`` bytes; 0 if there is none."""
    nodes = state.nodes
    while True:
        child, x = np.int64(x), np.int64(nodes[x].right)
        if x == 0:
            x = np.int64(nodes[child].up)
            while x != 0 and nodes[x].right == child:
                child, x = x, np.int64(nodes[x].up)
        else:
            while nodes[x].left != 0:
                x = np.int64(nodes[x].left)
        if x == 0 or nodes[x].extent >= size:
            return x


def holes_before(state, x):
    """Return the number of holes that come before hole x in the order."""
    nodes = state.nodes
    before = np.int64(nodes[nodes[x].left].count)
    child = np.int64(x)
    while nodes[child].up != 0:
        parent = np.int64(nodes[child].up)
        if nodes[parent].right == child:
            before += nodes[nodes[parent].left].count + 1
        child = parent
    return before


def largest_hole(state):
    """Return the bytes of the largest hole; 0 if there is none."""
    return np.int64(state.nodes[state.tree[ROOT]].most)


def leave_alone(state, x):
    """Make block x a hole, new in the list, without coalescing."""
    state.ledger[ALLOCATED] -= state.nodes[x].extent
    state.nodes[x].free = 1
    insert(state, x)
    open_hole(state.ledger, state.nodes[x].extent)


def release_to_head(state, x, index):
    """Free block x: it joins the hole behind it, and then the hole before it, whose place in the list that one keeps.

    Without a hole before it, the result is new in the list. ``index`` is this module.
    """
    nodes, ledger = state.nodes, state.ledger
    after, before = nodes[x].next, nodes[x].prev
    ledger[ALLOCATED] -= nodes[x].extent
    if nodes[after].free == 1:
        nodes[x].extent += nodes[after].extent
        ledger[MERGES] += 1
        drop_hole(state, after, index)
    if nodes[before].free == 1:
        size = nodes[x].extent
        unlink(nodes, x)
        drop_node(state, x)
        ledger[MERGES] += 1
        change_hole(state, before, nodes[before].addr, nodes[before].extent + size, index)
    else:
        nodes[x].free = 1
        insert(state, x)
        open_hole(ledger, nodes[x].extent)
