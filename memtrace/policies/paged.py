"""Paged: a block is as many pages of one size as it needs, any that are free, joined by a page table.

A request of s bytes gets ceil(s / page) pages, one at least. Pages are taken from the head of a list; the pages of a freed
block go back to its head, in their order. If the list has too few, what is missing is got from the system, in whole
chunks, and put at the head: first the numbers of pages given back before, the last one first, then new ones, ascending. A
reallocation adds pages at the block's end or drops some there, and never moves. `trim` gives free pages back, from the
list's head, wherever they are. The page table itself is not counted.

    page      0     1     2     3     4     5          A is 2.5 pages, B 1.2: half a page and 0.8 of one are lost inside,
            | A   | B   | A   |     | B.. | A.. |      nothing between: the free page 3 is as good as any

What that means for the measures. A request of all free bytes can be served, so all free pages count as one hole: holes
are 0 or 1, and every external measure is 0. What is lost is inside blocks: less than one page per block. A request for
one contiguous range of memory is not possible: what users see is contiguous by the page table only, and an alignment
above the page's is that of the address there. The address that is reported is the first page's; no hole is chosen, so
there is no fit ratio. Reserved bytes are the pages held, wherever they are: a page's number may be above it after a trim.

Options: page, bytes of a page, any number (default 64 KiB: one of the page sizes of NVIDIA's cards, and the keys and
values of 16 tokens in a layer of Llama 3 8B); initial, chunk, realloc, zero and trim as in a heap, the first two rounded
up to pages. Cost: a step per page that a request maps or a trim gives back; a free is constant.
Source: Kwon et al. 2023, "Efficient memory management for large language model serving with PagedAttention", section 4.2;
the idea is Kilburn, Edwards, Lanigan and Sumner 1962, "One-level storage system".
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.engine.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.bits import round_up
from memtrace.structures.calls import apart
from memtrace.structures.heap import reserve
from memtrace.structures.ledger import (
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

ORDER = 60
GROUPS = ("gpu",)
COUNTERS = ("free_pages", "pages_mapped")
FIRST_PAGES = 1 << 12
MOST_PAGES = (1 << 31) - 1

# pool
LIST, FREE, GIVEN, FRESH, MAPPED = range(5)  # head of the free list; its length; head of those given back; the first
# number never used; pages mapped so far


class Rules(NamedTuple):
    """In pages, but for ``page``."""

    page: int
    capacity: int
    floor: int
    chunk: int
    inplace: bool
    null: bool
    trim: bool


class State(NamedTuple):
    next: np.ndarray  # next[page]: of its block, or of its list; -1 after the last
    first: np.ndarray  # first[handle], last[handle]: the block's pages
    last: np.ndarray
    pages: np.ndarray  # pages[handle]: how many
    pool: np.ndarray
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
):
    if page < 1 or chunk < 1 or initial < 0:
        raise ValueError("page and chunk are 1 byte at least, initial is not negative")
    most, floor = min(capacity // page, MOST_PAGES), -(-initial // page)
    if floor > most:
        raise ValueError(f"initial is {floor} pages, and there is room for {most}")
    rules = Rules(page, most, floor, -(-chunk // page), realloc == "inplace", zero == "null", trim)
    pool = np.array([-1, 0, -1, 0, 0], np.int64)
    first, last, pages = (
        np.full(max_live + 1, -1, np.int32),
        np.full(max_live + 1, -1, np.int32),
        np.zeros(max_live + 1, np.int32),
    )
    state = State(np.full(max(FIRST_PAGES, floor), -1, np.int32), first, last, pages, pool, new_ledger(floor * page), rules)
    add_pages(state, floor)
    return state


def enlarge(state):
    """Twice the pages."""
    return state._replace(next=np.concatenate((state.next, np.full(state.next.size, -1, np.int32))))


def pages_for(rules, size):
    return max((size + rules.page - 1) // rules.page, 1)


def held(state):
    return state.ledger[RESERVED] // state.rules.page


def alloc(state, request):
    rules, ledger, pool = state.rules, state.ledger, state.pool
    if request.size == 0 and rules.null:
        return NOTHING
    pages = pages_for(rules, request.size)
    ledger[BLOCK_SIZE] = pages * rules.page
    ledger[INSPECTED] = 1 if pool[FREE] > 0 else 0
    if pages > pool[FREE]:
        answer = get_pages(state, pages - pool[FREE])
        if answer != 0:
            return answer
    state.first[request.block] = pool[LIST]
    state.last[request.block] = cut_list(state, pages)
    state.pages[request.block] = pages
    return state.first[request.block] * rules.page


@apart
def get_pages(state, missing):
    """Get ``missing`` pages at least from the system: 0, or why not."""
    rules, now = state.rules, held(state)
    more = min(round_up(missing, rules.chunk), rules.capacity - now)
    if more < missing:
        return NOWHERE
    if now + more > state.next.size:
        return ENLARGE
    reserve(state, more * rules.page)
    add_pages(state, more)
    return 0


def add_pages(state, more):
    """Put pages at the head of the list: those given back before, then those with new numbers."""
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
    """Pages that come to the list, or leave it: all that are free are one hole."""
    before = state.pool[FREE] * state.rules.page
    state.pool[FREE] += more
    now = state.pool[FREE] * state.rules.page
    if before == 0 and now > 0:
        open_hole(state.ledger, now)
    elif before > 0 and now == 0:
        close_hole(state.ledger, before)
    elif before != now:
        resize_hole(state.ledger, before, now)


def cut_list(state, pages):
    """Take pages from the head of the list, which has as many, for a block; the last of them."""
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


def give_up(state, first, last, pages):
    """The pages from ``first`` to ``last`` of a block go to the head of the list."""
    state.next[last] = state.pool[LIST]
    state.pool[LIST] = first
    state.ledger[ALLOCATED] -= pages * state.rules.page
    count_free(state, pages)
    if state.rules.trim:
        trim(state)


def free(state, request, address):
    block = request.block
    give_up(state, state.first[block], state.last[block], state.pages[block])


@apart
def resize(state, request, address, old_size):
    rules, pool, block = state.rules, state.pool, request.block
    now, wanted = np.int64(state.pages[block]), pages_for(rules, request.size)
    if not rules.inplace:
        return NOWHERE
    if wanted > now:
        if wanted - now > pool[FREE]:
            answer = get_pages(state, wanted - now - pool[FREE])
            if answer != 0:
                return answer
        state.next[state.last[block]] = pool[LIST]
        state.last[block] = cut_list(state, wanted - now)
    elif wanted < now:
        page = state.first[block]
        for _ in range(wanted - 1):
            page = state.next[page]
        rest, last = state.next[page], state.last[block]
        state.next[page] = -1
        state.last[block] = page
        give_up(state, rest, last, now - wanted)
    state.pages[block] = wanted
    return address


@apart
def trim(state):
    """Give free pages back, from the list's head, in whole chunks above those held from the start."""
    rules, pool, after = state.rules, state.pool, state.next
    used = held(state) - pool[FREE]
    surplus = held(state) - rules.floor - round_up(max(used - rules.floor, 0), rules.chunk)
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
    return state.pool[FREE] * state.rules.page


def first_piece(state, handle):
    return np.int64(state.first[handle])


def next_piece(state, handle, piece):
    return np.int64(state.next[piece])


def piece_at(state, handle, piece):
    return piece * state.rules.page, np.int64(state.rules.page)


def most_pieces(state):
    return state.next.size


def write_counters(state, row):
    row[0] = state.pool[FREE]
    row[1] = state.pool[MAPPED]
