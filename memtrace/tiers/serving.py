"""Serve the events of a replay over tiers: a new block, a free, a realloc, a copy or a swap.

In all functions ``t`` is the module of functions that `binding.bind_tiers` makes, and ``world`` a `World`.
"""

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.engine.blocks import align_code, make_request
from memtrace.engine.serving import moved_bytes
from memtrace.tiers.moving import access_in_place, count_block, find_place, request_for, uncount_block
from memtrace.tiers.records import (
    CLOCK,
    COPIED_BYTES,
    COPIES,
    DEAD,
    EMPTY,
    ENLARGED,
    ENOUGH,
    EVENT,
    FREED,
    GROUP,
    LANDED,
    LIVE,
    MEMBER,
    MOVED,
    PLACED,
    PLACED_BLOCKS,
    PLACED_BYTES,
    SPARE,
    TOUCHED,
    USE,
)
from memtrace.tiers.transfers import stored_bytes, transfer, wait


def open_block(books, slot, size, align, stream, tag):
    """Fill the record of ``slot`` for a new block that has no place yet (status DEAD).

    ``size`` in bytes as requested, ``align`` in bytes (0: the policy's own), ``tag`` a code (-1: none).
    """
    b, totals = books.blocks[slot], books.totals
    b.requested = size
    b.align = align_code(align)
    b.stream = stream
    b.tag = tag
    b.born = totals[EVENT]
    b.visited = 0
    b.ready = 0
    b.status = DEAD
    b.pinned = books.pinned[tag]
    if books.foresees:
        b.next = books.use_next[totals[USE]]


@out_of_line
def record_placement(t, world, slot, address):
    """Record the place that `find_place` found for the new block in ``slot``.

    It is ``address``, or NOTHING if the block needs no place.

    The program waits for the evictions that made room; a block below the top tier is written in place, over the links.
    """
    books = world.books
    b, totals = books.blocks[slot], books.totals
    totals[LIVE] += b.requested
    if address == NOTHING:
        b.status = EMPTY
        b.tier = 0
        return
    tier = totals[LANDED]
    count_block(t, world, slot, tier, address, stored_bytes(books, tier, b.tag, b.born, b.requested))
    books.tiers[tier, PLACED_BLOCKS] += 1
    books.tiers[tier, PLACED_BYTES] += b.requested
    wait_for_room(books, tier)
    if tier > 0:
        access_in_place(t, world, tier, b)


def wait_for_room(books, tier):
    """Wait until the evictions that made room in ``tier`` have ended, since a new block is written to only then.

    They end at totals[ENOUGH], which is reset to 0.
    """
    wait(books, min(tier + 1, books.tiers.shape[0] - 1), books.totals[ENOUGH])
    books.totals[ENOUGH] = 0


@out_of_line
def free_block(t, world, slot, stream):
    """Free the block in ``slot``, which may have no place; ``stream`` is that of the free event."""
    books = world.books
    b, totals = books.blocks[slot], books.totals
    totals[LIVE] -= b.requested
    if b.status == PLACED:
        tier = np.int64(b.tier)
        row = books.tiers[tier]
        request = request_for(b, b.stored)
        t.freed_by(world, row[GROUP], row[MEMBER], request, b.address, stream, books.peaks[tier, 0])
        t.free(world, row[GROUP], row[MEMBER], request, b.address, 0, books.peaks[tier, 0])
        totals[TOUCHED] |= 1 << tier
        uncount_block(t, world, slot)
    b.status = FREED


@out_of_line
def reallocate(t, world, slot, size, align):
    """Resize the block in ``slot`` to ``size`` bytes: in its tier, or else placed anew from the top tier on and copied.

    Return its address; NOTHING if it needs no place; NOWHERE if no tier has room, and the block stays as it was; or ENLARGE
    if a policy needs a larger state first: then call again.
    """
    books = world.books
    blocks, totals = books.blocks, books.totals
    b = blocks[slot]
    tier = np.int64(b.tier)
    if b.status == EMPTY:
        prepare_realloc(books, slot, slot, size, align)
        address = find_place(t, world, slot, np.int64(0), np.int64(books.tiers.shape[0]), np.int64(-1))
        if address == NOWHERE or address == ENLARGE:
            b.requested = 0
        else:
            record_placement(t, world, slot, address)
        return address
    row = books.tiers[tier]
    stored = stored_bytes(books, tier, b.tag, b.born, size)
    request = make_request(stored, align, b.stream, b.tag, b.handle)
    address = t.resize(world, row[GROUP], row[MEMBER], request, b.address, b.stored, books.peaks[tier, 0])
    totals[TOUCHED] |= 1 << tier
    if address == ENLARGE:
        totals[ENLARGED] = tier
        return ENLARGE
    if address >= 0:
        uncount_block(t, world, slot)
        totals[LIVE] += size - b.requested
        b.requested = size
        b.align = align_code(align)
        count_block(t, world, slot, tier, address, stored)
        return address
    scratch = np.int64(blocks.size - 1)
    prepare_realloc(books, scratch, slot, size, align)
    address = find_place(t, world, scratch, np.int64(0), np.int64(books.tiers.shape[0]), slot)
    if address == NOWHERE or address == ENLARGE:
        return address
    finish_realloc(t, world, books, slot, scratch, address)
    return address


