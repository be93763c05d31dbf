"""Chunks: a policy of your choice in each of the chunks of memory that are fetched from the system as they are needed.

A request goes to the first chunk that can serve it. If none does, another is fetched; no block and no hole lies in two. Memory
pools are made so: RMM's, Umpire's, those of Vulkan's memory allocator (VMA).

    request -> | 256 MiB: AAAA..BB |   | 256 MiB: CC....... |   + 256 MiB, if neither has a hole for it

A chunk has the bytes that `growth` says, at least what the policy needs for the request in a new heap. If the system has less,
it is halved, down to what is needed; if it has not even that, the request fails.

    growth=fixed    `size`
    growth=eighths  `size`, halved up to three times while the half is above all chunks and twice the request (VMA's blocks)
    growth=held     as many bytes as are held (RMM's pool without a maximum)
    growth=half     half of what is left to the capacity, rounded up to 256 bytes before (RMM's pool with a maximum)

    release=empty   a chunk goes back as soon as it is empty
    release=spare   as soon as it is empty and another one is (VMA)
    release=half    as soon as it is empty and more than half of the bytes held are in empty chunks
    release=never   none goes back (RMM)

All but `never` also give all empty chunks back before a request fails, and at a trim. `first`: bytes of a chunk that is there
from the start (RMM's initial pool). With `by=stream` or `by=tag` a chunk serves only the stream or tag for which it was
fetched; the one at the start is that of stream 0, or of no tag. `to` says which chunk is tried first: `first`, the oldest;
`fullest` or `roomiest`, by the bytes in no block. `policy` is any that has one piece per block, which stays, in one range
of addresses; its own options in brackets: `chunks:policy=[best-fit:align=256],size=256MiB`. A chunk is one hole when it is
fetched, if the policy takes the option `initial` and it is not given. There may be 256 chunks at once.

Not modelled: RMM and VMA search all their chunks for the best hole where chunks go by their order; blocks of VMA with memory of
their own (requests above half of `size`) get a chunk that is as large as they need.

Cost: that of the policy for each chunk that is tried; a fetch takes some 100 microseconds. Each chunk has its own arrays.
Source: librmm 25.2.0, pool_memory_resource.hpp; Umpire 2024.07, QuickPool.cpp; VMA 3.1, VmaBlockVector: when they fetch and
give back, after their behaviour. `rmm-pool` and `umpire-quick` are those products to the byte.
"""

from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import round_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    BELOW_MEDIAN,
    BELOW_P99,
    BLOCK_SIZE,
    COUNT_INSPECTED,
    COUNT_SIZES,
    HOLE_TAKEN,
    INSPECTED,
    MEDIAN,
    P99,
    RELEASE_CALLS,
    RESERVE_CALLS,
    RESERVED,
    new_ledger,
    set_detail,
)
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE, Request
from memtrace.errors import UsageError
from memtrace.structures import parts
from memtrace.structures.caching.state import extended_copy
from memtrace.structures.parts import (
    ALIGN,
    ASKED,
    FETCH,
    FETCHED,
    FROM_START,
    PARTS,
    REFUSED,
    SEARCHED,
    STREAM,
    TAG,
    TRIED,
    UNIT,
    State,
    add_holes,
    add_part,
    following,
    holes_of,
    inner_init,
    neighbours,
    new_arrays,
    next_base,
    numbers,
    with_more_nodes,
    with_part,
)
from memtrace.structures.rules import UNBOUNDED

__all__ = ["State", "neighbours"]

ORDER = 82
GROUPS = ("parts",)
UNUSABLE = True  # what the inner policy leaves of a chunk
VIRTUAL = True
MAX_ALIGN = UNIT
INNER = "policy"
COUNTERS = ("chunks", "empty_chunks")

