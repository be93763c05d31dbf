"""Index of a heap's holes by address: the lowest hole that is large enough, from any address on, and the rank of a hole.

The address space is cut into chunks of 2^shift bytes. The holes that start in a chunk form a treap ordered by address, in
which each node stores the size of the largest hole in its subtree. Over the chunks stands a tree of maxima (see ``chunk_tree``):
each entry stores the size of the largest hole in the chunks below it. With few holes in a chunk, a walk through either tree is
short and touches few cache lines.

    0      origin                        reserved
    |---------|-|-|-|-|-|-|-|-----------|       the first chunk begins at 0, and the last one has no end

``rebuild`` makes the chunks wider when the heap outgrows them, and makes eight times as many narrower chunks when more than
two holes share a chunk on average. Where nearly all holes lie in a small part of the heap, the chunks are those of this part:
``uneven`` looks from time to time whether many chunks are empty while others are full.
"""

import sys
from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line, prefetch
from memtrace.contract.ledger import COUNT_INSPECTED, HOLES, RESERVED, new_ledger
from memtrace.structures import heap
from memtrace.structures.chunk_tree import (
    add_to_counts,
    count_before,
    depth_for,
    first_leaf,
    last_leaf_before,
    lowest_leaf,
    new_entries,
    next_large,
    raise_maximum,
    set_maximum,
)
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
                ("unused", "i8"),  # so that a node is one cache line
            ],
            align=True,
        ),
    )
)

# in shape: log2 of a chunk's bytes; number of chunks; state of the generator of priorities; upper bound of the chunks; entry of
# the first chunk in the trees; address at which chunk 0 has its regular width; reserved bytes from which on the heap has outgrown
# the chunks; holes that may still come before `uneven` looks again; 1: nearly all holes lay in a small part of the heap
SHIFT, LEAVES, SEED, MOST_LEAVES, LEAF, ORIGIN, END, LEFT, PART = range(9)
OUTSIDE = 64  # 1/64 of the holes on either side may lie outside the part that the chunks are made for
SMALL_PART = 16  # such a part is at most 1/16 of the heap


class State(NamedTuple):
    """State of a heap whose holes are indexed by address; the state of first fit, next fit and worst fit."""

    nodes: np.ndarray  # nodes[node]: a NODE record of a block or hole; node 0 closes the heap's list
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # first fresh node and first spare node: see heap.FRESH and heap.SPARE
    roots: np.ndarray  # roots[chunk]: root node of the chunk's treap; 0 if no hole starts in the chunk
    most: np.ndarray  # most[entry]: the tree of maxima over chunks, in bytes; the leaf of chunk c is shape[LEAF] + c
    counts: np.ndarray  # counts[entry]: a tree of the same form, of numbers of holes; kept while searches are counted
    shape: np.ndarray  # SHIFT to PART
    rover: np.ndarray  # two addresses that next fit keeps from request to request: see this policy
    ledger: np.ndarray  # see ledger
    rules: Rules


def init(capacity, max_live, **options):
    """Return the state of a heap that is empty but for its initial hole.

    ``capacity`` is in bytes, ``max_live`` is the largest number of blocks alive at once, and ``options`` are those of
    ``heap_rules``. Raises ValueError if an option is invalid.
    """
    rules = heap_rules(capacity, **options)
    depth = depth_for(max_live)
    entries = first_leaf(depth) + 8**depth
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    state = State(
        new_entries(2 * max_live + 8, NODE).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.zeros(8**depth, np.uint32),
        new_entries(entries, np.int64),
        new_entries(entries, np.int64),
        np.array([4, 8, 1, 8**depth, first_leaf(1), 0, 8 << 4, 0, 0], np.int64),
        np.full(2, options.get("base", 0), np.int64),
        new_ledger(rules.floor),
        rules,
    )
    add_initial_hole(state, options.get("initial", 0), sys.modules[__name__])
    return state