def prepare_realloc(books, scratch, slot, size, align):
    """Fill the record in ``scratch`` for the block in ``slot`` as it is after a realloc to ``size`` and ``align`` bytes.

    The policies know it by the spare handle. If both slots are the same, the block has no place yet and keeps its handle.
    """
    new, old = books.blocks[scratch], books.blocks[slot]
    if scratch != slot:
        new.handle = books.totals[SPARE]
        new.ready = old.ready
    new.stream, new.tag, new.born, new.pinned = old.stream, old.tag, old.born, old.pinned
    new.requested = size
    new.align = align_code(align)


def finish_realloc(t, world, books, slot, scratch, address):
    """Finish a realloc: move the block in ``slot`` to the place found for the record in ``scratch``, and free the old place.

    ``address`` is what `find_place` returned, which may be NOTHING. The bytes that both sizes share are copied over the
    links; the old handle becomes the spare one.
    """
    blocks, totals = books.blocks, books.totals
    old, new = blocks[slot], blocks[scratch]
    kept = min(old.requested, new.requested)
    source, tier = np.int64(old.tier), totals[LANDED]
    totals[MOVED] += kept
    row = books.tiers[source]
    t.free(world, row[GROUP], row[MEMBER], request_for(old, old.stored), old.address, 0, books.peaks[source, 0])
    totals[TOUCHED] |= 1 << source
    uncount_block(t, world, slot)
    totals[SPARE] = old.handle
    old.handle = new.handle
    totals[LIVE] += new.requested - old.requested
    old.requested, old.align = new.requested, new.align
    if address == NOTHING:
        old.status = EMPTY
        return
    count_block(t, world, slot, tier, address, stored_bytes(books, tier, old.tag, old.born, old.requested))
    copy_between_tiers(t, world, source, tier, kept)
    wait_for_room(books, tier)


@out_of_line
def copy_between_tiers(t, world, source, tier, size):
    """Carry ``size`` bytes of a copy from tier ``source`` to ``tier``, uncompressed, and wait; nothing within one tier.

    The blocks stay where they are.
    """
    books = world.books
    if source == tier or size == 0:
        return
    wait(books, max(source, tier), transfer(t, world, source, tier, size, size, size, size, books.totals[CLOCK]))
    for link in range(min(source, tier) + 1, max(source, tier) + 1):
        books.tiers[link, COPIES] += 1
        books.tiers[link, COPIED_BYTES] += size


@out_of_line
def copy_or_swap(t, world, swaps, slot, other, size):
    """Serve a copy (``swaps`` False) or a swap of the blocks in ``slot`` and ``other``, whose bytes cross the links between them.

    ``size``: bytes that are copied, -1 for those of the smaller block. If ``books.scratch``, a swap within a tier places a
    scratch block there and frees it. Return NOTHING, NOWHERE if there is no room for the scratch block, or ENLARGE: call again.
    """
    books = world.books
    a, b, totals = books.blocks[slot], books.blocks[other], books.totals
    smaller = min(a.requested, b.requested)
    first, second = np.int64(a.tier), np.int64(b.tier)
    if swaps and books.scratch and first == second:
        row = books.tiers[first]
        request = make_request(smaller, 0, 0, -1, totals[SPARE])
        address = t.ask(world, row[GROUP], row[MEMBER], request, 0, 0, books.peaks[first, 0])
        totals[TOUCHED] |= 1 << first
        if address == ENLARGE:
            totals[ENLARGED] = first
        if address == ENLARGE or address == NOWHERE:
            return address
        if address >= 0:
            t.free(world, row[GROUP], row[MEMBER], request, address, 0, books.peaks[first, 0])
    moves = moved_bytes(size, smaller)
    totals[MOVED] += moves
    copy_between_tiers(t, world, first, second, moves)
    if swaps:
        copy_between_tiers(t, world, second, first, moves)
    return NOTHING
