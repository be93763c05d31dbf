"""The space of a Fibonacci buddy system: a binary tree of splits, and per order a pairing heap of the free blocks by address.

A block of order k has F_k units, F = 1, 2, 3, 5, 8, ... A block of order k is split into a block of order k - 1, the low
part, and a block of order k - 2, the high part; a block of two units is split into two of one unit. The leaves of the tree
are the blocks, free or used; an inner node is a block that was split and links to its two parts. The pairing heaps are those
of ``size_bins``. The state is ``State`` in ``policies.buddy_kinds.fibonacci``.
"""

import numpy as np

from memtrace.contract.bits import lowest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import RESERVED, close_hole, open_hole, resize_hole
from memtrace.structures.buddy_space import reserved_part
from memtrace.structures.size_bins import combine, meld

NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),  # address of the block
                ("extent", "i8"),  # its bytes
                ("order", "i4"),
                ("free", "u4"),  # 1: a free block; 0: a used block, or a block that is split
                ("up", "u4"),  # node of the block that this block is a part of; 0: none
                ("low", "u4"),  # nodes of its two parts; 0: the block is not split
                ("high", "u4"),
                ("child", "u4"),  # links of the pairing heap, as in size_bins; side also links the spare nodes
                ("side", "u4"),
                ("back", "u4"),
            ],
            align=True,
        ),
    )
)
LARGEST = 1 << 62  # upper bound of a block's bytes; a capacity of as many bytes stands for no limit
FRESH, SPARE, COUNT = 0, 1, 2  # in pool: first node never used; head of the list of spare nodes, 0 if empty; nodes in use
FIRST_NODES = 1 << 10  # nodes at the start


def sizes_of_orders(unit):
    """Return the bytes of a block of each order, up to 2^62, as an array; a block of order 0 has ``unit`` bytes."""
    sizes = [unit, 2 * unit]
    while sizes[-1] + sizes[-2] <= LARGEST:
        sizes.append(sizes[-1] + sizes[-2])
    return np.array([size for size in sizes if size <= LARGEST], np.int64)


def add_free_space(state, start, end):
    """Cut the addresses [start, end) into the largest possible free blocks; return the list of their nodes, by address.

    The smaller blocks lie below the larger ones, and a rest below one unit at the end is not used. If ``end`` is 2^62 (no
    limit), only the largest block is made.
    """
    orders, left = [], end - start
    for order in range(state.sizes.size - 1, -1, -1):
        while int(state.sizes[order]) <= left and not (orders and end == LARGEST):
            orders.append(order)
            left -= int(state.sizes[order])
    roots = []
    for order in reversed(orders):
        x = new_node(state, np.int64(start), np.int64(order))
        add_free(state, x)
        roots.append(int(x))
        start += int(state.sizes[order])
    return roots


def new_node(state, address, order):
    """Return a node for a used block of ``order`` at ``address`` that is neither split nor part of another block."""
    pool, nodes = state.pool, state.nodes
    x = pool[SPARE]
    if x != 0:
        pool[SPARE] = nodes[x].side
    else:
        x = pool[FRESH]
        pool[FRESH] = x + 1
    pool[COUNT] += 1
    nodes[x].addr = address
    nodes[x].extent = state.sizes[order]
    nodes[x].order = order
    nodes[x].free = 0
    nodes[x].up = 0
    nodes[x].low = 0
    nodes[x].high = 0
    return x


def drop_node(state, x):
    """Put node x, which is in no tree and no heap any more, into the list of spare nodes."""
    state.nodes[x].side = state.pool[SPARE]
    state.pool[SPARE] = x
    state.pool[COUNT] -= 1


def is_full(state):
    """Return whether there may be too few nodes left to split a block down to one unit."""
    return state.pool[COUNT] + 2 * state.sizes.size + 1 > state.nodes.size


def add_free(state, x):
    """Mark block x as free: insert it into the heap of its order, and count the reserved part of it as a hole."""
    nodes, order = state.nodes, np.int64(state.nodes[x].order)
    nodes[x].free = 1
    nodes[x].child = 0
    nodes[x].side = 0
    nodes[x].back = 0
    root = np.int64(state.heads[order])
    state.heads[order] = meld(nodes, root, x) if root != 0 else x
    state.words[order >> 6] |= np.int64(1) << (order & 63)
    size = reserved_part(nodes[x].addr, nodes[x].extent, state.ledger[RESERVED])
    if size > 0:
        open_hole(state.ledger, size)


