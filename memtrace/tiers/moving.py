"""Move blocks between tiers: evictions carry them down, and demand or prefetch brings them back up.

A block is placed in the first tier that has room for it or makes room. A tier makes room by evicting blocks to the tier
below, which may have to evict in turn; where a tier cannot make room, the block goes further down. A victim is copied
before its old place is freed. A block is in one tier at any time.
In all functions ``t`` is the module of functions that `binding.bind_tiers` makes, and ``world`` a `World`.
"""

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.engine.blocks import align_of, make_request
from memtrace.tiers.records import (
    AHEAD_BYTES,
    AHEAD_UP,
    BLOCKS,
    CAPACITY,
    CLOCK,
    DISTINCT,
    DOWN,
    DOWN_BYTES,
    ENLARGED,
    ENOUGH,
    EVENT,
    EVICTED_BYTES,
    EVICTIONS,
    GROUP,
    HIT_BYTES,
    HITS,
    IN_BYTES,
    LANDED,
    MEMBER,
    OUT_BYTES,
    PINNED,
    PLACED,
    PREFETCHES,
    REMOTE,
    REMOTE_BYTES,
    TOUCHED,
    UP,
    UP_BYTES,
    USE,
    WRITTEN,
)
from memtrace.tiers.transfers import count_in, stored_bytes, transfer, wait


def request_for(b, stored):
    """Return the request to a policy for the block of record ``b``, with a size of ``stored`` bytes."""
    return make_request(stored, align_of(b.align), b.stream, b.tag, b.handle)


def ask(t, world, books, tier, b, stored):
    """Ask the policy of ``tier`` for a place of ``stored`` bytes for the block of record ``b``.

    Return an address, NOTHING (the block gets no place, which is no failure), NOWHERE (no room), or ENLARGE: the policy needs
    a larger state, and totals[ENLARGED] is the tier. ``t``: module made by `bind_tiers`.
    """
    row = books.tiers[tier]
    books.totals[TOUCHED] |= 1 << tier
    address = t.ask(world, row[GROUP], row[MEMBER], request_for(b, stored), 0, 0, books.peaks[tier, 0])
    if address == ENLARGE:
        books.totals[ENLARGED] = tier
    return address


def could_fit(books, tier, stored):
    """Return whether ``tier`` could hold ``stored`` bytes if all blocks that are not pinned had left it."""
    return stored <= books.tiers[tier, CAPACITY] - books.tiers[tier, PINNED]


def lacks_room(t, world, books, tier, stored):
    """Return whether ``tier`` has fewer than ``stored`` bytes unallocated in all, so that its policy need not be asked.

    ``t``: module made by `bind_tiers`.
    """
    row = books.tiers[tier]
    request = make_request(0, 0, 0, -1, 0)
    allocated = t.book(world, row[GROUP], row[MEMBER], request, 0, ALLOCATED, books.peaks[tier, 0])
    return row[CAPACITY] - allocated < stored


@out_of_line
def find_place(t, world, slot, first, below, other):
    """Find a place for the block in ``slot`` in the tiers [``first``, ``below``), the upper ones first; evict if needed.

    The block itself is not moved; victims are, down to the last tier if needed, but never the block in ``other`` (-1: none).
    Return an address or NOTHING (no place is needed), with the tier in totals[LANDED]; NOWHERE if no tier makes room; or
    ENLARGE: a policy needs a larger state, the evictions so far stay done, and the caller calls again.
    ``t``: module made by `bind_tiers`.
    """
    books = world.books
    blocks, stack, totals = books.blocks, books.stack, books.totals
    last = books.tiers.shape[0] - 1
    depth, retried = np.int64(0), False
    # An entry is (slot, tier that is tried). Each entry above the first is a victim whose place the entry before it needs.
    stack[0, 0], stack[0, 1] = slot, first
    while True:
        one, tier = stack[depth, 0], stack[depth, 1]
        b = blocks[one]
        if tier >= (below if depth == 0 else last + 1):
            if depth == 0:
                return NOWHERE
            depth -= 1
            stack[depth, 1] += 1
            retried = False
            continue
        stored = stored_bytes(books, tier, b.tag, b.born, b.requested)
        address = np.int64(NOWHERE)
        if not retried or not lacks_room(t, world, books, tier, stored):
            address = ask(t, world, books, tier, b, stored)
        if address == ENLARGE:
            return ENLARGE
        if address != NOWHERE:
            if depth == 0:
                totals[LANDED] = tier
                return address
            evict(t, world, one, tier, address, stored)
            depth -= 1
            retried = True
            continue
        retried = False
        found = np.int64(-1)
        if tier < last and could_fit(books, tier, stored):
            found = t.victim(world.order, blocks, tier, slot, other, totals[EVENT])
        if found < 0:
            stack[depth, 1] += 1
        else:
            depth += 1
            stack[depth, 0], stack[depth, 1] = found, tier + 1


@out_of_line
def evict(t, world, slot, tier, address, stored):
    """Move the victim in ``slot`` down to ``address`` in ``tier``, where it takes ``stored`` bytes, and count the eviction.

    totals[ENOUGH] is raised to the modelled time at which the transfer ends. ``t``: module made by `bind_tiers`.
    """
    books = world.books
    b = books.blocks[slot]
    source, size, tag = np.int64(b.tier), b.requested, b.tag
    end = move(t, world, slot, tier, address, stored, np.int64(0))
    if books.totals[ENOUGH] < end:
        books.totals[ENOUGH] = end
    books.tiers[source, EVICTIONS] += 1
    books.tiers[source, EVICTED_BYTES] += size
    books.by_tag[source, tag, 0] += 1  # tag -1 is the last row
    books.by_tag[source, tag, 1] += size


