"""Simple segregated storage: powers of two, each size with a list of its own free cells; nothing is ever split or merged.

A request of size + header bytes, at least min_block, is rounded up to its alignment, or to a page if that is less, and then to
the next power of two. It gets the cell of that size that was freed last. If none is free, the next pages are carved into cells,
the lowest first; a cell larger than a page has pages of its own. A cell keeps its size for good, and pages are never given back.

         16           64          16           4096
    |oooooooooooo|oo..oo..oo..|oo......||................|    `.` free cells: holes, whatever their neighbours are

A block that is aligned to more than a page starts inside its cell, which is larger by the bytes that this may need.
A hole is a free cell, carved or not yet carved: two neighbours are two, as no block can have both. The range above
the last page (`initial`, `chunk`) is one hole, and so is the range between `base` and the first page. Reserved is the
top of the heap. A search inspects 1 hole if the list has a cell; else the free top of the heap, if there is one.
`realloc=inplace`: a block stays where it is while its power of two is the same and it ends within its cell.

`page=4096`: bytes. `align`, `min_block`, `header`, `base`, `initial`, `chunk`, `extend`, `realloc`, `zero` as for a heap.

Cost: constant, two loads and a store; a page of n cells is carved as its cells are asked for.
Source: Wilson, Johnstone, Neely and Boles 1995, section 3.6 (simple segregated storage); Kingsley's malloc of 4.2BSD.
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up, highest_set
from memtrace.contract.calls import out_of_line, prefetch
from memtrace.contract.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    INSPECTED,
    RESERVED,
    close_hole,
    new_ledger,
    open_hole,
    open_holes,
)
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.heap import reserve
from memtrace.structures.rules import Rules, growth, heap_rules

ORDER = 6
GROUPS = ("default",)

CELL = np.dtype((np.record, np.dtype([("addr", "i8"), ("next", "u4"), ("order", "u4")], align=True)))
FIRST_CELLS = 1024  # cells for which there is room at first
ORDERS = 64  # orders of cells, log2 of their bytes
# places in State.top: address at which the last page in use ends; the next cell number; bytes between the base and the first page
FRONTIER, CARVED, GAP = 0, 1, 2


class State(NamedTuple):
    """The cells, and for each order (log2 of the cell size) its list of free cells and the page that is being carved."""

    cells: np.ndarray  # each cell that was ever used, of dtype CELL; cell 0 is none
    cell_of: np.ndarray  # cell_of[handle]: the block's cell
    heads: np.ndarray  # heads[order]: the cell freed last; 0 if no cell that was used is free
    fresh: np.ndarray  # fresh[order]: address of the next cell to be carved ...
    ends: np.ndarray  # ... unless the page ends there
    top: np.ndarray  # FRONTIER, CARVED, GAP
    ledger: np.ndarray
    rules: Rules
    page: int  # bytes of a page


def init(
    capacity,
    max_live,
    page=4096,
    align=16,
    min_block=16,
    header=0,
    base=0,
    initial=0,
    chunk=1,
    extend: Literal["shortfall", "full"] = "shortfall",
    realloc: Literal["inplace", "move"] = "inplace",
    zero: Literal["block", "null"] = "block",
):
    if page < align or page & (page - 1):
        raise ValueError(f"page={page} is no power of two, or below align={align}")
    rules = heap_rules(capacity, align, min_block, header, base, initial, chunk, extend, realloc, zero)
    state = State(
        np.zeros(FIRST_CELLS, CELL).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        np.zeros(ORDERS, np.int64),
        np.zeros(ORDERS, np.int64),
        np.zeros(ORDERS, np.int64),
        np.array([base, 1, 0], np.int64),
        new_ledger(rules.floor),
        rules,
        page,
    )
    if initial > 0:
        open_hole(state.ledger, initial)
    return state


def enlarge(state):
    """Return a state with room for twice as many cells."""
    cells = np.zeros(2 * state.cells.size, CELL).view(np.recarray)
    cells[: state.cells.size] = state.cells
    return state._replace(cells=cells)


def order_of(state, request):
    """Return the order of the cell that a request needs: log2 of its bytes.

    A request that is aligned to more than a page needs a larger cell, in which the block can start at an aligned address.
    """
    rules = state.rules
    align = max(rules.align, request.align)
    size = align_up(max(request.size + rules.header, rules.min_block), min(align, state.page))
    if align > state.page:
        size += align - state.page
    return np.uint64(highest_set(2 * size - 1))


def alloc(state, request):
    """Give the request the cell of its order that was freed last, or a new one; return the block's address in bytes.

    Return NOTHING if a request of 0 bytes gets no block (`zero=null`), ENLARGE if the array of cells is full, NOWHERE if
    the capacity does not allow another page.
    """
    if request.size == 0 and state.rules.null:
        return NOTHING
    ledger, cells = state.ledger, state.cells
    order = order_of(state, request)
    size = np.int64(1) << np.int64(order)
    cell = np.uint64(state.heads[order])
    if cell != 0:
        state.heads[order] = cells[cell].next
        ledger[INSPECTED] = 1
        ledger[HOLE_TAKEN] = size
        address = cells[cell].addr
    else:
        if state.top[CARVED] == cells.size:
            return ENLARGE
        address = carve(state, order, size)
        if address < 0:
            return NOWHERE
        cell = np.uint64(state.top[CARVED] - 1)
    ledger[BLOCK_SIZE] = size
    ledger[ALLOCATED] += size
    close_hole(ledger, size)
    state.cell_of[request.block] = cell
    return align_up(address, max(request.align, 1))


@out_of_line
def carve(state, order, size):
    """Carve the next cell of an order from its page, or from a new page if the last is used up; return the cell's address.

    The cell gets the number ``State.top[CARVED]``, before that goes up by 1. ``size`` is 2^``order``. Return NOWHERE if the
    capacity does not allow another page.
    """
    ledger, top = state.ledger, state.top
    if state.fresh[order] < state.ends[order]:
        ledger[INSPECTED] = 1
        ledger[HOLE_TAKEN] = size
    elif not take_page(state, order, size):
        return np.int64(NOWHERE)
    address = state.fresh[order]
    state.fresh[order] = address + size
    cell = state.cells[top[CARVED]]
    cell.addr = address
    cell.order = order
    top[CARVED] += 1
    return address


@out_of_line
def take_page(state, order, size):
    """Take the next pages of the heap for cells of an order; return whether the capacity allows it.

    One page, or as many as a cell of ``size`` = 2^``order`` bytes needs. All their cells become holes.
    """
    ledger, top = state.ledger, state.top
    bytes = max(size, state.page)
    first, end = top[FRONTIER], ledger[RESERVED]
    start = align_up(first, state.page)
    more = np.int64(0)
    ledger[INSPECTED] = 1 if end > first else 0
    if start + bytes > end:
        more = growth(state.rules, end, start + bytes - end, bytes)
        if more == 0:
            return False
        reserve(state, more)
    elif end > first:
        ledger[HOLE_TAKEN] = end - first
    if end > first:
        close_hole(ledger, end - first)
    if start > first:
        open_hole(ledger, start - first)
        top[GAP] = start - first
    if end + more > start + bytes:
        open_hole(ledger, end + more - start - bytes)
    open_holes(ledger, size, bytes >> np.int64(order))
    top[FRONTIER] = start + bytes
    state.fresh[order] = start
    state.ends[order] = start + bytes
    return True


def free(state, request, address):
    """Free the block with the handle ``request.block``: its cell becomes the head of the free list of its order."""
    cells, ledger = state.cells, state.ledger
    cell = np.uint64(state.cell_of[request.block])
    order = np.uint64(cells[cell].order)
    size = np.int64(1) << np.int64(order)
    cells[cell].next = state.heads[order]
    state.heads[order] = cell
    ledger[ALLOCATED] -= size
    open_hole(ledger, size)


def resize(state, request, address, old_size):
    """Return ``address`` if the block can stay in its cell: the new size needs the same order; else NOWHERE.

    The address also has to have the new alignment, and the block has to end within its cell: one that was aligned to more than a
    page does not start where the cell does. ``old_size`` is not used.
    """
    rules, cell = state.rules, state.cells[state.cell_of[request.block]]
    same = order_of(state, request) == cell.order
    aligned = address & (max(request.align, 1) - 1) == 0
    end = address + max(request.size + rules.header, rules.min_block)
    inside = end <= cell.addr + (np.int64(1) << np.int64(cell.order))
    return address if rules.inplace and same and aligned and inside else np.int64(NOWHERE)


@out_of_line
def largest_hole(state):
    """Return the size of the largest hole, in bytes: a free cell, the free top of the heap, or the gap below the first page."""
    top = state.top
    most = max(state.ledger[RESERVED] - top[FRONTIER], top[GAP])
    for order in range(ORDERS - 1, -1, -1):
        if state.heads[order] != 0 or state.fresh[order] < state.ends[order]:
            return max(most, np.int64(1) << order)
    return most


def expect(state, handle):
    """Prefetch the cell number of a block that will be freed some events from now."""
    prefetch(state.cell_of, handle)


def expect_soon(state, handle):
    """Prefetch the cell of a block that will be freed after the next few events."""
    prefetch(state.cells, state.cell_of[handle])
