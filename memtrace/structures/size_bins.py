"""Index of a heap's holes by size: a bin per size, a bitmap of the nonempty bins, and in each bin a pairing heap.

Sizes are counted in granules; a granule is the largest power of two that divides every size that the options make possible.
Below 2^16 granules each bin has the holes of one size; above, a bin has the sizes that agree in their 13 leading bits. The
pairing heaps are ordered by size, then address, so best fit is exact in all bins. The bitmap is a 64-ary tree of words: three
loads find the next bin that is not empty.

Pairing heaps: Fredman, Sedgewick, Sleator and Tarjan 1986, "The pairing heap: a new form of self-adjusting heap".
"""

import sys
from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import highest_set, lowest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import new_ledger
from memtrace.structures.heap import FRESH, add_initial_hole, fits
from memtrace.structures.rules import Rules, heap_rules

LOG_EXACT = 16
EXACT = 1 << LOG_EXACT  # granules from which on a bin has more than one size
MANTISSA = 12  # bits below the leading bit that are significant for the bin of such a size
BINS = 1 << 18  # number of bins, and bits of the bitmap's level 0; EXACT + (62 - LOG_EXACT) * 2^MANTISSA are in use
LEVEL_1 = BINS >> 6  # index in words at which level 1 of the bitmap starts; level 0 starts at 0
LEVEL_2 = LEVEL_1 + (BINS >> 12)  # index of the one word of level 2, whose bit k is set while word k of level 1 is not 0

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),  # address of the block or hole
                ("extent", "i8"),  # its bytes
                ("prev", "u4"),  # neighbours in the heap's list by address
                ("next", "u4"),
                ("free", "u4"),  # 1: a hole; 0: a block
                ("child", "u4"),  # first child in the pairing heap; 0: none
                ("side", "u4"),  # next sibling; 0: none
                ("back", "u4"),  # previous sibling, or the parent of a first child; 0 for the root
            ],
            align=True,
        ),
    )
)


class State(NamedTuple):
    """State of a heap whose holes are indexed by size; the state of best fit."""

    nodes: np.ndarray  # nodes[node]: a NODE record of a block or hole; node 0 closes the heap's list
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # first node never used and first spare node: see heap.FRESH and heap.SPARE
    heads: np.ndarray  # heads[bin]: root node of the bin's pairing heap; 0 if the bin is empty
    words: np.ndarray  # the three levels of the bitmap
    ledger: np.ndarray  # see ledger
    rules: Rules
    granule: int  # log2 of the bytes of a granule


def init(capacity, max_live, **options):
    """Return the state of a heap that is empty but for its initial hole.

    ``capacity`` is in bytes, ``max_live`` is the largest number of blocks alive at once, and ``options`` are those of
    ``heap_rules``. Raises ValueError if an option is invalid.
    """
    rules = heap_rules(capacity, **options)
    nodes = np.zeros(2 * max_live + 8, NODE).view(np.recarray)
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    state = State(
        nodes,
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.zeros(BINS, np.uint32),
        np.zeros(LEVEL_2 + 1, np.int64),
        new_ledger(rules.floor),
        rules,
        granule(rules, options.get("base", 0)),
    )
    add_initial_hole(state, options.get("initial", 0), sys.modules[__name__])
    return state


def granule(rules, base):
    """Return log2 of the largest power of two that divides every block and every growth; ``base`` is the heap's first address."""
    return lowest_set(rules.align | rules.min_block | base | rules.floor | (rules.chunk if rules.chunk > 1 else 0))


def bin_of(state, size):
    """Return the bin for holes of ``size`` bytes."""
    granules = size >> state.granule
    if granules < EXACT:
        return granules
    magnitude = highest_set(granules)
    return EXACT + ((magnitude - LOG_EXACT - 1) << MANTISSA) + (granules >> (magnitude - MANTISSA))


def precedes(nodes, a, b):
    """Return whether hole a is smaller than hole b, or equally large and lower."""
    if nodes[a].extent != nodes[b].extent:
        return nodes[a].extent < nodes[b].extent
    return nodes[a].addr < nodes[b].addr


def meld(nodes, a, b):
    """Join the pairing heaps with the roots a and b (0: an empty heap); return the root that comes first."""
    if a == 0:
        return b
    if b == 0:
        return a
    if precedes(nodes, b, a):
        a, b = b, a
    child = nodes[a].child
    nodes[b].side = child
    nodes[b].back = a
    nodes[child].back = b
    nodes[a].child = b
    return a


@out_of_line
def combine(nodes, child):
    """Join the children of a root into one pairing heap, and return its root; ``child`` is the first of them.

    There are two passes: the children are joined in pairs from the left, then all pairs from the right.
    """
    pairs = np.int64(0)
    while child != 0:
        other = nodes[child].side
        if other == 0:
            nodes[child].side = pairs
            pairs = child
            break
        rest = nodes[other].side
        nodes[child].side = 0
        nodes[other].side = 0
        joined = meld(nodes, child, other)
        nodes[joined].side = pairs
        pairs = joined
        child = rest
    root = pairs
    pairs = nodes[root].side
    nodes[root].side = 0
    while pairs != 0:
        rest = nodes[pairs].side
        nodes[pairs].side = 0
        root = meld(nodes, root, pairs)
        pairs = rest
    nodes[root].back = 0
    nodes[root].side = 0
    return root


