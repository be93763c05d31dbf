"""Lists of free blocks: several in one pool, each searched by itself; a block joins free neighbours of its own list only.

    region 0                                        region 1
    |AAAA|..0..|BB|...1...|..0..|CCC|               |DDDDD|.......1.......|       `..0..` is free and in list 0

The memory comes in regions, whose blocks are linked by address; blocks never join across regions. Neighbours that are free
and in different lists stay apart, so there may be more free blocks than live ones: what a request needs is asked of
``lacks_nodes`` before it is served. A hole is a free block of a list.

The free blocks of a list are in the order of (size, number, address); numbers make the order among blocks of one size: that of
their addresses, rising or falling, or of the time at which they were put into the list (`ties`, LOWEST to NEWEST). The first
WIDE lists have size classes, 64 to a doubling, with a treap in each, and a bitmap of those that are not empty; a class seldom
has more than a few blocks. A further list is one treap (see ``caching.free_sets``).

State fields: `nodes`, `node_of`, `pool`, `ledger`; `roots` and `words` as ``new_lists`` makes them; `counts[k]`, the number of
blocks of list k; `granule`, log2 of what sizes are multiples of; `ties`. x stands for the index of a node; node 0 is none, and
is never free.
"""

import numpy as np

from memtrace.contract.bits import align_up, highest_set, lowest_set
from memtrace.contract.calls import out_of_line, prefetch
from memtrace.contract.ledger import ALLOCATED, MERGES, RESERVE_CALLS, RESERVED, SPLITS, close_hole, open_hole
from memtrace.structures.caching.free_sets import BY_SIZE, Key, first_in, insert_node, last_in, remove_node
from memtrace.structures.caching.state import extended_copy
from memtrace.structures.heap import FRESH, drop_node, link, new_node, unlink

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),  # address of the block
                ("extent", "i8"),  # its bytes
                ("number", "i8"),  # place among free blocks of this size, the least first; of equals the lowest address
                ("prev", "u4"),  # neighbours by address in the region; 0: none
                ("next", "u4"),
                ("left", "u4"),  # children in the treap of a list; 0: none
                ("right", "u4"),
                ("list", "u4"),  # the list that a free block is in
                ("free", "u4"),  # 1: in a list; 0: live
            ],
            align=True,
        ),
    )
)
GRANULE = 2 << 20  # bytes: regions start at multiples of it
LEAST = -(1 << 62)  # lower bound of a number
WIDE = 64  # lists with size classes
CLASSES = 58 * 64  # size classes of such a list
FILLED = CLASSES >> 6  # in a row of State.words, behind the bitmap: bitmap of its words that are not 0
ROW = FILLED + 1  # length of a row
LOWEST, HIGHEST, OLDEST, NEWEST = range(4)  # orders among blocks of one size
NEXT_ADDRESS, CLOCK = 2, 3  # places in State.pool, behind FRESH and SPARE: address of the next region; insertions so far


def new_nodes(max_live):
    """Return the nodes for ``max_live`` blocks live at once and as many free ones, more of which may be needed later."""
    return np.zeros(2 * max_live + 16, NODE).view(np.recarray)


def lacks_nodes(state):
    """Return whether nodes may be too few for a request and the frees up to the next one, which make 8 of them at most."""
    return state.pool[FRESH] + 8 >= state.nodes.size


def more_nodes(state):
    """Return the state with twice the nodes if they may be too few."""
    if not lacks_nodes(state):
        return state
    return state._replace(nodes=extended_copy(state.nodes, 2 * state.nodes.size))


def new_lists(lists):
    """Return (roots, words) of ``lists`` empty lists: the root of each treap, and the bitmaps of the WIDE first lists."""
    return np.zeros(WIDE * CLASSES + lists, np.uint32), np.zeros(WIDE * ROW, np.int64)


def class_of(state, size):
    """Return the size class of a size in bytes; sizes of less than 64 granules have one each."""
    granules = size >> state.granule
    if granules < 64:
        return granules
    magnitude = highest_set(granules)
    return ((magnitude - 5) << 6) + (granules >> (magnitude - 6)) - 64


def place_of(state, k, size):
    """Return the index in `roots` of the treap that blocks of ``size`` bytes in list k are in."""
    return k * CLASSES + class_of(state, size) if k < WIDE else WIDE * (CLASSES - 1) + k


def class_from(words, k, c):
    """Return the first class of list k that is not empty, from class ``c`` on; -1 if there is none."""
    i = c >> 6
    word = words[k * ROW + i] & (np.int64(-1) << (c & 63))
    if word == 0:
        filled = words[k * ROW + FILLED] & (np.int64(-2) << i)
        if filled == 0:
            return np.int64(-1)
        i = lowest_set(filled)
        word = words[k * ROW + i]
    return (i << 6) + lowest_set(word)


def number_of(state, x):
    """Return the number that block x gets in its list now."""
    state.pool[CLOCK] += 1
    if state.ties == LOWEST:
        return np.int64(0)
    if state.ties == HIGHEST:
        return -state.nodes[x].addr
    return state.pool[CLOCK] if state.ties == OLDEST else -state.pool[CLOCK]


@out_of_line
def insert(state, x, k):
    """Put block x, which is in no list, into list k as a free one."""
    nodes, roots, words = state.nodes, state.roots, state.words
    nodes[x].free = 1
    nodes[x].list = k
    nodes[x].number = number_of(state, x)
    place = place_of(state, k, nodes[x].extent)
    root = np.int64(roots[place])
    if root != 0:
        roots[place] = insert_node(nodes, root, x, BY_SIZE)
    else:
        nodes[x].left = 0
        nodes[x].right = 0
        roots[place] = x
        if k < WIDE:
            c = place - k * CLASSES
            words[k * ROW + (c >> 6)] |= np.int64(1) << (c & 63)
            words[k * ROW + FILLED] |= np.int64(1) << (c >> 6)
    state.counts[k] += 1
    open_hole(state.ledger, nodes[x].extent)


