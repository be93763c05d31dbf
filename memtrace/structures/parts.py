"""Parts: ranges of memory that never touch, each with a policy's state of its own; `regions` and `chunks` are made of them.

A part has its bytes from the start: its policy sees a heap of just that size, which begins at address 0, and a block's address
is that of the part plus the one in its heap. Parts begin at multiples of 4 KiB with room between two of them, so no hole and no
block crosses from one to another.

    | part 0: A .. B |   | part 1: CC ... |   | part 2: D .... |      A to D are blocks, `..` holes

A part is called by its number, the index of its state in ``state.parts``. ``state.order`` has the numbers of the parts that there
are, in the order in which they are tried.
"""

from typing import Any, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    BELOW_MEDIAN,
    BELOW_P99,
    BLOCK_SIZE,
    CLASS_HOLES,
    CLASSES_END,
    COUNT_INSPECTED,
    COUNT_SIZES,
    FREE,
    HOLE_TAKEN,
    INSPECTED,
    MEDIAN,
    MOVED,
    P99,
    RESERVED,
    SPLITS,
    SQUARE_UNIT,
    SQUARES,
    SQUARES_HIGH,
    settle,
)
from memtrace.contract.ledger import first_holes as holes_at_start
from memtrace.contract.request import ENLARGE, NOWHERE

UNIT = 4096  # bytes: parts begin at multiples
# places in State.source: the number of parts; the part that last answered ENLARGE; what `chunks` notes of a request that needs
# another part, whether that was refused, what was searched for it, and the number of the part fetched for it, plus 1; the number
# of the part that was there from the start, plus 1
PARTS, ENLARGED, FETCH, ASKED, ALIGN, STREAM, TAG, REFUSED, SEARCHED, FETCHED, FROM_START = range(11)
TRIED = ("first", "fullest", "roomiest")  # values of the option `to`
FIRST, FULLEST = 0, 1


class State(NamedTuple):
    """The parts' own states, where they are, and where each block is."""

    parts: Any  # tuple of the inner policy's states, by number of the part; some may be of no part
    base: np.ndarray  # base[part]: address of its first byte
    extent: np.ndarray  # extent[part]: its bytes; 0: there is no such part
    live: np.ndarray  # live[part]: blocks in it
    owner: np.ndarray  # owner[part]: the stream or tag that it belongs to, 0 if parts belong to none
    order: np.ndarray  # order[i]: the number of the part tried as the i-th, of source[PARTS]
    part_of: np.ndarray  # part_of[handle]: number of the block's part
    start_of: np.ndarray  # start_of[handle]: the block's address in the heap of its part
    size_of: np.ndarray  # size_of[handle]: bytes requested
    source: np.ndarray  # PARTS to FROM_START
    ledger: np.ndarray  # the sums over the parts
    rules: Any


def new_arrays(parts, max_live):
    """Return the arrays of a state with room for so many parts and blocks, by the names of its fields."""
    by_part = ("base", "extent", "live", "owner", "order")
    return {
        **{name: np.zeros(parts, np.int64) for name in by_part},
        "part_of": np.zeros(max_live + 1, np.int32),
        "start_of": np.zeros(max_live + 1, np.int64),
        "size_of": np.zeros(max_live + 1, np.int64),
        "source": np.zeros(11, np.int64),
    }


def inner_init(inner, options_of, policy):
    """Return a function of (bytes, blocks) that returns the inner policy's state for a part of so many bytes.

    The heap of a policy with the option `initial` has all its bytes from the start, unless its options say otherwise.
    """
    options = options_of(policy)

    def made(extent, max_live):
        """Return the state of a part; raise ValueError if it is too small for the policy."""
        given = dict(options)
        if given.get("initial") == 0:
            given["initial"] = max(extent - given.get("base", 0), 0)
        return inner.init(extent, max_live, **given)

    return made


def holes_of(inner, one):
    """Return the sizes of the holes that a part's state has at the start."""
    return list(inner.first_holes(one)) if inner.first_holes else list(holes_at_start(one.ledger))


