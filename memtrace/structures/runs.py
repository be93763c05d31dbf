"""Runs: ranges of the heap that are cut into cells of one size, any of which is found, taken and freed in constant time.

    | cell | cell | cell | cell | tail |      a run; bit i of its words is set while cell i is free

Each class of cells has a list of the runs that are partly free, the one that was full last in front, and a list of those
that are kept though empty. A run takes the lowest of its free cells: a mask says which of its words have a bit.

A run is a block of the heap in ``state.nodes``; its bytes are not allocated, and each of its free cells is a hole. The
state has the fields of ``size_bins`` besides, and ``runs``.
"""

from typing import NamedTuple

import numpy as np

from memtrace.engine.request import ENLARGE, NOWHERE
from memtrace.structures import heap, page_index, size_bins
from memtrace.structures.bits import lowest_set
from memtrace.structures.calls import apart, prefetch
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

MOST_CELLS = 4096  # in a run: as many as a mask of 64 words has bits for
CELL_BITS = 12

# table: one row per run; row 0 is no run
ADDRESS, SIZE, CLASS, USED, NEXT, PREVIOUS, MASK, BLOCK, WORDS = range(9)

# classes: one row per class
CELL, CELLS, BYTES, PARTIAL, EMPTY, EMPTIES, WIDTH = range(7)

# counts: PAGE_HOLES, then
SPARE = 1  # the first of the list of spare rows
FRESH = 2  # the first row never used
KEPT = 3  # empty runs kept, over all classes
COUNTS = 4

FIRST_ROWS = 64


class Runs(NamedTuple):
    table: np.ndarray
    home: np.ndarray  # home[handle]: the row of its run and its cell, row << CELL_BITS | cell; 0 for a block that is no cell
    classes: np.ndarray
    counts: np.ndarray
    width: int  # entries of a row of the table
    align: int  # of a run's address
    keep: int  # empty runs kept per class
    scratch: int  # the handle under which the heap places a run


