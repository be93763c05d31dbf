"""Holes by size: one bin per size under a bitmap, an address-ordered pairing heap in each bin.

Sizes are counted in granules, the largest power of two that divides all that the options add up. Bins are exact below
2^23 granules; above, a bin holds the sizes that agree in their 18 leading bits, so a heap is ordered by size, then
address, everywhere. The bitmap is a 64-ary tree of words: four loads find the next bin that is not empty.

Pairing heaps: Fredman, Sedgewick, Sleator and Tarjan 1986, "The pairing heap: a new form of self-adjusting heap".
"""

import sys
from typing import NamedTuple

import numpy as np

from memtrace.structures.bits import highest_set, lowest_set
from memtrace.structures.calls import apart
from memtrace.structures.heap import FRESH, fits, open_heap
from memtrace.structures.ledger import new_ledger
from memtrace.structures.rules import Rules, heap_rules

EXACT = 1 << 23  # granules
MANTISSA = 17  # bits below the leading one that tell larger sizes apart
BINS = 1 << 24
LEVEL_1 = BINS >> 6  # where each level of the bitmap starts in the words
LEVEL_2 = LEVEL_1 + (BINS >> 12)
LEVEL_3 = LEVEL_2 + (BINS >> 18)

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),
                ("extent", "i8"),
                ("prev", "u4"),
                ("next", "u4"),
                ("free", "u4"),
                ("child", "u4"),  # first child in the pairing heap
                ("side", "u4"),  # next sibling
                ("back", "u4"),  # previous sibling, or the parent of a first child
            ],
            align=True,
        ),
    )
)


class State(NamedTuple):
    nodes: np.ndarray
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray
    heads: np.ndarray  # heads[bin]: root of its heap, or 0
    words: np.ndarray  # the bitmap's four levels
    ledger: np.ndarray
    rules: Rules
    granule: int  # log2


def init(capacity, max_live, **options):
    rules = heap_rules(capacity, **options)
    nodes = np.zeros(2 * max_live + 8, NODE).view(np.recarray)
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    state = State(
        nodes,
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.zeros(BINS, np.uint32),
        np.zeros(LEVEL_3 + 1, np.int64),
        new_ledger(rules.floor),
        rules,
        granule(rules, options.get("base", 0)),
    )
    open_heap(state, options.get("initial", 0), sys.modules[__name__])
    return state


def granule(rules, base):
    """log2 of the largest power of two that divides every block and every growth."""
    return lowest_set(rules.align | rules.min_block | base | rules.floor | (rules.chunk if rules.chunk > 1 else 0))


def bin_of(state, size):
    granules = size >> state.granule
    if granules < EXACT:
        return granules
    magnitude = highest_set(granules)
    return EXACT + ((magnitude - 24) << MANTISSA) + (granules >> (magnitude - MANTISSA))


def before(nodes, a, b):
    if nodes[a].extent != nodes[b].extent:
        return nodes[a].extent < nodes[b].extent
    return nodes[a].addr < nodes[b].addr


def meld(nodes, a, b):
    """Join two heaps; the lesser root is returned."""
    if a == 0:
        return b
    if b == 0:
        return a
    if before(nodes, b, a):
        a, b = b, a
    child = nodes[a].child
    nodes[b].side = child
    nodes[b].back = a
    nodes[child].back = b
    nodes[a].child = b
    return a


@apart
def combine(nodes, child):
    """Make one heap of a root's children, in two passes: pairs from the left, then all from the right."""
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
    remove(state, x)
    state.nodes[x].addr = address
    state.nodes[x].extent = size
    insert(state, x)


def mark(words, b):
    i = b >> 6
    word = words[i]
    words[i] = word | (1 << (b & 63))
    if word == 0:
        j = i >> 6
        word = words[LEVEL_1 + j]
        words[LEVEL_1 + j] = word | (1 << (i & 63))
        if word == 0:
            k = j >> 6
            words[LEVEL_2 + k] |= 1 << (j & 63)
            words[LEVEL_3] |= 1 << (k & 63)


def unmark(words, b):
    i = b >> 6
    word = words[i] & ~(1 << (b & 63))
    words[i] = word
    if word == 0:
        j = i >> 6
        word = words[LEVEL_1 + j] & ~(1 << (i & 63))
        words[LEVEL_1 + j] = word
        if word == 0:
            k = j >> 6
            word = words[LEVEL_2 + k] & ~(1 << (j & 63))
            words[LEVEL_2 + k] = word
            if word == 0:
                words[LEVEL_3] &= ~(1 << (k & 63))


def above(word, bit):
    """The bits of a word that stand above ``bit``."""
    return word & (-2 << bit)


def next_bin(words, b):
    """The first bin from b on that is not empty; -1 if there is none."""
    i = b >> 6
    word = words[i] & (-1 << (b & 63))
    if word == 0:
        j = i >> 6
        word = above(words[LEVEL_1 + j], i & 63)
        if word == 0:
            k = j >> 6
            word = above(words[LEVEL_2 + k], j & 63)
            if word == 0:
                word = above(words[LEVEL_3], k & 63)
                if word == 0:
                    return -1
                k = lowest_set(word)
                word = words[LEVEL_2 + k]
            j = (k << 6) + lowest_set(word)
            word = words[LEVEL_1 + j]
        i = (j << 6) + lowest_set(word)
        word = words[i]
    return (i << 6) + lowest_set(word)


def best(state, size, align):
    """The smallest hole that holds ``size`` at the alignment, the lowest of equals; 0 if there is none."""
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


@apart
def best_in_heap(nodes, root, size, align):
    """Look at every hole of a bin whose least does not fit: it is aligned badly, or the bin is wider than a size."""
    found = np.int64(0)
    x = following(nodes, root)
    while x != 0:
        if fits(nodes[x], size, align) and (found == 0 or before(nodes, x, found)):
            found = x
        x = following(nodes, x)
    return found


def following(nodes, x):
    """The node after x in preorder: its first child, its sibling, or the nearest sibling of an ancestor; 0 at the end."""
    if nodes[x].child != 0:
        return nodes[x].child
    while x != 0 and nodes[x].side == 0:
        while nodes[x].back != 0 and nodes[nodes[x].back].child != x:
            x = nodes[x].back
        x = nodes[x].back
    return nodes[x].side if x != 0 else 0


@apart
def largest_hole(state):
    word = state.words[LEVEL_3]
    if word == 0:
        return 0
    k = highest_set(word)
    j = (k << 6) + highest_set(state.words[LEVEL_2 + k])
    i = (j << 6) + highest_set(state.words[LEVEL_1 + j])
    x = np.int64(state.heads[(i << 6) + highest_set(state.words[i])])
    most = 0
    while x != 0:
        most = max(most, state.nodes[x].extent)
        x = following(state.nodes, x)
    return most