@out_of_line
def move(t, world, slot, tier, address, stored, begin):
    """Move the block in ``slot`` to ``address`` in ``tier``, with ``stored`` bytes there: transfer it, free the old place, count.

    The transfer begins at ``begin`` (ns of the modelled clock) or later; return when it ends. ``t``: module made by `bind_tiers`.
    """
    books = world.books
    b = books.blocks[slot]
    source = np.int64(b.tier)
    carried = max(stored, 0) if tier > source else b.stored
    end = transfer(t, world, source, tier, b.requested, b.stored, stored, carried, max(begin, b.ready))
    row = books.tiers[source]
    t.free(world, row[GROUP], row[MEMBER], request_for(b, b.stored), b.address, 0, books.peaks[source, 0])
    books.totals[TOUCHED] |= 1 << source
    uncount_block(t, world, slot)
    for link in range(min(source, tier) + 1, max(source, tier) + 1):
        books.tiers[link, DOWN if tier > source else UP] += 1
        books.tiers[link, DOWN_BYTES if tier > source else UP_BYTES] += carried
    count_block(t, world, slot, tier, address, stored)
    b.ready = end
    return end


@out_of_line
def uncount_block(t, world, slot):
    """Take the block in ``slot`` out of the counts of its tier and, unless it is pinned, out of the eviction order.

    The policy of the tier is not called. ``t``: module made by `bind_tiers`.
    """
    books = world.books
    b = books.blocks[slot]
    tier = np.int64(b.tier)
    row = books.tiers[tier]
    row[BLOCKS] -= 1
    row[OUT_BYTES] += b.requested
    count_in(books, tier, b, -1)
    if b.pinned != 0:
        row[PINNED] -= b.stored
    else:
        t.leave(world.order, books.blocks, tier, slot)


@out_of_line
def count_block(t, world, slot, tier, address, stored):
    """Record the block in ``slot`` at ``address`` in ``tier``, where it takes ``stored`` bytes, and count it there.

    Unless it is pinned, it enters the eviction order. The policy is not called. ``t``: module made by `bind_tiers`.
    """
    books = world.books
    b = books.blocks[slot]
    row = books.tiers[tier]
    b.tier = tier
    b.address = address
    b.stored = stored
    b.status = PLACED
    row[BLOCKS] += 1
    row[IN_BYTES] += b.requested
    row[WRITTEN] += stored
    if (b.visited >> tier) & 1 == 0:
        row[DISTINCT] += stored
        b.visited |= 1 << tier
    count_in(books, tier, b, 1)
    if b.pinned != 0:
        row[PINNED] += stored
    else:
        t.enter(world.order, books.blocks, tier, slot)


@out_of_line
def move_up(t, world, slot, other, ahead):
    """Move the block in ``slot`` to the highest tier above its own that has or makes room; without one it stays.

    ``other``: slot of a block that must not be evicted, -1 for none. ``ahead``: the move is a prefetch, for which nobody waits.
    Return NOTHING, or ENLARGE if a policy needs a larger state first: then call again. ``t``: module made by `bind_tiers`.
    """
    books = world.books
    b = books.blocks[slot]
    source = np.int64(b.tier)
    address = find_place(t, world, slot, np.int64(0), source, other)
    if address == ENLARGE:
        return ENLARGE
    begin = books.totals[ENOUGH]
    books.totals[ENOUGH] = 0
    if address == NOWHERE:
        return NOTHING
    tier = books.totals[LANDED]
    stored = stored_bytes(books, tier, b.tag, b.born, b.requested)
    end = move(t, world, slot, tier, address, stored, begin)
    if not ahead:
        wait(books, source, end)
    else:
        books.totals[PREFETCHES] += 1
        books.tiers[source, AHEAD_UP] += 1
        books.tiers[source, AHEAD_BYTES] += b.requested
    return NOTHING


@out_of_line
def serve_use(t, world, slot, other, whole):
    """Serve one use of the block in ``slot``: bring it up as far as there is room, and count the hit in the tier that had it.

    ``whole``: if the block stays below the top tier, all its bytes are read in place. ``other``: slot of a block that must not
    be evicted, -1 for none. totals[USE] goes on to the next use. ``t``: module made by `bind_tiers`.
    Return NOTHING, or ENLARGE if a policy needs a larger state first: nothing was counted, call again.
    """
    books = world.books
    b, totals = books.blocks[slot], books.totals
    if books.foresees:
        b.next = books.use_next[totals[USE]]
    if b.status == PLACED:
        found = np.int64(b.tier)
        if found > 0 and move_up(t, world, slot, other, False) == ENLARGE:
            return ENLARGE
        tier = np.int64(b.tier)
        books.tiers[found, HITS] += 1
        books.tiers[found, HIT_BYTES] += b.requested
        if tier == found and b.pinned == 0:
            t.touch(world.order, books.blocks, tier, slot)
        if tier == 0 and found == 0 and books.overlap:
            wait(books, 1 if books.tiers.shape[0] > 1 else 0, b.ready)
        if tier > 0 and whole:
            access_in_place(t, world, tier, b)
    totals[USE] += 1
    return NOTHING


@out_of_line
def access_in_place(t, world, tier, b):
    """Let the program read or write the whole block of record ``b`` where it is, in ``tier``, which is below the top.

    The bytes cross all links between that tier and the top; the program waits for them, and the links count them as remote.

    ``t``: module made by `bind_tiers`.
    """
    books = world.books
    end = transfer(t, world, tier, np.int64(0), b.requested, b.stored, b.requested, b.stored, max(b.ready, books.totals[CLOCK]))
    wait(books, tier, end)
    for link in range(1, tier + 1):
        books.tiers[link, REMOTE] += 1
        books.tiers[link, REMOTE_BYTES] += b.stored
