"""Small requests of the policy ``stitch``: small blocks, placed by best fit within physical blocks of one page (2 MiB).

Free small blocks coalesce with their neighbours in the page; a page whose small blocks are all free becomes idle.
"""

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, BLOCK_SIZE, HOLE_TAKEN, MERGES, RESERVED, SPLITS, close_hole, open_hole
from memtrace.contract.request import NOWHERE
from memtrace.structures import size_bins
from memtrace.structures.heap import drop_node
from memtrace.structures.size_bins import best
from memtrace.structures.stitching import NODES, PAGE, counted_node, make_idle, new_memory, split_physical, take_idle


@out_of_line
def alloc_small(state, size, handle):
    """Place the small block ``handle`` of ``size`` bytes by best fit, or in a new page; return its address, or NOWHERE."""
    nodes, ledger = state.nodes, state.ledger
    ledger[BLOCK_SIZE] = size
    x = np.int64(best(state.small, size, 1))
    if x != 0:
        ledger[HOLE_TAKEN] = nodes[x].extent
        size_bins.remove(state.small, x)
        close_hole(ledger, nodes[x].extent)
    else:
        x = small_page(state)
        if x == 0:
            return np.int64(NOWHERE)
    nodes[x].free = 0
    rest = nodes[x].extent - size
    if rest > 0:
        y = counted_node(state, nodes[x].addr + size, rest)
        nodes[y].owner = nodes[x].owner
        follow(nodes, x, y)
        nodes[x].extent = size
        nodes[y].free = 1
        size_bins.insert(state.small, y)
        open_hole(ledger, rest)
        ledger[SPLITS] += 1
    state.node_of[handle] = x
    ledger[ALLOCATED] += size
    return nodes[x].addr


def small_page(state):
    """Return a used small block that covers a page, an idle one or a new one; 0 if there is no memory."""
    nodes = state.nodes
    page = np.int64(best(state.idle, PAGE, 1))
    if page != 0:
        take_idle(state, page)
        if nodes[page].extent > PAGE:
            split_physical(state, page, PAGE)
    elif PAGE <= state.rules.capacity - state.ledger[RESERVED]:
        page = new_memory(state, PAGE)
    else:
        return np.int64(0)
    x = counted_node(state, nodes[page].addr, PAGE)
    nodes[x].owner = page
    nodes[x].prev = 0
    nodes[x].next = 0
    return x


def follow(nodes, x, y):
    """Link small block y directly behind small block x in the list of their page."""
    after = nodes[x].next
    nodes[y].prev = x
    nodes[y].next = after
    nodes[x].next = y
    if after != 0:
        nodes[after].prev = y


@out_of_line
def free_small(state, x):
    """Free the small block x, coalesce it with the free blocks beside it, and make its page idle if all of the page is free."""
    nodes, ledger = state.nodes, state.ledger
    ledger[ALLOCATED] -= nodes[x].extent
    after, before = np.int64(nodes[x].next), np.int64(nodes[x].prev)
    if after != 0 and nodes[after].free == 1:
        take_free_small(state, after)
        absorb(state, x, after)
    if before != 0 and nodes[before].free == 1:
        take_free_small(state, before)
        absorb(state, before, x)
        x = before
    if nodes[x].extent == PAGE:
        page = np.int64(nodes[x].owner)
        drop_small(state, x)
        make_idle(state, page)
    else:
        nodes[x].free = 1
        size_bins.insert(state.small, x)
        open_hole(ledger, nodes[x].extent)


def take_free_small(state, x):
    """Remove the free small block x from the bins and from the ledger's holes."""
    size_bins.remove(state.small, x)
    close_hole(state.ledger, state.nodes[x].extent)


def absorb(state, x, y):
    """Extend small block x over small block y, directly behind it, and drop the node of y."""
    nodes = state.nodes
    nodes[x].extent += nodes[y].extent
    after = nodes[y].next
    nodes[x].next = after
    if after != 0:
        nodes[after].prev = x
    drop_small(state, y)
    state.ledger[MERGES] += 1


def drop_small(state, x):
    """Put the node of small block x, which is in no list and no bin any more, into the list of spare nodes."""
    state.nodes[x].owner = 0
    state.nodes[x].free = 0
    drop_node(state, x)
    state.pool[NODES] -= 1
