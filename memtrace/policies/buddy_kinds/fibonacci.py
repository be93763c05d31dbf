"""Fibonacci buddy: block sizes are Fibonacci numbers; a block is split into the two before it, which merge again when free.

The sizes are 1, 2, 3, 5, 8, ... units, the unit being min_block rounded up to the alignment. The free block of the
smallest sufficient order serves a request, the lowest of equals; it is split, keeping the low part, which is the larger
one, as long as that is sufficient. Parts merge as soon as both are free. Blocks are not aligned to their size: a request
with an alignment above the unit's gets a block with room for it, the address inside, and what is in front is lost within
the block. The space is cut into the largest blocks that fit, the smaller ones low; without a capacity it is one block.
Reserved, holes and options are as for the binary kind; a reallocation in place grows as long as the block is a low part
and the high one is free.

       order 4 |               8               |      a request of 2 units
       order 3 |         5         |     3     |      leaves one hole each
       order 2 |     3     |   2   |           |      of 1, 2 and 3 units
       order 1 | AAAAA | 1 |       |           |

Sizes are closer than powers of two: for sizes uniform up to any bound 19 to 24 % of the blocks' bytes are lost inside them,
against 25 to 33 %. Cost: a pairing heap per order finds the lowest free block, O(log n) amortised; splits and merges are at
most the number of orders, and a tree of splits tells a block's buddy.
Source: Hirschberg 1973, "A class of dynamic memory allocation algorithms"; Knuth, The Art of Computer Programming 1, 2.5,
exercises; Cranston and Thomas 1975, "A simplified recombination scheme for the Fibonacci buddy system".
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import align_up, lowest_set, round_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    INSPECTED,
    MERGES,
    RELEASE_CALLS,
    RESERVED,
    SPLITS,
    new_ledger,
)
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.fibonacci_tree import (
    FIRST_NODES,
    FRESH,
    NODE,
    add_free,
    add_free_space,
    change_reserved,
    free_buddy,
    is_full,
    join,
    largest_hole,
    leaf_at,
    sizes_of_orders,
    smallest_order,
    split,
    take_free,
)
from memtrace.structures.heap import request_block_size, reserve
from memtrace.structures.rules import Rules, block_size, growth, heap_rules, trimmed

UNUSABLE = True  # what lies between the end of `base` and the first block


class State(NamedTuple):
    """The tree of splits, the free blocks by order, and the counts of a Fibonacci buddy system."""

    nodes: np.ndarray  # nodes[x]: a block, or one that was split (fibonacci_tree.NODE); node 0 is none
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # of nodes: which are unused (fibonacci_tree)
    heads: np.ndarray  # heads[order]: the node of the lowest free block; 0 if there is none
    words: np.ndarray  # bit o of the two words: order o has a free block
    sizes: np.ndarray  # sizes[order]: bytes of a block
    roots: np.ndarray  # the nodes of the blocks that the space is cut into, by address
    ledger: np.ndarray
    rules: Rules
    grain: int  # bytes: the alignment that every block has


def init(capacity, max_live, kind="fibonacci", **options):
    rules = heap_rules(capacity, **options)
    unit = round_up(rules.min_block, rules.align)
    sizes = sizes_of_orders(unit)
    pool = np.zeros(3, np.int64)
    pool[FRESH] = 1
    state = State(
        np.zeros(FIRST_NODES, NODE).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        pool,
        np.zeros(sizes.size, np.uint32),
        np.zeros(2, np.int64),
        sizes,
        np.zeros(0, np.uint32),
        new_ledger(rules.floor),
        rules,
        1 << int(lowest_set(np.int64(unit))),
    )
    roots = add_free_space(state, round_up(options.get("base", 0), unit), capacity)
    return state._replace(roots=np.array(roots, np.uint32))


def enlarge(state):
    """Return a state with twice as many nodes."""
    nodes = np.zeros(2 * state.nodes.size, NODE).view(np.recarray)
    nodes[: state.nodes.size] = state.nodes
    return state._replace(nodes=nodes)


def first_holes(state):
    """Return the sizes in bytes of the holes that exist before the first event."""
    at = state.nodes[state.roots]
    return [int(size) for size in np.minimum(at.addr + at.extent, state.ledger[RESERVED]) - at.addr if size > 0]


def alloc(state, request):
    """Place a block in the lowest free block of the smallest sufficient order; return its address in bytes.

    The free block is split as long as its low part is sufficient. A request with an alignment above the grain gets room for
    it, and an address inside the block. Return NOTHING if a request of 0 bytes gets no block (`zero=null`), ENLARGE if
    there are too few nodes, NOWHERE if no free block is large enough or the capacity does not allow it.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    if is_full(state):
        return ENLARGE
    ledger, nodes = state.ledger, state.nodes
    room = size + max(request.align - state.grain, 0)
    order = np.int64(np.searchsorted(state.sizes, room))
    if order == state.sizes.size:
        return NOWHERE
    ledger[BLOCK_SIZE] = state.sizes[order]
    found = smallest_order(state, order)
    if found < 0:
        return NOWHERE
    x = np.int64(state.heads[found])
    if nodes[x].addr + nodes[x].extent <= ledger[RESERVED]:
        ledger[HOLE_TAKEN] = nodes[x].extent
        ledger[INSPECTED] = 1
    elif not reserve_up_to(state, nodes[x].addr + state.sizes[order], state.sizes[order]):
        return NOWHERE
    take_free(state, x)
    x = split_down(state, x, order)
    state.node_of[request.block] = x
    ledger[ALLOCATED] += nodes[x].extent
    return align_up(nodes[x].addr, max(request.align, 1))


