"""Arenas: a policy of your choice several times over, each thread or stream in an arena of its own.

A request goes to the arena of its stream (`by=stream`: stream modulo count) or of its tag (`by=tag`); the policy there sees
a heap of its own that begins at address 0. A free, whoever asks for it, goes back to the arena the block came from, and a
reallocation stays there. Frees by another stream than the arena's are counted: foreign_frees and foreign_bytes. A trace
whose frees name no stream counts them as stream 0.

Memory comes in pages from one source: as an arena's heap grows, pages are mapped under its next addresses, the numbers given
back last first, then new ones; as it shrinks they go back, the highest first. So an arena may take pages that another gave
back, no two overlap, and within a capacity each can grow by what is left of it. A block may lie on pages that are no
neighbours; the reported address is where its first byte lies, and its alignment holds for its address in the arena's
heap. Reserved bytes are the pages held; the part of an arena's last page above its heap is neither block nor hole. Holes
are counted in each arena by itself, since a request can only use those of its own.

    stream 0  -> arena 0 | A |   | B |      pages of one source:  0: A.   1: C   2: .B   3: D
    stream 1  -> arena 1 | C | D |

The blow-up (Berger et al.) is the peak of reserved bytes over that of one arena: `-p arenas:count=4 -p arenas:count=1`
shows it. Options: policy, any that has one piece per block, which stays, and the common growth of heaps; its own options in
brackets: `arenas:policy=[best-fit:align=64],by=stream`; by; count, 1 to 32; page, bytes, each arena has 2^22 of them at most.

Cost: that of the policy, and the sums over the arenas of some fifteen counts, kept by differences; the sizes of holes are
added up when the state is sampled. The arrays of the policy are there once per arena.
Source: Berger, McKinley, Blumofe and Wilson 2000, "Hoard: a scalable memory allocator for multithreaded applications",
section 2 (private heaps with ownership); glibc's arenas; Larson and Krishnan 1998, "Memory allocation for long-running
server applications".
"""

from typing import Any, Literal, NamedTuple

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
    P99,
    RELEASE_CALLS,
    RESERVED,
    SPLITS,
    SQUARE_UNIT,
    SQUARES,
    SQUARES_HIGH,
    new_ledger,
    settle,
)
from memtrace.contract.ledger import first_holes as holes_at_start
from memtrace.contract.request import ENLARGE, NOWHERE

ORDER = 80
GROUPS = ()
UNUSABLE = True  # what an arena holds and has not reserved
COUNTERS = ("foreign_frees", "foreign_bytes", "arenas_in_use")
INNER = "policy"  # the option that names the inner policy
MOST_ARENAS = 32
MOST_PAGES = 1 << 22  # per arena

# places in State.source: number of pages given back; first page number never used; the arena that last answered ENLARGE; frees by
# streams of other arenas, and their bytes
SPARE, FRESH, ENLARGED, FOREIGN, FOREIGN_BYTES = range(5)


class State(NamedTuple):
    """The arenas' own states, where each block lies, and the pages that the arenas share."""

    arenas: Any  # tuple of the inner policy's states, one per arena
    arena_of: np.ndarray  # arena_of[handle]: number of the block's arena
    start_of: np.ndarray  # start_of[handle]: the block's offset in the arena's heap, in bytes
    size_of: np.ndarray  # size_of[handle]: bytes requested
    pages: np.ndarray  # pages[arena, i]: number of the page under [i page, (i + 1) page) of the arena's heap
    mapped: np.ndarray  # mapped[arena]: how many pages the arena has
    spare: np.ndarray  # numbers of the pages given back, a stack of source[SPARE] entries
    source: np.ndarray  # SPARE, FRESH, ENLARGED, FOREIGN, FOREIGN_BYTES
    ledger: np.ndarray  # the sums over the arenas
    page: int  # bytes of a page
    room: int  # the most pages that all arenas may have together
    by_stream: bool  # arenas go by stream; False: by tag


def init(
    capacity,
    max_live,
    policy="best-fit",
    by: Literal["stream", "tag"] = "stream",
    count=4,
    page=65536,
):
    raise NotImplementedError("the engine puts a policy in: see over")