RMM_UNIT = 256  # bytes
FEW, MOST = 8, 256  # places for chunks at the start, and at most
FIXED, EIGHTHS, HELD, HALF_LEFT = range(4)
GROWTHS = ("fixed", "eighths", "held", "half")
EMPTY, SPARE, HALF, NEVER = range(4)
RELEASES = ("empty", "spare", "half", "never")
OWNERS = ("none", "stream", "tag")


class Rules(NamedTuple):
    """The options: bytes, and indexes in the tuples of their values."""

    capacity: int
    size: int
    growth: int  # in GROWTHS
    release: int  # in RELEASES
    by: int  # in OWNERS
    to: int  # in TRIED
    maker: int  # which of the functions that make a chunk's state


def init(
    capacity,
    max_live,
    policy="best-fit",
    size=2097152,
    first=0,
    growth: Literal["fixed", "eighths", "held", "half"] = "fixed",
    release: Literal["empty", "spare", "half", "never"] = "empty",
    by: Literal["none", "stream", "tag"] = "none",
    to: Literal["first", "fullest", "roomiest"] = "first",
):
    raise NotImplementedError("the engine puts a policy in: see over")


def over(inner, options_of):
    """Return the functions of policy `chunks` around an inner policy, by name; the arguments are those of `arenas`."""
    own = parts.functions(inner)
    offer, take_back = own["offer"], own["take_back"]
    makers = []  # functions that make a chunk's state, one for each call of `init`

    def init(
        capacity,
        max_live,
        policy="best-fit",
        size=2097152,
        first=0,
        growth="fixed",
        release="empty",
        by="none",
        to="first",
    ):
        """Return the state with no chunk, or with one of ``first`` bytes; raise ValueError for bad options."""
        if size < 1 or first < 0 or first > capacity:
            raise ValueError(f"size is at least 1 byte, and first from 0 to the capacity of {capacity}")
        if growth == "half" and capacity >= UNBOUNDED:
            raise ValueError("growth=half is half of what is left to the capacity\ntry: --capacity 24GiB, or growth=held")
        makers.append(inner_init(inner, options_of, policy))
        unused = makers[-1](first or min(size, capacity), max_live)
        rules = Rules(
            capacity=capacity,
            size=size,
            growth=GROWTHS.index(growth),
            release=RELEASES.index(release),
            by=OWNERS.index(by),
            to=TRIED.index(to),
            maker=len(makers) - 1,
        )
        state = State(parts=(unused,) * FEW, **new_arrays(FEW, max_live), ledger=new_ledger(0), rules=rules)
        if first:
            add_part(state, 0, unused, 0, first)
            state.source[FROM_START] = 1
        return state

    def enlarge(state):
        """Return the state with one more chunk if that was asked for, else with larger arrays of the chunk that lacks room."""
        if state.source[FETCH] == 0:
            return with_more_nodes(state, inner)
        state.source[FETCH] = 0
        asked = Request(*(int(state.source[i]) for i in (ASKED, ALIGN, STREAM, TAG)), block=0)
        made = makers[state.rules.maker]
        extent = next_extent(state, asked, partial(serves, inner, made))
        if extent < 0:
            state.source[REFUSED] = extent
            return state
        state = with_place(state)
        part = int(np.flatnonzero(state.extent == 0)[0])
        one = made(extent, state.part_of.size - 1)
        detail = (int(state.ledger[i]) for i in (MEDIAN, P99, COUNT_SIZES, COUNT_INSPECTED))
        set_detail(one.ledger, *detail, holes_of(inner, one))
        state = with_part(state, part, one)
        add_part(state, part, one, lowest_gap(state, extent), extent)
        state.owner[part] = owner_of(state, asked)
        state.source[FETCHED] = part + 1
        state.ledger[RESERVE_CALLS] += 1
        return state

    def alloc(state, request):
        """Place a block by the inner policy in the first chunk that serves it; return its address in bytes.

        If none does, what is asked for is noted for ``enlarge``, and the answer is ENLARGE; NOWHERE once that is refused. Other
        answers below 0 are those of the inner policy.
        """
        rules, source, place = state.rules, state.source, np.int64(-1)
        if source[FETCHED] != 0:
            return alloc_in_fetched(state, request)
        owner = owner_of(state, request)
        for turn in range(source[PARTS]):
            place = following(state, place, turn, rules.to)
            part = state.order[place]
            if rules.by == 0 or state.owner[part] == owner:
                address = offer(state, request, part)
                if address != NOWHERE:
                    return address
        return ask(state, request)

    @out_of_line
    def alloc_in_fetched(state, request):
        """Place a block in the chunk that was fetched for it, which is no hole that was searched; return its address."""
        address = offer(state, request, state.source[FETCHED] - 1)
        if address != ENLARGE:
            state.source[FETCHED] = 0
            state.ledger[INSPECTED] = state.source[SEARCHED]
            state.ledger[HOLE_TAKEN] = 0
        return address

    def free(state, request, address):
        """Free the block with the handle ``request.block`` in its chunk, which may go back then. ``address`` is not used."""
        part = take_back(state, request)
        if state.live[part] == 0:
            leave_empty(state, part)

    return {**own, **{each.__name__: each for each in (init, enlarge, alloc, alloc_in_fetched, free)}}