def add_part(state, part, one, base, extent):
    """Add a part as the last one that is tried: its number, its state, its address and its bytes. `reserved` grows by them."""
    state.base[part], state.extent[part], state.live[part] = base, extent, 0
    state.order[state.source[PARTS]] = part
    state.source[PARTS] += 1
    add_holes(state.ledger, one.ledger, 1)
    add_work(state.ledger, one.ledger, 1)
    state.ledger[RESERVED] += extent


def functions(inner):
    """Return the functions over a state that call those of the inner policy, by name. They are a part of the policy's module."""
    inner_alloc, inner_free, inner_resize, inner_largest = inner.alloc, inner.free, inner.resize, inner.largest_hole

    def offer(state, request, part):
        """Ask the inner policy for a block in a part; return its address, or the inner policy's answer below 0.

        ENLARGE: the part is noted for ``enlarge``. A part with fewer bytes in no block than asked for is not asked: NOWHERE.
        """
        one = state.parts[part]
        own, ledger = one.ledger, state.ledger
        if state.extent[part] - own[ALLOCATED] < request.size:
            return np.int64(NOWHERE)
        before_call(ledger, own)
        start = inner_alloc(one, request)
        after_call(ledger, own)
        ledger[INSPECTED] += own[INSPECTED]
        ledger[HOLE_TAKEN] = own[HOLE_TAKEN]
        ledger[BLOCK_SIZE] = max(ledger[BLOCK_SIZE], own[BLOCK_SIZE])
        if start == ENLARGE:
            state.source[ENLARGED] = part
        if start < 0:
            return np.int64(start)
        state.live[part] += 1
        state.part_of[request.block] = part
        state.start_of[request.block] = start
        state.size_of[request.block] = request.size
        return np.int64(state.base[part] + start)

    def take_back(state, request):
        """Free a block in its part; return the part's number."""
        part = np.int64(state.part_of[request.block])
        one = state.parts[part]
        before_call(state.ledger, one.ledger)
        inner_free(one, request, state.start_of[request.block])
        after_call(state.ledger, one.ledger)
        state.live[part] -= 1
        return part

    @out_of_line
    def resize(state, request, address, old_size):
        """Resize a block in its part, by the inner policy; return its address, which is another where the policy moved it there.

        Return NOWHERE if the block has to move, ENLARGE if the part's arrays are too small.
        """
        part, start = np.int64(state.part_of[request.block]), state.start_of[request.block]
        one = state.parts[part]
        before_call(state.ledger, one.ledger)
        answer = inner_resize(one, request, start, old_size)
        after_call(state.ledger, one.ledger)
        if answer == ENLARGE:
            state.source[ENLARGED] = part
        if answer < 0:
            return np.int64(answer)
        state.start_of[request.block] = answer
        state.size_of[request.block] = request.size
        return np.int64(state.base[part] + answer)

    @out_of_line
    def largest_hole(state):
        """Return the size in bytes of the largest hole of all parts.

        The counts of holes by size class are added up over the parts into the ledger too, as they are read only with this result.
        """
        most = np.int64(0)
        state.ledger[CLASS_HOLES:CLASSES_END] = 0
        for i in range(state.source[PARTS]):
            one = state.parts[state.order[i]]
            most = max(most, inner_largest(one))
            for size_class in range(CLASS_HOLES, CLASSES_END):
                state.ledger[size_class] += one.ledger[size_class]
        return most

    def first_holes(state):
        """Return the sizes in bytes of the holes that exist before the first event, over all parts."""
        return [size for part in numbers(state) for size in holes_of(inner, state.parts[part])]

    def parts(state):
        """Return (address, bytes, live blocks, free bytes, bytes of the largest hole) of each part, in the order of addresses.

        Bytes of a part above its heap, which the inner policy has not reserved yet, are free.
        """
        found = []
        for part in numbers(state):
            one, extent = state.parts[part], int(state.extent[part])
            settle(one.ledger)
            above = extent - int(one.ledger[RESERVED])
            free, largest = int(one.ledger[FREE]) + above, max(int(inner_largest(one)), above)
            found.append((int(state.base[part]), extent, int(state.live[part]), free, largest))
        return sorted(found)

    return {each.__name__: each for each in (offer, take_back, resize, largest_hole, first_holes, parts)}