@out_of_line
def remove(state, x):
    """Take free block x out of its list; it is in none, and counts as live, until it is inserted again."""
    nodes, roots, words = state.nodes, state.roots, state.words
    k = np.int64(nodes[x].list)
    place = place_of(state, k, nodes[x].extent)
    root = np.int64(roots[place])
    if root != x or nodes[x].left != 0 or nodes[x].right != 0:
        roots[place] = remove_node(nodes, root, x, BY_SIZE)
    else:
        roots[place] = 0
        if k < WIDE:
            c = place - k * CLASSES
            word = words[k * ROW + (c >> 6)] & ~(np.int64(1) << (c & 63))
            words[k * ROW + (c >> 6)] = word
            if word == 0:
                words[k * ROW + FILLED] &= ~(np.int64(1) << (c >> 6))
    state.counts[k] -= 1
    nodes[x].free = 0
    close_hole(state.ledger, nodes[x].extent)


def best(state, k, size):
    """Return the smallest free block of list k with at least ``size`` bytes, the first by number and address; 0: none."""
    if state.counts[k] == 0:
        return np.int64(0)
    key = Key(size, np.int64(LEAST), np.int64(0))
    if k >= WIDE:
        return first_in(state.nodes, np.int64(state.roots[place_of(state, k, size)]), key, BY_SIZE)
    c = class_from(state.words, k, class_of(state, size))
    while c >= 0:
        x = first_in(state.nodes, np.int64(state.roots[k * CLASSES + c]), key, BY_SIZE)
        if x != 0:
            return x
        c = class_from(state.words, k, c + 1)
    return np.int64(0)


def highest_of_size(state, k, size):
    """Return the highest free block of list k with exactly ``size`` bytes; there must be one, and numbers are 0."""
    root = np.int64(state.roots[place_of(state, k, size)])
    return last_in(state.nodes, root, Key(size + 1, np.int64(0), np.int64(0)), BY_SIZE)


def largest_block(state, k):
    """Return the largest free block of list k; 0 if the list is empty."""
    place = WIDE * (CLASSES - 1) + k
    if state.counts[k] == 0:
        return np.int64(0)
    if k < WIDE:
        i = highest_set(state.words[k * ROW + FILLED])
        place = k * CLASSES + (i << 6) + highest_set(state.words[k * ROW + i])
    x = np.int64(state.roots[place])
    while state.nodes[x].right != 0:
        x = np.int64(state.nodes[x].right)
    return x


def largest_in(state, k):
    """Return the bytes of the largest free block of list k; 0 if the list is empty."""
    x = largest_block(state, k)
    return state.nodes[x].extent if x != 0 else np.int64(0)


def cut(state, x, size, k):
    """Shorten block x, which is in no list, to ``size`` bytes if it is longer; the rest goes to list k."""
    nodes = state.nodes
    rest = nodes[x].extent - size
    if rest == 0:
        return
    y = new_node(state, nodes[x].addr + size, rest)
    link(nodes, y, x, nodes[x].next)
    nodes[x].extent = size
    insert(state, y, k)
    state.ledger[SPLITS] += 1


def hand_out(state, x, handle):
    """Make block x, which is in no list, the live block of this handle; return its address."""
    state.node_of[handle] = x
    state.ledger[ALLOCATED] += state.nodes[x].extent
    return state.nodes[x].addr


def put(state, x, k):
    """Put block x, which is in no list, into list k, joined with the free neighbours that are in list k too; return it."""
    nodes, ledger = state.nodes, state.ledger
    after, before = np.int64(nodes[x].next), np.int64(nodes[x].prev)
    if nodes[after].free == 1 and nodes[after].list == k:
        remove(state, after)
        nodes[x].extent += nodes[after].extent
        unlink(nodes, after)
        drop_node(state, after)
        ledger[MERGES] += 1
    if nodes[before].free == 1 and nodes[before].list == k:
        remove(state, before)
        nodes[before].extent += nodes[x].extent
        unlink(nodes, x)
        drop_node(state, x)
        ledger[MERGES] += 1
        x = before
    insert(state, x, k)
    return x


def release(state, handle, k):
    """Free the block of this handle to list k; return the free block that it is then in."""
    x = np.int64(state.node_of[handle])
    state.ledger[ALLOCATED] -= state.nodes[x].extent
    return put(state, x, k)


@out_of_line
def absorb(state, k, other):
    """Move all blocks of list ``other`` to list k, where they join their free neighbours."""
    while state.counts[other] != 0:
        x = largest_block(state, other)
        remove(state, x)
        put(state, x, k)


@out_of_line
def new_region(state, extent):
    """Return a new block that is a region of ``extent`` bytes, in no list, at the next multiple of 2 MiB."""
    x = new_node(state, state.pool[NEXT_ADDRESS], extent)
    link(state.nodes, x, 0, 0)
    state.pool[NEXT_ADDRESS] = align_up(state.pool[NEXT_ADDRESS] + extent, GRANULE)
    state.ledger[RESERVED] += extent
    state.ledger[RESERVE_CALLS] += 1
    return x


def expect(state, handle):
    """Prefetch the node of a block that will be freed some events from now."""
    prefetch(state.nodes, state.node_of[handle])


def expect_soon(state, handle):
    """Prefetch the neighbours of a block that will be freed after the next few events."""
    x = state.node_of[handle]
    prefetch(state.nodes, state.nodes[x].prev)
    prefetch(state.nodes, state.nodes[x].next)