def add_count(state, i, sign):
    """Add ``sign`` (1 or -1) to the number of holes of leaf ``i`` and of all entries above it, if searches are counted."""
    if state.ledger[COUNT_INSPECTED] != 0:
        add_to_counts(state.counts, i, sign)


def insert(state, x):
    """Insert node x, a new hole, into the index under a pseudorandom priority.

    If the heap has outgrown or crowded the chunks, the index is rebuilt. The node must be in the heap's list and marked free
    already, because a rebuild inserts every hole of the list.
    """
    # A linear congruential generator whose products stay below 2^62, so nothing overflows. Only its high bits matter here.
    shape = state.shape
    shape[SEED] = (shape[SEED] * 1103515245 + 12345) & 0x7FFFFFFF
    state.nodes[x].rank = shape[SEED]
    shape[LEFT] -= 1
    if outgrown(state) or crowded(state) or (shape[LEFT] < 0 and uneven(state)):
        rebuild(state)
    else:
        insert_with_priority(state, x)


def chunk_of(state, address):
    """Return the chunk that ``address`` is in."""
    shape = state.shape
    return min(max(address - shape[ORIGIN], 0) >> shape[SHIFT], shape[LEAVES] - 1)


def outgrown(state):
    """Return whether the heap has become too large for the chunks."""
    return state.ledger[RESERVED] >= state.shape[END]


@out_of_line
def uneven(state):
    """Return whether chunks would be less full if they lay only in that part of the heap where nearly all holes are.

    Evenly spread holes are 2.3 to a chunk that is not empty, in the mean, before there are more chunks.
    """
    used, holes, shape = 0, state.ledger[HOLES], state.shape
    for chunk in range(shape[LEAVES]):
        used += state.roots[chunk] != 0
    full = 2 * holes > 5 * used + 2 * OUTSIDE
    shape[LEFT] = (16 if full else 4) * holes + shape[LEAVES] + 256
    if full:
        first, last = middle_holes(state)
        shape[PART] = last - first < state.ledger[RESERVED] // SMALL_PART
    return full and shape[PART] != 0


@out_of_line
def middle_holes(state):
    """Return the addresses between which all holes start but the lowest and highest ones, 1/OUTSIDE of the holes on each side."""
    nodes, outside, seen = state.nodes, state.ledger[HOLES] // OUTSIDE, 0
    first, last = np.int64(0), np.int64(0)
    x = np.int64(nodes[0].next)
    while x != 0:
        if nodes[x].free == 1:
            if seen <= outside:
                first = nodes[x].addr
            if seen < state.ledger[HOLES] - outside:
                last = nodes[x].addr
            seen += 1
        x = np.int64(nodes[x].next)
    return first, last


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
    chunk = chunk_of(state, nodes[x].addr)
    state.roots[chunk] = insert_node(nodes, state.roots[chunk], x)
    raise_maximum(state.most, shape[LEAF] + chunk, nodes[x].extent)
    add_count(state, shape[LEAF] + chunk, 1)


def remove(state, x):
    """Remove node x, a hole, from the treap of its chunk, and update the trees over the chunks.

    The node's address and extent must still be those under which it was inserted.
    """
    nodes, shape = state.nodes, state.shape
    chunk = chunk_of(state, nodes[x].addr)
    root = remove_node(nodes, state.roots[chunk], x, state.ledger[COUNT_INSPECTED] != 0)
    state.roots[chunk] = root
    leaf = shape[LEAF] + chunk
    if state.most[leaf] != nodes[root].most:
        set_maximum(state.most, leaf, nodes[root].most)
    add_count(state, leaf, -1)


