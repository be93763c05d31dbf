"""Measure how exactly a replay of the recorded settings repeats a recording: the share of equal addresses, the peak of reserved
bytes, and the blocks at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.formats.snapshot.events import GIVEN_BACK, TAKEN
from memtrace.formats.snapshot.pools import unsplit_pools
from memtrace.formats.snapshot.records import POOL_BITS, Action, Recording, State
from memtrace.gpu.capacity import recorded_peak
from memtrace.gpu.consistency import ContradictionError, check_mapped, check_seeds
from memtrace.gpu.initial_state import Rounding, first_ranges, given_segments, seeds
from memtrace.structures.caching.seeding import Seed
from memtrace.structures.caching.versions import LATEST, OLDEST_OBJECT, Version, ties_of
from memtrace.trace.model import Int64s, Op

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement
    from memtrace.gpu.recorded import Recorded


ONE_OF_EACH = (LATEST, Version(2, 12), Version(2, 11))  # a version for each rule for equal free blocks


@dataclass(frozen=True)
class Fidelity:
    """Compare a recording with a replay of its settings. Sizes are in bytes.

    The replay starts from the recorded state and gets its segments at the recorded addresses.
    """

    conf: str  # the settings of the replay, as in PYTORCH_CUDA_ALLOC_CONF
    version: str  # of PyTorch, whose rules the replay has
    capacity: int | None
    addresses_equal: int  # recorded allocs that the replay places at the recorded address
    addresses_total: int  # recorded allocs
    reserved_peak_recorded: int
    reserved_peak_replayed: int
    first_difference: int | None  # number of the first recorded event whose address differs
    blocks_recorded: int  # number of blocks in all segments at the end
    blocks_equal: bool  # whether the replay ends with the same blocks
    ages_inferred: int = 0  # pairs of segments, or of block objects, whose order of age was inferred from differences
    contradiction: str | None = None  # why the recording cannot be replayed from its layout; then nothing counts as equal
    order: tuple[int, ...] | None = None  # the ages that were inferred, see `replayed`

    @property
    def exact(self) -> bool:
        """Return whether all addresses and the peak of reserved bytes are equal."""
        return self.addresses_equal == self.addresses_total and self.reserved_peak_recorded == self.reserved_peak_replayed


@dataclass(frozen=True, eq=False)
class Rerun:
    """Hold what a replay of the recorded program from the recorded state needs."""

    recorded: Recorded
    conf: str  # the settings, as in PYTORCH_CUDA_ALLOC_CONF
    capacity: int | None  # bytes
    version: Version
    # Addresses of the blocks at the first event, as the last replay took them from the oldest to the newest.
    objects: list[int] = field(default_factory=list)
    seeded: list[Any] = field(default_factory=list)  # the state with the recorded layout, once a replay has made it


def fidelity(recorded: Recorded, conf: str, capacity: int | None, version: Version) -> Fidelity:
    """Replay the recorded settings by the rules of ``version``, and return how exactly that repeats the recording.

    If it is not exact, what the file does not say is tried. The age of what existed before the first event: at first, a lower
    address counts as older; then ages are inferred from blocks that the replay places elsewhere. And the rule for equal free
    blocks of other versions, because a build between two versions may write the fields of the one and have the rule of the other.
    The best result is returned.
    """
    from memtrace.gpu.ages import with_ages

    rerun = Rerun(recorded, conf, capacity, version)
    try:
        check_mapped(recorded.recording, first_ranges(recorded.recording, 20 << 20))
        found, _ = compared(rerun)
    except ContradictionError as error:
        return impossible(rerun, str(error))
    tried = [found]
    if not found.exact and (aged := with_ages(rerun)) is not None:
        tried.append(aged)
    for other in ONE_OF_EACH if not tried[-1].exact else ():
        if ties_of(other) != ties_of(version) and not tried[-1].exact:
            tried.append(compared(replace(rerun, version=other))[0])
    return max(tried, key=lambda one: (one.addresses_equal, one.exact))


def impossible(rerun: Rerun, reason: str) -> Fidelity:
    """Return the fidelity of a recording that contradicts itself, so that no replay can begin with its layout."""
    recording = rerun.recorded.recording
    return Fidelity(
        conf=rerun.conf,
        version=str(rerun.version),
        capacity=rerun.capacity,
        addresses_equal=0,
        addresses_total=int(np.count_nonzero(recording.events.action == Action.ALLOC)),
        reserved_peak_recorded=recorded_peak(recording),
        reserved_peak_replayed=0,
        first_difference=0,
        blocks_recorded=recording.blocks.address.size,
        blocks_equal=False,
        contradiction=reason,
    )


class Looks:
    """Show the state of a replay to several functions of (event, state), each after its own events."""

    def __init__(self, looks: list[tuple[int, Callable[[Any], Any]]]) -> None:
        """Prepare to call each function after its event."""
        self.looks = looks
        self.events = np.unique(np.array([event for event, _ in looks], np.int64))
        self.came = 0

    def __call__(self, events: Any, came: int, blocks: Any, state: Any) -> Any:
        """Call the functions whose event the replay has come to; return the state that one of them made, if any did."""
        self.came += came
        changed = None
        for event, call in self.looks:
            if self.came == event + 1:
                made = call(state if changed is None else changed)
                changed = changed if made is None else made
        return changed


def deletions(recorded: Recorded) -> list[tuple[int, Callable[[Any], Any]]]:
    """Return what makes private pools common ones before the emptied cache that gave their segments back.

    Segments of a private pool go back only once its owner was deleted. That event is not recorded, so it is put right before.
    """
    events, rows = recorded.recording.events, recorded.rows
    found: list[tuple[int, Callable[[Any], Any]]] = []
    for row in np.flatnonzero(rows.op == Op.TRIM).tolist():
        start = end = int(rows.event[row])
        while end < events.action.size and events.action[end] in GIVEN_BACK:
            end += 1
        gone = [int(handle) for handle in np.unique(events.stream[start:end]).tolist() if handle >> POOL_BITS]
        if gone:
            found.append((row - 1, _common([int(np.searchsorted(rows.streams, handle)) for handle in gone])))
    return found


def switches(recorded: Recorded) -> list[tuple[int, Callable[[Any], Any]]]:
    """Return what turns expandable segments on and off where the recording shows that the program did.

    That is before the request for which memory was first taken in the other way. Nothing else that can be changed in mid-run
    leaves such a mark.
    """
    events, rows = recorded.recording.events, recorded.rows
    took = np.flatnonzero(np.isin(events.action, TAKEN))
    mapped = events.action[took] == Action.SEGMENT_MAP
    if not took.size or mapped.all() or not mapped.any():
        return []
    asked = np.flatnonzero((rows.op == Op.ALLOC) & (rows.event >= 0))
    turns = np.flatnonzero(np.append(True, mapped[1:] != mapped[:-1]))
    found: list[tuple[int, Callable[[Any], Any]]] = []
    for turn in turns.tolist():
        at = int(np.searchsorted(rows.event[asked], took[turn]))
        if at < asked.size:
            found.append((int(asked[at]) - 1, _expanding(bool(mapped[turn]))))
    return found


def _expanding(on: bool) -> Callable[[Any], Any]:
    """Return a function that returns a state with expandable segments on or off."""
    return lambda state: state._replace(rules=state.rules._replace(expandable=on))


def _common(numbers: list[int]) -> Callable[[Any], None]:
    """Return a function that makes the streams with these numbers streams of the common pools."""

    def call(state: Any) -> None:
        """Clear the bits of private pools, in place."""
        from memtrace.structures.caching.streams import stream_of

        for number in numbers:
            state.streams[stream_of(state, number)].private = 0

    return call


def compared(rerun: Rerun, ages: list[int] | None = None) -> tuple[Fidelity, tuple[int, int] | None]:
    """Return the comparison with one replay, and the recorded and the replayed address of the first block that differs.

    These addresses are None if all are equal, or if the replay stopped before that block. ``ages``: see ``replayed``.
    """
    from memtrace.structures.caching.statistics import PEAK, RESERVED_BYTES

    placed = replayed(rerun, ages)
    assert placed.addresses is not None
    recording, rows = rerun.recorded.recording, rerun.recorded.rows
    events = recording.events
    of = np.flatnonzero((rows.op == Op.ALLOC) & (rows.event >= 0))
    of = of[events.action[rows.event[of]] == Action.ALLOC]
    recorded = events.address[rows.event[of]]
    done = of < placed.addresses.size
    same = np.zeros(of.size, np.bool_)
    same[done] = placed.addresses[of[done]] == recorded[done]
    # A request of 0 bytes never reaches PyTorch's allocator, so no recording has one.
    wrong = np.flatnonzero(~same)
    final = final_blocks(placed.state)
    first = None
    if wrong.size and done[wrong[0]]:
        first = (int(recorded[wrong[0]]), int(placed.addresses[of[wrong[0]]]))
    found = Fidelity(
        conf=rerun.conf,
        version=str(rerun.version),
        capacity=rerun.capacity,
        addresses_equal=int(same.sum()),
        addresses_total=int(of.size),
        reserved_peak_recorded=recorded_peak(recording),
        reserved_peak_replayed=int(placed.state.stats[RESERVED_BYTES + PEAK]),  # with what was there at the start
        first_difference=int(rows.event[of[wrong[0]]]) if wrong.size else None,
        blocks_recorded=recording.blocks.address.size,
        blocks_equal=np.array_equal(final, recorded_blocks(recording)),
    )
    return found, first


def replayed(rerun: Rerun, ages: list[int] | None = None, look: tuple[int, Callable[[Any], None]] | None = None) -> Placement:
    """Replay the recorded settings from the recorded state, and keep all addresses.

    ``ages``: start addresses of the segments at the first event, from the oldest to the newest, or by the rule of 2.12 the
    addresses of all blocks; None: a lower address is older.
    ``look``: an event, and a function that is shown the state after it.
    """
    from memtrace.engine.registry import parse_policy
    from memtrace.engine.replay import Hooks, replay
    from memtrace.structures.caching.seeding import copied, renumber, seed
    from memtrace.structures.caching.state import DIVISIONS_AT, PRIVATE, UNSPLIT, doubling_of, rounded

    # If the recording says when frees were completed, no free completes at any other time.
    recording, lives, rows, trace = (getattr(rerun.recorded, name) for name in ("recording", "lives", "rows", "trace"))
    told = (recording.events.action == Action.FREE_COMPLETED).any()
    unsplit = unsplit_pools(recording)
    policy = parse_policy(policy_of(rerun.conf, rerun.version, "events:manual" if told else ""))
    first = lives.before.size
    turns = switches(rerun.recorded)

    def begin(state: Any, blocks: Any) -> tuple[Any, int]:
        """Return the state with the recorded segments and blocks, and the number of the first event after their allocs.

        ``blocks``: the replay's records by slot, which are filled in for the blocks that existed before the first event.
        """
        rules = state.rules

        def block_size(size: int) -> int:
            """Return the bytes of a block for a request of ``size`` bytes, by the rules of the replay."""
            return int(rounded(size, state.at[DIVISIONS_AT + doubling_of(size)]))

        whole = frozenset(handle for handle in rows.streams.tolist() if handle >> POOL_BITS in unsplit)
        rounding = Rounding(block_size, rules.max_split, rules.large_buffer, whole)
        events = next(iter(trace.batches()))
        slots = {int(block): int(slot) for block, slot in zip(rows.id[:first], events.block[:first], strict=True)}
        if rerun.seeded:
            state, streams = copied(rerun.seeded[0]), rerun.seeded[1]
            rerun.objects[:] = ages if ages is not None else rerun.objects
            renumber(state, {address: rank for rank, address in enumerate(rerun.objects, start=1)})
            fill(blocks, slots, streams)
            return state, first
        found = seeds(recording, lives, slots, rounding)
        check_seeds(found)
        given = given_segments(recording, found, rules.large_buffer)
        if ties_of(rerun.version) == OLDEST_OBJECT:
            found.sort(key=lambda one: one.start)
            rerun.objects[:] = ages if ages is not None else objects_of(found)
            found = numbered(found, rerun.objects)
        elif ages is None:
            found.sort(key=lambda one: one.start)
        else:
            rank = {start: i for i, start in enumerate(ages)}
            found.sort(key=lambda one: rank.get(one.start, len(rank)))
        streams = dict(zip(rows.streams.tolist(), range(rows.streams.size), strict=True))
        for one in found:  # streams that have segments but no blocks are numbered behind those that use blocks
            streams.setdefault(one.stream, len(streams) + int(rows.stream.max(initial=0)) + 1)
        found = [one._replace(stream=streams[one.stream]) for one in found]
        fill(blocks, slots, streams)
        private = {
            number: PRIVATE + (UNSPLIT if handle >> POOL_BITS in unsplit else 0)
            for handle, number in streams.items()
            if handle >> POOL_BITS
        }
        if turns and turns[0][0] < first:  # before the first event
            state = turns[0][1](state)
        state = seed(state, found, given, private)
        if ties_of(rerun.version) == OLDEST_OBJECT:
            rerun.seeded[:] = [copied(state), streams]
        return state, first

    def fill(blocks: Any, slots: dict[int, int], streams: dict[int, int]) -> None:
        """Fill in the records of the blocks that existed before the first event; ``slots``: number of the block -> its slot."""
        there, at = list(slots), list(slots.values())
        blocks["address"][at], blocks["requested"][at] = lives.address[there], lives.requested[there]
        blocks["stream"][at] = [streams[handle] for handle in lives.stream[there].tolist()]
        blocks["tag"][at], blocks["align"][at], blocks["status"][at] = -1, 0, 1

    hooks = Hooks(begin=begin, look=Looks([*deletions(rerun.recorded), *turns, *([look] if look is not None else [])]))
    return replay(trace, policy, rerun.capacity, on_oom="skip", detail="bare", keep=True, hooks=hooks)


def objects_of(seeds: list[Seed]) -> list[int]:
    """Return the addresses of all blocks in a likely order of age, the oldest first.

    The last block of a segment is what is left of its first one, so these come first; in front of it, later blocks were cut off.
    """
    lasts = [one.pieces[-1].address for one in seeds]
    return [*lasts, *(piece.address for one in seeds for piece in one.pieces[:-1])]


def numbered(seeds: list[Seed], order: list[int]) -> list[Seed]:
    """Return segments whose blocks have their rank in ``order``, which holds all their addresses, as number; the first is 1."""
    rank = {address: i for i, address in enumerate(order, start=1)}
    return [one._replace(pieces=[piece._replace(number=rank[piece.address]) for piece in one.pieces]) for one in seeds]


def policy_of(conf: str, version: Version = LATEST, more: str = "") -> str:
    """Return the text of the pytorch policy with the settings ``conf``, the rules of a version, and ``more`` options."""
    return "pytorch:" + ",".join([*filter(None, [conf, more]), f"version:{version}"])


def final_blocks(state: Any) -> Int64s:
    """Return the blocks of a caching allocator's state, by address: [n, 3] address, bytes, and 1 if live or pending, else 0."""
    from memtrace.structures.caching.state import FREE, FRESH, LIVE, PENDING

    nodes = np.asarray(state.nodes)[1 : int(state.at[FRESH])]
    there = np.isin(nodes["state"], (LIVE, PENDING, FREE))
    used = nodes["state"][there] != FREE
    found = np.stack((nodes["addr"][there], nodes["extent"][there], used), axis=1)
    return found[np.argsort(found[:, 0])]


def recorded_blocks(recording: Recording) -> Int64s:
    """Return the blocks at the end of a recording in the form of ``final_blocks``."""
    blocks = recording.blocks
    found = np.stack((blocks.address, blocks.size, blocks.state != State.INACTIVE), axis=1).astype(np.int64)
    return found[np.argsort(found[:, 0])]