def owner_of(state, request):
    """Return the stream or the tag for whose requests a chunk is, 0 if chunks are for all."""
    if state.rules.by == 0:
        return np.int64(0)
    return np.int64(request.stream if state.rules.by == 1 else request.tag + 1)


@out_of_line
def ask(state, request):
    """Note a request that no chunk serves, and return ENLARGE; NOWHERE or NOTHING if it cannot get or needs no new chunk."""
    source, left = state.source, state.rules.capacity - state.ledger[RESERVED]
    refused = source[REFUSED]
    if refused != 0 or request.size > left + could_go(state):
        source[REFUSED] = 0
        return refused if refused != 0 else np.int64(NOWHERE)
    source[FETCH], source[ASKED], source[ALIGN] = 1, request.size, request.align
    source[STREAM], source[TAG], source[SEARCHED] = request.stream, request.tag, state.ledger[INSPECTED]
    return np.int64(ENLARGE)


def could_go(state):
    """Return the bytes of the chunks that may go back before a request fails."""
    return np.int64(0) if state.rules.release == NEVER else releasable(state)


def releasable(state):
    """Return the bytes of all empty chunks."""
    found = np.int64(0)
    for i in range(state.source[PARTS]):
        if state.live[state.order[i]] == 0:
            found += state.extent[state.order[i]]
    return found


def empty_chunks(state):
    """Return the number of empty chunks."""
    found = np.int64(0)
    for i in range(state.source[PARTS]):
        found += state.live[state.order[i]] == 0
    return found


@out_of_line
def leave_empty(state, part):
    """Give a chunk back that has just become empty, if the option `release` says so."""
    release = state.rules.release
    if (
        release == EMPTY
        or (release == SPARE and empty_chunks(state) > 1)
        or (release == HALF and 2 * releasable(state) > state.ledger[RESERVED])
    ):
        give_back(state, part)


@out_of_line
def give_back(state, part):
    """Give an empty chunk back to the system."""
    order, source, ledger = state.order, state.source, state.ledger
    place = np.int64(0)
    while order[place] != part:
        place += 1
    source[PARTS] -= 1
    for i in range(place, source[PARTS]):
        order[i] = order[i + 1]
    add_holes(ledger, state.parts[part].ledger, -1)
    ledger[RESERVED] -= state.extent[part]
    ledger[RELEASE_CALLS] += 1
    state.extent[part] = 0
    if source[FROM_START] == part + 1:
        forget_first(state)


def forget_first(state):
    """Count the bytes in small holes anew once the chunk of the start is gone, whose own counts do not know the trace."""
    state.source[FROM_START] = 0
    for count in (BELOW_MEDIAN, BELOW_P99):
        state.ledger[count] = 0
        for i in range(state.source[PARTS]):
            state.ledger[count] += state.parts[state.order[i]].ledger[count]


