"""How true a replay of the recorded settings is: the share of addresses that are equal, and the blocks at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.snapshot.beginning import MOST_REST, Rounding, first_ranges, given_segments, seeds
from memtrace.snapshot.lives import Lives
from memtrace.snapshot.model import Action, Recording, State
from memtrace.snapshot.rows import Released, TraceRows, emptied
from memtrace.trace.model import Int64s, Op

if TYPE_CHECKING:
    from memtrace.replaying import Placement
    from memtrace.trace import Trace


BY_ADDRESS = "ties:address"
MOST_MENDED = 24  # blocks
GRANULE = 512  # bytes: every block is a multiple


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

    @property
    def reach(self) -> int:
        """The event up to which all is equal."""
        return self.first_difference if self.first_difference is not None else 1 << 62

    @property
    def exact(self) -> bool:
        return self.addresses_equal == self.addresses_total and self.reserved_peak_recorded == self.reserved_peak_replayed


def fidelity(recording: Recording, lives: Lives, rows: TraceRows, trace: Trace, conf: str, capacity: int | None) -> Fidelity:
    """Replay the recorded settings, and compare.

    Which of equal free blocks is taken depends on the version, which is not recorded: by the age of the segment (since
    about 2.10), or else by address. What fits better is taken.
    """
    found = mended(recording, lives, rows, trace, conf, capacity)
    if found.exact or "ties" in conf:
        return found
    other = mended(recording, lives, rows, trace, f"{conf},{BY_ADDRESS}" if conf else BY_ADDRESS, capacity)
    return other if other.addresses_equal > found.addresses_equal else found


def mended(recording: Recording, lives: Lives, rows: TraceRows, trace: Trace, conf: str, capacity: int | None) -> Fidelity:
    """The comparison, with rests that no event tells set right where it shows.

    Where a replay first takes another block, and that lies right behind one that was there at the beginning, the free
    block was too small in the recording: the one before has a rest of its own.
    """
    rests: dict[int, int] = {}
    best, wrong = compared(recording, lives, rows, trace, conf, capacity, rests)
    for _ in range(MOST_MENDED):
        block = _ends_at(recording, lives, wrong)
        if best.exact or block is None or best.first_difference is None:
            break
        tries = []
        for rest in _rests(recording, lives, block, int(recording.events.size[best.first_difference])):
            if rests.get(block) != rest:
                tried = compared(recording, lives, rows, trace, conf, capacity, {**rests, block: rest})
                tries.append((tried[0].reach, rest, *tried))
        if not tries or max(one[0] for one in tries) <= best.reach:
            break
        _, rests[block], best, wrong = max(tries, key=lambda one: one[:2])
    return best


def _rests(recording: Recording, lives: Lives, block: int, request: int) -> list[int]:
    """The most that a block can have behind its rounded end, and the least with which a request does not fit there."""
    end = int(lives.address[block]) - (-int(lives.requested[block]) // GRANULE * GRANULE)
    others = lives.address[lives.before]
    following = int(others[others >= end].min(initial=int(recording.blocks.address.max(initial=0))))
    least = following - end - (-(-request // GRANULE) * GRANULE) + GRANULE
    return [MOST_REST, least] if 0 < least < MOST_REST else [MOST_REST]


def _ends_at(recording: Recording, lives: Lives, address: int | None) -> int | None:
    """The block that was there at the beginning, before this address, with none between."""
    there = lives.before[np.argsort(lives.address[lives.before], kind="stable")]
    if address is None or not there.size:
        return None
    place = int(np.searchsorted(lives.address[there], address)) - 1
    block = int(there[place]) if place >= 0 else None
    known = block is None or lives.last[block] >= 0 or lives.requested[block] <= MOST_REST
    return None if known else block


def compared(
    recording: Recording,
    lives: Lives,
    rows: TraceRows,
    trace: Trace,
    conf: str,
    capacity: int | None,
    rests: Mapping[int, int],
) -> tuple[Fidelity, int | None]:
    """One replay, what differs, and the first address that does."""
    placed = replayed(recording, lives, rows, trace, conf, capacity, rests)
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
    first = int(of[wrong[0]]) if wrong.size else None
    told = Fidelity(
        conf,
        capacity,
        int(same.sum()),
        int(of.size),
        recorded_peak(recording),
        placed.peak_reserved_bytes,
        int(rows.event[first]) if first is not None else None,
        recording.blocks.address.size,
        np.array_equal(final, recorded_blocks(recording)),
    )
    return told, int(placed.addresses[first]) if first is not None and first < placed.addresses.size else None


def replayed(
    recording: Recording,
    lives: Lives,
    rows: TraceRows,
    trace: Trace,
    conf: str,
    capacity: int | None,
    rests: Mapping[int, int],
) -> Placement:
    """The replay itself, with its addresses."""
    from memtrace.engine.registry import parse_policy
    from memtrace.replaying import replay
    from memtrace.structures.caching.model import DIVISIONS_AT
    from memtrace.structures.caching.seeding import seed
    from memtrace.structures.caching.sizes import doubling_of, rounded

    policy = parse_policy(policy_of(conf))
    first = lives.before.size

    def begin(state: Any, blocks: Any) -> tuple[Any, int]:
        rules = state.rules

        def block_size(size: int) -> int:
            return int(rounded(size, state.at[DIVISIONS_AT + doubling_of(size)]))

        rounding = Rounding(block_size, rules.max_split, rules.large_buffer, rests)
        events = next(iter(trace.batches()))
        slots = {int(block): int(slot) for block, slot in zip(rows.id[:first], events.block[:first], strict=True)}
        found = seeds(recording, lives, slots, rounding)
        streams = dict(zip(rows.streams.tolist(), range(rows.streams.size), strict=True))
        found = [one._replace(stream=streams.get(one.stream, 0)) for one in found]
        for block, slot in slots.items():
            own = blocks[slot]
            own["address"], own["requested"] = lives.address[block], lives.requested[block]
            own["stream"] = streams[int(lives.stream[block])]
            own["tag"], own["align"], own["status"] = -1, -1, 1
        return seed(state, found, given_segments(recording, found)), first

    return replay(trace, policy, capacity, on_oom="skip", detail="bare", keep=True, begin=begin)


def policy_of(conf: str) -> str:
    return f"pytorch:{conf}" if conf else "pytorch"


def held_before(recording: Recording, large_page: int = 20 << 20) -> int:
    """Bytes reserved at the first event."""
    return sum(one.extent for one in first_ranges(recording, large_page))


def _changes(recording: Recording) -> Int64s:
    """Bytes reserved by each event; negative where they are given back."""
    action, size = recording.events.action, recording.events.size
    taken = np.isin(action, (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP))
    back = np.isin(action, (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP))
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
    held = held_before(recording) + np.cumsum(_changes(recording))
    failed = np.flatnonzero((events.action == Action.OOM) & (events.address >= 0))
    if failed.size:
        return int(held[failed[0]] + events.address[failed[0]])
    back = np.isin(events.action, (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP))
    runs = np.flatnonzero(back & ~np.concatenate(([False], back[:-1])))
    lacked = np.setdiff1d(runs, emptied(recording, released))
    return recorded_peak(recording) if lacked.size and not released.collects else None


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
