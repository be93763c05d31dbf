"""A heap in one address range: blocks and holes in a list by address, cut and joined by the textbook rules.

    base          top = reserved
     |AAAA|..|BBBBBB|....|        A and B are blocks; `..` and `....` are holes; neighbours know each other

Which hole serves a request is the policy's choice; how it is found is the index's (``address_tree``, ``size_bins``):
a module with ``insert(state, x)``, ``remove(state, x)`` and ``move(state, x, address, size)``, which are told of every
hole that comes, goes, or changes its extent between the same neighbours.

Nodes are numbered; node 0 closes the list into a ring, is never free, and has size 0. A heap of n blocks has at most
n + 1 holes, so its nodes are bounded by the blocks alive at once.
"""

from memtrace.engine.request import NOTHING, NOWHERE
from memtrace.structures.bits import align_up
from memtrace.structures.calls import apart, prefetch
from memtrace.structures.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    MERGES,
    RELEASE_CALLS,
    RESERVE_CALLS,
    RESERVED,
    SPLITS,
    close_hole,
    open_hole,
    resize_hole,
)
from memtrace.structures.rules import block_size, growth, trimmed

FRESH, SPARE = 0, 1  # pool: the first node never used; the first node of the list of spare ones


def open_heap(state, initial, index):
    """Make the hole that exists at the start."""
    if initial > 0:
        append(state, state.rules.floor - initial, initial, index)


def fits(node, size, align):
    return align_up(node.addr, align) + size <= node.addr + node.extent


def new_node(state, address, size):
    pool, nodes = state.pool, state.nodes
    x = pool[SPARE]
    if x != 0:
        pool[SPARE] = nodes[x].next
    else:
        x = pool[FRESH]
        pool[FRESH] = x + 1
    nodes[x].addr = address
    nodes[x].extent = size
    nodes[x].free = 0
    return x


def drop_node(state, x):
    state.nodes[x].next = state.pool[SPARE]
    state.pool[SPARE] = x


def link(nodes, x, before, after):
    nodes[x].prev = before
    nodes[x].next = after
    nodes[before].next = x
    nodes[after].prev = x


def unlink(nodes, x):
    before, after = nodes[x].prev, nodes[x].next
    nodes[before].next = after
    nodes[after].prev = before


@apart
def append(state, address, size, index):
    """A new hole at the top."""
    nodes = state.nodes
    x = new_node(state, address, size)
    link(nodes, x, nodes[0].prev, 0)
    nodes[x].free = 1
    index.insert(state, x)
    open_hole(state.ledger, size)
    return x


def change_hole(state, x, address, size, index):
    resize_hole(state.ledger, state.nodes[x].extent, size)
    index.move(state, x, address, size)


@apart
def change_hole_apart(state, x, address, size, index):
    change_hole(state, x, address, size, index)


def place(state, x, address, size, handle, index):
    """Put a block at ``address`` in hole x: a gap in front stays a hole, so does a rest of at least min_block behind."""
    nodes, ledger = state.nodes, state.ledger
    if address > nodes[x].addr:
        x = leave_gap(state, x, address, index)
    rest = nodes[x].extent - size
    if rest >= state.rules.min_block:
        y = new_node(state, address, size)
        link(nodes, y, nodes[x].prev, x)
        change_hole(state, x, address + size, rest, index)
        ledger[SPLITS] += 1
    else:
        y, size = x, nodes[x].extent
        close_hole(ledger, size)
        index.remove(state, x)
        nodes[x].free = 0
    state.node_of[handle] = y
    ledger[ALLOCATED] += size
    return address


@apart
def leave_gap(state, x, address, index):
    """Cut hole x in two at ``address``; the upper one is returned."""
    nodes = state.nodes
    rest = nodes[x].addr + nodes[x].extent - address
    change_hole_apart(state, x, nodes[x].addr, address - nodes[x].addr, index)
    state.ledger[SPLITS] += 1
    y = new_node(state, address, rest)
    link(nodes, y, x, nodes[x].next)
    nodes[y].free = 1
    index.insert(state, y)
    open_hole(state.ledger, rest)
    return y


def take(state, x, size, align, handle, index):
    """Serve a request from hole x, in which it fits."""
    state.ledger[HOLE_TAKEN] = state.nodes[x].extent
    return place(state, x, align_up(state.nodes[x].addr, align), size, handle, index)


def reserve(state, more):
    state.ledger[RESERVED] += more
    state.ledger[RESERVE_CALLS] += 1


@apart
def grow(state, address, size, handle, index):
    """Put a block at ``address``, which is in the free tail of the heap or above it, and get the bytes it lacks."""
    nodes, ledger = state.nodes, state.ledger
    top = ledger[RESERVED]
    tail = nodes[0].prev
    missing = address + size - top
    more = growth(state.rules, top, missing, size)
    if more == 0:
        return NOWHERE
    reserve(state, more)
    if nodes[tail].free == 0:
        if address == top and more == size:
            x = new_node(state, address, size)
            link(nodes, x, tail, 0)
            state.node_of[handle] = x
            ledger[ALLOCATED] += size
            return address
        tail = append(state, top, more, index)
    else:
        change_hole_apart(state, tail, nodes[tail].addr, nodes[tail].extent + more, index)
    return place(state, tail, address, size, handle, index)


