"""Stack: each block goes on top of the last; a block freed below the top waits until all above it is free.

A block's address is the mark to which the stack falls back when the block and everything above it are free. A waiting block
is counted as a hole, though nothing is placed in it; `waiting_bytes` in the timeline says how many bytes wait.

    |AAAA|....|CC|......      B was freed, and waits for C; when C is freed, the top falls to the end of A

Only the block on top grows in place. Without alignments and with blocks freed in the reverse order of their allocation
nothing is wasted. Reserved is the highest top so far, unless `trim` gives back what is above.

Cost: constant; a free joins what waits on both sides, so no free ever pops more than one piece. Once there are four entries,
of blocks and of what was freed, for each block that there can be, each hole's are squeezed into one: constant on average.
Source: Knuth, The Art of Computer Programming 1, 2.2.2 (a stack in sequential memory); Gregory 2014, "Game Engine
Architecture", 5.2.1 (stack-based allocators, markers).
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line, prefetch
from memtrace.contract.largest import follow_largest
from memtrace.contract.ledger import (
    ALLOCATED,
    COUNT_SIZES,
    FREE,
    HOLES,
    MERGES,
    RELEASE_CALLS,
    RESERVED,
    SPLITS,
    TAIL,
    new_ledger,
)
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures.heap import request_block_size, reserve
from memtrace.structures.rules import Rules, alignment, block_size, growth, heap_rules, trimmed
from memtrace.structures.stack_entries import (
    ENTRY,
    GAPS,
    LAST,
    ONE,
    change_hole,
    change_tail,
    count_if,
    gaps_beside,
    largest_hole,
    next_block,
    recount_freed,
    squeeze,
)

ORDER = 80
COALESCES = True
COUNTERS = ("waiting_bytes",)


class State(NamedTuple):
    """The entries of the stack, and the counts of its holes."""

    entries: np.ndarray  # from the bottom up: blocks, freed blocks and gaps (stack_entries.ENTRY); entry 0 ends at the base
    entry_of: np.ndarray  # entry_of[handle]: the block's entry
    shape: np.ndarray  # LAST, GAPS (stack_entries)
    ledger: np.ndarray
    rules: Rules


def init(capacity, max_live, **options):
    rules = heap_rules(capacity, **options)
    base = options.get("base", 0)
    state = State(
        np.zeros(4 * max_live + 8, ENTRY).view(np.recarray),
        np.zeros(max_live + 1, np.uint32),
        np.zeros(2, np.int64),
        new_ledger(rules.floor),
        rules,
    )
    state.entries[0].end = base
    follow_largest(state.ledger)
    change_tail(state, 0, rules.floor - base)
    return state


def alloc(state, request):
    """Place a block on top of the stack at the request's alignment; return its address in bytes.

    A gap that the alignment needs below the block becomes an entry of its own, and a hole. Return NOTHING if a request of 0
    bytes gets no block (`zero=null`), NOWHERE if the heap cannot grow within the capacity.
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    entries, ledger, rules = state.entries, state.ledger, state.rules
    if state.shape[LAST] + 4 > entries.size:
        squeeze(state)
    x = np.uint64(state.shape[LAST])
    below = entries[x].end
    address = align_up(below, alignment(rules, request))
    end, tail, gap = address + size, ledger[RESERVED] - below, address - below
    rest = room_above(state, end, size)
    if rest < 0:
        return NOWHERE
    if rest < rules.split:
        end += rest
        rest = 0
        if tail > 0:
            ledger[HOLES] -= 1
    else:
        ledger[SPLITS] += 1
        if tail == 0:
            ledger[HOLES] += 1
    if gap > 0:
        ledger[SPLITS] += 1
        ledger[HOLES] += 1
        x += ONE
        entries[x].start = below
        entries[x].end = address
        entries[x].run = x
        entries[x + ONE].run = 0
    ledger[TAIL] = rest
    if ledger[COUNT_SIZES] != 0:
        count_if(ledger, gap, 1)
    x += ONE
    entries[x].start = address
    entries[x].end = end
    entries[x].handle = request.block
    entries[x + ONE].run = 0
    state.entry_of[np.uint64(request.block)] = x
    state.shape[LAST] = np.int64(x)
    ledger[ALLOCATED] += end - address
    return address