@out_of_line
def trim(state):
    """Give all empty chunks back to the system, unless none ever goes back."""
    place = np.int64(0)
    while state.rules.release != NEVER and place < state.source[PARTS]:
        part = np.int64(state.order[place])
        if state.live[part] == 0:
            give_back(state, part)
        else:
            place += 1


def serves(inner, made, request, extent):
    """Return the inner policy's answer to a request in a new chunk of ``extent`` bytes, and the bytes of the block that it needs.

    A chunk that is too small for the policy serves nothing: NOWHERE.
    """
    try:
        one = made(extent, 1)
    except ValueError:
        return NOWHERE, 0
    start = inner.alloc(one, request)
    while start == ENLARGE:
        one = inner.enlarge(one)
        start = inner.alloc(one, request)
    return int(start), int(one.ledger[BLOCK_SIZE])


def least_extent(request, most, fits):
    """Return the bytes of the smallest chunk tried that serves a request.

    Tried are the request's bytes, those of the block that the policy makes of it, then 16, 32, 64, ... bytes more. Return NOWHERE
    if none up to ``most`` bytes serves it, NOTHING for a request that gets no block.
    """
    extent, more = max(request.size, 1), 0
    while extent + more <= most:
        answer, block = fits(request, extent + more)
        if answer != NOWHERE:
            return NOTHING if answer == NOTHING else extent + more
        if block > extent:
            extent, more = block, 0
        else:
            more = max(16, 2 * more)
    return NOWHERE


def next_extent(state, request, fits):
    """Return the bytes of the chunk to fetch for a request; NOWHERE if the memory is not there, NOTHING if it gets no block.

    If it takes that, and the option `release` allows it, all empty chunks go back first.
    """
    left = state.rules.capacity - int(state.ledger[RESERVED])
    need = least_extent(request, left + int(could_go(state)), fits)
    if need < 0:
        return need
    if need > left:
        trim(state)
        left = state.rules.capacity - int(state.ledger[RESERVED])
    extent = max(need, wanted(state, request.size, left))
    while extent > left:
        extent = max(need, extent // 2)
    return extent if fits(request, extent)[0] >= 0 else need


def wanted(state, size, left):
    """Return the bytes of the next chunk by the option `growth`: ``size`` is the request's, ``left`` what the capacity leaves."""
    rules, held = state.rules, int(state.ledger[RESERVED])
    if rules.growth == HELD:
        return held
    if rules.growth == HALF_LEFT:
        return round_up(left, RMM_UNIT) // 2
    extent, largest = rules.size, max((int(state.extent[part]) for part in numbers(state)), default=0)
    for _ in range(3 if rules.growth == EIGHTHS else 0):
        if extent // 2 > largest and extent // 2 >= 2 * size:
            extent //= 2
    return extent


def with_place(state):
    """Return the state with a place for one more chunk; raise UsageError if there are MOST of them."""
    places = len(state.parts)
    if state.source[PARTS] < places:
        return state
    if places == MOST:
        raise UsageError(f"chunks: a {MOST + 1}th chunk is needed at once\ntry: a larger size")
    arrays = {name: extended_copy(getattr(state, name), 2 * places) for name in ("base", "extent", "live", "owner", "order")}
    return state._replace(parts=(*state.parts, *state.parts), **arrays)


def lowest_gap(state, extent):
    """Return the lowest address at which ``extent`` bytes touch no chunk."""
    base = 0
    for part in sorted(numbers(state), key=lambda part: int(state.base[part])):
        if base + extent < state.base[part]:
            break
        base = int(next_base(int(state.base[part] + state.extent[part])))
    return base


def write_counters(state, row):
    """Write the number of chunks, and of those that are empty, into ``row``."""
    row[0] = state.source[PARTS]
    row[1] = empty_chunks(state)
