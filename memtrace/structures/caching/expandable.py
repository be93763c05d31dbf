"""Expandable segments: much address space is reserved, and memory is mapped into it page by page as blocks need it.

    | AAAA | BB |....|------|CCC|..|-------------------------|
      mapped: blocks A, B, C and free blocks `.`; not mapped: `-`, in whole pages

A node whose state is HOLE is an unmapped range. Unmapped ranges coalesce with each other, and so do free blocks, but never one
kind with the other. A page is 2 MiB in the small pool and ``rules.large_buffer`` in the large pool.
"""

import numpy as np

from memtrace.contract.bits import round_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import RELEASE_CALLS, RESERVE_CALLS, RESERVED
from memtrace.structures.caching.blocks import (
    SEGMENT_MAP,
    SEGMENT_UNMAP,
    absorb_next,
    absorb_previous,
    drop_node,
    join_neighbours_out_of_line,
    link_behind,
    new_node,
    record_event,
)
from memtrace.structures.caching.device import drop_segment, new_segment, take_memory
from memtrace.structures.caching.free_sets import (
    Key,
    add_hole,
    first_hole_from,
    insert_free_out_of_line,
    lower_bound,
    remove_free_out_of_line,
    take_hole_out,
)
from memtrace.structures.caching.state import DEVICE_USED, FREE, SMALL_BUFFER, UNMAPPED
from memtrace.structures.caching.statistics import DEVICE_ALLOC, DEVICE_FREE, RESERVED_BYTES, fall, rise


def page_of(rules, queue):
    """Return the page size in bytes of expandable segments of ``queue``, which may also be a pool (0 small, 1 large)."""
    return np.int64(SMALL_BUFFER) if queue & 1 == 0 else np.int64(rules.large_buffer)


def usable(nodes, x):
    """Return whether node x is a free block or an unmapped range."""
    return nodes[x].state == FREE or nodes[x].state == UNMAPPED


def growable(nodes, x):
    """Return the bytes that free block x would have if the unmapped range directly behind it, if any, were mapped."""
    after = nodes[x].next
    return nodes[x].extent + (nodes[after].extent if nodes[after].state == UNMAPPED else 0)


@out_of_line
def least_growable(nodes, roots, queues, x):
    """Return the free block to use instead of best fit x, comparing blocks by the size to which they can grow.

    Starting at x, the search moves on to the next free block of the queue in (size, number, address) order as long as
    that one can grow less. It ends at a block with no unmapped range behind it: such a block cannot grow, and all that follow are
    at least as large.
    """
    queue = np.int64(nodes[x].queue)
    while nodes[nodes[x].next].state == UNMAPPED:
        after = Key(nodes[x].extent, nodes[x].number, nodes[x].addr + 1)
        y = lower_bound(nodes, roots, queues, queue, after)[0]
        if y == 0 or growable(nodes, y) >= growable(nodes, x):
            return x
        x = y
    return x


@out_of_line
def extend(state, queue, size):
    """Return a mapped block of at least ``size`` bytes that is in no free set; 0 if the device has too little memory left.

    Address space is reserved if the segments of ``queue`` have no range that is large enough. Pages that were mapped before a
    failure stay mapped, as free blocks.
    """
    nodes = state.nodes
    x = find_expandable(state, queue, size)
    if x == 0:
        x = reserve_addresses(state, queue, size)
    if nodes[x].state == UNMAPPED and not map_pages(state, x, min(nodes[x].extent, size)):
        return np.int64(0)
    while nodes[x].extent < size:
        hole = np.int64(nodes[x].next)
        if hole == 0 or not map_pages(state, hole, min(size - nodes[x].extent, nodes[hole].extent)):
            return np.int64(0)
        x = hole
    remove_free_out_of_line(state, x)
    return x


@out_of_line
def find_expandable(state, queue, size):
    """Return the node at which a run of free and unmapped nodes of ``size`` bytes or more begins; 0 if there is none.

    The run begins at an unmapped range, or at the free block directly before one. Of all such runs of ``queue`` it is the first
    by address of the unmapped range.
    """
    nodes = state.nodes
    hole = first_hole_from(state, queue, np.int64(0))
    while hole != 0:
        before = np.int64(nodes[hole].prev)
        start = before if usable(nodes, before) else hole
        reach, x = np.int64(0), start
        while usable(nodes, x) and reach < size:
            reach += nodes[x].extent
            x = np.int64(nodes[x].next)
        if reach >= size:
            return start
        hole = first_hole_from(state, queue, nodes[hole].addr + 1)
    return np.int64(0)


