"""Region: the blocks of a tag one after another in pages of their own; all freed at once when the last of them is.

A region takes pages from the heap by first fit: the lowest hole, or the top. Its blocks follow each other in the page it
took last, and what does not fit there begins a new page. A block larger than `page` bytes gets a page of its own size, as
does one for which no whole page can be had, and the region goes on with the page it had. Blocks without a tag are one
region. A freed block waits: it is a hole, as is the unused rest of a page, but nothing is placed in it before the last
block of the tag is freed; then all pages become part of the heap's holes.

    |aaaaaaaaa.aaa....|bbbbb..|.........|aaaaaaaaaaaaaaaaaaaaaaaaa|      pages of the regions a and b

Holes of different pages are holes of their own, even side by side. The block placed last in a region grows in place
while its page has room. `page`: bytes. The timeline has `waiting_bytes`, what is free in regions, and `regions`.

Cost: constant within a page, O(log n) for a page; the last free of a tag costs one step for each of the region's pages.
Source: Ross 1967, "The AED free storage package"; Hanson 1990, "Fast allocation and deallocation of memory based on
object lifetimes".
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.largest import begin_search, end_search, follow_largest, largest_kept, offer
from memtrace.contract.ledger import ALLOCATED, COUNT_INSPECTED, HOLE_TAKEN, HOLES, INSPECTED
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import expect_soon, first_fit, holes_below
from memtrace.structures.heap import FRESH, expect, release_out_of_line, request_block_size, take_or_grow
from memtrace.structures.pages import (
    PAGE_BYTES,
    PLACE,
    REGIONS,
    WAITING_HOLES,
    add_waiting,
    drop_waiting,
    end_of,
    free_within_page,
    grow,
    place_in_page,
    shrink,
)
from memtrace.structures.rules import Rules, alignment, block_size

ORDER = 81
COALESCES = True
COUNTERS = ("waiting_bytes", "regions")

NEW_NODES = 6  # upper bound on the nodes that one request makes
FIRST_REGIONS = 16  # regions for which there is room at first

REGION = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("top", "i8"),  # address at which its last block ends, and the next one goes
                ("live", "i8"),  # number of live blocks
                ("page", "i8"),  # node of the page that it fills; 0 if it has none
            ]
        ),
    )
)


class State(NamedTuple):
    """The fields of an `address_tree` heap, in which pages are blocks, and those of the regions."""

    nodes: np.ndarray  # this field and those down to ``rules`` are as in address_tree.State
    node_of: np.ndarray
    pool: np.ndarray
    roots: np.ndarray
    most: np.ndarray
    counts: np.ndarray
    shape: np.ndarray
    rover: np.ndarray
    ledger: np.ndarray
    rules: Rules
    places: np.ndarray  # places[node]: the page that the node is in, and whether it waits (pages.PLACE)
    regions: np.ndarray  # regions[tag + 1], of dtype REGION; entry 0 is that of blocks without a tag
    totals: np.ndarray  # HELD, REGIONS, WAITING_HOLES (pages)
    page: int  # bytes of a page


def init(capacity, max_live, page=65536, **options):
    if page < 1:
        raise ValueError(f"page={page} is below 1")
    heap_state = address_tree.init(capacity, max_live, **options)
    nodes = heap_state.nodes.size
    follow_largest(heap_state.ledger)
    return State(
        *heap_state,
        np.zeros(nodes, PLACE).view(np.recarray),
        np.zeros(FIRST_REGIONS, REGION).view(np.recarray),
        np.zeros(3, np.int64),
        page,
    )


def enlarge(state):
    """Return a state with room for twice as many blocks, pages and regions."""
    return state._replace(
        nodes=twice(state.nodes),
        places=twice(state.places),
        regions=twice(state.regions),
    )


def twice(records):
    """Return a copy of an array of records with as many zeroed records appended."""
    larger = np.zeros(2 * records.size, records.dtype).view(np.recarray)
    larger[: records.size] = records
    return larger


def is_full(state):
    """Return whether there may be too few unused nodes for one request."""
    return state.pool[FRESH] + NEW_NODES > state.nodes.size


def alloc(state, request):
    """Place a block behind the last one in the page that its region fills; return its address in bytes.

    A block that does not fit there begins a new page, or gets one of its own. Return NOTHING if a request of 0 bytes gets
    no block (`zero=null`), ENLARGE if the arrays are too small, NOWHERE if the heap has no page.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    r = request.tag + 1
    if is_full(state) or r >= state.regions.size:
        return ENLARGE
    align = alignment(state.rules, request)
    region = state.regions[r]
    address = align_up(region.top, align)
    if region.page == 0 or address + size > end_of(state.nodes, region.page):
        return put_in_new_page(state, region, size, align, request)
    count_block(state, region)
    region.top = place_in_page(state, region.page, address, size, request.block)
    return address


