"""The state of a caching allocator: its records of blocks, segments, streams and stream events, and the rules for sizes.

The blocks of a segment are nodes, doubly linked by address. Nodes, segments and entries are numbered from 1; 0 stands for none. A
stream has an index, in the order of first use, and two queues of free blocks: ``2 * index`` for small blocks and
``2 * index + 1`` for large ones. In this package HOLE means a range of an expandable segment that has no memory; the ledger
counts only free blocks as holes. The rules say how a request is rounded to a block size, and how much the device is asked for.
"""

from typing import Any, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up, highest_set
from memtrace.contract.ledger import new_ledger
from memtrace.structures.caching.statistics import LENGTH, MAX_SPLIT_SIZE

MIN_BLOCK = 512  # every block size and every address is a multiple of this
SMALL_SIZE = 1 << 20  # rounded requests up to this size go to the small pool, larger ones to the large pool
SMALL_BUFFER = 2 << 20  # segment size of the small pool, and page size of small expandable segments
MIN_LARGE_ALLOC = 10 << 20  # from this size on, a segment is made to measure for its request ...
ROUND_LARGE = 2 << 20  # ... and rounded up to a multiple of this
DIVISIONS = 16  # entries of the table of divisions, which count steps, not bytes


def rounded(size, divisions):
    """Return the block size for a request of ``size`` bytes, at least 1.

    ``divisions`` is the table's entry for this size (a power of two, or 0): if it is above 1, a doubling is divided into so many
    steps, and the request is rounded up to one; otherwise to a multiple of 512.
    """
    if size < MIN_BLOCK:
        return np.int64(MIN_BLOCK)
    if divisions > 1 and size > MIN_BLOCK * divisions:
        # size > 512 * divisions, so a step is at least 512.
        step = (1 << highest_set(size)) >> highest_set(divisions)
        return align_up(size, step)
    return align_up(size, MIN_BLOCK)


def doubling_of(size):
    """Return the index into the table of divisions for a size in bytes.

    Entry k is for [2^k MiB, 2^(k+1) MiB); the first entry is also for all smaller sizes and the last for all larger ones.
    """
    return min(max(highest_set(size) - 20, 0), DIVISIONS - 1)


def device_size(rules, size):
    """Return how many bytes the device is asked for when a block of ``size`` bytes (rounded) is needed."""
    if size <= SMALL_SIZE:
        return np.int64(SMALL_BUFFER)
    if size < MIN_LARGE_ALLOC:
        return np.int64(rules.large_buffer)
    return align_up(size, ROUND_LARGE)