def move(state, x, address, size):
    """Change hole x to ``address`` and ``size`` bytes, in its node and in the index.

    The hole keeps its neighbours in the heap's list, so it keeps its place among the holes; as long as it also stays in its
    chunk, the treap keeps its form.
    """
    nodes, shape = state.nodes, state.shape
    chunk = chunk_of(state, nodes[x].addr)
    if chunk == chunk_of(state, address):
        nodes[x].addr = address
        nodes[x].extent = size
        pull_up(nodes, x)
        leaf, most = shape[LEAF] + chunk, nodes[state.roots[chunk]].most
        if state.most[leaf] != most:
            set_maximum(state.most, leaf, most)
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
        shape[LEAVES] *= 8
        shape[LEAF] = (shape[LEAF] + 1) * 8
    fit_chunks(state)
    x = nodes[0].next
    while x != 0:
        if nodes[x].free == 1:
            insert_with_priority(state, x)
        x = nodes[x].next


@out_of_line
def fit_chunks(state):
    """Set where the chunks lie and how wide they are: they cover the heap, or the small part of it where nearly all holes lie."""
    shape, top = state.shape, state.ledger[RESERVED]
    part, span, first, last = False, top, np.int64(0), np.int64(0)
    shape[ORIGIN] = 0
    if shape[PART] != 0:
        first, last = middle_holes(state)
        part = last - first < top // SMALL_PART
        shape[PART] = part
    if part:
        span = 2 * (last - first)  # with room on both sides, a quarter each
        shape[ORIGIN] = max(first - span // 4, 0)
    shape[SHIFT] = 0
    while span >> shape[SHIFT] >= shape[LEAVES]:
        shape[SHIFT] += 1
    shape[END] = (1 << 63) - 1
    if top < 1 << 61:
        shape[END] = top + top // 2 if part else shape[LEAVES] << shape[SHIFT]


def lowest(state, size):
    """Return the lowest hole of at least ``size`` bytes, as a node; 0 if there is none."""
    return lowest_below(state, np.int64(0), size) if state.most[0] >= size else np.int64(0)


def lowest_below(state, i, size):
    """Return the lowest hole of at least ``size`` bytes in the chunks below entry ``i`` of the tree; there must be one."""
    leaf = state.shape[LEAF]
    chunk = lowest_leaf(state.most, i, leaf, size) - leaf
    return lowest_in_treap(state.nodes, state.roots[np.uint64(chunk)], size)


def lowest_from(state, low, size):
    """Return the lowest hole of at least ``size`` bytes that starts at address ``low`` or above; 0 if there is none."""
    most, shape = state.most, state.shape
    if most[0] < size:
        return np.int64(0)
    chunk = chunk_of(state, low)
    i = shape[LEAF] + chunk
    if most[i] >= size:
        x = lowest_in_treap_from(state.nodes, state.roots[chunk], low, size)
        if x != 0:
            return x
    i = next_large(most, i, size)
    return lowest_below(state, i, size) if i != 0 else np.int64(0)


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
    return below + count_before(counts, state.shape[LEAF] + chunk_of(state, nodes[x].addr))


def hole_at(state, address):
    """Return the hole that contains ``address``, as a node; 0 if no hole contains it."""
    nodes, most, shape = state.nodes, state.most, state.shape
    chunk = chunk_of(state, address)
    x = last_until(nodes, state.roots[chunk], address)
    if x == 0:
        i = last_leaf_before(most, shape[LEAF] + chunk, shape[LEAF])
        if i < 0:
            return np.int64(0)
        x = last_until(nodes, state.roots[i - shape[LEAF]], address)
    return x if nodes[x].addr + nodes[x].extent > address else np.int64(0)


def largest_hole(state):
    """Return the bytes of the largest hole; 0 if there is none."""
    return state.most[0]


def expect_soon(state, handle):
    """Prefetch the list neighbours and the chunk of the block ``handle``, which will be freed within the next few events."""
    heap.expect_soon(state, handle)
    chunk = chunk_of(state, state.nodes[state.node_of[handle]].addr)
    prefetch(state.roots, chunk)
    prefetch(state.most, state.shape[LEAF] + chunk)
