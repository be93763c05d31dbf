"""Holes by size class: a doubly linked list for each class, last in, first out, under a bitmap. All in constant time.

Every power of two is cut into 2^sl classes of equal width; below 2^small bytes all classes have the width that they have
there. What is classed is what a hole can hold: its size less one header. Class 0 has what is too small for any request.

    sl = 2, small = 4:   0  4  8  12  16  20  24  28  32      40      48      56      64 ...

A search begins at the first class whose holes are all large enough, and takes the head of the first list that is not
empty: no hole is looked at that does not fit. Holes of 2^fl bytes and above share the last list.
"""

import sys
from typing import NamedTuple

import numpy as np

from memtrace.engine.request import NOWHERE
from memtrace.structures.bits import align_up, highest_set, lowest_set
from memtrace.structures.calls import apart
from memtrace.structures.census import new_sizes, note
from memtrace.structures.heap import FRESH, append, change_hole_apart, open_heap, place, reserve
from memtrace.structures.ledger import RESERVED, new_ledger
from memtrace.structures.rules import Rules, growth, heap_rules
from memtrace.structures.size_bins import above, granule

WORDS = 64
SUMMARY = WORDS  # in words, behind the bitmap: which of its words are not 0

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
                ("ahead", "u4"),  # next in the class's list
                ("behind", "u4"),  # previous in it; 0 for the head
            ],
            align=True,
        ),
    )
)


class Classes(NamedTuple):
    """How sizes are classed; ``sl``, ``small``, ``step`` and ``granule`` are log2."""

    sl: int
    small: int
    step: int  # width of the classes below 2^small
    last: int
    granule: int  # every hole's address is a multiple of 2^granule
    whole: bool  # blocks are as large as their class's least size


class State(NamedTuple):
    nodes: np.ndarray
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray
    heads: np.ndarray  # heads[class]: the hole freed last; 0 if there is none
    words: np.ndarray
    sizes: np.ndarray  # see census
    ledger: np.ndarray
    rules: Rules
    classes: Classes


def new_state(capacity, max_live, sl, small, fl, whole, **options):
    """An empty heap; ``sl``, ``small`` and ``fl`` are log2."""
    rules = heap_rules(capacity, **options)
    classes = Classes(sl, small, small - sl, 0, int(granule(rules, options.get("base", 0))), whole)
    classes = classes._replace(last=int(class_of(classes, np.int64((1 << fl) - 1))))
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    state = State(
        np.zeros(2 * max_live + 8, NODE).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.zeros(WORDS * 64, np.uint32),
        np.zeros(WORDS + 1, np.int64),
        new_sizes(2 * max_live + 8),
        new_ledger(rules.floor),
        rules,
        classes,
    )
    open_heap(state, options.get("initial", 0), sys.modules[__name__])
    return state


def octave(classes, size):
    """How many powers of two ``size`` lies above 2^small; 0 below it. The classes there are 2^(step + octave) wide."""
    return max(highest_set(size | 1) - classes.small, 0)


def class_of(classes, size):
    e = octave(classes, size)
    return (e << classes.sl) + (size >> (classes.step + e))


def rounded(classes, size):
    """The least size of the first class that has none below ``size``."""
    mask = (1 << (classes.step + octave(classes, size))) - 1
    return (size + mask) & ~mask


def hole_class(state, size):
    usable = max(size - state.rules.header, 0)
    return np.uint64(min(class_of(state.classes, usable), state.classes.last))


def wanted_hole(state, size, align):
    """The least hole in which a search for a block of ``size`` is sure to find room at the alignment: a class's least."""
    classes, header = state.classes, state.rules.header
    slack = max(align - (1 << classes.granule), 0)
    return rounded(classes, max(size + slack - header, 1)) + header


def find(state, wanted):
    """The head of the first list from that of ``wanted`` on that is not empty; 0 if there is none."""
    c = class_of(state.classes, wanted - state.rules.header)
    if c > state.classes.last:
        return np.int64(0)
    words = state.words
    i = c >> 6
    word = words[np.uint64(i)] & (-1 << (c & 63))
    if word == 0:
        word = above(words[SUMMARY], i)
        if word == 0:
            return np.int64(0)
        i = lowest_set(word)
        word = words[np.uint64(i)]
    return np.int64(state.heads[np.uint64((i << 6) + lowest_set(word))])


@apart
def grow(state, size, wanted, align, handle, index):
    """Lengthen the free tail of the heap until a search would find it, and put the block there."""
    nodes, ledger, classes = state.nodes, state.ledger, state.classes
    top, tail = ledger[RESERVED], nodes[0].prev
    start = nodes[tail].addr if nodes[tail].free == 1 else top
    more = growth(state.rules, top, start + wanted - top, size)
    if more == 0 or class_of(classes, wanted - state.rules.header) > classes.last:
        return NOWHERE
    reserve(state, more)
    if nodes[tail].free == 1:
        change_hole_apart(state, tail, start, nodes[tail].extent + more, index)
    else:
        tail = append(state, top, more, index)
    return place(state, tail, align_up(start, align), size, handle, index)


def insert(state, x):
    push(state, x)
    note(state, x, state.nodes[x].extent)


def remove(state, x):
    take_out(state, x)
    note(state, x, 0)


def move(state, x, address, size):
    """A hole that changes becomes the head of its class, whether or not it was in it."""
    take_out(state, x)
    state.nodes[x].addr = address
    state.nodes[x].extent = size
    push(state, x)
    note(state, x, size)


def push(state, x):
    nodes, heads = state.nodes, state.heads
    c = hole_class(state, nodes[x].extent)
    head = heads[c]
    nodes[x].ahead = head
    nodes[x].behind = 0
    nodes[head].behind = x
    heads[c] = x
    if head == 0:
        mark(state.words, np.int64(c))


def take_out(state, x):
    nodes = state.nodes
    ahead, behind = nodes[x].ahead, nodes[x].behind
    nodes[ahead].behind = behind
    if behind != 0:
        nodes[behind].ahead = ahead
    else:
        c = hole_class(state, nodes[x].extent)
        state.heads[c] = ahead
        if ahead == 0:
            unmark(state.words, np.int64(c))


def mark(words, c):
    i = c >> 6
    words[i] |= 1 << (c & 63)
    words[SUMMARY] |= 1 << i


def unmark(words, c):
    i = c >> 6
    word = words[i] & ~(1 << (c & 63))
    words[i] = word
    if word == 0:
        words[SUMMARY] &= ~(1 << i)