def count_block(state, region):
    """Count one more live block in a region (and the region, if this is its first). ``region`` is a record of `State.regions`."""
    state.totals[REGIONS] += region.live == 0
    region.live += 1


@out_of_line
def put_in_new_page(state, region, size, align, request):
    """Take a page from the heap for a region and place a block of ``size`` bytes in it; return its address.

    The region goes on filling the new page. But a block that is larger than a page, or for which no whole page can be had,
    gets a page of its own size, and the region goes on with the page it had, if any. Return NOWHERE if the heap has no
    page.
    """
    nodes, places = state.nodes, state.places
    own = size > state.page
    x = take_page(state, max(size, state.page), align, request)
    if x == 0 and size < state.page:
        own = True
        x = take_page(state, size, align, request)
    if x == 0:
        return NOWHERE
    address = nodes[x].addr
    places[x].page = x
    add_waiting(state, x)
    end = place_in_page(state, x, address, size, request.block)
    count_block(state, region)
    if own and region.page != 0:
        places[x].older = places[region.page].older
        places[region.page].older = x
    else:
        places[x].older = region.page
        region.page = x
        region.top = end
    return address


def take_page(state, size, align, request):
    """Take a page of at least ``size`` bytes from the heap by first fit; return its node, or 0 if the heap has none.

    The page counts as held by regions, and not as allocated.
    """
    ledger = state.ledger
    x = first_fit(state, 0, size, align)
    if ledger[COUNT_INSPECTED] != 0:
        ledger[INSPECTED] += holes_below(state, x) + 1 if x != 0 else ledger[HOLES] - state.totals[WAITING_HOLES]
    if take_or_grow(state, x, size, align, request, address_tree) == NOWHERE:
        return np.int64(0)
    ledger[HOLE_TAKEN] = 0  # the hole served the page, and not the block
    page = np.int64(state.node_of[request.block])
    ledger[ALLOCATED] -= state.nodes[page].extent
    state.totals[PAGE_BYTES] += state.nodes[page].extent
    return page


def free(state, request, address):
    """Free the block with the handle ``request.block``, which then waits in its page as a hole.

    If it was the last live block of its tag, all pages of the region go back to the heap. ``address`` is not used.
    """
    x = np.int64(state.node_of[request.block])
    state.ledger[ALLOCATED] -= state.nodes[x].extent
    free_within_page(state, x)
    region = state.regions[request.tag + 1]
    region.live -= 1
    if region.live == 0:
        free_region(state, region)


@out_of_line
def free_region(state, region):
    """Give all pages of a region without live blocks back to the heap's holes.

    Each page is one waiting range by now. With the option `trim` the free tail of the heap then goes back to the system.
    """
    page = np.int64(region.page)
    while page != 0:
        older = np.int64(state.places[page].older)
        size = state.nodes[page].extent
        drop_waiting(state, page)
        state.ledger[ALLOCATED] += size
        state.totals[PAGE_BYTES] -= size
        release_out_of_line(state, page, address_tree)
        page = older
    region.page = 0
    region.top = 0
    state.totals[REGIONS] -= 1
    if state.rules.trim:
        trim(state)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place if it shrinks, or if it is the last one of its region and its page has room; return ``address``.

    Return NOWHERE if the block has to move, ENLARGE if the arrays are too small. ``old_size`` is not used.
    """
    if not state.rules.inplace or address & (max(request.align, 1) - 1):
        return NOWHERE
    if is_full(state):
        return ENLARGE
    nodes = state.nodes
    x = np.int64(state.node_of[request.block])
    size = block_size(state.rules, request.size)
    if size <= nodes[x].extent:
        shrink(state, x, size, request.block)
        return address
    region = state.regions[request.tag + 1]
    page = np.int64(region.page)
    if state.places[x].page != page or x == page or end_of(nodes, x) != region.top or address + size > end_of(nodes, page):
        return NOWHERE
    region.top = grow(state, x, page, size, request.block)
    return address


def trim(state):
    """Give the free tail of the heap back to the system, in whole chunks above what the heap reserved at the start."""
    heap.trim_top(state, address_tree)


@out_of_line
def largest_hole(state):
    """Return the size in bytes of the largest hole, whether it waits in a page or is free for pages.

    If it is not known, all nodes are looked at.
    """
    nodes, places, ledger = state.nodes, state.places, state.ledger
    largest, waiting = address_tree.largest_hole(state), largest_kept(ledger)
    if waiting > 0 or state.totals[WAITING_HOLES] == 0:
        return max(largest, waiting)
    begin_search(ledger)
    x = np.int64(nodes[0].next)
    while x != 0:
        if places[x].waits == 1:
            offer(ledger, nodes[x].extent)
        x = np.int64(nodes[x].next)
    return max(largest, end_search(ledger, 1))


def write_counters(state, row):
    """Write the bytes that wait in regions and the number of regions with live blocks into ``row``."""
    row[0] = state.totals[PAGE_BYTES] - state.ledger[ALLOCATED]
    row[1] = state.totals[REGIONS]
