"""Quick fit: a list of free blocks for each small size, first fit for the rest. Listed blocks coalesce only when needed.

A freed block of at most `quick` bytes goes to the list of its exact size, unjoined; a request takes the block of its size
that was freed last, if there is one (and if it is aligned as asked: only the first is looked at). Everything else is
first fit: the lowest hole, at its low end, what is larger joins its neighbours when it is freed.

    quick list 32:  -> 480 -> 96 -> 1024        first fit:  |AA|......|B|32|32|CCC|....

The lists are emptied, every block in them joined with its neighbours, when first fit finds no hole
(`coalesce=growth`: before the heap grows; `coalesce=failure`: only when it cannot grow), and by a trim event,
before it gives memory back. A block in a list is a hole of its own, though its neighbour may be one too. The tail that a
realloc cuts off goes to first fit's holes at once.

Cost: constant from a list; else O(log n) in first fit's holes; emptying the lists costs as much as the frees that it
makes up for.
Source: Weinstock and Wulf 1988, "Quick Fit: an efficient algorithm for heap storage allocation"; Standish 1980, "Data
Structure Techniques", 6.2.
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import highest_set, lowest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, COUNT_INSPECTED, HOLE_TAKEN, HOLES, INSPECTED, close_hole, open_hole
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import expect_soon, first_fit, holes_below
from memtrace.structures.class_lists import SUMMARY, WORDS, mark, unmark
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import FRESH, expect, release_out_of_line, request_block_size, tail_address, take_or_grow
from memtrace.structures.rules import Rules, alignment

ORDER = 10
COALESCES = True
DEFERRED = True
COUNTERS = ("listed_bytes", "emptyings")

LARGEST_QUICK = 64 * WORDS  # bytes: upper bound of the option `quick`
# places in State.listed: blocks in lists; their bytes; how often the lists were emptied
COUNT, BYTES, EMPTYINGS = 0, 1, 2
NEW_NODES = 4  # upper bound on the nodes that one request makes


class State(NamedTuple):
    """The fields of an `address_tree` heap, and the quick lists."""

    nodes: np.ndarray  # this field and those down to ``rules`` are as in address_tree.State
    node_of: np.ndarray
    pool: np.ndarray
    roots: np.ndarray
    most: np.ndarray
    counts: np.ndarray
    shape: np.ndarray
    rover: np.ndarray
    ledger: np.ndarray
    rules: Rules
    heads: np.ndarray  # heads[size - 1]: node of the block of that size freed last, or 0; its `left` is the one freed before it
    words: np.ndarray  # bitmap: bit size - 1 is set while the list of that size is not empty
    listed: np.ndarray  # COUNT, BYTES, EMPTYINGS
    quick: int  # bytes: blocks up to this size have lists
    patient: bool  # the lists are emptied only when the heap cannot grow


def init(capacity, max_live, quick=512, coalesce: Literal["growth", "failure"] = "growth", **options):
    if not 0 <= quick <= LARGEST_QUICK:
        raise ValueError(f"quick={quick} is not from 0 to {LARGEST_QUICK}")
    lists = (np.zeros(LARGEST_QUICK, np.uint32), np.zeros(WORDS + 1, np.int64), np.zeros(3, np.int64))
    return State(*(*address_tree.init(capacity, max_live, **options), *lists, quick, coalesce == "failure"))


def enlarge(state):
    """Return a state with room for twice as many nodes: blocks, whether listed or not, and holes."""
    nodes = np.zeros(2 * state.nodes.size, address_tree.NODE).view(np.recarray)
    nodes[: state.nodes.size] = state.nodes
    return state._replace(nodes=nodes)


def is_full(state):
    """Return whether there may be too few unused nodes for one request."""
    return state.pool[FRESH] + NEW_NODES > state.nodes.size


def alloc(state, request):
    """Give the request the block freed last of its exact size, or place it by first fit; return its address in bytes.

    If first fit finds no hole, the quick lists are emptied or the heap grows. Return NOTHING if a request of 0 bytes gets
    no block (`zero=null`), ENLARGE if there are too few nodes, NOWHERE if the capacity does not allow it.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    if size <= state.quick:
        x = np.int64(state.heads[size - 1])
        if x != 0 and state.nodes[x].addr & (align - 1) == 0:
            state.ledger[INSPECTED] = 1
            state.ledger[HOLE_TAKEN] = size
            take_listed(state, x, size)
            state.node_of[request.block] = x
            return state.nodes[x].addr
    if is_full(state):
        return ENLARGE
    x = search(state, size, align)
    if x == 0 and state.listed[COUNT] > 0:
        return empty_and_search(state, size, align, request)
    return take_or_grow(state, x, size, align, request, address_tree)


