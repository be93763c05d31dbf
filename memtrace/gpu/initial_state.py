"""Rebuild the allocator's state at the first event from its state at the end and the events in between.

Almost every real recording starts in mid-run. Segments and mapped ranges are found by walking the events backwards; the blocks
come from `lives`. Only one fact is recorded nowhere: the true size of a block that may be larger than its rounded request. A
large block that was not split includes a rest of up to 1 MiB. A gap behind a block that is no larger cannot be free, so it
belongs to the block. Of a larger gap, a part may belong to the block too; this shows if another block is placed in the gap while
the first one lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from memtrace.formats.snapshot.lives import NEVER, Lives
from memtrace.formats.snapshot.records import Action, Recording
from memtrace.structures.caching.seeding import FREE_BLOCK, LIVE_BLOCK, UNMAPPED, Piece, Seed
from memtrace.trace.model import Int64s

SMALL_SEGMENT = 2 << 20  # bytes of a segment of the small pool, and of a page of a small expandable one
MOST_REST = 1 << 20  # bytes: upper bound of the rest that a large block keeps
UNIT = 2 << 20  # bytes: granularity of the device's memory and of its addresses


@dataclass(frozen=True)
class Range:
    """Describe a segment, or a mapped range of an expandable one, at the first event. Sizes are in bytes."""

    start: int  # address
    extent: int
    stream: int  # handle, with the private pool above it
    large: bool  # whether it is of the large pool
    expandable: bool


@dataclass(frozen=True)
class Rounding:
    """Hold the settings that block sizes depend on. Sizes are in bytes."""

    rounded: Callable[[int], int]  # requested bytes -> bytes of a block
    max_split: int  # blocks of this size or more are not split
    large_page: int  # page size of expandable segments of the large pool
    unsplit: frozenset[int] = frozenset()  # streams of pools whose blocks are not split


def first_ranges(recording: Recording, large_page: int) -> list[Range]:
    """Return the segments and mapped ranges that existed before the first event, by address.

    ``large_page``: bytes of a page of expandable segments of the large pool.
    """
    return sorted([*_segments(recording), *_mapped(recording, large_page)], key=lambda one: one.start)


def _segments(recording: Recording) -> list[Range]:
    """Return the ordinary segments that existed before the first event.

    An address whose first event frees a segment had that segment; an address without such events had the segment that it has at
    the end.
    """
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
    """Return row i of the recorded segments as a Range."""
    one = recording.segments
    return Range(int(one.address[i]), int(one.size[i]), int(one.stream[i]), bool(one.large[i]), bool(one.expandable[i]))


def _mapped(recording: Recording, large_page: int) -> list[Range]:
    """Return the mapped ranges of expandable segments before the first event, as large as possible, by address.

    These are the ranges at the end, without those mapped meanwhile, and with those unmapped meanwhile.
    """
    events = recording.events
    owners: dict[int, tuple[int, bool]] = {}  # address / UNIT -> stream, whether large
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
    """Return for each event that maps or unmaps (their numbers are ``changes``) whether its pool is the large one.

    The small pool maps one page of 2 MiB at a time. But it may unmap so many pages at once that their size is one that the large
    pool could unmap too. The address ranges of the two pools are far from each other, so such an event belongs to the pool of the
    nearest address of the same stream whose pool is known.
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
    """Return the numbers of the units of 2 MiB in a range of addresses."""
    return range(start // UNIT, (start + extent) // UNIT)


def seeds(recording: Recording, lives: Lives, handles: dict[int, int], rounding: Rounding) -> list[Seed]:
    """Return the segments at the first event with all their blocks; their streams are handles, with the private pool above.

    ``handles``: number of a block in ``lives`` -> its handle (slot), for each block that existed before the first event.
    """
    there = lives.before[np.argsort(lives.address[lives.before], kind="stable")]
    placed = _Placed(recording, lives, there, rounding)
    ranges = first_ranges(recording, rounding.large_page)
    return _reservations([(one, placed.pieces(one, handles)) for one in ranges], recording, rounding)


class _Placed:
    """Lay out the blocks that existed before the first event in their segments."""

    def __init__(self, recording: Recording, lives: Lives, there: Int64s, rounding: Rounding) -> None:
        """Sort the blocks and the alloc events by address; ``there``: numbers of the blocks in ``lives``, by address."""
        self.recording, self.lives, self.there, self.rounding = recording, lives, there, rounding
        self.address = lives.address[there]
        allocs = np.flatnonzero(recording.events.action == Action.ALLOC)
        order = np.argsort(recording.events.address[allocs], kind="stable")
        self.allocs, self.alloc_address = allocs[order], recording.events.address[allocs[order]]

    def pieces(self, one: Range, handles: dict[int, int]) -> list[Piece]:
        """Return the blocks of a range in address order, with a free block for each gap; ``handles`` as of ``seeds``."""
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
        """Return the size in bytes of a block at ``address``.

        ``following`` is the address of the next block, or the end of the range. The size is known if the block still exists at
        the end of the recording; otherwise it is found as the module's docstring says.
        """
        last = int(self.lives.last[block])
        if last != NEVER:
            return int(self.recording.blocks.size[last])
        if one.stream in self.rounding.unsplit:
            return following - address
        size, room = self.rounding.rounded(int(self.lives.requested[block])), following - address
        if not one.large or one.expandable or size >= room:
            return min(size, room)
        if room - size <= MOST_REST or size >= self.rounding.max_split:
            return room
        return size + self._rest(block, address + size, following)

    def _rest(self, block: int, end: int, following: int) -> int:
        """Return the bytes behind the block's rounded end (address ``end``) that belong to the block.

        They reach to where the first alloc in the gap, which ends at ``following``, is placed while the block lives. The answer
        is 0 if there is no such alloc, or if it lies more than MOST_REST away.
        """
        low, high = np.searchsorted(self.alloc_address, (end, following)).tolist()
        freed = int(max(self.lives.freed[block], self.lives.completed[block]))
        while_it_lives = [int(i) for i in self.allocs[low:high] if freed < 0 or i < freed]
        if not while_it_lives:
            return 0
        rest = int(self.recording.events.address[min(while_it_lives)]) - end
        return rest if 0 < rest <= MOST_REST else 0


def _reservations(parts: list[tuple[Range, list[Piece]]], recording: Recording, rounding: Rounding) -> list[Seed]:
    """Return ordinary segments unchanged, and the mapped ranges of each stream and pool joined into one reservation.

    ``parts``: each range with its pieces. Unmapped ranges fill the gaps of a reservation, and one of about 1 TiB is its end.
    """
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
    """Return the fields of a Range in the order of those of a Seed."""
    return one.start, one.extent, one.stream, one.large, one.expandable


def _lowest_mapped(recording: Recording, own: list[tuple[Range, list[Piece]]]) -> int:
    """Return the lowest address that was mapped less than 1 TiB below these ranges, by the same stream and pool.

    Their own lowest address is returned if there is none.
    """
    events = recording.events
    near = (events.action == Action.SEGMENT_MAP) & (events.stream == own[0][0].stream)
    near &= (events.address < own[0][0].start) & (events.address > own[0][0].start - (1 << 40))
    near &= (events.size != SMALL_SEGMENT) == own[0][0].large
    return int(events.address[near].min()) if near.any() else own[0][0].start


def given_segments(recording: Recording, seeded: list[Seed], large_page: int) -> list[tuple[int, int]]:
    """Return (start, bytes) of the segments that the device gave during the recording, in order.

    A reservation of expandable segments counts when its first page is mapped; its bytes are 0, which stands for any size. A
    reservation is dropped when nothing in it is mapped any more, so a later mapping is in a new one.
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
