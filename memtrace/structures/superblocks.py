"""Superblocks: parts of one region that arenas own, in which blocks lie; RMM's arena is made of them.

    |AAA|..|B|.......|CCCC|..|........................|        three superblocks, side by side, each with blocks of its own
     arena 1          arena 0 (GLOBAL)  empty, GLOBAL

Blocks of a superblock are linked by address, and free neighbours join; blocks of two superblocks never do. The free blocks of
all superblocks of an arena form a treap by address, which knows the largest, so the lowest that is enough is found in O(log n).
An empty superblock of the global arena joins its empty neighbours there.

Reserved bytes end the highest superblock that was ever in use, or the region if they were set so at the start: what of an empty
superblock lies above is no hole.

State fields: `nodes`, `node_of`, `pool`, `supers`, `roots` (by arena), `ledger`. x stands for a node, s for a superblock.
"""

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, MERGES, RESERVE_CALLS, RESERVED, SPLITS, close_hole, open_hole, resize_hole
from memtrace.structures.heap import drop_node, link, new_node, unlink
from memtrace.structures.treap import insert_node, pull_up, remove_node

GLOBAL = 0  # the arena that all memory is in at first
# places in State.pool, behind FRESH and SPARE: first superblock never used; head of the spare ones; number of superblocks; state
# of the generator of priorities
SUPER_FRESH, SUPER_SPARE, SUPERS, SEED = 2, 3, 4, 5

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),  # address of the block
                ("extent", "i8"),  # its bytes
                ("most", "i8"),  # bytes of the largest free block in the node's subtree
                ("prev", "u4"),  # neighbours by address in the superblock; 0: none
                ("next", "u4"),
                ("left", "u4"),  # children and parent in the treap of an arena; 0: none
                ("right", "u4"),
                ("up", "u4"),
                ("free", "u4"),  # 1: free; 0: live
                ("rank", "i4"),  # treap priority
                ("count", "i4"),  # not kept up to date
                ("home", "u4"),  # the superblock
            ],
            align=True,
        ),
    )
)
SUPER = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("first", "u4"),  # its first block
                ("live", "u4"),  # number of its live blocks
                ("arena", "u4"),  # GLOBAL, or index of the stream + 1
                ("prev", "u4"),  # neighbours by address; 0: none
                ("next", "u4"),
            ],
            align=True,
        ),
    )
)


def cut_super(state, x, address, part, rest):
    """Cut free block x, a whole superblock, to ``part`` bytes at ``address``; the ``rest`` becomes a superblock behind it."""
    nodes, hole = state.nodes, counted(state, x)
    nodes[x].extent = part
    recount(state.ledger, hole, counted(state, x))
    pull_up(nodes, x)
    y = new_node(state, address + part, rest)
    link(nodes, y, 0, 0)
    s = np.int64(nodes[x].home)
    new_super(state, y, s, np.int64(state.supers[s].next))
    put_free(state, y)


def new_super(state, x, before, after):
    """Make a global superblock of block x alone, between the superblocks ``before`` and ``after`` by address."""
    pool, supers = state.pool, state.supers
    s = pool[SUPER_SPARE]
    if s != 0:
        pool[SUPER_SPARE] = supers[s].next
    else:
        s = pool[SUPER_FRESH]
        pool[SUPER_FRESH] = s + 1
    pool[SUPERS] += 1
    supers[s].first = x
    supers[s].live = 0
    supers[s].arena = GLOBAL
    supers[s].prev = before
    supers[s].next = after
    supers[before].next = s
    supers[after].prev = s
    state.nodes[x].home = s


def counted(state, x):
    """Return the bytes of free block x that are a hole: those below the end of what is reserved."""
    return max(min(state.nodes[x].extent, state.ledger[RESERVED] - state.nodes[x].addr), 0)


def recount(ledger, hole, new_hole):
    """Count a hole of ``hole`` bytes as one of ``new_hole`` bytes; 0: none."""
    if hole > 0 and new_hole > 0:
        resize_hole(ledger, hole, new_hole)
    elif hole > 0:
        close_hole(ledger, hole)
    elif new_hole > 0:
        open_hole(ledger, new_hole)


def reserve_super(state, x):
    """Reserve all of the superblock that free block x is the whole of, if it ends above what is reserved."""
    ledger, end = state.ledger, state.nodes[x].addr + state.nodes[x].extent
    if end > ledger[RESERVED]:
        hole = counted(state, x)
        ledger[RESERVED] = end
        ledger[RESERVE_CALLS] += 1
        recount(ledger, hole, counted(state, x))


def largest_free(state, arena):
    """Return the bytes of the largest hole of an arena; 0 if there is none. Its last free block may be none, or a part of one."""
    nodes, most = state.nodes, np.int64(0)
    x = np.int64(state.roots[arena])
    while x != 0:
        most = max(most, nodes[nodes[x].left].most)
        most = max(most, counted(state, x))
        x = np.int64(nodes[x].right)
    return most


def put_free(state, x):
    """Make block x free: put it into the treap of the arena that owns its superblock, and count a hole."""
    nodes, pool = state.nodes, state.pool
    pool[SEED] = (pool[SEED] * 1103515245 + 12345) & 0x7FFFFFFF
    nodes[x].rank = pool[SEED]
    nodes[x].free = 1
    place_in_treap(state, x)
    recount(state.ledger, np.int64(0), counted(state, x))