@out_of_line
def reserve_up_to(state, end, size):
    """Raise the reserved bytes so that a block of ``size`` bytes may end at address ``end``.

    Return whether the capacity allows it; if not, nothing changes.
    """
    reserved = state.ledger[RESERVED]
    if end <= reserved:
        return True
    more = growth(state.rules, reserved, end - reserved, size)
    if more == 0:
        return False
    change_reserved(state, reserved + more)
    reserve(state, 0)
    return True


def split_down(state, x, order):
    """Split the block of node x as long as its low part has at least ``order``; return the node of the low part that is left.

    The block is in use; the high parts become free. Orders are indices into `State.sizes`.
    """
    while state.nodes[x].order > order:
        x = split(state, x)
        state.ledger[SPLITS] += 1
    return x


def free(state, request, address):
    """Free the block with the handle ``request.block``, and merge it with its buddy as often as the buddy is free.

    With the option `trim` the free top of the heap then goes back to the system. ``address`` is not used.
    """
    x = np.int64(state.node_of[request.block])
    state.ledger[ALLOCATED] -= state.nodes[x].extent
    buddy = free_buddy(state, x)
    while buddy != 0:
        x = join(state, x, buddy)
        state.ledger[MERGES] += 1
        buddy = free_buddy(state, x)
    add_free(state, x)
    if state.rules.trim:
        trim(state)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place: return ``address``, or NOWHERE if the block has to move.

    A block shrinks by splits, and grows as long as it is a low part and the high part is free. ENLARGE: there are too few
    nodes. ``request`` has the handle, the new size and alignment; ``old_size`` is not used.
    """
    if not state.rules.inplace or address & (max(request.align, 1) - 1):
        return NOWHERE
    if is_full(state):
        return ENLARGE
    ledger, nodes = state.ledger, state.nodes
    x = np.int64(state.node_of[request.block])
    now = nodes[x].extent
    size = block_size(state.rules, request.size) + address - nodes[x].addr
    wanted = np.int64(np.searchsorted(state.sizes, size))
    if wanted == state.sizes.size:
        return NOWHERE
    if wanted > nodes[x].order:
        if not can_grow(state, x, wanted) or not reserve_up_to(state, nodes[x].addr + state.sizes[wanted], state.sizes[wanted]):
            return NOWHERE
        while nodes[x].order < wanted:
            x = join(state, x, free_buddy(state, x))
            ledger[MERGES] += 1
    else:
        x = split_down(state, x, wanted)
    state.node_of[request.block] = x
    ledger[ALLOCATED] += nodes[x].extent - now
    if state.rules.trim and nodes[x].extent < now:
        trim(state)
    return address


def can_grow(state, x, order):
    """Return whether the block of node x can grow to ``order`` in place.

    It can if it is the low part of its parent, the parent of its own, and so on up to that order, and all the high parts
    are free.
    """
    nodes = state.nodes
    while nodes[x].order < order:
        up = np.int64(nodes[x].up)
        if up == 0 or nodes[up].low != x or nodes[np.int64(nodes[up].high)].free == 0:
            return False
        x = up
    return True


@out_of_line
def trim(state):
    """Lower the reserved bytes to the end of the highest block, in whole chunks above what was reserved at the start."""
    nodes = state.nodes
    used = state.ledger[RESERVED]
    while used > state.rules.floor:
        x = leaf_at(state, used - 1)
        if x != 0 and nodes[x].free == 0:
            break
        if x != 0:
            used = nodes[x].addr
        else:
            used = min(used - 1, space_end(state))
    reserved = trimmed(state.rules, used)
    if reserved < state.ledger[RESERVED]:
        change_reserved(state, reserved)
        state.ledger[RELEASE_CALLS] += 1


def space_end(state):
    """Return the end address of the last block in `State.roots`, into which the space is cut; 0 if there are none."""
    if state.roots.size == 0:
        return 0
    last = state.nodes[state.roots[state.roots.size - 1]]
    return last.addr + last.extent
