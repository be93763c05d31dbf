"""A heap whose free blocks are merged only when a search passes over them; its holes are runs of adjacent free blocks.

Each free block keeps its own bounds until it is merged. The first block of a run stands for the run: it is in a treap by address
with the bytes of the whole run. A run of several blocks is also in a second treap, of the ragged runs, in which a search finds
those that it merges on its way: each merge ends a block that some free or split made, so it is paid for.

    |AAA|..|....|.|BB|...|        a ragged run of three free blocks, and a run of one
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    MERGES,
    RESERVED,
    SPLITS,
    close_hole,
    new_ledger,
    open_hole,
    resize_hole,
)
from memtrace.structures.heap import FRESH, SPARE, drop_node, link, new_node, reserve, unlink
from memtrace.structures.rules import Rules, growth
from memtrace.structures.treap import insert_node, lowest_in_treap, pull_up, remove_node

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),  # address of the block
                ("extent", "i8"),  # of a run's first block: bytes of the run
                ("most", "i8"),  # bytes of the largest run in the node's subtree
                ("prev", "u4"),  # neighbours in the list of all blocks by address
                ("next", "u4"),
                ("left", "u4"),  # children and parent in the treap; 0: none
                ("right", "u4"),
                ("up", "u4"),
                ("free", "u4"),  # 1: a free block
                ("rank", "i4"),  # treap priority: no child's is above its parent's
                ("count", "i4"),  # number of runs in the node's subtree
                ("mate", "u4"),  # of a run's first block: its last one, and of the last the first
                ("unused", "u4"),
            ],
            align=True,
        ),
    )
)

ROOT, RAGGED, SEED, BLOCKS, AVAILABLE = range(5)  # in tree: both treaps' roots; priorities; number of blocks; free bytes


class State(NamedTuple):
    """State of a heap that merges while it searches."""

    nodes: np.ndarray  # nodes[node]: a NODE record of a block; node 0 closes the list by address
    entries: np.ndarray  # entries[node]: a NODE record in the treap of ragged runs, of the run that begins with the node
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # first fresh node and first spare node: see heap.FRESH and heap.SPARE
    tree: np.ndarray  # ROOT to AVAILABLE
    ledger: np.ndarray  # see ledger
    header: int  # bytes of a header; `least` more are a block that is split off
    least: int


class RuledState(NamedTuple):
    """State of a heap that merges while it searches, and grows by the rules of the heap policies; fields as in State."""

    nodes: np.ndarray
    entries: np.ndarray
    node_of: np.ndarray
    pool: np.ndarray
    tree: np.ndarray
    ledger: np.ndarray
    header: int
    least: int
    rules: Rules


def new_state(max_live, reserved, header, least):
    """Return the state of a heap without blocks."""
    count = 2 * max_live + 8
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    return State(
        np.zeros(count, NODE).view(np.recarray),
        np.zeros(count, NODE).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.array([0, 0, 1, 0, 0], np.int64),
        new_ledger(reserved),
        header,
        least,
    )


def open_range(state, size):
    """Make the free block of ``size`` bytes that the pool begins with, and the used one that closes it; return the state."""
    for address, free in ((0, 1), (size, 0)):
        x = new_node(state, address, size)
        link(state.nodes, x, state.nodes[0].prev, 0)
        state.nodes[x].free = free
    state.tree[BLOCKS], state.tree[AVAILABLE] = 2, size
    add_run(state, np.int64(1), np.int64(1), size)
    return state


def new_ruled_state(max_live, rules, initial):
    """Return the state of a heap with a free block of ``initial`` bytes, if any, closed by a used one, and with ``rules``."""
    state = RuledState(*new_state(max_live, rules.floor, 0, rules.split), rules)
    fence = new_node(state, initial, 0)
    link(state.nodes, fence, 0, 0)
    state.tree[BLOCKS] = 1
    if initial > 0:
        add_block(state, 0, initial)
    return state


def add_block(state, address, size):
    """Add a free block of ``size`` bytes at the end of the heap, in front of the block that closes it; return it."""
    nodes, fence = state.nodes, state.nodes[0].prev
    x = np.int64(new_node(state, address, size))
    link(nodes, x, nodes[fence].prev, fence)
    nodes[x].free = 1
    state.tree[BLOCKS] += 1
    state.tree[AVAILABLE] += size
    add_run(state, x, x, size)
    return x


@out_of_line
def grow(state, size):
    """Grow the heap so that its last block, free and merged, has ``size`` bytes; return that, or 0 if it cannot grow so far."""
    nodes, ledger = state.nodes, state.ledger
    fence = np.int64(nodes[0].prev)
    last, top = np.int64(nodes[fence].prev), ledger[RESERVED]
    own = nodes[last].extent if nodes[last].free == 1 else np.int64(0)
    more = growth(state.rules, top, size - own, size)
    if more == 0:
        return np.int64(0)
    reserve(state, more)
    nodes[fence].addr = top + more
    if own == 0:
        return add_block(state, top, more)
    drop_run(state, last)
    add_run(state, last, last, own + more)
    state.tree[AVAILABLE] += more
    return last


def nodes_run_short(state):
    """Return whether the arrays have no room for the two blocks that a request may make."""
    return state.pool[FRESH] + 2 > state.nodes.size


def has_room(state):
    """Return whether the arrays have room for one more block."""
    return state.pool[SPARE] != 0 or state.pool[FRESH] < state.nodes.size


def with_more_nodes(state):
    """Return the state with room for twice as many blocks."""
    nodes, entries = (np.zeros(2 * old.size, NODE).view(np.recarray) for old in (state.nodes, state.entries))
    nodes[: state.nodes.size] = state.nodes
    entries[: state.entries.size] = state.entries
    return state._replace(nodes=nodes, entries=entries)


def own_bytes(nodes, x):
    """Return the bytes of block x alone: blocks lie one behind the other."""
    return nodes[nodes[x].next].addr - nodes[x].addr


def put(state, nodes, which, x, address, size):
    """Insert node x of ``nodes`` into the treap whose root is ``tree[which]``, under a pseudorandom priority."""
    tree = state.tree
    tree[SEED] = (tree[SEED] * 1103515245 + 12345) & 0x7FFFFFFF
    nodes[x].addr = address
    nodes[x].extent = size
    nodes[x].rank = tree[SEED]
    nodes[x].left = 0
    nodes[x].right = 0
    nodes[x].up = 0
    nodes[x].most = size
    nodes[x].count = 1
    tree[which] = insert_node(nodes, tree[which], x)


def add_run(state, x, last, size):
    """Add the run of ``size`` bytes from block x to block ``last`` as a hole."""
    nodes = state.nodes
    put(state, nodes, ROOT, x, nodes[x].addr, size)
    open_hole(state.ledger, size)
    set_last(state, x, last)


def drop_run(state, x):
    """Take the run that begins with block x out of the treaps and the counts of holes; its blocks stay as they are."""
    close_hole(state.ledger, state.nodes[x].extent)
    if state.nodes[x].mate != x:
        state.tree[RAGGED] = remove_node(state.entries, state.tree[RAGGED], x, False)
    state.tree[ROOT] = remove_node(state.nodes, state.tree[ROOT], x, False)


def set_last(state, x, last):
    """Let the run that begins with block x end with block ``last``; it is not among the ragged runs."""
    nodes = state.nodes
    nodes[x].mate = last
    nodes[last].mate = x
    if last != x:
        put(state, state.entries, RAGGED, x, nodes[x].addr, np.int64(1))


def merge_next(state, x):
    """Merge block x with the free block behind it, whose node goes."""
    following = np.int64(state.nodes[x].next)
    unlink(state.nodes, following)
    drop_node(state, following)
    state.tree[BLOCKS] -= 1
    state.ledger[MERGES] += 1


@out_of_line
def merge_run(state, x):
    """Merge all blocks of the ragged run that begins with block x."""
    nodes, last = state.nodes, state.nodes[x].mate
    state.tree[RAGGED] = remove_node(state.entries, state.tree[RAGGED], x, False)
    while nodes[x].next != last:
        merge_next(state, x)
    merge_next(state, x)
    set_last(state, x, x)


def merge_below(state, address):
    """Merge all ragged runs that begin below ``address``."""
    while state.tree[RAGGED] != 0:
        x = np.int64(lowest_in_treap(state.entries, state.tree[RAGGED], 1))
        if state.entries[x].addr >= address:
            return
        merge_run(state, x)


def lowest_run(state, size):
    """Return the first block of the lowest run of at least ``size`` bytes; 0 if there is none."""
    return np.int64(lowest_in_treap(state.nodes, state.tree[ROOT], size))


def take_front(state, x, size, handle):
    """Give the block ``handle`` of ``size`` bytes the front of the run that begins with block x; return the block's start.

    Blocks of the run are merged until they suffice. What is left of the last of them is split off if it has ``least`` bytes and
    a header.
    """
    nodes, total, last = state.nodes, state.nodes[x].extent, np.int64(state.nodes[x].mate)
    drop_run(state, x)
    while own_bytes(nodes, x) < size:
        if nodes[x].next == last:
            last = x
        merge_next(state, x)
    own = own_bytes(nodes, x)
    head = np.int64(nodes[x].next)
    if own - size >= state.least:
        rest = np.int64(new_node(state, nodes[x].addr + size, own - size))
        link(nodes, rest, x, nodes[x].next)
        nodes[rest].free = 1
        state.tree[BLOCKS] += 1
        state.ledger[SPLITS] += 1
        last = rest if last == x else last
        head, own = rest, size
    nodes[x].free = 0
    nodes[x].extent = own
    if own < total:
        add_run(state, head, last, total - own)
    state.tree[AVAILABLE] -= own
    state.ledger[ALLOCATED] += own
    state.node_of[handle] = x
    return nodes[x].addr


def leave(state, x):
    """Make block x free; it becomes part of the run that it touches, unmerged."""
    nodes = state.nodes
    own, after, before = own_bytes(nodes, x), np.int64(nodes[x].next), np.int64(nodes[x].prev)
    state.ledger[ALLOCATED] -= own
    state.tree[AVAILABLE] += own
    nodes[x].free = 1
    size, last = own, np.int64(x)
    if nodes[after].free == 1:
        size += nodes[after].extent
        last = np.int64(nodes[after].mate)
        drop_run(state, after)
    if nodes[before].free == 0:
        add_run(state, np.int64(x), last, size)
        return
    first = np.int64(nodes[before].mate)
    ragged = first != before
    resize_hole(state.ledger, nodes[first].extent, nodes[first].extent + size)
    nodes[first].extent += size
    pull_up(nodes, first)
    if ragged:
        nodes[first].mate = last
        nodes[last].mate = first
    else:
        set_last(state, first, last)


def largest_hole(state):
    """Return the bytes of the largest run; 0 if there is none."""
    return np.int64(state.nodes[state.tree[ROOT]].most)
