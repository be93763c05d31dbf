"""Measure how exactly a replay of the recorded settings repeats a recording: the share of equal addresses, the peak of reserved
bytes, and the blocks at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.formats.snapshot.events import ReleaseSettings, TraceRows, cache_flushes
from memtrace.formats.snapshot.lives import Lives
from memtrace.formats.snapshot.records import POOL_BITS, Action, Recording, State
from memtrace.gpu.initial_state import UNIT, Rounding, first_ranges, given_segments, seeds
from memtrace.trace.model import Int64s, Op

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement
    from memtrace.trace import Trace


BY_ADDRESS = "ties:address"  # option of the pytorch policy
MOST_AGES = 200  # upper bound of the pairs of segments whose order is inferred


@dataclass(frozen=True)
class Fidelity:
    """Compare a recording with a replay of its settings. Sizes are in bytes.

    The replay starts from the recorded state and gets its segments at the recorded addresses.
    """

    conf: str  # the settings of the replay, as in PYTORCH_CUDA_ALLOC_CONF
    capacity: int | None
    addresses_equal: int  # recorded allocs that the replay places at the recorded address
    addresses_total: int  # recorded allocs
    reserved_peak_recorded: int
    reserved_peak_replayed: int
    first_difference: int | None  # number of the first recorded event whose address differs
    blocks_recorded: int  # number of blocks in all segments at the end
    blocks_equal: bool  # whether the replay ends with the same blocks
    ages_inferred: int = 0  # pairs of segments whose order of age was inferred from differences

    @property
    def exact(self) -> bool:
        """Return whether all addresses and the peak of reserved bytes are equal."""
        return self.addresses_equal == self.addresses_total and self.reserved_peak_recorded == self.reserved_peak_replayed


def fidelity(recording: Recording, lives: Lives, rows: TraceRows, trace: Trace, conf: str, capacity: int | None) -> Fidelity:
    """Replay the recorded settings and return how exactly that repeats the recording.

    Which of equal free blocks is taken depends on PyTorch's version, which is not recorded: the one in the oldest segment (since
    about 2.10), or the one at the lowest address. Unless ``conf`` decides this, both are tried if the first is not exact, and the
    better result is returned. The age of segments that existed before the first event is not recorded either: at first, a lower
    address counts as older; then ages are inferred from blocks that the replay places elsewhere.
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
    """Return the best of several replays, each with one more inferred order of age between two segments.

    If a block is recorded in another segment than the one where the replay places it, the recorded segment must be older than the
    other. This stops when nothing differs, when nothing new can be inferred or ages contradict each other, when the first
    difference comes earlier than before, or after MOST_AGES pairs.
    """
    older: list[tuple[int, int]] = []
    best, wrong = compared(recording, lives, rows, trace, conf, capacity)
    ranges = first_ranges(recording, 20 << 20)
    starts = np.array([one.start for one in ranges], np.int64)
    ends = np.array([one.start + one.extent for one in ranges], np.int64)

    def segment_at(address: int) -> int | None:
        """Return the start of the segment, among those at the first event, that contains an address; None if there is none."""
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
    """Return the starts of segments from the oldest to the newest; None if ``older`` contradicts itself.

    ``older``: pairs of starts, of which the first segment is older than the second. Where the pairs leave the order open, it is
    by address.
    """
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
    """Return the comparison with one replay, and the recorded and the replayed address of the first block that differs.

    These addresses are None if all are equal, or if the replay stopped before that block. ``ages``: see ``replayed``.
    """
    placed = replayed(recording, lives, rows, trace, conf, capacity, ages)
    assert placed.addresses is not None
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
    """Replay the recorded settings from the recorded state, and keep all addresses.

    ``ages``: start addresses of the segments at the first event, from the oldest to the newest; None: a lower address is older.
    """
    from memtrace.engine.registry import parse_policy
    from memtrace.engine.replay import Hooks, replay
    from memtrace.structures.caching.seeding import seed
    from memtrace.structures.caching.state import DIVISIONS_AT, doubling_of, rounded

    # If the recording says when frees were completed, no free completes at any other time.
    told = (recording.events.action == Action.FREE_COMPLETED).any()
    policy = parse_policy(policy_of(",".join(filter(None, [conf, "events:manual" if told else ""]))))
    first = lives.before.size

    def begin(state: Any, blocks: Any) -> tuple[Any, int]:
        """Return the state with the recorded segments and blocks, and the number of the first event after their allocs.

        ``blocks``: the replay's records by slot, which are filled in for the blocks that existed before the first event.
        """
        rules = state.rules

        def block_size(size: int) -> int:
            """Return the bytes of a block for a request of ``size`` bytes, by the rules of the replay."""
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
        for one in found:  # streams that have segments but no blocks are numbered behind those that use blocks
            streams.setdefault(one.stream, len(streams) + int(rows.stream.max(initial=0)) + 1)
        found = [one._replace(stream=streams[one.stream]) for one in found]
        for block, slot in slots.items():
            own = blocks[slot]
            own["address"], own["requested"] = lives.address[block], lives.requested[block]
            own["stream"] = streams[int(lives.stream[block])]
            own["tag"], own["align"], own["status"] = -1, 0, 1
        private = [number for handle, number in streams.items() if handle >> POOL_BITS]
        return seed(state, found, given, private), first

    return replay(trace, policy, capacity, on_oom="skip", detail="bare", keep=True, hooks=Hooks(begin=begin))


