"""A heap of pages with size classes: small requests get cells of runs, large requests whole pages by best fit.

The policies ``size_class`` and ``slab`` share this module; they differ in how many empty runs each class keeps. There are
2^steps classes per doubling, and below the first doubling the multiples of the alignment. With an alignment of 16 bytes and 4
classes per doubling:

    16 32 48 64 | 80 96 112 128 | 160 192 224 256 | 320 384 448 512 | 640 ...

A class is at most delta - 1 bytes larger than the request, where delta is the distance to the next smaller class. With s classes
per doubling, delta is at most 1 / (s + 1) of a class that is above s times the alignment. If a power of two divides the request,
it also divides the class.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import align_up, highest_set, round_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import BLOCK_SIZE, new_ledger
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import heap, page_index
from memtrace.structures.groups import BITS, CLASS, Runs, group_entry, group_room, new_runs
from memtrace.structures.heap import FRESH, add_initial_hole
from memtrace.structures.rules import Rules, alignment, block_size, heap_rules
from memtrace.structures.runs import nodes_for, take_cell, take_pages
from memtrace.structures.size_bins import BINS, LEVEL_2, granule


class Spacing(NamedTuple):
    """Parameters of the size classes."""

    quantum: int  # log2 of the alignment in bytes
    steps: int  # log2 of the number of classes per doubling


def new_spacing(align, spacing):
    """Return the parameters for ``spacing`` classes per doubling (1, 2, 4 or 8; else ValueError) and the alignment ``align``."""
    if spacing not in (1, 2, 4, 8):
        raise ValueError(f"spacing={spacing} is none of 1, 2, 4, 8 classes per doubling")
    return Spacing(int(highest_set(align)), int(highest_set(spacing)))


def class_of(spacing, size):
    """Return the number, from 0 on, of the smallest class that holds ``size`` bytes; ``size`` is at least 1."""
    units = (size - 1) >> spacing.quantum
    shift = highest_set(units | (1 << spacing.steps)) - spacing.steps
    return (shift << spacing.steps) + (units >> shift)


def class_size(spacing, number):
    """Return the size in bytes of the cells of class ``number``, counted from 0; ``spacing`` says how many classes a doubling
    has.
    """
    shift = max((number >> spacing.steps) - 1, 0)
    return (number - (shift << spacing.steps) + 1) << (shift + spacing.quantum)


class State(NamedTuple):
    """State of a heap of pages with size classes."""

    nodes: np.ndarray  # this and the next seven fields are those of size_bins.State
    node_of: np.ndarray
    pool: np.ndarray
    heads: np.ndarray
    words: np.ndarray
    ledger: np.ndarray
    rules: Rules  # of blocks of whole pages: align and min_block are the page size
    granule: int
    runs: Runs
    spacing: Spacing  # of the size classes
    align: int  # bytes: cell sizes are multiples of it
    least: int  # bytes of the smallest block in a cell
    small: int  # bytes of the largest cell


class Shape(NamedTuple):
    """The options of a heap of pages with size classes, beside those of every heap; all sizes are in bytes."""

    keep: int  # empty runs that each class keeps
    spacing: int  # classes per doubling
    page: int  # a power of two
    small: int  # the largest cell before rounding up to a class; 0 stands for spacing times page
    tail: int  # at most 1/tail of a run is left over behind its last cell
    align: int  # default alignment of cells
    min_block: int  # smallest block in a cell
    header: int  # added to each request


def new_state(capacity, max_live, shape, options):
    """Return the state of a heap without blocks; raise ValueError if an option is invalid.

    ``shape`` is a `Shape`, ``options`` are the other options of ``heap_rules``.
    """
    page, align, min_block = shape.page, shape.align, shape.min_block
    check_page(page, align, shape.tail)
    steps = new_spacing(align, shape.spacing)
    heap_rules(capacity, align, min_block, shape.header)  # raises ValueError if one of them is invalid
    if shape.small < 0:
        raise ValueError(f"small={shape.small} is negative")
    small = shape.small if shape.small > 0 else shape.spacing * page
    largest = class_size(steps, class_of(steps, max(small, min_block)))
    sizes = [int(class_size(steps, number)) for number in range(class_of(steps, largest) + 1)]
    least = int(class_of(steps, min_block))
    # No request has a class below that of min_block, so those classes need no cell size of their own.
    cells = [run_of(max(size, sizes[least]), page, shape.tail) for size in sizes]
    rules = heap_rules(capacity, align=page, min_block=page, header=shape.header, **options)
    pool = np.zeros(2, np.int64)
    pool[FRESH] = 1
    runs = new_runs(max_live, cells, page, shape.keep)
    state = State(
        nodes=nodes_for(max_live + 1, group_room(runs)),
        node_of=np.zeros(max_live + 2, np.uint32),
        pool=pool,
        heads=np.zeros(BINS, np.uint32),
        words=np.zeros(LEVEL_2 + 1, np.int64),
        ledger=new_ledger(rules.floor),
        rules=rules,
        granule=granule(rules, options.get("base", 0)),
        runs=runs,
        spacing=steps,
        align=align,
        least=min_block,
        small=int(largest),
    )
    add_initial_hole(state, options.get("initial", 0), page_index)
    return state


def check_page(page, align, tail):
    """Raise ValueError unless ``page`` is a power of two of at least ``align`` bytes and ``tail`` is at least 1."""
    if page < 1 or page & (page - 1):
        raise ValueError(f"page={page} is not a power of two")
    if page < align:
        raise ValueError(f"page={page} is below align={align}")
    if tail < 1:
        raise ValueError(f"tail={tail} is below 1")


def run_of(size, page, tail):
    """Return the bytes of a cell, the number of cells and the bytes of a run whose cells have ``size`` bytes.

    The run is the fewest whole pages (of ``page`` bytes) of which at most 1/``tail`` is left over behind the last cell.
    """
    bytes = round_up(size, page)
    while bytes % size * tail > bytes:
        bytes += page
    return size, bytes // size, bytes


def cell_request(state, request):
    """Return the bytes that a cell needs for a request: with header, at least the smallest block, rounded up to the alignment.

    A power of two that divides this number also divides the size of its class, so all cells of the class have that alignment.
    """
    align = max(state.align, request.align)
    return align_up(max(request.size + state.rules.header, state.least), align)


def is_small(state, size, request):
    """Return whether a request whose cell needs ``size`` bytes (see ``cell_request``) gets a cell and not whole pages."""
    return size <= state.small and request.align <= state.rules.align


def alloc(state, request):
    """Serve a request; return the address, or NOTHING (``zero=null``), NOWHERE (no room) or ENLARGE (too few rows for groups)."""
    if request.size == 0 and state.rules.null:
        return NOTHING
    size = cell_request(state, request)
    if is_small(state, size, request):
        return take_cell(state, class_of(state.spacing, size), request.block)
    return alloc_pages(state, request)


def alloc_pages(state, request):
    """Place the block of a large request in whole pages by best fit; return its address, or NOWHERE if there is no room."""
    size = block_size(state.rules, request.size)
    state.ledger[BLOCK_SIZE] = size
    state.runs.home[request.block] = 0
    return take_pages(state, size, max(state.rules.align, alignment(state.rules, request)), request.block)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place if possible; return ``address``, or NOWHERE if the block has to move.

    A cell stays where it is as long as the new size has the same class. A block of pages shrinks, or grows into the free
    pages behind it. No block changes from a cell to pages or back in place.
    """
    home, size = state.runs.home[request.block], cell_request(state, request)
    if is_small(state, size, request):
        number = state.runs.groups[group_entry(home >> BITS, CLASS)]
        if home != 0 and state.rules.inplace and class_of(state.spacing, size) == number:
            return address
        return NOWHERE
    if home != 0:
        return NOWHERE
    return heap.resize_block(state, request, address, page_index)
