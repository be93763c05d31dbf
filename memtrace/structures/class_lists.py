"""Index of a heap's holes by size class: one list of holes per class, last in, first out, and a bitmap of the nonempty lists.

Each list is doubly linked, so all operations take constant time. Every power of two is cut into 2^sl classes of equal width;
below 2^small bytes all classes have the width of those just above 2^small. A hole is classed by what it can hold: its size
less one header. Class 0 contains the holes that are too small for any request.

    sl = 2, small = 4:   0  4  8  12  16  20  24  28  32      40      48      56      64 ...

A search begins at the first class whose holes are all large enough, and takes the head of the first list that is not empty,
so it never looks at a hole that does not fit. Holes of 2^fl bytes and above share the last list.
"""

import sys
from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import align_up, highest_set, lowest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.largest import begin_search, end_search, follow, follow_largest, largest_kept, offer
from memtrace.contract.ledger import HOLES, RESERVED, new_ledger
from memtrace.contract.request import NOWHERE
from memtrace.structures.heap import FRESH, add_initial_hole, append, change_hole_out_of_line, place, reserve
from memtrace.structures.rules import Rules, growth, heap_rules
from memtrace.structures.size_bins import bits_above, granule

WORDS = 64  # words of the bitmap; it has a bit per class
SUMMARY = WORDS  # index of the word behind the bitmap, whose bit i is set while word i of the bitmap is not 0

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
                ("ahead", "u4"),  # next hole in the class's list; 0 for the last
                ("behind", "u4"),  # previous hole in the class's list; 0 for the head
            ],
            align=True,
        ),
    )
)


class Classes(NamedTuple):
    """Parameters of the size classes; ``sl``, ``small``, ``step`` and ``granule`` are log2."""

    sl: int  # log2 of the number of classes per power of two
    small: int  # log2 of the bytes below which all classes have one width
    step: int  # log2 of the bytes of that width
    last: int  # number of the last class
    granule: int  # every hole's address is a multiple of 2^granule bytes
    whole: bool  # True: a request is rounded up to the least size of a class


class State(NamedTuple):
    """State of a heap whose holes are indexed by size class; the state of half fit and TLSF."""

    nodes: np.ndarray  # nodes[node]: a NODE record of a block or hole; node 0 closes the heap's list
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # first fresh node and first spare node: see heap.FRESH and heap.SPARE
    heads: np.ndarray  # heads[class]: head of the class's list, the hole that entered it last; 0 if the list is empty
    words: np.ndarray  # bitmap of the classes whose list is not empty, and the SUMMARY word behind it
    ledger: np.ndarray  # see ledger
    rules: Rules
    classes: Classes


def new_state(capacity, max_live, sl, small, fl, whole, **options):
    """Return the state of a heap that is empty but for its initial hole.

    ``max_live`` is the largest number of blocks alive at once, ``sl``, ``small`` and ``whole`` are fields of ``Classes``,
    ``fl`` is log2 of the bytes from which on all holes share the last class, and ``options`` are those of ``heap_rules``.
    """
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
        new_ledger(rules.floor),
        rules,
        classes,
    )
    follow_largest(state.ledger)
    add_initial_hole(state, options.get("initial", 0), sys.modules[__name__])
    return state


def octave(classes, size):
    """Return the k for which 2^(small + k) is the largest power of two up to ``size`` bytes; 0 for sizes below 2^small.

    The classes of octave k are 2^(step + k) bytes wide.
    """
    return max(highest_set(size | 1) - classes.small, 0)


def class_of(classes, size):
    """Return the number of the class that contains ``size``, the bytes of a hole less one header."""
    e = octave(classes, size)
    return (e << classes.sl) + (size >> (classes.step + e))


def least_of(classes, number):
    """Return the least size of class ``number``, in bytes."""
    e = max((number >> classes.sl) - 1, 0)
    return (number - (e << classes.sl)) << (classes.step + e)


def rounded(classes, size):
    """Return the least size of the first class that contains no size below ``size``, in bytes."""
    mask = (1 << (classes.step + octave(classes, size))) - 1
    return (size + mask) & ~mask


def hole_class(state, size):
    """Return the class of a hole of ``size`` bytes, at most the last class, as an unsigned index."""
    usable = max(size - state.rules.header, 0)
    return np.uint64(min(class_of(state.classes, usable), state.classes.last))


