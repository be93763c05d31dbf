"""Compact: first fit that slides the live blocks down, so that their holes become one, when a request fails or holes abound.

A slide takes the blocks in the order of their addresses and moves each down to the end of the one below it, aligned as its
own request asked; a gap that an alignment needs between two blocks stays a hole, all other holes become one at the top. The
whole block is moved. `when` says when:

- always: a request that no hole can serve, and for which the capacity does not let the heap grow, slides the blocks if it
  fits then. If it does not, nothing moves and it fails.
- `failure`: only then.
- `growth`: also a request that no hole can serve, before the heap grows; it then grows by what is still missing, so that the
  peak of reserved bytes is that of allocated ones, but for alignments.
- `threshold`: also after a free, or a resize in place, if the holes below the last block are more than `threshold` percent of
  the reserved bytes, not counting those that the last slide had to leave.

    before  | AA |    | BBBB |  | C |      |        after  | AA | BBBB | C |             |        pause: B and C

Users see the moved bytes in `moved_bytes`, and over time in counters: slides, slid_bytes, and the sizes of pauses,
pause_bytes (the last) and largest_pause_bytes, since everything stops while a slide moves. To move blocks, a program has to
know them by handles, or a collector has to know its pointers. Options: when, threshold (percent), and a heap's.

Cost: as first fit, O(log n) in the number of holes; a slide is a step for each block above the lowest hole, and an
O(log n) for each hole. With a threshold of t percent these are shared among the frees that made t percent of the heap holes;
with `growth` or a full heap a slide may come with every other request.
Source: Knuth, The Art of Computer Programming 1, 2.5, exercise 33 (compacting by sliding); Jones, Hosking and Moss 2012,
The Garbage Collection Handbook, chapter 3; Robson 1971 for what sliding saves.
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, COUNT_INSPECTED, HOLES, INSPECTED, MOVED, RESERVED, open_hole
from memtrace.contract.request import NOTHING, NOWHERE
from memtrace.structures import address_tree, heap
from memtrace.structures.address_tree import expect_soon, first_fit, holes_below, insert, largest_hole, lowest
from memtrace.structures.heap import drop_hole, expect, link, new_node, request_block_size, tail_address, take_or_grow
from memtrace.structures.rules import Rules, alignment, growth

ORDER = 50
COALESCES = True
DEFERRED = True
COUNTERS = ("slides", "slid_bytes", "pause_bytes", "largest_pause_bytes")
FAILURE, GROWTH, THRESHOLD = 0, 1, 2  # values of the option `when`
WHEN = {"failure": FAILURE, "growth": GROWTH, "threshold": THRESHOLD}

# places in State.slides: the counters in the order of COUNTERS, then the bytes of holes that the last slide left between blocks
COUNT, BYTES, PAUSE, LONGEST, LEFT = range(5)


class State(NamedTuple):
    """The fields of an `address_tree` heap, and what is needed to move blocks."""

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
    align_of: np.ndarray  # align_of[node]: what the block's address has to be a multiple of, in bytes
    slides: np.ndarray  # [COUNT, BYTES, PAUSE, LONGEST, LEFT]
    when: int  # FAILURE, GROWTH or THRESHOLD
    threshold: int  # percent of the reserved bytes
    base: int  # address at which the heap starts


def init(
    capacity,
    max_live,
    when: Literal["threshold", "growth", "failure"] = "threshold",
    threshold=25,
    **options,
):
    if not 0 <= threshold <= 100:
        raise ValueError(f"threshold={threshold} is no percentage")
    inner = address_tree.init(capacity, max_live, **options)
    more = {
        "align_of": np.ones(inner.nodes.size, np.int64),
        "slides": np.zeros(5, np.int64),
        "when": WHEN[when],
        "threshold": threshold,
        "base": options.get("base", 0),
    }
    return State(**inner._asdict(), **more)


def alloc(state, request):
    """Place a block in the lowest hole that the request fits; return its address in bytes.

    If no hole fits, blocks may slide down first, as the option `when` says; then the heap grows. Return NOTHING if a
    request of 0 bytes gets no block (`zero=null`), NOWHERE if the request fails. A slide changes the addresses of other
    blocks (``address_of``).
    """
    size = request_block_size(state, request)
    if size == NOTHING:
        return NOTHING
    align = alignment(state.rules, request)
    x = first_fit(state, 0, size, align)
    if state.ledger[COUNT_INSPECTED] != 0:
        state.ledger[INSPECTED] = holes_below(state, x) + 1 if x != 0 else state.ledger[HOLES]
    if x == 0:
        x = make_room(state, size, align)
    address = take_or_grow(state, x, size, align, request, address_tree)
    if address >= 0:
        state.align_of[state.node_of[request.block]] = align
    return address


@out_of_line
def make_room(state, size, align):
    """Slide the blocks if that is due and the request then fits; return the node of the hole that it fits in, else 0.

    Called when no hole fits. ``size`` and ``align`` are in bytes.
    """
    x = lowest(state, 1)
    if x == 0 or x == state.nodes[0].prev:
        return np.int64(0)
    if state.when != GROWTH and can_end_at(state, tail_address(state, align) + size, size):
        return np.int64(0)
    if not can_end_at(state, align_up(top_after_slide(state), align) + size, size):
        return np.int64(0)
    slide(state)
    return first_fit(state, 0, size, align)


def can_end_at(state, end, size):
    """Return whether the heap reaches up to address ``end``, or can grow for a block of ``size`` bytes so that it does."""
    top = state.ledger[RESERVED]
    return end <= top or growth(state.rules, top, end - top, size) > 0


def top_after_slide(state):
    """Return the address at which the highest block would end after a slide. There is a hole."""
    nodes = state.nodes
    x = lowest(state, 1)
    top = nodes[x].addr
    while x != 0:
        if nodes[x].free == 0:
            top = align_up(top, state.align_of[x]) + nodes[x].extent
        x = np.int64(nodes[x].next)
    return top


@out_of_line
def slide(state):
    """Move each block above the lowest hole down to the end of the block below it, at the alignment of its own request.

    The gaps that alignments need stay holes; all other holes become one at the top. The moved bytes go to the ledger's
    MOVED and to `State.slides`.
    """
    nodes, ledger, slides = state.nodes, state.ledger, state.slides
    x = lowest(state, 1)
    if x == 0:
        return
    top, pause = nodes[x].addr, np.int64(0)
    slides[LEFT] = 0
    while x != 0:
        after = np.int64(nodes[x].next)
        if nodes[x].free == 1:
            drop_hole(state, x, address_tree)
        else:
            address = align_up(top, state.align_of[x])
            if address > top:
                insert_gap(state, x, top, address - top)
            if address < nodes[x].addr:
                nodes[x].addr = address
                pause += nodes[x].extent
            top = address + nodes[x].extent
        x = after
    if top < ledger[RESERVED]:
        heap.append(state, top, ledger[RESERVED] - top, address_tree)
    if pause > 0:
        note_pause(state, pause)


def insert_gap(state, x, address, size):
    """Insert a hole of ``size`` bytes at ``address``, directly below block x: a gap that the alignment of x needs."""
    y = new_node(state, address, size)
    link(state.nodes, y, state.nodes[x].prev, x)
    state.nodes[y].free = 1
    insert(state, y)
    open_hole(state.ledger, size)
    state.slides[LEFT] += size


def note_pause(state, pause):
    """Count one slide that moved ``pause`` bytes, in the ledger and in `State.slides`."""
    slides = state.slides
    state.ledger[MOVED] += pause
    slides[COUNT] += 1
    slides[BYTES] += pause
    slides[PAUSE] = pause
    slides[LONGEST] = max(slides[LONGEST], pause)


def slide_if_due(state):
    """With `when=threshold`: slide the blocks if the holes below the last block are above the threshold."""
    if state.when == THRESHOLD and scattered_bytes(state) > percent_of(state.ledger[RESERVED], state.threshold):
        slide(state)
        if state.rules.trim:
            trim(state)


def scattered_bytes(state):
    """Return the bytes of holes below the last block, without those that the last slide left."""
    ledger, tail = state.ledger, state.nodes[0].prev
    top = state.nodes[tail].extent if state.nodes[tail].free == 1 else 0
    return ledger[RESERVED] - state.base - ledger[ALLOCATED] - top - state.slides[LEFT]


def percent_of(size, percent):
    """Return ``size`` times ``percent`` / 100, rounded down, without overflow."""
    return size // 100 * percent + size % 100 * percent // 100


def free(state, request, address):
    """Free the block with the handle ``request.block``; its range coalesces with the holes beside it.

    The blocks slide then if the threshold is passed. ``address`` is not used.
    """
    heap.free_block(state, request.block, address_tree)
    slide_if_due(state)


def resize(state, request, address, old_size):
    """Resize a block in place: return ``address``, or NOWHERE if the block has to move.

    The block stays only if its address has the new alignment, which is the policy's own if the request asks for none. The
    blocks slide then if the threshold is passed, which may move this one too.
    """
    align = alignment(state.rules, request)
    if address & (align - 1):
        return NOWHERE
    address = heap.resize_block(state, request, address, address_tree)
    if address >= 0:
        state.align_of[state.node_of[request.block]] = align
        slide_if_due(state)
    return address


def trim(state):
    """Give the free tail of the heap back to the system, in whole chunks above what the heap reserved at the start."""
    heap.trim_top(state, address_tree)


def address_of(state, handle):
    """Return the present address of the block with this handle."""
    return state.nodes[state.node_of[handle]].addr


def write_counters(state, row):
    """Write the counters named by COUNTERS into ``row``, in that order."""
    for i in range(4):
        row[i] = state.slides[i]
