"""Pool: cells of one size for whatever fits into one; what does not fit goes to best fit in the same heap, or fails.

A pool is a block of the heap, cut into `cells` cells of `cell` bytes (rounded up to the alignment). A request whose block
is at most a cell gets the lowest free cell of the pool that was full last; if all are in use, another pool is made, up to
`pools` of them (0: as many as it takes). A request also has to be aligned to no more than the largest power of two that
divides the cell. Every other request, and one that finds no cell and no room for another pool, goes to the `fallback`:
`best-fit` places it in the heap; with `none` it fails. Pools stay, though empty, until room is needed or a trim asks for it.

    |ooo.oo..oo......|  block  |.....|  block  |oooooooo........|       two pools of 16 cells, and best fit around them

A hole is what one request can get: each free cell, and each free range of the heap outside of the pools; neighbouring free
cells are holes of their own. A search inspects 1 hole if there is a free cell; else all the free ranges, once for a new pool
and once more if there was no room for it. Cells are taken by groups of 64. `realloc=inplace`: in the cell while it
suffices; a block of the heap as best fit does it.

`cell=64`: bytes. `cells=256`. `pools=0`. `fallback=best-fit`. The other options are those of a heap.

Cost: constant for cells: a bitmap finds the cell, a list the group. A new pool costs one best fit, and a step for every 64
cells.
Source: Kenwright 2012, "Fast efficient fixed-size memory pool"; Wilson, Johnstone, Neely and Boles 1995, section 3.6.
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import round_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import BLOCK_SIZE, new_ledger
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import heap, page_index
from memtrace.structures.free_tail import releasable
from memtrace.structures.groups import UNLIMITED, Runs, group_room, new_runs
from memtrace.structures.heap import FRESH, add_initial_hole, request_block_size
from memtrace.structures.rules import Rules, alignment, block_size, heap_rules
from memtrace.structures.runs import enlarge, expect, expect_soon, free, largest_hole, nodes_for, take_cell, take_pages, trim
from memtrace.structures.size_bins import BINS, LEVEL_2, granule

ORDER = 12
COALESCES = True
UNUSABLE = True  # what a heap that grows by odd chunks reserves above its last cell


class State(NamedTuple):
    """The fields of a `size_bins` heap, in which pools are blocks, and those of the pools."""

    nodes: np.ndarray  # nodes[x]: a block or hole of the heap (size_bins.NODE)
    node_of: np.ndarray  # node_of[handle]: the block's node
    pool: np.ndarray  # of nodes: the first never used, the first of the list of spare ones
    heads: np.ndarray  # heads[bin]: root of the heap of holes in a size bin, or 0
    words: np.ndarray  # bitmap of the bins that are not empty
    ledger: np.ndarray
    rules: Rules
    granule: int  # log2 of the unit in which hole sizes are counted
    runs: Runs  # the pools: each is a run of cells
    cell: int  # bytes of a cell
    falls_back: bool  # requests that get no cell are placed in the heap; False: they fail


def init(
    capacity,
    max_live,
    cell=64,
    cells=256,
    pools=0,
    fallback: Literal["best-fit", "none"] = "best-fit",
    **options,
):
    for name, value, least in (("cell", cell, 1), ("cells", cells, 1), ("pools", pools, 0)):
        if value < least:
            raise ValueError(f"{name}={value} is below {least}")
    if cell > 1 << 60 or cells > 1 << 30 or cell * cells > 1 << 61:
        raise ValueError(f"a pool of {cells} cells of {cell} bytes is too large")
    rules = heap_rules(capacity, **options)
    cell = round_up(max(cell, rules.min_block), rules.align)
    runs = new_runs(max_live, [(cell, cells, cell * cells)], cell & -cell, UNLIMITED, pools if pools > 0 else UNLIMITED)
    places = np.zeros(2, np.int64)
    places[FRESH] = 1
    state = State(
        nodes_for(max_live + 1, group_room(runs)),
        np.zeros(max_live + 2, np.uint32),
        places,
        np.zeros(BINS, np.uint32),
        np.zeros(LEVEL_2 + 1, np.int64),
        new_ledger(rules.floor),
        rules,
        granule(rules, options.get("base", 0)),
        runs,
        cell,
        fallback == "best-fit",
    )
    add_initial_hole(state, options.get("initial", 0), page_index)
    return state


def fits_cell(state, size, request):
    """Return whether a block of ``size`` bytes fits a cell, and the request's alignment is one that every cell has."""
    return size <= state.cell and request.align <= state.runs.align


def alloc(state, request):
    """Give the request a free cell, or place it by the fallback; return its address in bytes.

    Return NOTHING if a request of 0 bytes gets no block (`zero=null`), ENLARGE if the arrays have no room for another pool,
    NOWHERE if there is neither a free cell nor room for the block elsewhere.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    if fits_cell(state, size, request):
        address = take_cell(state, 0, request.block)
        if address != NOWHERE:
            return address
    return fall_back(state, request, size)


@out_of_line
def fall_back(state, request, size):
    """Place a block of ``size`` bytes in the heap, outside the pools, by best fit; return its address.

    Return NOWHERE with `fallback=none`, or if the heap has no room.
    """
    if not state.falls_back:
        return np.int64(NOWHERE)
    state.ledger[BLOCK_SIZE] = size
    state.runs.home[request.block] = 0
    return take_pages(state, size, alignment(state.rules, request), request.block)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place: within its cell as long as it fits, outside the pools as the heap does; return ``address``.

    Return NOWHERE if the block has to move. ``old_size`` is not used.
    """
    if state.runs.home[request.block] == 0:
        return np.int64(heap.resize_block(state, request, address, page_index))
    fits = fits_cell(state, block_size(state.rules, request.size), request)
    return np.int64(address if fits and state.rules.inplace else NOWHERE)