def insert(state, x):
    """Insert node x, a new hole, into the heap of its bin."""
    nodes, heads = state.nodes, state.heads
    nodes[x].child = 0
    nodes[x].side = 0
    nodes[x].back = 0
    b = bin_of(state, nodes[x].extent)
    root = np.int64(heads[b])
    if root == 0:
        heads[b] = x
        mark(state.words, b)
    else:
        heads[b] = meld(nodes, root, x)


def remove(state, x):
    """Remove hole x from its bin; its extent must still be that under which it was inserted."""
    nodes, heads = state.nodes, state.heads
    b = bin_of(state, nodes[x].extent)
    root, child = np.int64(heads[b]), nodes[x].child
    if root == x:
        if child != 0:
            heads[b] = combine(nodes, child)
        else:
            heads[b] = 0
            unmark(state.words, b)
        return
    back, side = nodes[x].back, nodes[x].side
    if nodes[back].child == x:
        nodes[back].child = side
    else:
        nodes[back].side = side
    nodes[side].back = back
    if child != 0:
        heads[b] = meld(nodes, root, combine(nodes, child))


def move(state, x, address, size):
    """Change hole x to ``address`` and ``size`` bytes, in its node and in the index."""
    remove(state, x)
    state.nodes[x].addr = address
    state.nodes[x].extent = size
    insert(state, x)


def mark(words, b):
    """Set the bit of bin ``b`` in the bitmap ``words``, and the bits above it."""
    i = b >> 6
    word = words[np.uint64(i)]
    words[np.uint64(i)] = word | (np.int64(1) << (b & 63))
    if word == 0:
        j = np.uint64(LEVEL_1 + (i >> 6))
        words[j] |= np.int64(1) << (i & 63)
        words[LEVEL_2] |= np.int64(1) << (i >> 6)


def unmark(words, b):
    """Clear the bit of bin ``b`` in the bitmap ``words``, and the bits of all words above it that become 0."""
    i = b >> 6
    word = words[np.uint64(i)] & ~(np.int64(1) << (b & 63))
    words[np.uint64(i)] = word
    if word == 0:
        j = np.uint64(LEVEL_1 + (i >> 6))
        word = words[j] & ~(np.int64(1) << (i & 63))
        words[j] = word
        if word == 0:
            words[LEVEL_2] &= ~(np.int64(1) << (i >> 6))


def bits_above(word, bit):
    """Return ``word`` with only those bits that are above bit ``bit``."""
    return word & (np.int64(-2) << bit)


def next_bin(words, b):
    """Return the first bin, from ``b`` on, that is not empty; -1 if there is none."""
    i = b >> 6
    word = words[np.uint64(i)] & (np.int64(-1) << (b & 63))
    if word == 0:
        j = i >> 6
        word = bits_above(words[np.uint64(LEVEL_1 + j)], i & 63)
        if word == 0:
            word = bits_above(words[LEVEL_2], j)
            if word == 0:
                return np.int64(-1)
            j = lowest_set(word)
            word = words[np.uint64(LEVEL_1 + j)]
        i = (j << 6) + lowest_set(word)
        word = words[np.uint64(i)]
    return (i << 6) + lowest_set(word)


def last_bin(words):
    """Return the last bin that is not empty; -1 if there is none."""
    word = words[LEVEL_2]
    if word == 0:
        return np.int64(-1)
    j = highest_set(word)
    i = (j << 6) + highest_set(words[LEVEL_1 + j])
    return (i << 6) + highest_set(words[i])


def best(state, size, align):
    """Return the smallest hole in which a block fits, the lowest of equal ones, as a node; 0 if there is none.

    The block has ``size`` bytes and the alignment ``align``, a power of two.
    """
    nodes = state.nodes
    b = next_bin(state.words, bin_of(state, size))
    while b >= 0:
        x = np.int64(state.heads[b])
        if not fits(nodes[x], size, align):
            x = best_in_heap(nodes, x, size, align)
        if x != 0:
            return x
        b = next_bin(state.words, b + 1)
    return 0


@out_of_line
def best_in_heap(nodes, root, size, align):
    """Return the smallest hole of a bin in which a block fits, the lowest of equal ones; 0 if there is none.

    ``root`` is the root of the bin's heap, in which the block does not fit: its address is misaligned, or the bin has several
    sizes and the root's is too small. The holes below one that fits come after it, so they are passed over.
    """
    found = np.int64(0)
    x = following(nodes, root)
    while x != 0:
        if not fits(nodes[x], size, align):
            x = following(nodes, x)
            continue
        if found == 0 or precedes(nodes, x, found):
            found = x
        x = beside(nodes, x)
    return found


def following(nodes, x):
    """Return the node after x in preorder: its first child, else what is ``beside`` it; 0 if there is none."""
    child = np.int64(nodes[x].child)
    return child if child != 0 else beside(nodes, x)


def beside(nodes, x):
    """Return the node after x and all below it in preorder: its sibling, or the nearest sibling of an ancestor; 0: none."""
    while x != 0 and nodes[x].side == 0:
        while nodes[x].back != 0 and nodes[nodes[x].back].child != x:
            x = np.int64(nodes[x].back)
        x = np.int64(nodes[x].back)
    return np.int64(nodes[x].side) if x != 0 else np.int64(0)


@out_of_line
def largest_hole(state):
    """Return the bytes of the largest hole; 0 if there is none. All holes of the last nonempty bin are looked at."""
    b = last_bin(state.words)
    if b < 0:
        return np.int64(0)
    x = np.int64(state.heads[b])
    most = np.int64(0)
    while x != 0:
        most = max(most, state.nodes[x].extent)
        x = following(state.nodes, x)
    return most
