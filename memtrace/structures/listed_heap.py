"""A heap whose free list has an order of its own, and whose freed blocks join their neighbours or stay as they are.

The list is searched for its first hole that is large enough, its smallest, or its largest; of equals the first in the list. All
holes are in one treap in the order of the list (``ordered_holes``). A block lies at the low or the high end of its hole. What is
left of a hole keeps the hole's place in the list; so does a hole before a freed block, which takes the block in.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    HOLE_TAKEN,
    HOLES,
    INSPECTED,
    RESERVED,
    SPLITS,
    close_hole,
    new_ledger,
    open_hole,
)
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures import heap, ordered_holes
from memtrace.structures.heap import (
    FRESH,
    add_initial_hole,
    append,
    change_hole,
    change_hole_out_of_line,
    fits,
    link,
    new_node,
    request_block_size,
    reserve,
    tail_address,
    trim_top,
    widen,
)
from memtrace.structures.ordered_holes import (
    ADDRESS,
    FIFO,
    LIFO,
    NODE,
    SIZE,
    first_of_size,
    holes_before,
    leave_alone,
    next_of_size,
    release_to_head,
)
from memtrace.structures.rules import Rules, alignment, block_size, growth, heap_rules

ORDERS = {"lifo": LIFO, "fifo": FIFO, "address": ADDRESS, "size": SIZE}
NODES_A_CALL = 4  # nodes that one request makes at the most


class State(NamedTuple):
    """State of a heap with a free list of its own order."""

    nodes: np.ndarray  # nodes[node]: an ordered_holes.NODE record; node 0 closes the heap's list by address
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # first fresh node and first spare node: see heap.FRESH and heap.SPARE
    tree: np.ndarray  # see ordered_holes
    ledger: np.ndarray
    rules: Rules
    by_size: bool  # the treap is in the order of sizes
    order: int  # LIFO to SIZE
    fit: int  # FIRST to WORST
    at_tail: bool  # blocks lie at the high end of their holes
    merges: bool  # a freed block joins the holes beside it


FIRST, BEST, WORST = range(3)


def new_state(capacity, max_live, fit, place, coalesce, order, options):
    """Return the state of a heap that is empty but for its initial hole; ``options`` are those of ``heap_rules``.

    Raises ValueError if an option is invalid.
    """
    if coalesce == "search":
        raise ValueError("coalesce=search is of a first fit in the order of addresses, and knows only place=front")
    rules = heap_rules(capacity, **options)
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    state = State(
        nodes=np.zeros(2 * max_live + 8 + NODES_A_CALL, NODE).view(np.recarray),
        node_of=np.zeros(max_live + 1, np.uint32),
        pool=pool,
        tree=np.array([0, 1, 0, 0], np.int64),
        ledger=new_ledger(rules.floor),
        rules=rules,
        by_size=fit != FIRST or order == "size",
        order=ORDERS[order],
        fit=fit,
        at_tail=place == "tail",
        merges=coalesce == "now",
    )
    add_initial_hole(state, options.get("initial", 0), ordered_holes)
    return state


def enlarge(state):
    """Return the state with room for twice as many blocks and holes, since blocks that never join may be many more."""
    return ordered_holes.with_more_nodes(state)


def is_full(state):
    """Return whether the nodes may be too few for one more call."""
    return state.pool[FRESH] + NODES_A_CALL > state.nodes.size


def alloc(state, request):
    """Place a block in the hole that the fit chooses in the list; return its address in bytes.

    If no hole fits, the heap grows. Return NOTHING if a request of 0 bytes gets no block (`zero=null`), NOWHERE if the heap
    cannot grow within the capacity, ENLARGE if the arrays have no room for another block.
    """
    if is_full(state):
        return np.int64(ENLARGE)
    size = request_block_size(state, request)
    if size == NOTHING:
        return np.int64(NOTHING)
    align, ledger = alignment(state.rules, request), state.ledger
    x = chosen(state, size, align)
    ledger[INSPECTED] = holes_before(state, x) + 1 if state.fit == FIRST and x != 0 else ledger[HOLES]
    if x != 0:
        ledger[HOLE_TAKEN] = state.nodes[x].extent
        if state.at_tail:
            return place_at_tail(state, x, size, align, request.block)
        return heap.place(state, x, align_up(state.nodes[x].addr, align), size, request.block, ordered_holes)
    address = tail_address(state, align)
    if not state.at_tail:
        return np.int64(heap.grow(state, address, size, request.block, ordered_holes))
    x = grown(state, address + size - ledger[RESERVED], size)
    return place_at_tail(state, x, size, align, request.block) if x != 0 else np.int64(NOWHERE)


def chosen(state, size, align):
    """Return the hole in which a block of ``size`` bytes at the alignment ``align`` is to lie, as a node; 0 if none fits."""
    nodes = state.nodes
    x = first_of_size(state, size)
    if state.fit == WORST:
        largest = ordered_holes.largest_hole(state)
        x = first_of_size(state, largest) if x != 0 else x
        return x if x == 0 or fits(nodes[x], size, align) else largest_aligned(state, size, align)
    while x != 0 and not fits(nodes[x], size, align):
        x = next_of_size(state, x, size)
    return x


@out_of_line
def largest_aligned(state, size, align):
    """Return the largest hole in which a block fits, the first of equals; 0 if none fits. All holes are looked at."""
    found, x = np.int64(0), first_of_size(state, size)
    while x != 0:
        better = found == 0 or state.nodes[x].extent > state.nodes[found].extent
        if better and fits(state.nodes[x], size, align):
            found = x
        x = next_of_size(state, x, size)
    return found


@out_of_line
def grown(state, missing, size):
    """Grow the heap by ``missing`` bytes at least, for a block of ``size`` bytes; return the hole at its top, 0 if it cannot."""
    nodes, top = state.nodes, state.ledger[RESERVED]
    more = growth(state.rules, top, missing, size)
    if more == 0:
        return np.int64(0)
    reserve(state, more)
    tail = np.int64(nodes[0].prev)
    if nodes[tail].free == 0:
        return np.int64(append(state, top, more, ordered_holes))
    change_hole_out_of_line(state, tail, nodes[tail].addr, nodes[tail].extent + more, ordered_holes)
    return tail


@out_of_line
def place_at_tail(state, x, size, align, handle):
    """Place the block ``handle`` at the highest address in hole x that has the alignment; return it. The block must fit.

    What lies in front of it, or behind, stays a hole if it has ``rules.split`` bytes; else it becomes part of the block, except
    in front where the hole's start lacks the alignment.
    """
    nodes, ledger, split = state.nodes, state.ledger, state.rules.split
    start = nodes[x].addr
    end = start + nodes[x].extent
    address = (end - size) & -align
    after = address + size
    if address - start < split and start & (align - 1) == 0:
        address = start
    if end - after < split:
        after = end
    if address > start:
        y = new_node(state, address, after - address)
        link(nodes, y, x, nodes[x].next)
        change_hole(state, x, start, address - start, ordered_holes)
        ledger[SPLITS] += 1
        if end > after:
            z = new_node(state, after, end - after)
            link(nodes, z, y, nodes[y].next)
            nodes[z].free = 1
            ordered_holes.insert(state, z)
            open_hole(ledger, end - after)
            ledger[SPLITS] += 1
    elif end > after:
        y = new_node(state, address, after - address)
        link(nodes, y, nodes[x].prev, x)
        change_hole(state, x, after, end - after, ordered_holes)
        ledger[SPLITS] += 1
    else:
        y = x
        close_hole(ledger, nodes[x].extent)
        ordered_holes.remove(state, x)
        nodes[x].free = 0
    state.node_of[handle] = y
    ledger[ALLOCATED] += after - address
    return address


def release(state, x):
    """Free block x; it joins the holes beside it unless they never join, and the free tail of the heap goes with `trim`."""
    if state.merges:
        release_to_head(state, x, ordered_holes)
    else:
        leave_alone(state, x)
    if state.rules.trim:
        trim_top(state, ordered_holes)


def free(state, request, address):
    """Free the block with the handle ``request.block``; ``address`` is not used."""
    release(state, state.node_of[request.block])


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place: return ``address``, NOWHERE if the block has to move, or ENLARGE.

    ``request`` has the block's handle, its new size and alignment. A block grows into the hole behind it, or at the top of the
    heap. ``old_size`` is not used.
    """
    nodes, rules = state.nodes, state.rules
    if not rules.inplace or address & (max(request.align, 1) - 1):
        return np.int64(NOWHERE)
    if is_full(state):
        return np.int64(ENLARGE)
    x = state.node_of[request.block]
    size = block_size(rules, request.size)
    rest = nodes[x].extent - size
    if rest < 0:
        return address if widen(state, x, size, ordered_holes) else np.int64(NOWHERE)
    if rest >= rules.split:
        nodes[x].extent = size
        tail = new_node(state, nodes[x].addr + size, rest)
        link(nodes, tail, x, nodes[x].next)
        state.ledger[SPLITS] += 1
        release(state, tail)
    return address


def trim(state):
    """Give the free tail of the heap back to the system, in whole chunks above what the heap reserved at the start."""
    trim_top(state, ordered_holes)
