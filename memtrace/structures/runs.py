"""Runs: ranges of the heap that are cut into cells of one size, any of which is found, taken and freed in constant time.

    | cell | cell | cell | cell | tail |      the lowest free cell of the first group in its class's list is taken

A group that has all its cells free may lie in the list among others; a run all of whose groups are like that is empty, and
is kept or given back. A run is a block of the heap in ``state.nodes``; its bytes are not allocated, and each of its free
cells is a hole. The state has the fields of ``size_bins`` besides, and ``runs``.
"""

import numpy as np

from memtrace.engine.request import ENLARGE, NOWHERE
from memtrace.structures import heap, page_index, size_bins
from memtrace.structures.bits import lowest_set
from memtrace.structures.calls import apart, prefetch
from memtrace.structures.groups import (
    ADDRESS,
    AFTER,
    ALL,
    BITS,
    BLOCK,
    BYTES,
    CELL,
    CELLS,
    CLASS,
    EMPTIES,
    EMPTY,
    FIRST,
    GROUP,
    KEPT,
    LIVE,
    NEXT,
    OPEN,
    OWNER,
    ROOM,
    ROW,
    SIBLING,
    SIZE,
    SPARE,
    WIDTH,
    WORD,
    at,
    group_room,
    join_front,
    join_run,
    leave_front,
    leave_list,
    new_groups,
    owner,
)
from memtrace.structures.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    INSPECTED,
    close_hole,
    close_holes,
    open_hole,
    open_holes,
)
from memtrace.structures.page_index import PAGE_HOLES
from memtrace.structures.size_bins import NODE, best


def nodes_for(max_live, runs):
    """Nodes of a heap with that many blocks and runs."""
    return np.zeros(2 * (max_live + runs) + 8, NODE).view(np.recarray)


def enlarge(state):
    """Room for twice as many groups, and so for twice as many runs."""
    runs = state.runs
    more = 2 * group_room(runs)
    runs.counts[ROOM] += group_room(runs)
    groups, owners = np.zeros(more << ROW, np.int64), np.zeros(more << OWNER, np.int64)
    nodes = nodes_for(runs.scratch, more)
    groups[: runs.groups.size] = runs.groups
    owners[: runs.owners.size] = runs.owners
    used = state.pool[heap.FRESH]  # what lies above was never touched, and need not be in memory
    nodes[:used] = state.nodes[:used]
    return state._replace(nodes=nodes, runs=runs._replace(groups=groups, owners=owners))


def take_cell(state, number, handle):
    """The address of a free cell of a class; NOWHERE if there is none, ENLARGE if there are too few rows."""
    runs, ledger = state.runs, state.ledger
    groups, group = runs.groups, runs.heads[np.uint64(number)]
    if group == 0:
        group = open_run(state, number)
        if group < 0:
            return group
    else:
        ledger[INSPECTED] = 1
        ledger[HOLE_TAKEN] = groups[at(group, SIZE)]
    word, size = groups[at(group, WORD)], groups[at(group, SIZE)]
    if word == groups[at(group, ALL)]:
        runs.owners[owner(groups[at(group, FIRST)], LIVE)] += 1
    cell = lowest_set(word)
    word = word & ~(np.int64(1) << cell)
    groups[at(group, WORD)] = word
    leave_front(runs, number, group, word == 0)
    ledger[BLOCK_SIZE] = size
    ledger[ALLOCATED] += size
    close_hole(ledger, size)
    runs.home[np.uint64(handle)] = group * GROUP + cell
    return groups[at(group, ADDRESS)] + cell * size


def free(state, request, address):
    """A block's cell becomes free, or the pages of a block that has none."""
    home = state.runs.home[np.uint64(request.block)]
    if home != 0:
        free_cell(state, home)
    else:
        free_pages(state, request.block)


@apart
def free_pages(state, handle):
    heap.free_block(state, handle, page_index)


def free_cell(state, home):
    """A cell becomes free; with the last of its run the run becomes empty."""
    runs, ledger = state.runs, state.ledger
    groups, group = runs.groups, home >> BITS
    size, word, all_free = groups[at(group, SIZE)], groups[at(group, WORD)], groups[at(group, ALL)]
    ledger[ALLOCATED] -= size
    open_hole(ledger, size)
    free_cells = word | (np.int64(1) << (home & (GROUP - 1)))
    groups[at(group, WORD)] = free_cells
    join_front(runs, group, word == 0)
    if free_cells == all_free:
        first = groups[at(group, FIRST)]
        live = runs.owners[owner(first, LIVE)] - 1
        runs.owners[owner(first, LIVE)] = live
        if live == 0:
            leave_used(state, first)


