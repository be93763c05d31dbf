"""Blocks: cut from a free one when they are handed out, joined with free neighbours when they are free again."""

import numpy as np

from memtrace.structures.caching.free_sets import add, take_out
from memtrace.structures.caching.history import ALLOC, FREE_COMPLETED, FREE_REQUESTED, tell
from memtrace.structures.caching.model import FREE, FRESH, LIVE, NODES, SPARE, SPARE_NODE
from memtrace.structures.caching.statistics import (
    ACTIVE,
    ACTIVE_BYTES,
    ALLOCATED_BYTES,
    ALLOCATION,
    INACTIVE_SPLIT,
    INACTIVE_SPLIT_BYTES,
    OVERSIZE_ALLOCATIONS,
    REQUESTED_BYTES,
    change,
    fall,
    rise,
    rise_one,
)
from memtrace.structures.calls import apart
from memtrace.structures.ledger import ALLOCATED, MERGES, SPLITS

SMALLEST_REST = 1 << 20  # a large block is not split for a rest up to this


def new_node(state, address, extent, queue, segment):
    at, nodes = state.at, state.nodes
    x = at[SPARE]
    if x != 0:
        at[SPARE] = nodes[x].next
    else:
        x = at[FRESH]
        at[FRESH] = x + 1
    at[NODES] += 1
    nodes[x].addr = address
    nodes[x].extent = extent
    nodes[x].queue = queue
    nodes[x].segment = segment
    nodes[x].recorded = 0
    nodes[x].waits = 0
    return x


def drop_node(state, x):
    state.nodes[x].next = state.at[SPARE]
    state.nodes[x].state = SPARE_NODE
    state.at[SPARE] = x
    state.at[NODES] -= 1


def link_behind(nodes, x, y):
    """Node y comes directly behind node x."""
    after = nodes[x].next
    nodes[y].prev = x
    nodes[y].next = after
    nodes[x].next = y
    if after != 0:
        nodes[after].prev = y


def is_split(nodes, x):
    return nodes[x].prev != 0 or nodes[x].next != 0


def splits(rules, queue, size, rest):
    """Whether a block is cut when ``rest`` bytes of it are not needed."""
    if queue & 1 == 0 or rules.expandable:
        return rest > 0
    return size < rules.max_split and rest > SMALLEST_REST


def hand_out(state, x, size, requested, handle):
    """Make a block of ``size`` bytes of x, which is no longer among the free ones; its address."""
    nodes, stats, rules = state.nodes, state.stats, state.rules
    queue = np.int64(nodes[x].queue)
    pool = queue & 1
    extent = nodes[x].extent
    whole = not is_split(nodes, x)
    if splits(rules, queue, size, extent - size):
        y = new_node(state, nodes[x].addr + size, extent - size, queue, nodes[x].segment)
        link_behind(nodes, x, y)
        nodes[x].extent = size
        add(state, y)
        state.ledger[SPLITS] += 1
        if not rules.expandable:
            if whole:
                rise(stats, INACTIVE_SPLIT, pool, 1)
                rise(stats, INACTIVE_SPLIT_BYTES, pool, extent - size)
            else:
                fall(stats, INACTIVE_SPLIT_BYTES, pool, size)
        extent = size
    elif not whole and not rules.expandable:
        fall(stats, INACTIVE_SPLIT, pool, 1)
        fall(stats, INACTIVE_SPLIT_BYTES, pool, extent)
    nodes[x].state = LIVE
    nodes[x].requested = requested
    nodes[x].handle = handle
    state.node_of[handle] = x
    state.ledger[ALLOCATED] += extent
    rise(stats, ALLOCATION, pool, 1)
    rise(stats, ALLOCATED_BYTES, pool, extent)
    rise(stats, ACTIVE, pool, 1)
    rise(stats, ACTIVE_BYTES, pool, extent)
    rise(stats, REQUESTED_BYTES, pool, requested)
    if extent >= rules.max_split:
        rise_one(stats, OVERSIZE_ALLOCATIONS, 1)
    tell(state, ALLOC, nodes[x].addr, requested, queue >> 1)
    return nodes[x].addr


def request_free(state, x):
    """The program is done with block x; other streams may not be."""
    nodes, stats = state.nodes, state.stats
    queue, extent = np.int64(nodes[x].queue), nodes[x].extent
    state.ledger[ALLOCATED] -= extent
    fall(stats, ALLOCATION, queue & 1, 1)
    fall(stats, ALLOCATED_BYTES, queue & 1, extent)
    tell(state, FREE_REQUESTED, nodes[x].addr, nodes[x].requested, queue >> 1)
    if extent >= state.rules.max_split:
        stats[OVERSIZE_ALLOCATIONS] -= 1


def complete_free(state, x):
    """Block x is free, and one with the free blocks beside it."""
    nodes, stats = state.nodes, state.stats
    queue = np.int64(nodes[x].queue)
    pool = queue & 1
    extent = nodes[x].extent
    tell(state, FREE_COMPLETED, nodes[x].addr, nodes[x].requested, queue >> 1)
    fall(stats, ACTIVE, pool, 1)
    fall(stats, ACTIVE_BYTES, pool, extent)
    fall(stats, REQUESTED_BYTES, pool, nodes[x].requested)
    joined, swallowed = join_neighbours(state, x)
    add(state, x)
    state.ledger[MERGES] += joined
    if not state.rules.expandable:
        if is_split(nodes, x):
            change(stats, INACTIVE_SPLIT, pool, 1 - joined)
            change(stats, INACTIVE_SPLIT_BYTES, pool, extent)
        else:
            fall(stats, INACTIVE_SPLIT, pool, joined)
            fall(stats, INACTIVE_SPLIT_BYTES, pool, swallowed)


def join_neighbours(state, x):
    """Swallow the free blocks on both sides; how many there were, and their bytes."""
    nodes = state.nodes
    joined, swallowed = np.int64(0), np.int64(0)
    before, after = np.int64(nodes[x].prev), np.int64(nodes[x].next)
    if nodes[before].state == FREE:
        take_out(state, before)
        joined += 1
        swallowed += nodes[before].extent
        swallow_before(state, x, before)
    if nodes[after].state == FREE:
        take_out(state, after)
        joined += 1
        swallowed += nodes[after].extent
        swallow_after(state, x, after)
    return joined, swallowed


@apart
def join_neighbours_apart(state, x):
    return join_neighbours(state, x)


@apart
def complete_free_apart(state, x):
    complete_free(state, x)


def swallow_before(state, x, before):
    nodes = state.nodes
    nodes[x].addr = nodes[before].addr
    nodes[x].extent += nodes[before].extent
    further = nodes[before].prev
    nodes[x].prev = further
    if further != 0:
        nodes[further].next = x
    drop_node(state, before)


def swallow_after(state, x, after):
    nodes = state.nodes
    nodes[x].extent += nodes[after].extent
    further = nodes[after].next
    nodes[x].next = further
    if further != 0:
        nodes[further].prev = x
    drop_node(state, after)