@out_of_line
def reserve_addresses(state, queue, size):
    """Return the single unmapped node of a new segment for ``queue``.

    The segment reserves address space for nine eighths of the device's memory, rounded up to whole pages.
    """
    total = state.rules.device
    extent = round_up(total + total // 8, page_of(state.rules, queue))
    if total < state.rules.capacity:  # the capacity has no bound, so a request may exceed the assumed device
        extent = max(extent, round_up(size, page_of(state.rules, queue)))
    s = new_segment(state, queue, extent)
    x = new_node(state, state.segments[s].start, extent, queue, s)
    state.nodes[x].prev = 0
    state.nodes[x].next = 0
    state.nodes[x].state = UNMAPPED
    add_hole(state, x)
    return x


@out_of_line
def map_pages(state, hole, size):
    """Map the pages that hold the first ``size`` bytes of unmapped node ``hole``; return whether the device had the memory.

    If it had not, nothing is changed. Otherwise ``hole`` becomes a free block, coalesced with free neighbours and put into the
    free set, and the rest of the range becomes an unmapped node behind it. Updates ledger, statistics and history.
    """
    nodes = state.nodes
    queue = np.int64(nodes[hole].queue)
    mapped = round_up(size, page_of(state.rules, queue))
    if not take_memory(state, mapped):
        return False
    record_event(state, SEGMENT_MAP, nodes[hole].addr, mapped, queue >> 1)
    take_hole_out(state, hole)
    rest = nodes[hole].extent - mapped
    if rest > 0:
        y = new_node(state, nodes[hole].addr + mapped, rest, queue, nodes[hole].segment)
        link_behind(nodes, hole, y)
        nodes[y].state = UNMAPPED
        add_hole(state, y)
        nodes[hole].extent = mapped
    join_neighbours_out_of_line(state, hole)
    insert_free_out_of_line(state, hole)
    state.ledger[RESERVED] += mapped
    state.ledger[RESERVE_CALLS] += 1
    state.stats[DEVICE_ALLOC] += 1
    rise(state.stats, RESERVED_BYTES, queue & 1, mapped)
    return True


def whole_pages(nodes, segments, x, page):
    """Return the half-open address interval of the pages of ``page`` bytes that lie wholly within block x.

    Pages are counted from the start of the segment. If there is none, the end is not above the start.
    """
    base = segments[nodes[x].segment].start
    start, end = nodes[x].addr - base, nodes[x].addr + nodes[x].extent - base
    return base + round_up(start, page), base + end // page * page


@out_of_line
def unmap(state, x, first, last):
    """Unmap addresses ``first`` to ``last``, which are whole pages of free block x, and return their memory to the device.

    Parts of the block before and behind these pages stay mapped, as free blocks. Updates ledger, statistics and history.
    """
    nodes = state.nodes
    queue = np.int64(nodes[x].queue)
    segment = np.int64(nodes[x].segment)
    address, end = nodes[x].addr, nodes[x].addr + nodes[x].extent
    remove_free_out_of_line(state, x)
    if first > address:
        head = new_node(state, address, first - address, queue, segment)
        before = nodes[x].prev
        nodes[head].prev = before
        nodes[head].next = x
        if before != 0:
            nodes[before].next = head
        nodes[x].prev = head
        insert_free_out_of_line(state, head)
    if end > last:
        tail = new_node(state, last, end - last, queue, segment)
        link_behind(nodes, x, tail)
        insert_free_out_of_line(state, tail)
    nodes[x].addr = first
    nodes[x].extent = last - first
    make_hole(state, x)
    record_event(state, SEGMENT_UNMAP, first, last - first, queue >> 1)
    state.at[DEVICE_USED] -= last - first
    state.ledger[RESERVED] -= last - first
    state.ledger[RELEASE_CALLS] += 1
    state.stats[DEVICE_FREE] += 1
    fall(state.stats, RESERVED_BYTES, queue & 1, last - first)


def make_hole(state, x):
    """Make node x an unmapped range and coalesce it with unmapped neighbours; drop the segment if it then has no other node."""
    nodes = state.nodes
    before, after = np.int64(nodes[x].prev), np.int64(nodes[x].next)
    nodes[x].state = UNMAPPED
    if nodes[before].state == UNMAPPED:
        take_hole_out(state, before)
        absorb_previous(state, x, before)
    if nodes[after].state == UNMAPPED:
        take_hole_out(state, after)
        absorb_next(state, x, after)
    if nodes[x].prev == 0 and nodes[x].next == 0:
        drop_segment(state, np.int64(nodes[x].segment))
        drop_node(state, x)
    else:
        add_hole(state, x)
