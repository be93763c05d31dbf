"""Paged: a block is as many pages of one size as it needs, any that are free, joined by a page table.

A request of s bytes gets ceil(s / page) pages, one at least. Pages are taken from the head of a list; the pages of a freed
block go back to its head, in their order; with `order=tail` the block's last page comes first, as in vLLM. If the list has
too few, what is missing is got from the system, in whole chunks, and put at the head: first the numbers of pages given back
before, the last one first, then new ones, ascending. A reallocation adds pages at the block's end or drops some there, and
never moves. `trim` gives free pages back, from the list's head, wherever they are. The page table itself is not counted.

    page      0     1     2     3     4     5          A is 2.5 pages, B 1.2: half a page and 0.8 of one are lost inside,
            | A   | B   | A   |     | B.. | A.. |      nothing between: the free page 3 is as good as any

The measures: a request of all free bytes can be served, so all free pages count as one hole; holes are 0 or 1, and every
external measure is 0. Waste is inside blocks only: less than one page per block. A request for
one contiguous range of memory is not possible: users see a contiguous block by the page table only, and an alignment
above the page's holds for the address there. The reported address is the first page's; no hole is chosen, so
there is no fit ratio. Reserved bytes are the pages held, wherever they are: a page's number may be above it after a trim.

Options: page, bytes of a page, any number (default 64 KiB: one of the page sizes of NVIDIA's cards, and the keys and
values of 16 tokens in a layer of Llama 3 8B); initial, chunk, realloc, zero and trim as in a heap, the first two rounded
up to pages; order; skip, pages at the start that are reserved and never used (vLLM: 1). Cost: a step per page that a
request maps, that a trim gives back, or that a free turns round (order=tail); else a free is constant.
Source: Kwon et al. 2023, "Efficient memory management for large language model serving with PagedAttention", section 4.2;
the idea is Kilburn, Edwards, Lanigan and Sumner 1962, "One-level storage system".
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import round_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    INSPECTED,
    RELEASE_CALLS,
    RESERVED,
    close_hole,
    new_ledger,
    open_hole,
    resize_hole,
)
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.heap import reserve

ORDER = 60
GROUPS = ("gpu",)
COUNTERS = ("free_pages", "pages_mapped")
FIRST_PAGES = 1 << 12  # pages for which there is room at first
MOST_PAGES = (1 << 31) - 1  # page numbers are of 32 bits

# places in State.pool: head of the free list; its length; head of the list of pages given back to the system (-1: a list is
# empty); the first page number never used; pages mapped so far
LIST, FREE, GIVEN, FRESH, MAPPED = range(5)


class Rules(NamedTuple):
    """The options, in pages, except ``page``, which is in bytes."""

    page: int  # bytes of a page
    capacity: int  # the most pages that may be reserved
    floor: int  # pages reserved at the start, which are never given back
    chunk: int  # the heap grows and is trimmed by multiples of it
    inplace: bool  # a realloc stays; False: it moves
    null: bool  # a request of 0 bytes gets no block
    trim: bool  # free pages go back to the system after every free
    last_first: bool  # the last page of a freed block is used again first


class State(NamedTuple):
    """The pages and the lists that they are in."""

    next: np.ndarray  # next[page]: the page after it in its block, or in its list; -1 after the last
    first: np.ndarray  # first[handle]: the block's first page
    last: np.ndarray  # last[handle]: the block's last page
    pages: np.ndarray  # pages[handle]: how many pages the block has
    pool: np.ndarray  # LIST, FREE, GIVEN, FRESH, MAPPED
    ledger: np.ndarray
    rules: Rules


def init(
    capacity,
    max_live,
    page=65536,
    initial=0,
    chunk=1,
    realloc: Literal["inplace", "move"] = "inplace",
    zero: Literal["block", "null"] = "block",
    trim=False,
    order: Literal["head", "tail"] = "head",
    skip=0,
):
    if page < 1 or chunk < 1 or initial < 0 or skip < 0:
        raise ValueError("page and chunk are 1 byte at least, initial and skip are not negative")
    most, floor = min(capacity // page, MOST_PAGES), max(-(-initial // page), skip)
    if floor > most:
        raise ValueError(f"initial and skip are {floor} pages, and there is room for {most}")
    rules = Rules(page, most, floor, -(-chunk // page), realloc == "inplace", zero == "null", trim, order == "tail")
    pool = np.array([-1, 0, -1, skip, 0], np.int64)
    first, last, pages = (
        np.full(max_live + 1, -1, np.int32),
        np.full(max_live + 1, -1, np.int32),
        np.zeros(max_live + 1, np.int32),
    )
    state = State(np.full(max(FIRST_PAGES, floor), -1, np.int32), first, last, pages, pool, new_ledger(floor * page), rules)
    add_pages(state, floor - skip)
    return state


def enlarge(state):
    """Return a state with room for twice as many pages."""
    return state._replace(next=np.concatenate((state.next, np.full(state.next.size, -1, np.int32))))


def pages_for(rules, size):
    """Return how many pages a request of ``size`` bytes needs, at least 1."""
    return max((size + rules.page - 1) // rules.page, 1)


def reserved_pages(state):
    """Return the number of pages that are reserved, live and free."""
    return state.ledger[RESERVED] // state.rules.page


def alloc(state, request):
    """Give the request pages from the head of the free list; return the address of the first page.

    Return NOTHING if a request of 0 bytes gets no block (`zero=null`), ENLARGE if the array of pages is too small, NOWHERE
    if the capacity has too few pages left.
    """
    rules, ledger, pool = state.rules, state.ledger, state.pool
    if request.size == 0 and rules.null:
        return NOTHING
    pages = pages_for(rules, request.size)
    ledger[BLOCK_SIZE] = pages * rules.page
    ledger[INSPECTED] = 1 if pool[FREE] > 0 else 0
    if pages > pool[FREE]:
        answer = reserve_pages(state, pages - pool[FREE])
        if answer != 0:
            return answer
    state.first[request.block] = pool[LIST]
    state.last[request.block] = take_pages(state, pages)
    state.pages[request.block] = pages
    return np.int64(state.first[request.block]) * rules.page


@out_of_line
def reserve_pages(state, missing):
    """Get at least ``missing`` pages from the system, in whole chunks if the capacity allows it; return 0.

    Return NOWHERE if the capacity has fewer pages left, ENLARGE if the array of pages is too small; nothing changes then.
    """
    rules, now = state.rules, reserved_pages(state)
    more = min(round_up(missing, rules.chunk), rules.capacity - now)
    if more < missing:
        return NOWHERE
    if now + more > state.next.size:
        return ENLARGE
    reserve(state, more * rules.page)
    add_pages(state, more)
    return 0


def add_pages(state, more):
    """Put ``more`` pages at the head of the free list: those given back before, the last one first, then those never used."""
    pool, after = state.pool, state.next
    old, tail = pool[LIST], np.int64(-1)
    for _ in range(more):
        page = pool[GIVEN]
        if page >= 0:
            pool[GIVEN] = after[page]
        else:
            page = pool[FRESH]
            pool[FRESH] = page + 1
        if tail < 0:
            pool[LIST] = page
        else:
            after[tail] = page
        tail = page
    if tail >= 0:
        after[tail] = old
    count_free(state, more)


def count_free(state, more):
    """Add ``more`` pages (negative: subtract) to the number of free ones, and update the hole in the ledger.

    All free pages together count as one hole, since any of them can serve a request.
    """
    before = state.pool[FREE] * state.rules.page
    state.pool[FREE] += more
    now = state.pool[FREE] * state.rules.page
    if before == 0 and now > 0:
        open_hole(state.ledger, now)
    elif before > 0 and now == 0:
        close_hole(state.ledger, before)
    elif before != now:
        resize_hole(state.ledger, before, now)


def take_pages(state, pages):
    """Take ``pages`` pages from the head of the free list for a block; return the last of them.

    The list has at least as many. They stay linked in order, and the last one is followed by -1.
    """
    pool, after = state.pool, state.next
    page = pool[LIST]
    for _ in range(pages - 1):
        page = np.int64(after[page])
    pool[LIST] = after[page]
    after[page] = -1
    pool[MAPPED] += pages
    count_free(state, -pages)
    state.ledger[ALLOCATED] += pages * state.rules.page
    return page


def free_pages(state, first, last, pages):
    """Put ``pages`` linked pages of a block, from ``first`` to ``last``, at the head of the free list, or turned round.

    With the option `trim` free pages then go back to the system.
    """
    after, list_head = state.next, state.pool[LIST]
    if state.rules.last_first:
        page = np.int64(first)
        for _ in range(pages):
            following = np.int64(after[page])
            after[page] = list_head
            list_head = page
            page = following
        state.pool[LIST] = list_head
    else:
        after[last] = list_head
        state.pool[LIST] = first
    state.ledger[ALLOCATED] -= pages * state.rules.page
    count_free(state, pages)
    if state.rules.trim:
        trim(state)


def free(state, request, address):
    """Free all pages of the block with the handle ``request.block``. ``address`` is not used."""
    block = request.block
    free_pages(state, state.first[block], state.last[block], np.int64(state.pages[block]))


@out_of_line
def resize(state, request, address, old_size):
    """Add pages at the end of a block, or free pages there; return ``address``.

    Return NOWHERE with `realloc=move` or if the capacity has too few pages left, ENLARGE if the array of pages is too
    small. ``old_size`` is not used.
    """
    rules, pool, block = state.rules, state.pool, request.block
    now, wanted = np.int64(state.pages[block]), pages_for(rules, request.size)
    if not rules.inplace:
        return NOWHERE
    if wanted > now:
        if wanted - now > pool[FREE]:
            answer = reserve_pages(state, wanted - now - pool[FREE])
            if answer != 0:
                return answer
        state.next[state.last[block]] = pool[LIST]
        state.last[block] = take_pages(state, wanted - now)
    elif wanted < now:
        page = state.first[block]
        for _ in range(wanted - 1):
            page = state.next[page]
        rest, last = state.next[page], state.last[block]
        state.next[page] = -1
        state.last[block] = page
        free_pages(state, rest, last, now - wanted)
    state.pages[block] = wanted
    return address


@out_of_line
def trim(state):
    """Give free pages back to the system, from the head of the list, in whole chunks above those reserved at the start."""
    rules, pool, after = state.rules, state.pool, state.next
    used = reserved_pages(state) - pool[FREE]
    surplus = reserved_pages(state) - rules.floor - round_up(max(used - rules.floor, 0), rules.chunk)
    if surplus <= 0:
        return
    for _ in range(surplus):
        page = pool[LIST]
        pool[LIST] = after[page]
        after[page] = pool[GIVEN]
        pool[GIVEN] = page
    count_free(state, -surplus)
    state.ledger[RESERVED] -= surplus * rules.page
    state.ledger[RELEASE_CALLS] += 1


def largest_hole(state):
    """Return the bytes of all free pages, which are the one hole."""
    return state.pool[FREE] * state.rules.page


def first_piece(state, handle):
    """Return the first page of the block with this handle."""
    return np.int64(state.first[handle])


def next_piece(state, handle, piece):
    """Return the page of the block that follows the page ``piece``; -1 after the last one."""
    return np.int64(state.next[piece])


def piece_at(state, handle, piece):
    """Return the address and the bytes of the page ``piece``."""
    return piece * state.rules.page, np.int64(state.rules.page)


def most_pieces(state):
    """Return an upper bound on the number of pages of a block: the pages for which there is room in the array."""
    return state.next.size


def write_counters(state, row):
    """Write the number of free pages, and of pages mapped so far, into ``row``."""
    row[0] = state.pool[FREE]
    row[1] = state.pool[MAPPED]