def search(state, size, align):
    """Return the lowest hole outside the lists in which ``size`` bytes fit at the alignment; 0 if none fits.

    The holes inspected are added to the ledger's count.
    """
    x = first_fit(state, 0, size, align)
    if state.ledger[COUNT_INSPECTED] != 0:
        holes = state.ledger[HOLES] - state.listed[COUNT]
        state.ledger[INSPECTED] += holes_below(state, x) + 1 if x != 0 else holes
    return x


@out_of_line
def empty_and_search(state, size, align, request):
    """Serve a request for which first fit found no hole: empty the quick lists and search again, or grow; return the address.

    With `coalesce=failure` the heap grows first, and the lists are emptied only if it cannot. Return NOWHERE if the
    capacity does not allow it.
    """
    if state.patient:
        address = heap.grow(state, tail_address(state, align), size, request.block, address_tree)
        if address != NOWHERE:
            return address
    empty_lists(state)
    return take_or_grow(state, search(state, size, align), size, align, request, address_tree)


def take_listed(state, x, size):
    """Remove block x, of ``size`` bytes, from the head of its quick list, and count it as allocated."""
    before = state.nodes[x].left
    state.heads[size - 1] = before
    if before == 0:
        unmark(state.words, np.int64(size) - 1)
    state.listed[COUNT] -= 1
    state.listed[BYTES] -= size
    state.ledger[ALLOCATED] += size
    close_hole(state.ledger, size)


@out_of_line
def empty_lists(state):
    """Empty all quick lists: each listed block becomes a hole that coalesces with its neighbours.

    The lists go from the smallest size up, each from the block freed last.
    """
    words = state.words
    state.listed[EMPTYINGS] += 1
    while words[SUMMARY] != 0:
        i = lowest_set(words[SUMMARY])
        size = (i << 6) + lowest_set(words[i]) + 1
        x = np.int64(state.heads[size - 1])
        take_listed(state, x, size)
        release_out_of_line(state, x, address_tree)


def free(state, request, address):
    """Free the block with the handle ``request.block``: a small one joins the quick list of its size, unmerged.

    A block of more than `quick` bytes coalesces with its neighbours at once. ``address`` is not used.
    """
    x = np.int64(state.node_of[request.block])
    size = state.nodes[x].extent
    if size > state.quick:
        heap.free_block(state, request.block, address_tree)
        return
    before = state.heads[size - 1]
    state.nodes[x].left = before
    state.heads[size - 1] = x
    if before == 0:
        mark(state.words, np.int64(size) - 1)
    state.listed[COUNT] += 1
    state.listed[BYTES] += size
    state.ledger[ALLOCATED] -= size
    open_hole(state.ledger, size)


def resize(state, request, address, old_size):
    """Resize a block in place: return ``address``, or NOWHERE if the block has to move, or ENLARGE if there are too few nodes.

    A tail that is cut off becomes a hole at once, whatever its size. ``old_size`` is not used.
    """
    if is_full(state):
        return ENLARGE
    return heap.resize_block(state, request, address, address_tree)


def trim(state):
    """Empty the quick lists, then give the free tail of the heap back, in whole chunks above what it reserved at the start."""
    if state.listed[COUNT] > 0:
        empty_lists(state)
    heap.trim_top(state, address_tree)


def largest_hole(state):
    """Return the size in bytes of the largest hole, or of the largest block in a quick list if that is larger."""
    summary = state.words[SUMMARY]
    if summary == 0:
        return address_tree.largest_hole(state)
    i = highest_set(summary)
    return max((i << 6) + highest_set(state.words[i]) + 1, address_tree.largest_hole(state))


def write_counters(state, row):
    """Write the bytes in quick lists, and how often the lists were emptied, into ``row``."""
    row[0] = state.listed[BYTES]
    row[1] = state.listed[EMPTYINGS]