# States of a node. PENDING: freed, but other streams still use it. HOLE: unmapped address space. SPARE_NODE: not in use.
# NO_NODE: the sentinel, node 0.
LIVE, PENDING, FREE, UNMAPPED, SPARE_NODE, NO_NODE = range(6)
# Indices into State.at.
FRESH, SPARE, NODES = 0, 1, 2  # first node never used, first spare node, number of nodes in use
SEGMENT_FRESH, SEGMENT_SPARE, SEGMENTS = 3, 4, 5  # the same of segments
FIRST_SEGMENT, LAST_SEGMENT = 6, 7  # by address
STREAMS, LAST_STREAM, LAST_INDEX = 8, 9, 10  # number of streams; number and index of the stream looked up last
# Stream events have numbers from 1. The last number given; the number up to which events of all streams are done; how many wait.
SEQUENCE, DONE, QUEUED = 11, 12, 13
ENTRY_FRESH, ENTRY_SPARE, ENTRIES = 14, 15, 16  # first entry never used, first spare entry, number of entries in use
DEVICE_USED, NEXT_ADDRESS = 17, 18  # bytes that the device gave; the end of the addresses that it gave
SEARCHES = 19  # and 20: searches for a small block, for a large one; they are the clock by which free blocks age
HISTORY = 21  # number of events in the history
SEGMENTS_MADE = 22  # number of segments made so far
TURN_BITS, TURNS = 23, 25  # and 24, 26: of the tables EVENTS and USES (see stream_tables), log2 of the slots; streams in it
RECORDED_SEGMENTS_USED = 27  # how many of the recorded segments (State.given) are used up
EVENTS_REPORTED = 28  # 1: stream events were reported done since the queues of events were last emptied of done ones
SMALLEST = 29  # and 30: lower bound of the segment sizes in the small pool, in the large one; bytes
NODES_MADE = 31  # number of nodes made so far
DIVISIONS_AT = 32  # the table of divisions begins here
AT = DIVISIONS_AT + DIVISIONS  # length
CLASSES = 832  # size classes, see free_sets
WORDS = CLASSES // 64  # words of the bitmap of classes
ROOTS = CLASSES + 1  # length of a row of State.roots: a treap for each class, and one of unmapped ranges
FILLED, COUNT = WORDS, WORDS + 1  # in a row of State.queues: bitmap of the words that are not 0; number of free blocks
ROW = WORDS + 2  # length of a row of State.queues
# Bits of a stream's ``private``: it is of a private pool, which is not emptied with the others; of a pool whose blocks are not
# split (torch.cuda.MemPool(no_split=True)).
PRIVATE, UNSPLIT = 1, 2
FIRST_STREAMS = 4  # number of streams that a new state has room for
FEWEST_BITS = 2  # log2 of the slots of a new table of turns
FIRST_SPREAD = 0x15000000  # turns.spread(0)
FIRST_SEGMENTS = 64  # number of segments that a new state has room for, the sentinel among them
NODE = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("addr", "i8"),  # start address
                ("extent", "i8"),  # bytes
                ("requested", "i8"),  # bytes of the request, if live or pending
                ("since", "i8"),  # free: searches of its pool when it became free; pending: number of its last stream event
                ("number", "i8"),  # age rank among equal blocks (1: oldest): of its segment, or its own; 0 if ages do not count
                ("prev", "u4"),  # neighbour at the lower address in the segment, 0 for none
                ("next", "u4"),  # neighbour at the higher address, 0 for none; of a spare node the next spare one
                ("left", "u4"),  # free, unmapped: child in a treap; live and used by other streams: its first entry
                ("right", "u4"),  # free, unmapped: child in a treap; live and used by other streams: its last entry
                ("queue", "u4"),  # 2 * stream index + (1 if large)
                ("handle", "u4"),  # if live or pending
                ("segment", "u4"),  # index of the segment
                ("waits", "u2"),  # stream events that it waits for
                ("state", "u1"),  # LIVE ... NO_NODE
                ("recorded", "u1"),  # 1: other streams use it
            ],
            align=True,
        ),
    )
)
SEGMENT = np.dtype(
    (
        np.record,
        np.dtype(
            # Start address and bytes; age rank (1: oldest); queue; neighbours by address, 0 for none.
            [("start", "i8"), ("extent", "i8"), ("number", "i8"), ("queue", "u4"), ("prev", "u4"), ("next", "u4")],
            align=True,
        ),
    )
)
# Record i is about the stream with index i, except for the fields ``known`` and ``ordered``.
STREAM = np.dtype(
    (
        np.record,
        np.dtype(
            [
                ("number", "i8"),  # as in the trace
                ("spread", "i8"),  # its hash, see stream_tables.stream_hash
                ("done", "i8"),  # its events up to this number are reported done
                ("known", "u4"),  # the index, plus 1, of the stream whose number is i; 0: has to be searched by number
                ("private", "u4"),  # PRIVATE and UNSPLIT, added up; 0 for the common pools
                ("ordered", "u4"),  # the index of the stream that is i-th by number
                ("first", "u4"),  # first entry of the queue of its events that wait, 0 for none
                ("last", "u4"),  # last entry of that queue
            ],
            align=True,
        ),
    )
)
# An entry is either a stream event (its number; the block that waits for it; the stream's next event) or a use of a live
# block (the index of the stream that uses it; the block's next use).
ENTRY = np.dtype((np.record, np.dtype([("number", "i8"), ("node", "u4"), ("next", "u4")], align=True)))
# An event of the history: address, bytes, stream number, code of the action (see blocks.ACTIONS).
EVENT = np.dtype((np.record, np.dtype([("addr", "i8"), ("extent", "i8"), ("stream", "i8"), ("action", "i8")], align=True)))


