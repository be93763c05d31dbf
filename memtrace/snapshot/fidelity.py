"""How true a replay of the recorded settings is: the share of addresses that are equal, and the blocks at the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.snapshot.beginning import UNIT, Rounding, first_ranges, given_segments, seeds
from memtrace.snapshot.lives import Lives
from memtrace.snapshot.model import POOL_BITS, Action, Recording, State
from memtrace.snapshot.rows import Released, TraceRows, emptied
from memtrace.trace.model import Int64s, Op

if TYPE_CHECKING:
    from memtrace.replaying import Placement
    from memtrace.trace import Trace


BY_ADDRESS = "ties:address"
MOST_AGES = 200  # pairs


@dataclass(frozen=True)
class Fidelity:
    """The recorded settings, replayed from the recorded beginning, at the addresses that the device gave. In bytes."""

    conf: str
    capacity: int | None
    addresses_equal: int
    addresses_total: int
    reserved_peak_recorded: int
    reserved_peak_replayed: int
    first_difference: int | None  # number of the recorded event
    blocks_recorded: int  # in all segments at the end
    blocks_equal: bool
    ages_inferred: int = 0  # pairs of segments of which the recording shows which is older

    @property
    def exact(self) -> bool:
        return self.addresses_equal == self.addresses_total and self.reserved_peak_recorded == self.reserved_peak_replayed


def fidelity(recording: Recording, lives: Lives, rows: TraceRows, trace: Trace, conf: str, capacity: int | None) -> Fidelity:
    """Replay the recorded settings, and compare.

    Which of equal free blocks is taken depends on the version, which is not recorded: by the age of the segment (since
    about 2.10), or else by address. What fits better is taken. Of segments that were there before the first event no age
    is recorded: they are taken to be as old as their addresses are low, until a block that is placed shows otherwise.
    """
    found, _ = compared(recording, lives, rows, trace, conf, capacity)
    if found.exact or "ties" in conf:
        return found
    other, _ = compared(recording, lives, rows, trace, f"{conf},{BY_ADDRESS}" if conf else BY_ADDRESS, capacity)
    if other.exact:
        return other
    learnt = with_ages(recording, lives, rows, trace, conf, capacity)
    return max(found, other, learnt, key=lambda one: one.addresses_equal)


def with_ages(recording: Recording, lives: Lives, rows: TraceRows, trace: Trace, conf: str, capacity: int | None) -> Fidelity:
    """Replays in which the first block that lies elsewhere tells that its segment is older than the one that was taken."""
    older: list[tuple[int, int]] = []
    best, wrong = compared(recording, lives, rows, trace, conf, capacity)
    ranges = first_ranges(recording, 20 << 20)
    starts = np.array([one.start for one in ranges], np.int64)
    ends = np.array([one.start + one.extent for one in ranges], np.int64)

    def segment_at(address: int) -> int | None:
        i = int(np.searchsorted(starts, address, side="right")) - 1
        return int(starts[i]) if i >= 0 and address < ends[i] else None

    while wrong is not None and len(older) < MOST_AGES:
        recorded, replayed_at = (segment_at(address) for address in wrong)
        if recorded is None or replayed_at is None or recorded == replayed_at or (recorded, replayed_at) in older:
            break
        older.append((recorded, replayed_at))
        order = by_age(starts.tolist(), older)
        if order is None:
            break
        found, wrong = compared(recording, lives, rows, trace, conf, capacity, order)
        reached, known = (one.first_difference or trace.facts.events for one in (found, best))
        if reached < known:
            break
        if found.exact or reached > known:
            best = replace(found, ages_inferred=len(older))
    return best


def by_age(starts: list[int], older: list[tuple[int, int]]) -> list[int] | None:
    """Starts, the oldest first: as `older` says of pairs, else by address; None if it contradicts itself."""
    before: dict[int, set[int]] = {start: set() for start in starts}
    for first, second in older:
        before[second].add(first)
    found: list[int] = []
    left = sorted(starts)
    while left:
        done = set(found)
        free = next((start for start in left if before[start] <= done), None)
        if free is None:
            return None
        found.append(free)
        left.remove(free)
    return found


def compared(
    recording: Recording,
    lives: Lives,
    rows: TraceRows,
    trace: Trace,
    conf: str,
    capacity: int | None,
    ages: list[int] | None = None,
) -> tuple[Fidelity, tuple[int, int] | None]:
    """One replay, and what differs; the recorded and the replayed address of the first block that lies elsewhere."""
    placed = replayed(recording, lives, rows, trace, conf, capacity, ages)
    assert placed.addresses is not None
    events = recording.events
    of = np.flatnonzero((rows.op == Op.ALLOC) & (rows.event >= 0))
    of = of[events.action[rows.event[of]] == Action.ALLOC]
    recorded = events.address[rows.event[of]]
    done = of < placed.addresses.size
    same = np.zeros(of.size, np.bool_)
    same[done] = placed.addresses[of[done]] == recorded[done]
    # A request of 0 bytes never reaches the allocator, and no recording has one.
    wrong = np.flatnonzero(~same)
    final = final_blocks(placed.state)
    first = None
    if wrong.size and done[wrong[0]]:
        first = (int(recorded[wrong[0]]), int(placed.addresses[of[wrong[0]]]))
    found = Fidelity(
        conf,
        capacity,
        int(same.sum()),
        int(of.size),
        recorded_peak(recording),
        placed.peak_reserved_bytes,
        int(rows.event[of[wrong[0]]]) if wrong.size else None,
        recording.blocks.address.size,
        np.array_equal(final, recorded_blocks(recording)),
    )
    return found, first


def replayed(
    recording: Recording,
    lives: Lives,
    rows: TraceRows,
    trace: Trace,
    conf: str,
    capacity: int | None,
    ages: list[int] | None = None,
) -> Placement:
    """The replay itself, with its addresses; `ages`: the starts of segments that were there, the oldest first."""
    from memtrace.engine.registry import parse_policy
    from memtrace.replaying import replay
    from memtrace.structures.caching.model import DIVISIONS_AT
    from memtrace.structures.caching.seeding import seed
    from memtrace.structures.caching.sizes import doubling_of, rounded

    # Where the recording tells what was done when, nothing else is done at once.
    told = (recording.events.action == Action.FREE_COMPLETED).any()
    policy = parse_policy(policy_of(",".join(filter(None, [conf, "events:manual" if told else ""]))))
    first = lives.before.size

    def begin(state: Any, blocks: Any) -> tuple[Any, int]:
        rules = state.rules

        def block_size(size: int) -> int:
            return int(rounded(size, state.at[DIVISIONS_AT + doubling_of(size)]))

        rounding = Rounding(block_size, rules.max_split, rules.large_buffer)
        events = next(iter(trace.batches()))
        slots = {int(block): int(slot) for block, slot in zip(rows.id[:first], events.block[:first], strict=True)}
        found = seeds(recording, lives, slots, rounding)
        given = given_segments(recording, found, rules.large_buffer)
        if ages is None:
            found.sort(key=lambda one: one.start)
        else:
            rank = {start: i for i, start in enumerate(ages)}
            found.sort(key=lambda one: rank.get(one.start, len(rank)))
        streams = dict(zip(rows.streams.tolist(), range(rows.streams.size), strict=True))
        for one in found:  # streams that have segments and no blocks come behind those that use blocks
            streams.setdefault(one.stream, len(streams) + int(rows.stream.max(initial=0)) + 1)
        found = [one._replace(stream=streams[one.stream]) for one in found]
        for block, slot in slots.items():
            own = blocks[slot]
            own["address"], own["requested"] = lives.address[block], lives.requested[block]
            own["stream"] = streams[int(lives.stream[block])]
            own["tag"], own["align"], own["status"] = -1, 0, 1
        private = [number for handle, number in streams.items() if handle >> POOL_BITS]
        return seed(state, found, given, private), first

    return replay(trace, policy, capacity, on_oom="skip", detail="bare", keep=True, begin=begin)


def policy_of(conf: str) -> str:
    return f"pytorch:{conf}" if conf else "pytorch"


def held_before(recording: Recording, unit: int = 1, large_page: int = 20 << 20) -> int:
    """Bytes reserved at the first event, each segment in units of so many bytes."""
    return sum(one.extent if one.expandable else -(-one.extent // unit) * unit for one in first_ranges(recording, large_page))


def _changes(recording: Recording, unit: int = 1) -> Int64s:
    """Bytes reserved by each event; negative where they are given back."""
    action, size = recording.events.action, recording.events.size
    taken = np.isin(action, (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP))
    back = np.isin(action, (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP))
    whole = np.isin(action, (Action.SEGMENT_ALLOC, Action.SEGMENT_FREE))
    size = np.where(whole, -(-size // unit) * unit, size)
    found: Int64s = np.where(taken, size, 0) - np.where(back, size, 0)
    return found


def recorded_peak(recording: Recording) -> int:
    """Peak reserved bytes over the recording."""
    held = held_before(recording) + np.cumsum(_changes(recording))
    return int(max(held.max(initial=0), held_before(recording)))


def recorded_capacity(recording: Recording, released: Released) -> int | None:
    """What the device can have had for this process, if the recording tells; None if memory never lacked.

    A request that failed recorded the device's free bytes. A request for which the cache was emptied did not fit beside
    what was held, and whatever was held did: its peak is a capacity that explains both.
    """
    events = recording.events
    held = held_before(recording, UNIT) + np.cumsum(_changes(recording, UNIT))
    failed = np.flatnonzero((events.action == Action.OOM) & (events.address >= 0))
    if failed.size:
        return int(held[failed[0]] + events.address[failed[0]])
    back = np.isin(events.action, (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP))
    runs = np.flatnonzero(back & ~np.concatenate(([False], back[:-1])))
    lacked = np.setdiff1d(runs, emptied(recording, released))
    return int(held.max()) if lacked.size and not released.collects else None


def final_blocks(state: Any) -> Int64s:
    """[n, 3] address, bytes, 1 if in use or pending, by address; of a caching allocator's state."""
    from memtrace.structures.caching.model import FREE, FRESH, LIVE, PENDING

    nodes = np.asarray(state.nodes)[1 : int(state.at[FRESH])]
    there = np.isin(nodes["state"], (LIVE, PENDING, FREE))
    used = nodes["state"][there] != FREE
    found = np.stack((nodes["addr"][there], nodes["extent"][there], used), axis=1)
    return found[np.argsort(found[:, 0])]


def recorded_blocks(recording: Recording) -> Int64s:
    """The same of the recording."""
    blocks = recording.blocks
    found = np.stack((blocks.address, blocks.size, blocks.state != State.INACTIVE), axis=1).astype(np.int64)
    return found[np.argsort(found[:, 0])]