def room_above(state, end, least):
    """Return the bytes reserved above address ``end``, after a growth if the heap is reserved to below ``end``.

    ``least``: bytes of the block that the growth is for. Return -1 if the capacity does not allow the growth.
    """
    top = state.ledger[RESERVED]
    rest = top - end
    if rest >= 0:
        return rest
    more = growth(state.rules, top, -rest, least)
    if more == 0:
        return np.int64(-1)
    reserve(state, more)
    return rest + more


def free(state, request, address):
    """Free the block with the handle ``request.block``; it joins the waiting ranges beside it in constant time.

    If the block is on top, the stack falls back to the lower end of the joined range. With the option `trim` what is
    reserved above the top then goes back to the system. ``address`` is not used.
    """
    entries, ledger, shape = state.entries, state.ledger, state.shape
    x = np.uint64(state.entry_of[np.uint64(request.block)])
    below, above = np.uint64(entries[x - ONE].run), np.uint64(entries[x + ONE].run)
    low = x if below == 0 else below
    high = x if above == 0 else above
    start, end = entries[x].start, entries[x].end
    joined = np.int64(below != 0)
    if shape[GAPS] != 0:
        joined += gaps_beside(entries, x, shape[LAST])
    if x == np.uint64(shape[LAST]):
        joined += np.int64(ledger[RESERVED] > end)
        entries[low].run = 0
        shape[LAST] = np.int64(low) - 1
    else:
        joined += np.int64(above != 0)
        entries[low].run = high
        entries[high].run = low
    ledger[ALLOCATED] -= end - start
    ledger[MERGES] += joined
    ledger[HOLES] += 1 - joined
    recount_freed(state, x, low, high)
    if state.rules.trim:
        trim(state)


@out_of_line
def resize(state, request, address, old_size):
    """Resize a block in place if it shrinks, or if it is the block on top; return ``address``.

    Return NOWHERE if the block has to move. ``old_size`` is not used.
    """
    if not state.rules.inplace or address & (max(request.align, 1) - 1):
        return NOWHERE
    entries, ledger = state.entries, state.ledger
    x = np.int64(state.entry_of[request.block])
    size = block_size(state.rules, request.size)
    old = entries[x].end
    if address + size > old:
        return grow(state, x, address + size)
    if old - address - size < state.rules.split:
        return address
    entries[x].end = address + size
    ledger[ALLOCATED] -= old - address - size
    ledger[SPLITS] += 1
    if x == state.shape[LAST]:
        upper = ledger[RESERVED]
        change_tail(state, upper - old, upper - address - size)
    else:
        upper = entries[next_block(entries, x)].start
        state.shape[GAPS] = 1
        change_hole(state, upper - old, upper - address - size)
    ledger[MERGES] += np.int64(upper > old)
    if state.rules.trim:
        trim(state)
    return address


def grow(state, x, end):
    """Let the block of entry x, if it is on top, end at address ``end`` or above; return its start.

    A rest below ``rules.split`` goes to the block too. Return NOWHERE if the block is not on top or the capacity does not allow
    it.
    """
    entries, ledger = state.entries, state.ledger
    old, top = entries[x].end, ledger[RESERVED]
    rest = room_above(state, end, end - top) if x == state.shape[LAST] else np.int64(-1)
    if rest < 0:
        return NOWHERE
    if rest < state.rules.split:
        end += rest
        rest = 0
    else:
        ledger[SPLITS] += 1
    entries[x].end = end
    ledger[ALLOCATED] += end - old
    change_tail(state, top - old, rest)
    return entries[x].start


@out_of_line
def trim(state):
    """Give the free bytes above the stack back to the system, in whole chunks above what was reserved at the start."""
    ledger = state.ledger
    top, used = ledger[RESERVED], state.entries[state.shape[LAST]].end
    keep = trimmed(state.rules, used)
    if used < top and keep < top:
        change_tail(state, top - used, keep - used)
        ledger[RESERVED] = keep
        ledger[RELEASE_CALLS] += 1


def write_counters(state, row):
    """Write the bytes of waiting holes, those below the top of the stack, into ``row``."""
    row[0] = state.ledger[FREE] - (state.ledger[RESERVED] - state.entries[state.shape[LAST]].end)


def expect(state, handle):
    """Prefetch the entry number of a block that will be freed some events from now."""
    prefetch(state.entry_of, handle)


def expect_soon(state, handle):
    """Prefetch the entries around that of a block that will be freed after the next few events."""
    x = np.int64(state.entry_of[np.uint64(handle)])
    prefetch(state.entries, x - 1)
    prefetch(state.entries, x + 2)