class Rules(NamedTuple):
    """Hold the settings as numbers; sizes are in bytes, and 1 << 62 means no limit."""

    capacity: int  # of the device
    device: int  # the device's total memory, which determines how much address space an expandable segment reserves
    limit: int  # reserved bytes that this process may have
    collect_from: int  # reserved bytes above which unused segments are collected; -1: never
    max_split: int  # requests and blocks of this size or more are oversize: they are not split
    max_rounding: int  # an oversize block serves a request only if it is less than this much larger
    large_buffer: int  # segment size for requests of the large pool below 10 MiB, and page size of large expandable segments
    expandable: bool  # whether expandable segments are on
    reject_from: int  # a request that takes reserved bytes above this fails at once, without an attempt to free memory
    first_fit: bool  # the device gives the lowest free addresses; if false, ever higher ones
    ties: int  # which of equal free blocks is taken: LOWEST_ADDRESS ... OLDEST_OBJECT of `versions`
    # When stream events are done. 0: when the trace says so, or at once if it has no such rows; 1: at once; 2: when the trace
    # says so.
    told: int


class State(NamedTuple):
    """Hold all arrays of a caching allocator.

    They are few, because a call that is not inlined passes all of them.
    """

    nodes: Any  # [node] records NODE
    node_of: Any  # [handle] the block's node; 0: freed, or never allocated
    segments: Any  # [segment] records SEGMENT
    at: Any  # [AT] single numbers (indices above), then the table of divisions
    roots: Any  # [queue * ROOTS + class] root of the treap of free blocks, 0 if empty; last in a row: of unmapped ranges
    queues: Any  # [queue * ROW + word] bitmap of the classes that have free blocks; then FILLED and COUNT
    streams: Any  # [stream index] records STREAM
    turns: Any  # slots of the hash tables of streams, see stream_tables
    entries: Any  # [entry] records ENTRY
    uses: Any  # [node * words + word] bitmap of the indices of the streams that use a block, besides its own
    stats: Any  # PyTorch's statistics, see statistics
    history: Any  # [event] records EVENT; of length 1 if no history is kept
    given: Any  # [2 * i], [2 * i + 1] start and bytes (0: any) of the i-th segment that the device gives, as recorded
    ledger: Any  # see memtrace.contract.ledger
    rules: Rules


def records(count, kind):
    """Return a record array of ``count`` zeroed records of dtype ``kind``."""
    return np.zeros(count, kind).view(np.recarray)


def new_state(rules, max_live, divisions, history):
    """Return the state of an allocator that holds no memory.

    ``rules`` are the allocator's settings. All handles are at most ``max_live``. ``divisions`` is int64[DIVISIONS]: into how
    many steps a power of two is divided where sizes are rounded up (roundup_power2_divisions), by log2 of the size.
    ``history``: whether the allocator's own events are kept.
    """
    at = np.zeros(AT, np.int64)
    at[DIVISIONS_AT:] = divisions
    at[FRESH] = at[SEGMENT_FRESH] = at[ENTRY_FRESH] = 1
    at[STREAMS] = 1  # stream 0 has index 0
    at[TURN_BITS] = at[TURN_BITS + 1] = FEWEST_BITS
    at[SMALLEST], at[SMALLEST + 1] = SMALL_BUFFER, min(MIN_LARGE_ALLOC, rules.large_buffer)
    nodes = records((3 if rules.expandable else 2) * max_live + 64, NODE)
    nodes[0].state = NO_NODE
    streams = records(FIRST_STREAMS, STREAM)
    streams[0].spread = FIRST_SPREAD
    streams[0].known = 1
    stats = np.zeros(LENGTH, np.int64)
    stats[MAX_SPLIT_SIZE] = -1 if rules.max_split >= 1 << 62 else rules.max_split
    return State(
        nodes=nodes,
        node_of=np.zeros(max_live + 1, np.uint32),
        segments=records(FIRST_SEGMENTS, SEGMENT),
        at=at,
        roots=np.zeros(2 * FIRST_STREAMS * ROOTS, np.uint32),
        queues=np.zeros(2 * FIRST_STREAMS * ROW, np.int64),
        streams=streams,
        turns=np.zeros(turn_slots(FIRST_STREAMS), np.int64),
        entries=records(64, ENTRY),
        uses=np.zeros(nodes.size, np.int64),
        stats=stats,
        history=records(1 << 12 if history else 1, EVENT),
        given=np.zeros(0, np.int64),
        ledger=new_ledger(0),
        rules=rules,
    )


