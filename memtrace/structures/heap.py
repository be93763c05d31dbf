"""A heap in one address range: a doubly linked list of blocks and holes by address, with splitting and eager coalescing.

    base          top = reserved
     |AAAA|..|BBBBBB|....|        A and B are blocks; `..` and `....` are holes

The policy chooses the hole that serves a request; an index finds it (``address_tree``, ``size_bins``, ``class_lists``). An
index is a module with ``insert(state, x)``, ``remove(state, x)`` and ``move(state, x, address, size)``. The functions here get
it as the argument ``index`` and call it for every hole x that is made, that goes, or that changes its extent between the same
neighbours.

A node is the record of a block or hole, and x stands for the index of a node in ``state.nodes``. Node 0 closes the list into a
ring, is never free, and has size 0. A heap of n blocks has at most n + 1 holes, so its nodes are bounded by the blocks alive
at once. The functions that place a block return its address.
"""

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line, prefetch
from memtrace.contract.ledger import (
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
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures.rules import block_size, growth, trimmed

FRESH, SPARE = 0, 1  # in pool: the first node never used; the head of the list of spare nodes, 0 if it is empty


def add_initial_hole(state, initial, index):
    """Make the hole of ``initial`` bytes, if any, that the heap has at the start; it ends at ``rules.floor``."""
    if initial > 0:
        append(state, state.rules.floor - initial, initial, index)


def fits(node, size, align):
    """Return whether a block of ``size`` bytes at alignment ``align`` fits in the hole ``node``, a record."""
    return align_up(node.addr, align) + size <= node.addr + node.extent


def new_node(state, address, size):
    """Return a node for a block of ``size`` bytes at ``address``; it is not in the list by address yet."""
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
    """Put node x, which is in no list and no index any more, into the list of spare nodes."""
    state.nodes[x].next = state.pool[SPARE]
    state.pool[SPARE] = x


def link(nodes, x, before, after):
    """Link node x into the list by address, between the nodes ``before`` and ``after``."""
    nodes[x].prev = before
    nodes[x].next = after
    nodes[before].next = x
    nodes[after].prev = x


def unlink(nodes, x):
    """Unlink node x from the list by address."""
    before, after = nodes[x].prev, nodes[x].next
    nodes[before].next = after
    nodes[after].prev = before


@out_of_line
def append(state, address, size, index):
    """Append a hole of ``size`` bytes at ``address``, the end of the list by address; return its node."""
    nodes = state.nodes
    x = new_node(state, address, size)
    link(nodes, x, nodes[0].prev, 0)
    nodes[x].free = 1
    index.insert(state, x)
    open_hole(state.ledger, size)
    return x


def change_hole(state, x, address, size, index):
    """Change hole x to ``address`` and ``size`` bytes in the ledger, the index and its node; its neighbours stay the same."""
    resize_hole(state.ledger, state.nodes[x].extent, size)
    index.move(state, x, address, size)


@out_of_line
def change_hole_out_of_line(state, x, address, size, index):
    """Change hole x as ``change_hole`` does; compiled out of line."""
    change_hole(state, x, address, size, index)


def place(state, x, address, size, handle, index):
    """Place the block ``handle`` of ``size`` bytes at ``address`` in hole x; return the address.

    A gap in front of the block stays a hole, and so does a rest behind it of at least ``rules.split`` bytes; a smaller rest
    becomes part of the block.
    """
    nodes, ledger = state.nodes, state.ledger
    if address > nodes[x].addr:
        x = leave_gap(state, x, address, index)
    rest = nodes[x].extent - size
    if rest >= state.rules.split:
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


@out_of_line
def leave_gap(state, x, address, index):
    """Split hole x into two holes at ``address``; return the node of the upper hole."""
    nodes = state.nodes
    rest = nodes[x].addr + nodes[x].extent - address
    change_hole_out_of_line(state, x, nodes[x].addr, address - nodes[x].addr, index)
    state.ledger[SPLITS] += 1
    y = new_node(state, address, rest)
    link(nodes, y, x, nodes[x].next)
    nodes[y].free = 1
    index.insert(state, y)
    open_hole(state.ledger, rest)
    return y


def take(state, x, size, align, handle, index):
    """Place the block ``handle`` at the lowest address in hole x that has the alignment; return it. The block must fit."""
    state.ledger[HOLE_TAKEN] = state.nodes[x].extent
    return place(state, x, align_up(state.nodes[x].addr, align), size, handle, index)


def reserve(state, more):
    """Count ``more`` bytes as reserved, and a call to the system for memory."""
    state.ledger[RESERVED] += more
    state.ledger[RESERVE_CALLS] += 1


@out_of_line
def grow(state, address, size, handle, index):
    """Place the block ``handle`` of ``size`` bytes at ``address``, in the free tail or above the top, and grow the heap for it.

    The heap grows by at least the bytes that are missing up to the block's end. Returns the address, or NOWHERE if the
    capacity does not allow the growth.
    """
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
        change_hole_out_of_line(state, tail, nodes[tail].addr, nodes[tail].extent + more, index)
    return place(state, tail, address, size, handle, index)


def tail_address(state, align):
    """Return the lowest address with alignment ``align`` in the heap's free tail, or above its top if it has none."""
    tail = state.nodes[0].prev
    start = state.nodes[tail].addr if state.nodes[tail].free == 1 else state.ledger[RESERVED]
    return align_up(start, align)


def request_block_size(state, request):
    """Return the block size of a request and note it in the ledger; NOTHING if the request gets no block (``zero=null``)."""
    if request.size == 0 and state.rules.null:
        return NOTHING
    size = block_size(state.rules, request.size)
    state.ledger[BLOCK_SIZE] = size
    return size


def take_or_grow(state, x, size, align, request, index):
    """Place the block of a request in hole x, or at the top of the heap if x is 0 (the policy found no hole).

    The block has ``size`` bytes and the alignment ``align``. Returns the address, or NOWHERE if the heap cannot grow.
    """
    if x != 0:
        return take(state, x, size, align, request.block, index)
    return grow(state, tail_address(state, align), size, request.block, index)


def release(state, x, index):
    """Free block x and coalesce it with the holes beside it; return the node of the hole that results."""
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


@out_of_line
def release_out_of_line(state, x, index):
    """Free block x as ``release`` does; compiled out of line."""
    release(state, x, index)


@out_of_line
def drop_hole(state, x, index):
    """Remove hole x from the ledger, the index and the list by address."""
    close_hole(state.ledger, state.nodes[x].extent)
    index.remove(state, x)
    unlink(state.nodes, x)
    drop_node(state, x)


def free_block(state, handle, index):
    """Free the block ``handle``; return the node of the hole that results.

    With ``rules.trim``, the free tail of the heap is given back at once, and the hole may be cut or gone.
    """
    x = release(state, state.node_of[handle], index)
    if state.rules.trim:
        trim_top(state, index)
    return x


@out_of_line
def trim_top(state, index):
    """Give the free tail back to the system, in whole chunks above the reserved bytes that the heap began with."""
    nodes, rules, top = state.nodes, state.rules, state.ledger[RESERVED]
    x = nodes[0].prev
    if nodes[x].free == 0:
        return
    start = nodes[x].addr
    keep = trimmed(rules, start)
    if keep >= top:
        return
    if keep > start:
        change_hole_out_of_line(state, x, start, keep - start, index)
    else:
        drop_hole(state, x, index)
    state.ledger[RESERVED] = keep
    state.ledger[RELEASE_CALLS] += 1


@out_of_line
def resize_block(state, request, address, index):
    """Resize the block of a request in place if possible; return ``address``, or NOWHERE if the block has to move.

    A block shrinks, or grows into the hole behind it and, at the top, beyond it as the heap grows. It has to move if it
    cannot grow, if ``address`` lacks the alignment, or if the option realloc says so.
    """
    nodes, rules = state.nodes, state.rules
    if not rules.inplace or address & (max(request.align, 1) - 1):
        return NOWHERE
    x = state.node_of[request.block]
    size = block_size(rules, request.size)
    if size <= nodes[x].extent:
        shrink(state, x, size, index)
        return address
    return address if widen(state, x, size, index) else NOWHERE


def widen(state, x, size, index):
    """Grow block x to ``size`` bytes, into the hole behind it and, at the top, beyond it; return whether there is room."""
    nodes, ledger, rules = state.nodes, state.ledger, state.rules
    hole = nodes[x].next
    reach = nodes[x].extent + (nodes[hole].extent if nodes[hole].free == 1 else 0)
    if reach < size:
        top, start = ledger[RESERVED], nodes[x].addr
        if start + reach != top:
            return False
        missing = start + size - top
        more = growth(rules, top, missing, missing)
        if more == 0:
            return False
        reserve(state, more)
        if nodes[hole].free == 0:
            hole = append(state, top, more, index)
        else:
            change_hole_out_of_line(state, hole, nodes[hole].addr, nodes[hole].extent + more, index)
    grow_into_hole(state, x, hole, size, index)
    return True


def shrink(state, x, size, index):
    """Cut block x to ``size`` bytes and free the rest; leave the block unchanged if the rest is below ``rules.split``."""
    nodes = state.nodes
    rest = nodes[x].extent - size
    if rest < state.rules.split:
        return
    nodes[x].extent = size
    tail = new_node(state, nodes[x].addr + size, rest)
    link(nodes, tail, x, nodes[x].next)
    state.ledger[SPLITS] += 1
    release_out_of_line(state, tail, index)
    if state.rules.trim:
        trim_top(state, index)


def grow_into_hole(state, x, hole, size, index):
    """Grow block x to ``size`` bytes into ``hole``, directly behind it; it also takes a rest below ``rules.split``."""
    nodes, ledger = state.nodes, state.ledger
    rest = nodes[x].extent + nodes[hole].extent - size
    if rest < state.rules.split:
        size += rest
        drop_hole(state, hole, index)
    else:
        change_hole_out_of_line(state, hole, nodes[x].addr + size, rest, index)
        ledger[SPLITS] += 1
    ledger[ALLOCATED] += size - nodes[x].extent
    nodes[x].extent = size


def expect(state, handle):
    """Prefetch the node of the block ``handle``, which will be freed some events from now."""
    prefetch(state.nodes, state.node_of[handle])


def expect_soon(state, handle):
    """Prefetch the list neighbours of the block ``handle``, which will be freed soon; ``expect`` has prefetched its own node."""
    x = state.node_of[handle]
    prefetch(state.nodes, state.nodes[x].prev)
    prefetch(state.nodes, state.nodes[x].next)
