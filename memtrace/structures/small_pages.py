"""Small requests in physical blocks of one page: best fit within the pages, neighbours join, a page that is all free is idle."""

import numpy as np

from memtrace.engine.request import NOWHERE
from memtrace.structures import size_bins
from memtrace.structures.calls import apart
from memtrace.structures.heap import drop_node
from memtrace.structures.ledger import ALLOCATED, BLOCK_SIZE, HOLE_TAKEN, MERGES, RESERVED, SPLITS, close_hole, open_hole
from memtrace.structures.size_bins import best
from memtrace.structures.stitching import NODES, PAGE, counted_node, cut, give, new_memory, take


@apart
def alloc_small(state, size, handle):
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
    """A small block that is a physical block of one page; 0 if there is no memory."""
    nodes = state.nodes
    page = np.int64(best(state.idle, PAGE, 1))
    if page != 0:
        take(state, page)
        if nodes[page].extent > PAGE:
            cut(state, page, PAGE)
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
    """Small block y comes directly behind x."""
    after = nodes[x].next
    nodes[y].prev = x
    nodes[y].next = after
    nodes[x].next = y
    if after != 0:
        nodes[after].prev = y


@apart
def free_small(state, x):
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
        give(state, page)
    else:
        nodes[x].free = 1
        size_bins.insert(state.small, x)
        open_hole(ledger, nodes[x].extent)


def take_free_small(state, x):
    size_bins.remove(state.small, x)
    close_hole(state.ledger, state.nodes[x].extent)


def absorb(state, x, y):
    """Small block x takes y in, which follows it."""
    nodes = state.nodes
    nodes[x].extent += nodes[y].extent
    after = nodes[y].next
    nodes[x].next = after
    if after != 0:
        nodes[after].prev = x
    drop_small(state, y)
    state.ledger[MERGES] += 1


def drop_small(state, x):
    state.nodes[x].owner = 0
    state.nodes[x].free = 0
    drop_node(state, x)
    state.pool[NODES] -= 1
