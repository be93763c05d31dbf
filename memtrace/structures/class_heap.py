"""A heap of pages with size classes: small requests get cells of runs, large ones whole pages by best fit.

What ``size_class`` and ``slab`` have in common; they differ in how many empty runs each class keeps.
"""

from typing import NamedTuple

import numpy as np

from memtrace.engine.request import NOTHING, NOWHERE
from memtrace.structures import heap, page_index
from memtrace.structures.bits import align_up, round_up
from memtrace.structures.calls import apart
from memtrace.structures.groups import BITS, CLASS, Runs, at, group_room, new_runs
from memtrace.structures.heap import FRESH, open_heap
from memtrace.structures.ledger import BLOCK_SIZE, new_ledger
from memtrace.structures.rules import Rules, alignment, block_size, heap_rules
from memtrace.structures.runs import nodes_for, take_cell, take_pages
from memtrace.structures.size_bins import BINS, LEVEL_3, granule
from memtrace.structures.size_classes import Spacing, class_of, class_size, new_spacing


class State(NamedTuple):
    nodes: np.ndarray
    node_of: np.ndarray
    pool: np.ndarray
    heads: np.ndarray
    words: np.ndarray
    ledger: np.ndarray
    rules: Rules  # of pages
    granule: int
    runs: Runs
    spacing: Spacing
    align: int  # of cells
    least: int  # the smallest block
    small: int  # the largest cell


def new_state(capacity, max_live, keep, spacing, page, small, tail, align, min_block, header, options):
    """``keep``: empty runs that each class keeps; the rest are options of the policies, in bytes."""
    check_page(page, align, tail)
    steps = new_spacing(align, spacing)
    heap_rules(capacity, align, min_block, header)  # complains of what is wrong with them
    largest = class_size(steps, class_of(steps, max(small if small > 0 else spacing * page, min_block)))
    sizes = [int(class_size(steps, number)) for number in range(class_of(steps, largest) + 1)]
    least = int(class_of(steps, min_block))
    # Classes below min_block are never asked for; they need no run of their own.
    cells = [run_of(max(size, sizes[least]), page, tail) for size in sizes]
    rules = heap_rules(capacity, align=page, min_block=page, header=header, **options)
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    cells = new_runs(max_live, cells, page, keep)
    state = State(
        nodes_for(max_live + 1, group_room(cells)),
        np.zeros(max_live + 2, np.uint32),
        pool,
        np.zeros(BINS, np.uint32),
        np.zeros(LEVEL_3 + 1, np.int64),
        new_ledger(rules.floor),
        rules,
        granule(rules, options.get("base", 0)),
        cells,
        steps,
        align,
        min_block,
        int(largest),
    )
    open_heap(state, options.get("initial", 0), page_index)
    return state


def check_page(page, align, tail):
    if page < 1 or page & (page - 1):
        raise ValueError(f"page={page} is not a power of two")
    if page < align:
        raise ValueError(f"page={page} is below align={align}")
    if tail < 1:
        raise ValueError(f"tail={tail} is below 1")


def run_of(size, page, tail):
    """Cell size, cells, bytes: the fewest pages of which at most 1/tail is left over behind the last cell."""
    bytes = round_up(size, page)
    while bytes % size * tail > bytes:
        bytes += page
    return size, bytes // size, bytes


def cell_request(state, request):
    """The bytes that a cell has to have; a power of two that divides them divides the cell too."""
    align = max(state.align, request.align)
    return align_up(max(request.size + state.rules.header, state.least), align)


def is_small(state, size, request):
    return size <= state.small and request.align <= state.rules.align


def alloc(state, request):
    if request.size == 0 and state.rules.null:
        return NOTHING
    size = cell_request(state, request)
    if is_small(state, size, request):
        return take_cell(state, class_of(state.spacing, size), request.block)
    return alloc_pages(state, request)


def alloc_pages(state, request):
    size = block_size(state.rules, request.size)
    state.ledger[BLOCK_SIZE] = size
    state.runs.home[request.block] = 0
    return take_pages(state, size, max(state.rules.align, alignment(state.rules, request)), request.block)


@apart
def resize(state, request, address, old_size):
    """In place within the class of a cell, and within or into neighbouring pages; not from one to the other."""
    home, size = state.runs.home[request.block], cell_request(state, request)
    if is_small(state, size, request):
        number = state.runs.groups[at(home >> BITS, CLASS)]
        if home != 0 and state.rules.inplace and class_of(state.spacing, size) == number:
            return address
        return NOWHERE
    if home != 0:
        return NOWHERE
    return heap.resize_block(state, request, address, page_index)
