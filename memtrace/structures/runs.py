"""Runs: ranges of a heap that are cut into cells of one size; a cell is found, taken and freed in constant time.

    | cell | cell | cell | cell | tail |      a request takes the lowest free cell of the first group in its class's list

The cells of a run form groups (see ``groups``). A group may have all its cells free and stay in its class's list among others;
when that is true of all groups of a run, the run is empty, and is kept for its class or given back to the heap. A run is a
block of the heap in ``state.nodes``; its bytes do not count as allocated, and each of its free cells is a hole. The state has
the fields of ``size_bins.State`` and ``runs``, the tables of ``groups``.
"""

import numpy as np

from memtrace.contract.bits import lowest_set
from memtrace.contract.calls import out_of_line, prefetch
from memtrace.contract.ledger import ALLOCATED, BLOCK_SIZE, HOLE_TAKEN, INSPECTED, close_hole, close_holes, open_hole, open_holes
from memtrace.contract.request import ENLARGE, NOWHERE
from memtrace.structures import heap, page_index, size_bins
from memtrace.structures.groups import (
    ADDRESS,
    AFTER,
    ALL_FREE,
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
    group_entry,
    group_room,
    join_run,
    leave_list,
    new_groups,
    owner_entry,
    pop_front_if,
    push_front_if,
)
from memtrace.structures.page_index import PAGE_HOLES
from memtrace.structures.size_bins import NODE, best


def nodes_for(max_live, runs):
    """Return zeroed nodes for a heap of at most ``max_live`` blocks and ``runs`` runs."""
    return np.zeros(2 * (max_live + runs) + 8, NODE).view(np.recarray)


def enlarge(state):
    """Return the state with room for twice as many groups, and so for twice as many runs."""
    runs = state.runs
    more = 2 * group_room(runs)
    runs.counts[ROOM] += group_room(runs)
    groups, owners = np.zeros(more << ROW, np.int64), np.zeros(more << OWNER, np.int64)
    nodes = nodes_for(runs.scratch, more)
    groups[: runs.groups.size] = runs.groups
    owners[: runs.owners.size] = runs.owners
    used = state.pool[heap.FRESH]  # nodes from here on were never touched, so their memory need not be touched either
    nodes[:used] = state.nodes[:used]
    return state._replace(nodes=nodes, runs=runs._replace(groups=groups, owners=owners))


def take_cell(state, number, handle):
    """Give a free cell of class ``number`` to the block ``handle``; return its address.

    Returns NOWHERE if there is neither a free cell nor room for a new run, and ENLARGE if there are too few rows for its
    groups.
    """
    runs, ledger = state.runs, state.ledger
    groups, group = runs.groups, runs.heads[np.uint64(number)]
    if group == 0:
        group = open_run(state, number)
        if group < 0:
            return group
    else:
        ledger[INSPECTED] = 1
        ledger[HOLE_TAKEN] = groups[group_entry(group, SIZE)]
    word, size = groups[group_entry(group, WORD)], groups[group_entry(group, SIZE)]
    if word == groups[group_entry(group, ALL_FREE)]:
        runs.owners[owner_entry(groups[group_entry(group, FIRST)], LIVE)] += 1
    cell = lowest_set(word)
    word = word & ~(np.int64(1) << cell)
    groups[group_entry(group, WORD)] = word
    pop_front_if(runs, number, group, word == 0)
    ledger[BLOCK_SIZE] = size
    ledger[ALLOCATED] += size
    close_hole(ledger, size)
    runs.home[np.uint64(handle)] = group * GROUP + cell
    return groups[group_entry(group, ADDRESS)] + cell * size


def free(state, request, address):
    """Free the block of a request: its cell, or its pages if it has no cell."""
    home = state.runs.home[np.uint64(request.block)]
    if home != 0:
        free_cell(state, home)
    else:
        free_pages(state, request.block)


@out_of_line
def free_pages(state, handle):
    """Free the block ``handle``, which has pages of its own; compiled out of line."""
    heap.free_block(state, handle, page_index)


def free_cell(state, home):
    """Free the cell ``home``, given as group * GROUP + cell; if it was the last cell in use of its run, the run becomes empty."""
    runs, ledger = state.runs, state.ledger
    groups, group = runs.groups, home >> BITS
    size, word, all_free = (
        groups[group_entry(group, SIZE)],
        groups[group_entry(group, WORD)],
        groups[group_entry(group, ALL_FREE)],
    )
    ledger[ALLOCATED] -= size
    open_hole(ledger, size)
    free_cells = word | (np.int64(1) << (home & (GROUP - 1)))
    groups[group_entry(group, WORD)] = free_cells
    push_front_if(runs, group, word == 0)
    if free_cells == all_free:
        first = groups[group_entry(group, FIRST)]
        live = runs.owners[owner_entry(first, LIVE)] - 1
        runs.owners[owner_entry(first, LIVE)] = live
        if live == 0:
            retire_empty_run(state, first)