def tail_address(state, align):
    """Where a block goes that no hole can hold."""
    tail = state.nodes[0].prev
    start = state.nodes[tail].addr if state.nodes[tail].free == 1 else state.ledger[RESERVED]
    return align_up(start, align)


def open_request(state, request):
    """The block size of a request; NOTHING if it gets no block."""
    if request.size == 0 and state.rules.null:
        return NOTHING
    size = block_size(state.rules, request.size)
    state.ledger[BLOCK_SIZE] = size
    return size


def take_or_grow(state, x, size, align, request, index):
    """Serve a request from the hole x that the policy chose, or from the top of the heap if it found none (0)."""
    if x != 0:
        return take(state, x, size, align, request.block, index)
    return grow(state, tail_address(state, align), size, request.block, index)


def release(state, x, index):
    """Block x becomes a hole, or part of its neighbours'; the hole's node is returned."""
    nodes, ledger = state.nodes, state.ledger
    address, size = nodes[x].addr, nodes[x].extent
    before, after = nodes[x].prev, nodes[x].next
    ledger[ALLOCATED] -= size
    hole = 0
    if nodes[after].free == 1:
        hole = after
    if nodes[before].free == 1:
        if hole != 0:
            size += nodes[after].extent
            drop_hole(state, after, index)
            ledger[MERGES] += 1
        hole = before
        address = nodes[before].addr
    if hole == 0:
        nodes[x].free = 1
        index.insert(state, x)
        open_hole(ledger, size)
        return x
    unlink(nodes, x)
    drop_node(state, x)
    change_hole(state, hole, address, nodes[hole].extent + size, index)
    ledger[MERGES] += 1
    return hole


@apart
def release_apart(state, x, index):
    release(state, x, index)


@apart
def drop_hole(state, x, index):
    close_hole(state.ledger, state.nodes[x].extent)
    index.remove(state, x)
    unlink(state.nodes, x)
    drop_node(state, x)


def free_block(state, handle, index):
    x = release(state, state.node_of[handle], index)
    if state.rules.trim:
        trim_top(state, index)
    return x


@apart
def trim_top(state, index):
    """Give the free tail back, in whole chunks above what the heap began with."""
    nodes, rules, top = state.nodes, state.rules, state.ledger[RESERVED]
    x = nodes[0].prev
    if nodes[x].free == 0:
        return
    start = nodes[x].addr
    keep = trimmed(rules, start)
    if keep >= top:
        return
    if keep > start:
        change_hole_apart(state, x, start, keep - start, index)
    else:
        drop_hole(state, x, index)
    state.ledger[RESERVED] = keep
    state.ledger[RELEASE_CALLS] += 1


@apart
def resize_block(state, request, address, index):
    """Resize in place: ``address``, or NOWHERE if the block has to move."""
    nodes, ledger, rules = state.nodes, state.ledger, state.rules
    if not rules.inplace or address & (max(request.align, 1) - 1):
        return NOWHERE
    x = state.node_of[request.block]
    size = block_size(rules, request.size)
    if size <= nodes[x].extent:
        shrink(state, x, size, index)
        return address
    hole = nodes[x].next
    reach = nodes[x].extent + (nodes[hole].extent if nodes[hole].free == 1 else 0)
    if reach < size:
        top = ledger[RESERVED]
        if address + reach != top:
            return NOWHERE
        missing = address + size - top
        more = growth(rules, top, missing, missing)
        if more == 0:
            return NOWHERE
        reserve(state, more)
        if nodes[hole].free == 0:
            hole = append(state, top, more, index)
        else:
            change_hole_apart(state, hole, nodes[hole].addr, nodes[hole].extent + more, index)
    swallow(state, x, hole, size, index)
    return address


def shrink(state, x, size, index):
    """Split off the tail of block x as a block of its own, and free that."""
    nodes = state.nodes
    rest = nodes[x].extent - size
    if rest < state.rules.min_block:
        return
    nodes[x].extent = size
    tail = new_node(state, nodes[x].addr + size, rest)
    link(nodes, tail, x, nodes[x].next)
    state.ledger[SPLITS] += 1
    release_apart(state, tail, index)
    if state.rules.trim:
        trim_top(state, index)


def swallow(state, x, hole, size, index):
    """Block x grows to ``size`` into the hole that follows."""
    nodes, ledger = state.nodes, state.ledger
    rest = nodes[x].extent + nodes[hole].extent - size
    if rest < state.rules.min_block:
        size += rest
        drop_hole(state, hole, index)
    else:
        change_hole_apart(state, hole, nodes[x].addr + size, rest, index)
        ledger[SPLITS] += 1
    ledger[ALLOCATED] += size - nodes[x].extent
    nodes[x].extent = size


def expect(state, handle):
    """A block will be freed some events from now: fetch its node."""
    prefetch(state.nodes, state.node_of[handle])


def expect_soon(state, handle):
    """Its node is here: fetch its neighbours'."""
    x = state.node_of[handle]
    prefetch(state.nodes, state.nodes[x].prev)
    prefetch(state.nodes, state.nodes[x].next)