def take_free(state, x):
    """Mark the free block x as used: remove it from the heap of its order, and stop counting its reserved part as a hole."""
    nodes, order = state.nodes, np.int64(state.nodes[x].order)
    root, child = np.int64(state.heads[order]), nodes[x].child
    if root == x:
        root = combine(nodes, child) if child != 0 else np.int64(0)
    else:
        back, side = nodes[x].back, nodes[x].side
        if nodes[back].child == x:
            nodes[back].child = side
        else:
            nodes[back].side = side
        nodes[side].back = back
        if child != 0:
            root = np.int64(meld(nodes, root, combine(nodes, child)))
    state.heads[order] = root
    if root == 0:
        state.words[order >> 6] &= ~(np.int64(1) << (order & 63))
    nodes[x].free = 0
    size = reserved_part(nodes[x].addr, nodes[x].extent, state.ledger[RESERVED])
    if size > 0:
        close_hole(state.ledger, size)


def smallest_order(state, order):
    """Return the smallest order, not below ``order``, that has a free block; -1 if there is none."""
    words = state.words
    if order < 64:
        word = words[0] & (np.int64(-1) << order)
        if word != 0:
            return lowest_set(word)
    word = words[1] & (np.int64(-1) << max(order - 64, 0))
    return 64 + lowest_set(word) if word != 0 else np.int64(-1)


def split(state, x):
    """Split the used block x into two parts; the low part stays used and is returned, the high part becomes free."""
    nodes, order = state.nodes, np.int64(state.nodes[x].order)
    low = new_node(state, nodes[x].addr, order - 1)
    high = new_node(state, nodes[x].addr + nodes[low].extent, max(order - 2, 0))
    nodes[x].low = low
    nodes[x].high = high
    nodes[low].up = x
    nodes[high].up = x
    add_free(state, high)
    return low


def free_buddy(state, x):
    """Return the other part of the block that x is a part of, if that part is free and not split; else 0."""
    nodes = state.nodes
    up = np.int64(nodes[x].up)
    if up == 0:
        return np.int64(0)
    other = np.int64(nodes[up].high if nodes[up].low == x else nodes[up].low)
    return other if nodes[other].free == 1 else np.int64(0)


def join(state, x, buddy):
    """Merge the used block x and its free buddy ``buddy``; return the block that they are parts of, which is then used."""
    nodes = state.nodes
    up = np.int64(nodes[x].up)
    take_free(state, buddy)
    drop_node(state, x)
    drop_node(state, buddy)
    nodes[up].low = 0
    nodes[up].high = 0
    return up


def leaf_at(state, address):
    """Return the block, free or used, that contains ``address``; 0 if the address is outside the space."""
    nodes, roots = state.nodes, state.roots
    x = np.int64(0)
    for i in range(roots.size):
        if nodes[roots[i]].addr <= address:
            x = np.int64(roots[i])
    if x == 0 or address >= nodes[x].addr + nodes[x].extent:
        return np.int64(0)
    while nodes[x].low != 0:
        high = np.int64(nodes[x].high)
        x = high if address >= nodes[high].addr else np.int64(nodes[x].low)
    return x


@out_of_line
def change_reserved(state, reserved):
    """Set the reserved end to the address ``reserved``, and count the free blocks between the old and the new end anew."""
    ledger, nodes = state.ledger, state.nodes
    before = ledger[RESERVED]
    address, end = min(before, reserved), max(before, reserved)
    while address < end:
        x = leaf_at(state, address)
        if x == 0:
            # The address is in front of the space (continue at its first block) or behind it (stop).
            first = nodes[state.roots[0]].addr if state.roots.size > 0 else end
            address = first if address < first else end
            continue
        start, size = nodes[x].addr, nodes[x].extent
        if nodes[x].free == 1:
            old, new = reserved_part(start, size, before), reserved_part(start, size, reserved)
            if old == 0:
                open_hole(ledger, new)
            elif new == 0:
                close_hole(ledger, old)
            else:
                resize_hole(ledger, old, new)
        address = start + size
    ledger[RESERVED] = reserved


def largest_hole(state):
    """Return the bytes of the largest hole, which is the reserved part of a free block; 0 if there is none."""
    reserved = state.ledger[RESERVED]
    most = np.int64(0)
    for i in range(state.sizes.size):
        order = state.sizes.size - 1 - i
        if most >= state.sizes[order]:
            break
        x = np.int64(state.heads[order])  # the lowest free block of the order, which has the largest reserved part
        if x != 0:
            most = max(most, reserved_part(state.nodes[x].addr, state.nodes[x].extent, reserved))
    return most