def numbers(state):
    """Return the numbers of the parts that there are, in the order in which they are tried."""
    return [int(part) for part in state.order[: int(state.source[PARTS])]]


def with_more_nodes(state, inner):
    """Return the state with the arrays of one part enlarged: the part that last answered ENLARGE."""
    part = int(state.source[ENLARGED])
    return with_part(state, part, inner.enlarge(state.parts[part]))


def with_part(state, part, one):
    """Return the state in which a part has the inner policy's state ``one``."""
    return state._replace(parts=(*state.parts[:part], one, *state.parts[part + 1 :]))


def following(state, last, turn, to):
    """Return the place in the order of the part to try after the one at the place ``last`` (-1: there was none).

    ``turn`` is the number of parts tried, ``to`` the index in TRIED. `fullest` goes by the bytes that are in no block, the fewest
    first, `roomiest` by the most first; of equals the first in the order goes first.
    """
    if to == FIRST:
        return np.int64(turn)
    found = np.int64(-1)
    for place in range(state.source[PARTS]):
        if (last < 0 or goes_before(state, last, place, to)) and (found < 0 or goes_before(state, place, found, to)):
            found = np.int64(place)
    return found


def goes_before(state, place, other, to):
    """Return whether the part at one place of the order is tried before that at another."""
    one, two = in_no_block(state, state.order[place]), in_no_block(state, state.order[other])
    if one == two:
        return place < other
    return one < two if to == FULLEST else one > two


def in_no_block(state, part):
    """Return the bytes of a part that are in no block."""
    return state.extent[part] - state.parts[part].ledger[ALLOCATED]


def before_call(ledger, own):
    """Prepare a call of the inner policy on the part with the ledger ``own``: what it has to count, and the sums without it."""
    for i in (MEDIAN, P99, COUNT_SIZES, COUNT_INSPECTED):
        own[i] = ledger[i]
    for i in (INSPECTED, HOLE_TAKEN, BLOCK_SIZE):
        own[i] = 0
    add_holes(ledger, own, -1)
    add_work(ledger, own, -1)


def after_call(ledger, own):
    """Finish a call of the inner policy on the part with the ledger ``own``: add its counts to the sums again."""
    add_holes(ledger, own, 1)
    add_work(ledger, own, 1)


def add_work(ledger, own, sign):
    """Add the splits, merges and moved bytes of the ledger ``own`` to the sums in the ledger (``sign`` 1), or subtract them."""
    for i in range(SPLITS, MOVED + 1):
        ledger[i] += sign * own[i]


def add_holes(ledger, own, sign):
    """Add the bytes of blocks and the holes of the ledger ``own`` to the sums in the ledger (``sign`` 1), or subtract them."""
    settle(own)
    for i in range(ALLOCATED, FREE + 1):
        ledger[i] += sign * own[i]
    for i in (BELOW_MEDIAN, BELOW_P99):
        ledger[i] += sign * own[i]
    low = ledger[SQUARES] + sign * own[SQUARES]
    high = ledger[SQUARES_HIGH] + sign * own[SQUARES_HIGH]
    if low >= SQUARE_UNIT:
        low -= SQUARE_UNIT
        high += 1
    elif low < 0:
        low += SQUARE_UNIT
        high -= 1
    ledger[SQUARES] = low
    ledger[SQUARES_HIGH] = high


def neighbours(state, handles):
    """Return the free bytes on both sides of each of the live blocks ``handles``, within its part; int64[block].

    Bytes that were lost by rounding count as free.
    """
    part = state.part_of[handles].astype(np.int64)
    start, size = state.start_of[handles], state.size_of[handles]
    order = np.lexsort((start, part))
    begin, end, of = start[order], (start + size)[order], part[order]
    same = of[1:] == of[:-1]
    below, above = begin.copy(), state.extent[of] - end
    gap = begin[1:] - end[:-1]
    below[1:][same] = gap[same]
    above[:-1][same] = gap[same]
    free = np.zeros(order.size, np.int64)
    free[order] = below + above
    return free


def next_base(end):
    """Return the lowest address at which a part may begin above another that ends at ``end``."""
    return align_up(end + 1, UNIT)