def new_runs(max_live, cells, align, keep):
    """``cells``: the size of each class's cells and how many a run has, in bytes and as a number; and the run's bytes."""
    most = max(count for _, count, _ in cells)
    if most > MOST_CELLS:
        raise ValueError(f"a run would have {most} cells, more than {MOST_CELLS}: try smaller runs or larger cells")
    classes = np.zeros(len(cells) * WIDTH, np.int64)
    for number, row in enumerate(cells):
        classes[number * WIDTH : number * WIDTH + 3] = row
    width = WORDS + -(-most // 64)
    counts = np.zeros(COUNTS, np.int64)
    counts[FRESH] = 1
    return Runs(
        np.zeros(FIRST_ROWS * width, np.int64),
        np.zeros(max_live + 1, np.int64),
        classes,
        counts,
        width,
        align,
        keep,
        max_live + 1,
    )


def nodes_for(max_live, rows):
    """Nodes of a heap with that many blocks and runs."""
    return np.zeros(2 * (max_live + rows) + 8, NODE).view(np.recarray)


def enlarge(state):
    """Room for twice as many runs."""
    runs = state.runs
    rows = 2 * (runs.table.size // runs.width)
    table, nodes = np.zeros(rows * runs.width, np.int64), nodes_for(runs.scratch, rows)
    table[: runs.table.size] = runs.table
    nodes[: state.nodes.size] = state.nodes
    return state._replace(nodes=nodes, runs=runs._replace(table=table))


def at(row, column):
    """Unsigned, so that compiled code need not ask whether it is negative."""
    return np.uint64(row + column)


def take_cell(state, number, handle):
    """The address of a free cell of a class; NOWHERE if there is none, ENLARGE if the table is full."""
    runs, ledger = state.runs, state.ledger
    table, run = runs.table, runs.classes[at(number * WIDTH, PARTIAL)]
    if run == 0:
        run = open_run(state, number)
        if run < 0:
            return run
    else:
        ledger[HOLE_TAKEN] = table[at(run * runs.width, SIZE)]
        ledger[INSPECTED] = 1
    row = run * runs.width
    mask = table[at(row, MASK)]
    w = lowest_set(mask)
    word = table[at(row, WORDS + w)]
    bit = lowest_set(word)
    word = word & ~(np.int64(1) << bit)
    table[at(row, WORDS + w)] = word
    if word == 0:
        mask = mask & ~(np.int64(1) << w)
        table[at(row, MASK)] = mask
        if mask == 0:
            leave_list(state, run)
    table[at(row, USED)] += 1
    size, cell = table[at(row, SIZE)], (w << 6) + bit
    ledger[BLOCK_SIZE] = size
    ledger[ALLOCATED] += size
    close_hole(ledger, size)
    runs.home[handle] = (run << CELL_BITS) + cell
    return table[at(row, ADDRESS)] + cell * size


def free_cell(state, home):
    """A cell becomes free, and with the last of its run the run leaves the list of those in use."""
    runs, ledger = state.runs, state.ledger
    table, run, cell = runs.table, home >> CELL_BITS, home & (MOST_CELLS - 1)
    row, w = run * runs.width, cell >> 6
    size = table[at(row, SIZE)]
    ledger[ALLOCATED] -= size
    open_hole(ledger, size)
    word = table[at(row, WORDS + w)]
    table[at(row, WORDS + w)] = word | (np.int64(1) << (cell & 63))
    if word == 0:
        mask = table[at(row, MASK)]
        table[at(row, MASK)] = mask | (np.int64(1) << w)
        if mask == 0:
            join_list(state, run)
    used = table[at(row, USED)] - 1
    table[at(row, USED)] = used
    if used == 0:
        leave_used(state, run)


def join_list(state, run):
    """A run that was full, or is new, goes to the front of its class's list."""
    runs = state.runs
    table, row = runs.table, run * runs.width
    head = at(table[at(row, CLASS)] * WIDTH, PARTIAL)
    after = runs.classes[head]
    table[at(row, NEXT)] = after
    table[at(row, PREVIOUS)] = 0
    table[at(after * runs.width, PREVIOUS)] = run
    runs.classes[head] = run


def leave_list(state, run):
    runs = state.runs
    table, row = runs.table, run * runs.width
    before, after = table[at(row, PREVIOUS)], table[at(row, NEXT)]
    if before == 0:
        runs.classes[at(table[at(row, CLASS)] * WIDTH, PARTIAL)] = after
    else:
        table[at(before * runs.width, NEXT)] = after
    table[at(after * runs.width, PREVIOUS)] = before


@apart
def open_run(state, number):
    """A run that has free cells: an empty one that was kept, or a new one; NOWHERE or ENLARGE if there can be none."""
    runs, ledger = state.runs, state.ledger
    classes, row = runs.classes, number * WIDTH
    run = classes[row + EMPTY]
    if run != 0:
        classes[row + EMPTY] = runs.table[run * runs.width + NEXT]
        classes[row + EMPTIES] -= 1
        runs.counts[KEPT] -= 1
        ledger[HOLE_TAKEN] = classes[row + CELL]
        ledger[INSPECTED] = 1
        join_list(state, run)
        return run
    if runs.counts[SPARE] == 0 and (runs.counts[FRESH] + 1) * runs.width > runs.table.size:
        return np.int64(ENLARGE)
    address = take_pages(state, classes[row + BYTES], runs.align, runs.scratch)
    if address < 0:
        return np.int64(NOWHERE)
    run = new_row(runs)
    block = state.node_of[runs.scratch]
    ledger[ALLOCATED] -= state.nodes[block].extent
    open_holes(ledger, classes[row + CELL], classes[row + CELLS])
    fill_row(runs, run, number, address, block)
    join_list(state, run)
    return run


def new_row(runs):
    counts = runs.counts
    run = counts[SPARE]
    if run != 0:
        counts[SPARE] = runs.table[run * runs.width + NEXT]
    else:
        run = counts[FRESH]
        counts[FRESH] = run + 1
    return run


def fill_row(runs, run, number, address, block):
    """All cells of the run are free."""
    table, row = runs.table, run * runs.width
    cells = runs.classes[number * WIDTH + CELLS]
    table[row + ADDRESS] = address
    table[row + SIZE] = runs.classes[number * WIDTH + CELL]
    table[row + CLASS] = number
    table[row + BLOCK] = block
    table[row + USED] = 0
    words = (cells + 63) >> 6
    for w in range(words):
        table[row + WORDS + w] = -1
    if cells & 63 != 0:
        table[row + WORDS + words - 1] = (np.int64(1) << (cells & 63)) - 1
    table[row + MASK] = -1 if words == 64 else (np.int64(1) << words) - 1


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
def leave_used(state, run):
    """A run whose last block is gone is kept, or given back if its class keeps enough."""
    runs = state.runs
    row = runs.table[run * runs.width + CLASS] * WIDTH
    leave_list(state, run)
    if runs.classes[row + EMPTIES] >= runs.keep:
        return_run(state, run)
        return
    runs.table[run * runs.width + NEXT] = runs.classes[row + EMPTY]
    runs.classes[row + EMPTY] = run
    runs.classes[row + EMPTIES] += 1
    runs.counts[KEPT] += 1


@apart
def return_run(state, run):
    """An empty run's pages become a hole, or part of their neighbours'."""
    runs, ledger = state.runs, state.ledger
    table, row = runs.table, run * runs.width
    number, block = table[row + CLASS], table[row + BLOCK]
    close_holes(ledger, table[row + SIZE], runs.classes[number * WIDTH + CELLS])
    ledger[ALLOCATED] += state.nodes[block].extent
    heap.release(state, block, page_index)
    table[row + NEXT] = runs.counts[SPARE]
    runs.counts[SPARE] = run
    if state.rules.trim:
        heap.trim_top(state, page_index)


@apart
def reap(state):
    """Give back all empty runs; whether there were any."""
    runs = state.runs
    classes = runs.classes
    if runs.counts[KEPT] == 0:
        return False
    for row in range(0, classes.size, WIDTH):
        while classes[row + EMPTY] != 0:
            run = classes[row + EMPTY]
            classes[row + EMPTY] = runs.table[run * runs.width + NEXT]
            return_run(state, run)
        classes[row + EMPTIES] = 0
    runs.counts[KEPT] = 0
    return True


def trim(state):
    """Give back the empty runs, and then the free tail of the heap."""
    reap(state)
    heap.trim_top(state, page_index)


@apart
def largest_hole(state):
    """The largest range of free pages, or free cell."""
    classes = state.runs.classes
    most = size_bins.largest_hole(state)
    for row in range(0, classes.size, WIDTH):
        if classes[row + PARTIAL] != 0 or classes[row + EMPTY] != 0:
            most = max(most, classes[row + CELL])
    return most


def expect(state, handle):
    """A block will be freed some events from now: fetch its home."""
    prefetch(state.runs.home, handle)


def expect_soon(state, handle):
    """Fetch the row of its run."""
    runs = state.runs
    prefetch(runs.table, (runs.home[handle] >> CELL_BITS) * runs.width)