def wanted_hole(state, size, align):
    """Return the bytes of the smallest hole with which a search for a block of ``size`` bytes at alignment ``align`` begins.

    The result is the least size of a class, plus a header. Every hole of that class or above has room for the aligned block:
    hole addresses are multiples of 2^granule, so the alignment costs at most align - 2^granule bytes. The result is one too, or
    a heap that grows by it would not end at one.
    """
    classes, header = state.classes, state.rules.header
    slack = max(align - (1 << classes.granule), 0)
    return align_up(rounded(classes, max(size + slack - header, 1)) + header, 1 << classes.granule)


def find(state, wanted):
    """Return the head of the first nonempty list, from the class of ``wanted`` on, as a node; 0 if there is none.

    ``wanted`` is a result of ``wanted_hole``, in bytes, so every hole of these classes is large enough.
    """
    c = class_of(state.classes, wanted - state.rules.header)
    if c > state.classes.last:
        return np.int64(0)
    words = state.words
    i = c >> 6
    word = words[np.uint64(i)] & (np.int64(-1) << (c & 63))
    if word == 0:
        word = bits_above(words[SUMMARY], i)
        if word == 0:
            return np.int64(0)
        i = lowest_set(word)
        word = words[np.uint64(i)]
    return np.int64(state.heads[np.uint64((i << 6) + lowest_set(word))])


@out_of_line
def grow(state, size, wanted, align, handle, index):
    """Extend the free tail of the heap until a search for ``wanted`` bytes would find it, and place the block ``handle`` there.

    The block has ``size`` bytes and the alignment ``align``; ``index`` is the index module. Returns the address, or NOWHERE
    if the heap cannot grow that far or no class has holes of ``wanted`` bytes.
    """
    nodes, ledger, classes = state.nodes, state.ledger, state.classes
    top, tail = ledger[RESERVED], nodes[0].prev
    start = nodes[tail].addr if nodes[tail].free == 1 else top
    more = growth(state.rules, top, start + wanted - top, size)
    if more == 0 or class_of(classes, wanted - state.rules.header) > classes.last:
        return NOWHERE
    reserve(state, more)
    if nodes[tail].free == 1:
        change_hole_out_of_line(state, tail, start, nodes[tail].extent + more, index)
    else:
        tail = append(state, top, more, index)
    return place(state, tail, align_up(start, align), size, handle, index)


def insert(state, x):
    """Insert node x, a new hole, into the index."""
    push(state, x)


def remove(state, x):
    """Remove hole x from the index."""
    take_out(state, x)


def move(state, x, address, size):
    """Change hole x to ``address`` and ``size`` bytes; make it the head of its class's list, even if the class is the same."""
    take_out(state, x)
    state.nodes[x].addr = address
    state.nodes[x].extent = size
    push(state, x)


def push(state, x):
    """Make hole x the head of the list of its class, and mark the class as nonempty."""
    nodes, heads = state.nodes, state.heads
    follow(state.ledger, nodes[x].extent, 1)
    c = hole_class(state, nodes[x].extent)
    head = heads[c]
    nodes[x].ahead = head
    nodes[x].behind = 0
    nodes[head].behind = x
    heads[c] = x
    if head == 0:
        mark(state.words, np.int64(c))


def take_out(state, x):
    """Unlink hole x from the list of its class, and mark the class as empty if x was its only hole."""
    nodes = state.nodes
    follow(state.ledger, nodes[x].extent, -1)
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
    """Set bit ``c`` of the bitmap ``words``, and the summary bit of its word."""
    i = c >> 6
    words[i] |= np.int64(1) << (c & 63)
    words[SUMMARY] |= 1 << i


def unmark(words, c):
    """Clear bit ``c`` of the bitmap ``words``, and the summary bit of its word if the word becomes 0."""
    i = c >> 6
    word = words[i] & ~(np.int64(1) << (c & 63))
    words[i] = word
    if word == 0:
        words[SUMMARY] &= ~(1 << i)


@out_of_line
def largest_hole(state):
    """Return the bytes of the largest hole; 0 if there is none. If it is not known, the last list is searched."""
    ledger = state.ledger
    most = largest_kept(ledger)
    if most > 0 or ledger[HOLES] == 0:
        return most
    nodes, words = state.nodes, state.words
    i = highest_set(words[SUMMARY])
    last = (i << 6) + highest_set(words[i])
    x = np.int64(state.heads[last])
    begin_search(ledger)
    while x != 0:
        offer(ledger, nodes[x].extent)
        x = np.int64(nodes[x].ahead)
    return end_search(ledger, least_of(state.classes, last) + state.rules.header if last > 0 else 1)
