"""The allocator's state at the first event, rebuilt from its state at the end and the events in between.

Almost every real recording starts in mid-run. Segments and mapped ranges come from walking backwards; blocks from
`lives`. What no event tells is a block's true size where it may be larger than what was rounded: a large block that
was not split takes a rest of up to 1 MiB. A rest that small cannot be free, so it belongs to the block; of a larger
gap the block may still have a part, which shows when something is placed in the gap while the block lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from memtrace.snapshot.lives import NEVER, Lives
from memtrace.snapshot.model import Action, Recording
from memtrace.structures.caching.seeding import FREE_BLOCK, LIVE_BLOCK, UNMAPPED, Piece, Seed
from memtrace.trace.model import Int64s

SMALL_SEGMENT = 2 << 20
MOST_REST = 1 << 20
UNIT = 2 << 20


@dataclass(frozen=True)
class Range:
    """A segment, or the mapped part of an expandable one, at the first event."""

    start: int
    extent: int
    stream: int
    large: bool
    expandable: bool


@dataclass(frozen=True)
class Rounding:
    """The settings that block sizes depend on."""

    rounded: Callable[[int], int]  # requested bytes -> block bytes
    max_split: int
    large_page: int  # of expandable segments


def first_ranges(recording: Recording, large_page: int) -> list[Range]:
    """Segments and mapped ranges that were there before the first event, by address."""
    return sorted([*_segments(recording), *_mapped(recording, large_page)], key=lambda one: one.start)


def _segments(recording: Recording) -> list[Range]:
    """Of each address the first event tells; without one, what is there at the end was there."""
    events, segments = recording.events, recording.segments
    which = np.flatnonzero((events.action == Action.SEGMENT_ALLOC) | (events.action == Action.SEGMENT_FREE))
    told, first = np.unique(events.address[which], return_index=True)
    first = which[first]
    found = [
        Range(int(address), int(events.size[i]), int(events.stream[i]), int(events.size[i]) != SMALL_SEGMENT, False)
        for address, i in zip(told.tolist(), first.tolist(), strict=True)
        if events.action[i] == Action.SEGMENT_FREE
    ]
    there = np.flatnonzero(~segments.expandable & ~np.isin(segments.address, told))
    return found + [_range(recording, i) for i in there.tolist()]


def _range(recording: Recording, i: int) -> Range:
    one = recording.segments
    return Range(int(one.address[i]), int(one.size[i]), int(one.stream[i]), bool(one.large[i]), bool(one.expandable[i]))


def _mapped(recording: Recording, large_page: int) -> list[Range]:
    """Mapped ranges of expandable segments: those at the end, without what was mapped, with what was unmapped."""
    events = recording.events
    owners: dict[int, tuple[int, bool]] = {}  # unit of 2 MiB -> stream, large
    for i in np.flatnonzero(recording.segments.expandable).tolist():
        one = _range(recording, i)
        owners.update(dict.fromkeys(_units(one.start, one.extent), (one.stream, one.large)))
    changes = np.flatnonzero((events.action == Action.SEGMENT_MAP) | (events.action == Action.SEGMENT_UNMAP))
    large = _large(recording, changes, large_page)
    for i in changes[::-1].tolist():
        units = _units(int(events.address[i]), int(events.size[i]))
        if events.action[i] == Action.SEGMENT_MAP:
            for unit in units:
                owners.pop(unit, None)
        else:
            owners.update(dict.fromkeys(units, (int(events.stream[i]), large[i])))
    found: list[Range] = []
    for unit in sorted(owners):
        last = found[-1] if found else None
        stream, is_large = owners[unit]
        if last and last.start + last.extent == unit * UNIT and (last.stream, last.large) == (stream, is_large):
            found[-1] = Range(last.start, last.extent + UNIT, stream, is_large, True)
        else:
            found.append(Range(unit * UNIT, UNIT, stream, is_large, True))
    return found


def _large(recording: Recording, changes: Int64s, large_page: int) -> dict[int, bool]:
    """Of each event that maps or unmaps: whether the pool is that of large blocks.

    Small ones are mapped one page of 2 MiB at a time. So many pages of it may be unmapped at once that they could be one of
    the other pool; the pools are far apart, so then it is that of the nearest address of the stream of which it is known.
    """
    events, segments = recording.events, recording.segments
    maps = changes[events.action[changes] == Action.SEGMENT_MAP]
    found = dict(zip(maps.tolist(), (events.size[maps] != SMALL_SEGMENT).tolist(), strict=True))
    there = np.flatnonzero(segments.expandable)
    address = np.concatenate((events.address[maps], segments.address[there]))
    stream = np.concatenate((events.stream[maps], segments.stream[there]))
    large = np.concatenate((events.size[maps] != SMALL_SEGMENT, segments.large[there]))
    known = {}
    for one in np.unique(stream).tolist():
        own = np.flatnonzero(stream == one)
        own = own[np.argsort(address[own], kind="stable")]
        known[one] = (address[own], large[own])
    for i in np.setdiff1d(changes, maps).tolist():
        if events.size[i] % large_page:
            found[i] = False
            continue
        near, kinds = known.get(int(events.stream[i]), (address[:0], large[:0]))
        at = int(np.searchsorted(near, events.address[i]))
        beside = [place for place in (at - 1, at) if 0 <= place < near.size]
        nearest = min(beside, key=lambda place: abs(int(near[place] - events.address[i])), default=None)
        found[i] = nearest is None or bool(kinds[nearest])
    return found


def _units(start: int, extent: int) -> range:
    return range(start // UNIT, (start + extent) // UNIT)


def seeds(recording: Recording, lives: Lives, handles: dict[int, int], rounding: Rounding) -> list[Seed]:
    """Segments with all their blocks; `handles`: the slot of each block that was there."""
    there = lives.before[np.argsort(lives.address[lives.before], kind="stable")]
    placed = _Placed(recording, lives, there, rounding)
    ranges = first_ranges(recording, rounding.large_page)
    return _reservations([(one, placed.pieces(one, handles)) for one in ranges], recording, rounding)


class _Placed:
    """The blocks that were there, laid out in their segments."""

    def __init__(self, recording: Recording, lives: Lives, there: Int64s, rounding: Rounding) -> None:
        self.recording, self.lives, self.there, self.rounding = recording, lives, there, rounding
        self.address = lives.address[there]
        allocs = np.flatnonzero(recording.events.action == Action.ALLOC)
        order = np.argsort(recording.events.address[allocs], kind="stable")
        self.allocs, self.alloc_address = allocs[order], recording.events.address[allocs[order]]

    def pieces(self, one: Range, handles: dict[int, int]) -> list[Piece]:
        """The blocks of a range by address, one free block for each gap."""
        end = one.start + one.extent
        low, high = np.searchsorted(self.address, (one.start, end)).tolist()
        found: list[Piece] = []
        at = one.start
        for number in range(low, high):
            block = int(self.there[number])
            address = int(self.address[number])
            following = int(self.address[number + 1]) if number + 1 < high else end
            if address > at:
                found.append(Piece(at, address - at, FREE_BLOCK))
            extent = self._extent(one, block, address, following)
            found.append(Piece(address, extent, LIVE_BLOCK, int(self.lives.requested[block]), handles[block]))
            at = address + extent
        if at < end:
            found.append(Piece(at, end - at, FREE_BLOCK))
        return found

    def _extent(self, one: Range, block: int, address: int, following: int) -> int:
        last = int(self.lives.last[block])
        if last != NEVER:
            return int(self.recording.blocks.size[last])
        size, room = self.rounding.rounded(int(self.lives.requested[block])), following - address
        if not one.large or one.expandable or size >= room:
            return min(size, room)
        if room - size <= MOST_REST or size >= self.rounding.max_split:
            return room
        return size + self._rest(block, address + size, following)

    def _rest(self, block: int, end: int, following: int) -> int:
        """Bytes behind its rounded end that belong to a block: up to where the first one is placed while it lives."""
        low, high = np.searchsorted(self.alloc_address, (end, following)).tolist()
        freed = int(max(self.lives.freed[block], self.lives.completed[block]))
        while_it_lives = [int(i) for i in self.allocs[low:high] if freed < 0 or i < freed]
        if not while_it_lives:
            return 0
        rest = int(self.recording.events.address[min(while_it_lives)]) - end
        return rest if 0 < rest <= MOST_REST else 0


def _reservations(parts: list[tuple[Range, list[Piece]]], recording: Recording, rounding: Rounding) -> list[Seed]:
    """Ordinary segments as they are; mapped ranges of one stream and pool joined in one reservation, with holes between."""
    found = [Seed(*_fields(one), pieces) for one, pieces in parts if not one.expandable]
    kinds = {(one.stream, one.large) for one, _ in parts if one.expandable}
    for stream, large in sorted(kinds):
        own = [(one, pieces) for one, pieces in parts if one.expandable and (one.stream, one.large) == (stream, large)]
        page = rounding.large_page if large else SMALL_SEGMENT
        base = min(own[0][0].start, _lowest_mapped(recording, own))
        joined: list[Piece] = []
        at = base
        for one, pieces in own:
            if one.start > at:
                joined.append(Piece(at, one.start - at, UNMAPPED))
            joined += pieces
            at = one.start + one.extent
        tail = -(-(1 << 40) // page) * page - (at - base) % page
        joined.append(Piece(at, tail, UNMAPPED))
        found.append(Seed(base, at + tail - base, stream, large, True, joined))
    return found


def _fields(one: Range) -> tuple[int, int, int, bool, bool]:
    return one.start, one.extent, one.stream, one.large, one.expandable


def _lowest_mapped(recording: Recording, own: list[tuple[Range, list[Piece]]]) -> int:
    """The lowest address ever mapped near these ranges, by the same stream."""
    events = recording.events
    near = (events.action == Action.SEGMENT_MAP) & (events.stream == own[0][0].stream)
    near &= (events.address < own[0][0].start) & (events.address > own[0][0].start - (1 << 40))
    near &= (events.size != SMALL_SEGMENT) == own[0][0].large
    return int(events.address[near].min()) if near.any() else own[0][0].start


def given_segments(recording: Recording, seeded: list[Seed], large_page: int) -> list[tuple[int, int]]:
    """Start and bytes of the segments that the device gave, in order; of a reservation (0 bytes: any) the first mapping.

    Reserved addresses are given up when nothing is mapped there any more; what is mapped next is a new reservation.
    """
    events = recording.events
    mapped: dict[tuple[int, bool], int] = {}
    for one in seeded:
        if one.expandable:
            mapped[one.stream, one.large] = sum(piece.extent for piece in one.pieces if piece.kind != UNMAPPED)
    changes = np.flatnonzero((events.action == Action.SEGMENT_MAP) | (events.action == Action.SEGMENT_UNMAP))
    large = _large(recording, changes, large_page)
    found: list[tuple[int, int]] = []
    for i in np.union1d(changes, np.flatnonzero(events.action == Action.SEGMENT_ALLOC)).tolist():
        address, size = int(events.address[i]), int(events.size[i])
        if events.action[i] == Action.SEGMENT_ALLOC:
            found.append((address, size))
            continue
        pool = (int(events.stream[i]), large[i])
        held = mapped.get(pool, 0)
        if events.action[i] == Action.SEGMENT_MAP and held == 0:
            found.append((address, 0))
        mapped[pool] = held + (size if events.action[i] == Action.SEGMENT_MAP else -size)
    return found