def over(inner, options_of):
    """Return the functions of policy `arenas` around an inner policy, by name.

    ``inner`` is the module of the inner policy's functions; ``options_of(text)`` returns the inner policy's options by
    name, read from the value of the option `policy`.
    """
    inner_alloc, inner_free, inner_resize, inner_trim = inner.alloc, inner.free, inner.resize, inner.trim
    inner_largest = inner.largest_hole

    def init(capacity, max_live, policy="", by="stream", count=4, page=65536):
        """Return the state of ``count`` empty arenas, each with a state of the inner policy; raise ValueError for bad options."""
        if not 1 <= count <= MOST_ARENAS or page < 1:
            raise ValueError(f"count is 1 to {MOST_ARENAS}, and page at least 1 byte")
        options = options_of(policy)
        arenas = tuple(inner.init(capacity, max_live, **options) for _ in range(count))
        if not isinstance(getattr(getattr(arenas[0], "rules", None), "limit", None), np.ndarray):
            raise ValueError(f"{policy} grows in a way of its own, which arenas cannot share a capacity with")
        most = min(capacity // page, MOST_PAGES)
        by_handle = (np.zeros(max_live + 1, np.int32), np.zeros(max_live + 1, np.int64), np.zeros(max_live + 1, np.int64))
        pages, mapped = np.zeros((count, most + 1), np.int32), np.zeros(count, np.int64)
        spare, source = np.zeros(count * most + 1, np.int32), np.zeros(5, np.int64)
        room = capacity // page
        state = State(arenas, *by_handle, pages, mapped, spare, source, new_ledger(0), page, room, by == "stream")
        for arena in range(count):
            if arenas[arena].ledger[RESERVED] > page * min(most, room - int(mapped.sum())):
                raise ValueError(f"{count} arenas do not fit the capacity with what {policy} has at the start")
            add(state, arenas[arena].ledger, 1)
            map_pages(state, arena)
        return state

    def enlarge(state):
        """Return the state with the arrays of one arena enlarged: the arena that last answered ENLARGE."""
        arena = int(state.source[ENLARGED])
        arenas = (*state.arenas[:arena], inner.enlarge(state.arenas[arena]), *state.arenas[arena + 1 :])
        return state._replace(arenas=arenas)

    def first_holes(state):
        """Return the sizes in bytes of the holes that exist before the first event, over all arenas."""
        of_one = inner.first_holes or (lambda arena: list(holes_at_start(arena.ledger)))
        return [size for arena in state.arenas for size in of_one(arena)]

    def alloc(state, request):
        """Place a block by the inner policy in the arena of the request's stream or tag; return its address in bytes.

        Answers below 0 are those of the inner policy. ENLARGE: the arena is noted for ``enlarge``.
        """
        arena = choose(state, request)
        one = state.arenas[arena]
        own, ledger = one.ledger, state.ledger
        before_call(state, one, arena)
        start = inner_alloc(one, request)
        after_call(state, own, arena)
        for i in (INSPECTED, HOLE_TAKEN, BLOCK_SIZE):
            ledger[i] = own[i]
        if start == ENLARGE:
            state.source[ENLARGED] = arena
        if start < 0:
            return start
        state.arena_of[request.block] = arena
        state.start_of[request.block] = start
        state.size_of[request.block] = request.size
        return address_at(state, arena, start)

    def free(state, request, address):
        """Free the block with the handle ``request.block`` in the arena that it came from. ``address`` is not used."""
        arena = np.int64(state.arena_of[request.block])
        one = state.arenas[arena]
        before_call(state, one, arena)
        inner_free(one, request, state.start_of[request.block])
        after_call(state, one.ledger, arena)

    @out_of_line
    def resize(state, request, address, old_size):
        """Resize a block in its arena, by the inner policy; return its address, which is another where the policy moved it there.

        Return NOWHERE if the block has to move, ENLARGE if the arena's arrays are too small.
        """
        arena, start = np.int64(state.arena_of[request.block]), state.start_of[request.block]
        one = state.arenas[arena]
        before_call(state, one, arena)
        answer = inner_resize(one, request, start, old_size)
        after_call(state, one.ledger, arena)
        if answer == ENLARGE:
            state.source[ENLARGED] = arena
        if answer < 0:
            return answer
        state.start_of[request.block] = answer
        state.size_of[request.block] = request.size
        return address_at(state, arena, answer)

    @out_of_line
    def trim(state):
        """Let the inner policy give free memory back in each arena; the pages go back to the common source."""
        for arena in range(len(state.arenas)):
            one = state.arenas[arena]
            before_call(state, one, arena)
            inner_trim(one)
            after_call(state, one.ledger, arena)

    @out_of_line
    def largest_hole(state):
        """Return the size in bytes of the largest hole of all arenas.

        The counts of holes by size class are added up over the arenas into the ledger too, as they are read only with this
        result.
        """
        most = np.int64(0)
        state.ledger[CLASS_HOLES:CLASSES_END] = 0
        for arena in range(len(state.arenas)):
            one = state.arenas[arena]
            most = max(most, inner_largest(one))
            for i in range(CLASS_HOLES, CLASSES_END):
                state.ledger[i] += one.ledger[i]
        return most

    return {each.__name__: each for each in (init, enlarge, first_holes, alloc, free, resize, trim, largest_hole)}


def choose(state, request):
    """Return the number of the arena for a request: its stream, or its tag plus 1, modulo the number of arenas."""
    count = len(state.arenas)
    return (request.stream if state.by_stream else request.tag + 1) % count


def before_call(state, one, arena):
    """Prepare a call of the inner policy on one arena: set the limit of its heap and what it has to count.

    ``one`` is the state of arena number ``arena``. Its counts are subtracted from the sums of the ledger until ``after_call``
    adds them again.
    """
    own, ledger = one.ledger, state.ledger
    left = state.room - ledger[RESERVED] // state.page
    one.rules.limit[0] = min(left + state.mapped[arena], state.pages.shape[1] - 1) * state.page
    for i in (MEDIAN, P99, COUNT_SIZES, COUNT_INSPECTED):
        own[i] = ledger[i]
    for i in (INSPECTED, HOLE_TAKEN, BLOCK_SIZE):
        own[i] = 0
    add(state, own, -1)


def after_call(state, own, arena):
    """Finish a call of the inner policy on one arena: add its counts to the sums again, and map or unmap pages.

    ``own`` is the ledger of arena number ``arena``. Afterwards the arena has just the pages that cover its heap.
    """
    add(state, own, 1)
    if (own[RESERVED] + state.page - 1) // state.page != state.mapped[arena]:
        if own[RESERVED] > state.mapped[arena] * state.page:
            map_pages(state, arena)
        else:
            unmap_pages(state, arena)


def add(state, own, sign):
    """Add the counts of an arena's ledger ``own`` to the sums in the ledger (``sign`` 1), or subtract them (``sign`` -1)."""
    ledger = state.ledger
    settle(own)
    for i in range(ALLOCATED, FREE + 1):
        ledger[i] += sign * own[i]
    for i in (BELOW_MEDIAN, BELOW_P99):
        ledger[i] += sign * own[i]
    for i in range(SPLITS, RELEASE_CALLS + 1):
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


@out_of_line
def map_pages(state, arena):
    """Map pages behind those of an arena until they cover its heap: pages given back last first, then new ones."""
    source, mapped = state.source, state.mapped
    while mapped[arena] * state.page < state.arenas[arena].ledger[RESERVED]:
        if source[SPARE] > 0:
            source[SPARE] -= 1
            page = np.int64(state.spare[source[SPARE]])
        else:
            page = source[FRESH]
            source[FRESH] += 1
        state.pages[arena, mapped[arena]] = page
        mapped[arena] += 1
        state.ledger[RESERVED] += state.page


@out_of_line
def unmap_pages(state, arena):
    """Give back the pages above an arena's heap, the highest first."""
    source, mapped = state.source, state.mapped
    while (mapped[arena] - 1) * state.page >= state.arenas[arena].ledger[RESERVED]:
        mapped[arena] -= 1
        state.spare[source[SPARE]] = state.pages[arena, mapped[arena]]
        source[SPARE] += 1
        state.ledger[RESERVED] -= state.page
        if mapped[arena] == 0:
            break


def address_at(state, arena, start):
    """Return the address of a byte of an arena's heap: ``start`` is its offset in the heap, and the pages say where it lies."""
    i = start // state.page
    return np.int64(state.pages[arena, i]) * state.page + start % state.page


def freed_by(state, request, stream):
    """With `by=stream`: count a free by a stream whose arena is not the block's own. Called before the block is freed."""
    if state.by_stream and stream % len(state.arenas) != state.arena_of[request.block]:
        state.source[FOREIGN] += 1
        state.source[FOREIGN_BYTES] += request.size


def first_piece(state, handle):
    """Return the first piece of a block. A piece is called by the offset in the arena's heap at which it starts."""
    return state.start_of[handle]


def next_piece(state, handle, piece):
    """Return the piece that follows ``piece`` in a block, at the start of the next page; -1 if the block ends before it."""
    after = (piece // state.page + 1) * state.page
    return after if after < state.start_of[handle] + state.size_of[handle] else np.int64(-1)


def piece_at(state, handle, piece):
    """Return the address and the bytes of a piece of a block: the part of the block on one page."""
    end = state.start_of[handle] + state.size_of[handle]
    extent = min((piece // state.page + 1) * state.page, end) - piece
    return address_at(state, np.int64(state.arena_of[handle]), piece), extent


def most_pieces(state):
    """Return an upper bound on the number of pieces of a block."""
    return state.pages.shape[1] + 1


def write_counters(state, row):
    """Write the frees by other streams, their bytes, and the number of arenas with pages into ``row``."""
    row[0] = state.source[FOREIGN]
    row[1] = state.source[FOREIGN_BYTES]
    row[2] = 0
    for arena in range(state.mapped.size):
        if state.mapped[arena] > 0:
            row[2] += 1