@apart
def open_run(state, number):
    """The first group of a run with free cells: of an empty one that was kept, or of a new one; else NOWHERE or ENLARGE."""
    runs, ledger = state.runs, state.ledger
    classes, row = runs.classes, number * WIDTH
    first = classes[row + EMPTY]
    if first != 0:
        drop_empty(runs, row)
        ledger[INSPECTED] = 1
        ledger[HOLE_TAKEN] = classes[row + CELL]
        join_run(runs, first)
        return first
    if runs.counts[OPEN] >= runs.most:
        return np.int64(NOWHERE)
    if runs.counts[ROOM] * GROUP < classes[row + CELLS] + GROUP - 1:
        return np.int64(ENLARGE)
    address = take_pages(state, classes[row + BYTES], runs.align, runs.scratch)
    if address < 0:
        return np.int64(NOWHERE)
    block = np.int64(state.node_of[runs.scratch])
    ledger[ALLOCATED] -= state.nodes[block].extent
    open_holes(ledger, classes[row + CELL], classes[row + CELLS])
    first = new_groups(runs, number, address)
    runs.counts[OPEN] += 1
    runs.owners[owner(first, BLOCK)] = block
    runs.owners[owner(first, LIVE)] = 0
    join_run(runs, first)
    return first


def drop_empty(runs, row):
    """Take the first empty run off a class's list."""
    classes = runs.classes
    classes[row + EMPTY] = runs.owners[owner(classes[row + EMPTY], AFTER)]
    classes[row + EMPTIES] -= 1
    runs.counts[KEPT] -= 1


@apart
def leave_used(state, first):
    """A run that is empty leaves the list, and is kept or given back."""
    runs = state.runs
    group = first
    while group != 0:
        leave_list(runs, group)
        group = runs.owners[owner(group, SIBLING)]
    classes, row = runs.classes, runs.groups[at(first, CLASS)] * WIDTH
    if classes[row + EMPTIES] >= runs.keep:
        return_run(state, first)
        return
    runs.owners[owner(first, AFTER)] = classes[row + EMPTY]
    classes[row + EMPTY] = first
    classes[row + EMPTIES] += 1
    runs.counts[KEPT] += 1


@apart
def return_run(state, first):
    """An empty run's pages become a hole, or part of their neighbours'."""
    runs, ledger, counts = state.runs, state.ledger, state.runs.counts
    row, block = runs.groups[at(first, CLASS)] * WIDTH, runs.owners[owner(first, BLOCK)]
    close_holes(ledger, runs.classes[row + CELL], runs.classes[row + CELLS])
    ledger[ALLOCATED] += state.nodes[block].extent
    counts[OPEN] -= 1
    group = first
    while group != 0:
        runs.groups[at(group, NEXT)] = counts[SPARE]
        counts[SPARE] = group
        counts[ROOM] += 1
        group = runs.owners[owner(group, SIBLING)]
    heap.release(state, block, page_index)
    if state.rules.trim:
        heap.trim_top(state, page_index)


@apart
def take_pages(state, size, align, handle):
    """A block of the heap by best fit; if there is no room, empty runs are given back and it is tried again."""
    ledger = state.ledger
    while True:
        ledger[INSPECTED] += state.runs.counts[PAGE_HOLES]
        x = best(state, size, align)
        if x != 0:
            return heap.take(state, x, size, align, handle, page_index)
        address = heap.grow(state, heap.tail_address(state, align), size, handle, page_index)
        if address != NOWHERE or not reap(state):
            return address


@apart
def reap(state):
    """Give back all empty runs; whether there were any."""
    runs = state.runs
    if runs.counts[KEPT] == 0:
        return False
    for row in range(0, runs.classes.size, WIDTH):
        while runs.classes[row + EMPTY] != 0:
            first = runs.classes[row + EMPTY]
            drop_empty(runs, row)
            return_run(state, first)
    return True


def trim(state):
    """Give back the empty runs, and then the free tail of the heap."""
    reap(state)
    heap.trim_top(state, page_index)


@apart
def largest_hole(state):
    """The largest range of free pages, or free cell."""
    runs = state.runs
    most = size_bins.largest_hole(state)
    for number in range(runs.heads.size):
        if runs.heads[number] != 0 or runs.classes[number * WIDTH + EMPTY] != 0:
            most = max(most, runs.classes[number * WIDTH + CELL])
    return most


def expect(state, handle):
    """A block will be freed some events from now: fetch its home."""
    prefetch(state.runs.home, handle)


def expect_soon(state, handle):
    """Fetch its group."""
    runs = state.runs
    prefetch(runs.groups, (runs.home[handle] >> BITS) << ROW)