@out_of_line
def open_run(state, number):
    """Return the first group of a run of class ``number`` with free cells: an empty run that was kept, or a new run.

    Returns NOWHERE if there is no room or the number of runs is at its limit, and ENLARGE if there are too few rows for the
    groups.
    """
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
    runs.owners[owner_entry(first, BLOCK)] = block
    runs.owners[owner_entry(first, LIVE)] = 0
    join_run(runs, first)
    return first


def drop_empty(runs, row):
    """Remove the first run from the list of empty runs of the class whose columns begin at entry ``row`` of ``classes``."""
    classes = runs.classes
    classes[row + EMPTY] = runs.owners[owner_entry(classes[row + EMPTY], AFTER)]
    classes[row + EMPTIES] -= 1
    runs.counts[KEPT] -= 1


@out_of_line
def retire_empty_run(state, first):
    """Remove the groups of an empty run from their class's list; keep the run, or give it back if its class keeps enough.

    ``first`` is the first group of the run.
    """
    runs = state.runs
    group = first
    while group != 0:
        leave_list(runs, group)
        group = runs.owners[owner_entry(group, SIBLING)]
    classes, row = runs.classes, runs.groups[group_entry(first, CLASS)] * WIDTH
    if classes[row + EMPTIES] >= runs.keep:
        return_run(state, first)
        return
    runs.owners[owner_entry(first, AFTER)] = classes[row + EMPTY]
    classes[row + EMPTY] = first
    classes[row + EMPTIES] += 1
    runs.counts[KEPT] += 1


@out_of_line
def return_run(state, first):
    """Give the pages of the empty run with first group ``first`` back to the heap, where they coalesce; make its groups spare."""
    runs, ledger, counts = state.runs, state.ledger, state.runs.counts
    row, block = runs.groups[group_entry(first, CLASS)] * WIDTH, runs.owners[owner_entry(first, BLOCK)]
    close_holes(ledger, runs.classes[row + CELL], runs.classes[row + CELLS])
    ledger[ALLOCATED] += state.nodes[block].extent
    counts[OPEN] -= 1
    group = first
    while group != 0:
        runs.groups[group_entry(group, NEXT)] = counts[SPARE]
        counts[SPARE] = group
        counts[ROOM] += 1
        group = runs.owners[owner_entry(group, SIBLING)]
    heap.release(state, block, page_index)
    if state.rules.trim:
        heap.trim_top(state, page_index)


@out_of_line
def take_pages(state, size, align, handle):
    """Place the block ``handle`` in pages of the heap by best fit; if there is no room, give empty runs back and try again.

    ``size`` is in bytes, a multiple of pages. Returns the address, or NOWHERE if there is no room.
    """
    ledger = state.ledger
    while True:
        ledger[INSPECTED] += state.runs.counts[PAGE_HOLES]
        x = best(state, size, align)
        if x != 0:
            return heap.take(state, x, size, align, handle, page_index)
        address = heap.grow(state, heap.tail_address(state, align), size, handle, page_index)
        if address != NOWHERE or not return_empty_runs(state):
            return address


@out_of_line
def return_empty_runs(state):
    """Give all empty runs back to the heap; return whether there were any."""
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
    """Give all empty runs back to the heap, and the free tail of the heap back to the system."""
    return_empty_runs(state)
    heap.trim_top(state, page_index)


@out_of_line
def largest_hole(state):
    """Return the bytes of the largest hole: a range of free pages or a free cell."""
    runs = state.runs
    most = size_bins.largest_hole(state)
    for number in range(runs.heads.size):
        if runs.heads[number] != 0 or runs.classes[number * WIDTH + EMPTY] != 0:
            most = max(most, runs.classes[number * WIDTH + CELL])
    return most


def expect(state, handle):
    """Prefetch the entry of ``home`` of the block ``handle``, which will be freed some events from now."""
    prefetch(state.runs.home, handle)


def expect_soon(state, handle):
    """Prefetch the group of the block ``handle``, which will be freed soon; ``expect`` has prefetched its home."""
    runs = state.runs
    prefetch(runs.groups, (runs.home[handle] >> BITS) << ROW)