@out_of_line
def place_in_treap(state, x):
    """Put free block x, whose priority is set, into the treap of the arena that owns its superblock."""
    nodes = state.nodes
    arena = state.supers[nodes[x].home].arena
    nodes[x].left = 0
    nodes[x].right = 0
    nodes[x].up = 0
    nodes[x].most = nodes[x].extent
    nodes[x].count = 1
    state.roots[arena] = insert_node(nodes, np.int64(state.roots[arena]), x)


@out_of_line
def take_from_treap(state, x):
    """Take block x out of the treap of the arena that owns its superblock."""
    arena = state.supers[state.nodes[x].home].arena
    state.roots[arena] = remove_node(state.nodes, np.int64(state.roots[arena]), x, False)


def take(state, x, size, handle):
    """Place a block of ``size`` bytes at the low end of free block x; return its address. The rest stays free."""
    nodes, ledger = state.nodes, state.ledger
    address, extent = nodes[x].addr, nodes[x].extent
    s = np.int64(nodes[x].home)
    if extent > size:
        y = new_node(state, address, size)
        nodes[y].home = s
        before = np.int64(nodes[x].prev)
        link(nodes, y, before, x)
        if before == 0:
            state.supers[s].first = y
        nodes[x].addr = address + size
        nodes[x].extent = extent - size
        pull_up(nodes, x)
        resize_hole(ledger, extent, extent - size)
        ledger[SPLITS] += 1
    else:
        y = x
        take_from_treap(state, x)
        nodes[x].free = 0
        close_hole(ledger, extent)
    state.supers[s].live += 1
    state.node_of[handle] = y
    ledger[ALLOCATED] += size
    return address


def free_block(state, handle):
    """Free the block of this handle, in the superblock that it is in; an empty one of the global arena joins its neighbours."""
    nodes, supers, ledger = state.nodes, state.supers, state.ledger
    x = np.int64(state.node_of[handle])
    s = np.int64(nodes[x].home)
    ledger[ALLOCATED] -= nodes[x].extent
    supers[s].live -= 1
    after, before = np.int64(nodes[x].next), np.int64(nodes[x].prev)
    if nodes[before].free == 1 and before != 0:
        if nodes[after].free == 1 and after != 0:
            absorb_next(state, x, after)
        resize_hole(ledger, nodes[before].extent, nodes[before].extent + nodes[x].extent)
        nodes[before].extent += nodes[x].extent
        unlink(nodes, x)
        drop_node(state, x)
        pull_up(nodes, before)
        ledger[MERGES] += 1
    elif nodes[after].free == 1 and after != 0:
        resize_hole(ledger, nodes[after].extent, nodes[after].extent + nodes[x].extent)
        nodes[after].addr = nodes[x].addr
        nodes[after].extent += nodes[x].extent
        unlink(nodes, x)
        drop_node(state, x)
        pull_up(nodes, after)
        if before == 0:
            supers[s].first = after
        ledger[MERGES] += 1
    else:
        put_free(state, x)
    if supers[s].live == 0 and supers[s].arena == GLOBAL:
        join_empty(state, s)


def absorb_next(state, x, after):
    """Extend block x, which is in no treap, by the free block ``after``, directly behind it."""
    nodes = state.nodes
    take_from_treap(state, after)
    close_hole(state.ledger, nodes[after].extent)
    nodes[x].extent += nodes[after].extent
    nodes[after].free = 0
    unlink(nodes, after)
    drop_node(state, after)
    state.ledger[MERGES] += 1


@out_of_line
def join_empty(state, s):
    """Join superblock s of the global arena, which is empty, with its empty neighbours of the global arena."""
    supers = state.supers
    after, before = np.int64(supers[s].next), np.int64(supers[s].prev)
    if after != 0 and supers[after].live == 0 and supers[after].arena == GLOBAL:
        swallow(state, s, after)
    if before != 0 and supers[before].live == 0 and supers[before].arena == GLOBAL:
        swallow(state, before, s)


def swallow(state, s, after):
    """Extend superblock s by ``after``, the one behind it; both are global, and empty."""
    nodes, pool, supers = state.nodes, state.pool, state.supers
    x, y = np.int64(supers[s].first), np.int64(supers[after].first)
    take_from_treap(state, y)
    hole = counted(state, x)
    recount(state.ledger, counted(state, y), np.int64(0))
    nodes[x].extent += nodes[y].extent
    recount(state.ledger, hole, counted(state, x))
    pull_up(nodes, x)
    nodes[y].free = 0
    drop_node(state, y)
    beyond = np.int64(supers[after].next)
    supers[s].next = beyond
    supers[beyond].prev = s
    supers[after].next = pool[SUPER_SPARE]
    pool[SUPER_SPARE] = after
    pool[SUPERS] -= 1
    state.ledger[MERGES] += 1


def move_super(state, s, arena):
    """Make superblock s that of another arena, with its free blocks."""
    nodes, supers = state.nodes, state.supers
    x = np.int64(supers[s].first)
    while x != 0:
        if nodes[x].free == 1:
            take_from_treap(state, x)
        x = np.int64(nodes[x].next)
    supers[s].arena = arena
    x = np.int64(supers[s].first)
    while x != 0:
        if nodes[x].free == 1:
            place_in_treap(state, x)
        x = np.int64(nodes[x].next)