def policy_of(conf: str) -> str:
    """Return the text of the pytorch policy with the settings ``conf``, which may be empty."""
    return f"pytorch:{conf}" if conf else "pytorch"


def held_before(recording: Recording, unit: int = 1, large_page: int = 20 << 20) -> int:
    """Return the bytes reserved at the first event, with each ordinary segment rounded up to a multiple of ``unit``.

    ``large_page``: bytes of a page of expandable segments of the large pool.
    """
    return sum(one.extent if one.expandable else -(-one.extent // unit) * unit for one in first_ranges(recording, large_page))


def _changes(recording: Recording, unit: int = 1) -> Int64s:
    """Return by how many bytes each event changes what is reserved; negative for memory that is given back.

    Ordinary segments are rounded up to a multiple of ``unit`` bytes.
    """
    action, size = recording.events.action, recording.events.size
    taken = np.isin(action, (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP))
    back = np.isin(action, (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP))
    whole = np.isin(action, (Action.SEGMENT_ALLOC, Action.SEGMENT_FREE))
    size = np.where(whole, -(-size // unit) * unit, size)
    found: Int64s = np.where(taken, size, 0) - np.where(back, size, 0)
    return found


def recorded_peak(recording: Recording) -> int:
    """Return the peak of reserved bytes over the recording."""
    held = held_before(recording) + np.cumsum(_changes(recording))
    return int(max(held.max(initial=0), held_before(recording)))


def recorded_capacity(recording: Recording, released: ReleaseSettings) -> int | None:
    """Return the bytes of device memory that this process could have; None if the recording does not show them.

    A request that failed recorded the device's free bytes, so the capacity is what was reserved plus these. If instead the cache
    was emptied for a request, that request did not fit beside what was reserved then; the peak of reserved bytes is a capacity
    that explains both this and that the peak itself fitted. None if memory never ran out, or if garbage collection, which was on,
    may have emptied the cache.
    """
    events = recording.events
    held = held_before(recording, UNIT) + np.cumsum(_changes(recording, UNIT))
    failed = np.flatnonzero((events.action == Action.OOM) & (events.address >= 0))
    if failed.size:
        return int(held[failed[0]] + events.address[failed[0]])
    back = np.isin(events.action, (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP))
    runs = np.flatnonzero(back & ~np.concatenate(([False], back[:-1])))
    lacked = np.setdiff1d(runs, cache_flushes(recording, released))
    return int(held.max()) if lacked.size and not released.collects else None


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