def lacks_nodes(state):
    """Return whether there may be too few nodes for all that happens before the allocator can ask for room again.

    An empty_cache may split every free block of an expandable segment in three, and cannot ask for room.
    """
    return state.at[NODES] * (3 if state.rules.expandable else 1) + 16 > state.nodes.size


def lacks_segments(state):
    """Return whether there may be too few segment records for the next request."""
    return state.at[SEGMENTS] + 4 > state.segments.size


def lacks_history(state):
    """Return whether a history is kept and may overflow before the allocator can ask for room again.

    Until the next request, every block may be freed and every segment given back.
    """
    return state.history.size > 1 and state.at[HISTORY] + 4 * state.at[NODES] + 64 > state.history.size


def lacks_room(state):
    """Return whether nodes, segments or history may be too small for the next request; if so, call ``enlarge`` first."""
    return lacks_nodes(state) or lacks_segments(state) or lacks_history(state)


def lacks_entries(state):
    """Return whether there may be too few entries for one more use of a block by a stream.

    While a block is freed, it may have an entry for each use and another for each event.
    """
    return 2 * state.at[ENTRIES] + 8 > state.entries.size


def enlarge(state):
    """Return the state with each array doubled that lacks room; contents are kept, and unchanged arrays are shared."""
    if lacks_nodes(state):
        words = state.uses.size // state.nodes.size
        nodes = extended_copy(state.nodes, 2 * state.nodes.size)
        state = state._replace(nodes=nodes, uses=extended_copy(state.uses, nodes.size * words))
    if lacks_segments(state):
        state = state._replace(segments=extended_copy(state.segments, 2 * state.segments.size))
    while lacks_history(state):
        state = state._replace(history=extended_copy(state.history, 2 * state.history.size))
    if lacks_entries(state):
        state = state._replace(entries=extended_copy(state.entries, 2 * state.entries.size))
    if state.at[STREAMS] == state.streams.size:
        state = more_streams(state, 2 * state.streams.size)
    return state


def more_streams(state, streams):
    """Return the state with room for ``streams`` streams, at least as many as before; contents are kept.

    The bitmap ``uses`` gets more words per node if the streams need them.
    """
    words = -(-streams // 64)
    uses = np.zeros((state.nodes.size, words), np.int64)
    before = state.uses.size // state.nodes.size
    uses[:, :before] = state.uses.reshape(-1, before)
    return state._replace(
        roots=extended_copy(state.roots, 2 * streams * ROOTS),
        queues=extended_copy(state.queues, 2 * streams * ROW),
        streams=extended_copy(state.streams, streams),
        turns=extended_copy(state.turns, turn_slots(streams)),
        uses=uses.ravel(),
    )


def turn_slots(streams):
    """Return the length of ``State.turns`` for so many streams; it is divisible by three (see stream_tables)."""
    return 48 * streams + 192


def extended_copy(array, length):
    """Return a copy of an array or record array that is ``length`` long, with zeros appended."""
    more = np.zeros(length, array.dtype)
    more[: array.size] = array
    return more.view(np.recarray) if isinstance(array, np.recarray) else more


def neighbours(state, handles):
    """Return int64[block]: a sum for each handle, of the free bytes directly before and behind its block and of its rounding.


    ``handles`` is an array of handles of live blocks. Only free blocks of the same segment count.
    """
    nodes = np.asarray(state.nodes)
    block = nodes[state.node_of[handles]]
    sides = [nodes[block[side]] for side in ("prev", "next")]
    free = [np.where((side["state"] == FREE) & (side["segment"] == block["segment"]), side["extent"], 0) for side in sides]
    return free[0] + free[1] + block["extent"] - block["requested"]
