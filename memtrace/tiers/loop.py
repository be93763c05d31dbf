"""The loop over tiers: events in, blocks moved, everything counted. Compiled as `engine.loop` is, and as the text stands the
interpreter runs it.

It stops at an event for which a policy's arrays are too small, and goes on from the same step of that event: STEP and USE say
how far it came.
"""

import numpy as np

from memtrace.engine.loop import FINISHED, STOPPED, TOO_SMALL, moved_bytes
from memtrace.engine.request import ENLARGE, NOTHING, NOWHERE
from memtrace.structures.bits import highest_set
from memtrace.structures.calls import apart
from memtrace.structures.ledger import ALLOCATED, RESERVED
from memtrace.tiers.books import (
    AHEAD,
    CLOCK,
    COMPUTE,
    COPIED_BYTES,
    COPIES,
    DEAD,
    DOWN_BYTES,
    EMPTY,
    ENLARGED,
    ENOUGH,
    EVENT,
    EVICTIONS,
    EXTRA,
    FAILED,
    FREED,
    GROUP,
    LANDED,
    LAST_TIME,
    LIVE,
    MEMBER,
    MOVED,
    OOM_EVENT,
    PEAK_ALLOCATED,
    PEAK_LIVE,
    PEAK_RESERVED,
    PEAK_STORED,
    PLACED,
    PLACED_BLOCKS,
    PLACED_BYTES,
    REMOTE_BYTES,
    RESIDENT,
    SAMPLE,
    SKIPPED,
    SPARE,
    STALL,
    STEP,
    STORED,
    TOUCHED,
    UP_BYTES,
    USE,
    WASTED,
)
from memtrace.tiers.moving import arrive, bring, depart, make_request, reach, request_for, settle, use
from memtrace.tiers.transfers import stored_bytes, transfer, wait

ALLOC, FREE, REALLOC, COPY, SWAP, ACCESS, TRIM, RECORD, COMPLETE = range(9)  # memtrace.trace.Op


def tick(books, time, i):
    """The program's own time passes: as the trace says, or so many ns an event."""
    totals = books.totals
    passed = books.event_ns
    if time.size > 1:
        passed = time[i] - totals[LAST_TIME]
        totals[LAST_TIME] = time[i]
    totals[CLOCK] += passed
    totals[COMPUTE] += passed


@apart
def fetch_ahead(t, states, books, order):
    """Bring up what the next events use, if it is live and below the top."""
    totals, until = books.totals, books.totals[EVENT] + books.ahead
    while totals[AHEAD] < books.use_slots.size and books.use_events[totals[AHEAD]] <= until:
        slot = np.int64(books.use_slots[totals[AHEAD]])
        b = books.blocks[slot]
        if books.use_born[totals[AHEAD]] != 0:
            books.ahead_lives[slot] += 1
        elif books.ahead_lives[slot] == b.lives and b.status == PLACED and b.tier > 0 and totals[AHEAD] >= totals[USE]:
            tier = b.tier
            if bring(t, states, books, order, slot, np.int64(-1), True) == ENLARGE:
                return ENLARGE
            if b.tier == tier:
                totals[WASTED] += 1
        totals[AHEAD] += 1
    return NOTHING


def use_extra(t, states, books, order):
    """Uses that the trace has no events for."""
    totals = books.totals
    while books.extra_events[totals[EXTRA]] <= totals[EVENT]:
        if use(t, states, books, order, np.int64(books.extra_slots[totals[EXTRA]]), np.int64(-1), True) == ENLARGE:
            return ENLARGE
        totals[EXTRA] += 1
    return NOTHING


def open_block(books, slot, size, align, stream, tag):
    b, totals = books.blocks[slot], books.totals
    b.requested = size
    b.align = highest_set(align) if align > 0 else -1
    b.stream = stream
    b.tag = tag
    b.born = totals[EVENT]
    b.visited = 0
    b.ready = 0
    b.status = DEAD
    b.pinned = books.pinned[tag]
    if books.foresees:
        b.next = books.use_next[totals[USE]]


@apart
def found_place(t, books, order, slot, address):
    """A block that was just settled is where it was settled."""
    b, totals = books.blocks[slot], books.totals
    totals[LIVE] += b.requested
    if address == NOTHING:
        b.status = EMPTY
        b.tier = 0
        return
    tier = totals[LANDED]
    arrive(t, books, order, slot, tier, address, stored_bytes(books, tier, b.tag, b.born, b.requested))
    books.tiers[tier, PLACED_BLOCKS] += 1
    books.tiers[tier, PLACED_BYTES] += b.requested
    wait_for_room(books, tier)
    if tier > 0:
        reach(books, tier, b)


@apart
def release(t, states, books, order, slot, stream):
    b, totals = books.blocks[slot], books.totals
    totals[LIVE] -= b.requested
    if b.status == PLACED:
        tier = np.int64(b.tier)
        row = books.tiers[tier]
        request = request_for(b, b.stored)
        t.freed_by(states, row[GROUP], row[MEMBER], request, b.address, stream, books.peaks[tier, 0])
        t.free(states, row[GROUP], row[MEMBER], request, b.address, 0, books.peaks[tier, 0])
        totals[TOUCHED] |= 1 << tier
        depart(t, books, order, slot)
    b.status = FREED


@apart
def reallocate(t, states, books, order, slot, size, align):
    """Resize in the block's tier, else anew from the top, copied, and the old one freed. An address, or why there is none."""
    blocks, totals = books.blocks, books.totals
    b = blocks[slot]
    tier = np.int64(b.tier)
    if b.status == EMPTY:
        open_again(books, slot, slot, size, align)
        address = settle(t, states, books, order, slot, np.int64(0), np.int64(books.tiers.shape[0]), np.int64(-1))
        if address == NOWHERE or address == ENLARGE:
            b.requested = 0
        else:
            found_place(t, books, order, slot, address)
        return address
    row = books.tiers[tier]
    stored = stored_bytes(books, tier, b.tag, b.born, size)
    request = make_request(stored, align, b.stream, b.tag, b.handle)
    address = t.resize(states, row[GROUP], row[MEMBER], request, b.address, b.stored, books.peaks[tier, 0])
    totals[TOUCHED] |= 1 << tier
    if address == ENLARGE:
        totals[ENLARGED] = tier
        return ENLARGE
    if address >= 0:
        depart(t, books, order, slot)
        totals[LIVE] += size - b.requested
        b.requested = size
        b.align = highest_set(align) if align > 0 else -1
        arrive(t, books, order, slot, tier, address, stored)
        return address
    scratch = np.int64(blocks.size - 1)
    open_again(books, scratch, slot, size, align)
    address = settle(t, states, books, order, scratch, np.int64(0), np.int64(books.tiers.shape[0]), slot)
    if address == NOWHERE or address == ENLARGE:
        return address
    moved(t, states, books, order, slot, scratch, address)
    return address


def open_again(books, scratch, slot, size, align):
    """Ready a block's new form: under the spare handle, but where it had none."""
    new, old = books.blocks[scratch], books.blocks[slot]
    if scratch != slot:
        new.handle = books.totals[SPARE]
        new.ready = old.ready
    new.stream, new.tag, new.born, new.pinned = old.stream, old.tag, old.born, old.pinned
    new.requested = size
    new.align = highest_set(align) if align > 0 else -1


def moved(t, states, books, order, slot, scratch, address):
    """The new form takes the old one's place."""
    blocks, totals = books.blocks, books.totals
    old, new = blocks[slot], blocks[scratch]
    kept = min(old.requested, new.requested)
    source, tier = np.int64(old.tier), totals[LANDED]
    totals[MOVED] += kept
    row = books.tiers[source]
    t.free(states, row[GROUP], row[MEMBER], request_for(old, old.stored), old.address, 0, books.peaks[source, 0])
    totals[TOUCHED] |= 1 << source
    depart(t, books, order, slot)
    totals[SPARE] = old.handle
    old.handle = new.handle
    totals[LIVE] += new.requested - old.requested
    old.requested, old.align = new.requested, new.align
    if address == NOTHING:
        old.status = EMPTY
        return
    arrive(t, books, order, slot, tier, address, stored_bytes(books, tier, old.tag, old.born, old.requested))
    cross(books, source, tier, kept)
    wait_for_room(books, tier)


def wait_for_room(books, tier):
    """A new block can be written to when what it drove out has left."""
    wait(books, min(tier + 1, books.tiers.shape[0] - 1), books.totals[ENOUGH])
    books.totals[ENOUGH] = 0


@apart
def cross(books, source, tier, size):
    """Bytes of a copy go from one tier to another, unpacked."""
    if source == tier or size == 0:
        return
    wait(books, max(source, tier), transfer(books, source, tier, size, size, size, size, books.totals[CLOCK]))
    for link in range(min(source, tier) + 1, max(source, tier) + 1):
        books.tiers[link, COPIES] += 1
        books.tiers[link, COPIED_BYTES] += size


@apart
def exchange(t, states, books, kind, slot, other, size):
    """A copy or swap of two blocks that are there; ENLARGE, NOWHERE if its scratch block fails, or NOTHING."""
    a, b, totals = books.blocks[slot], books.blocks[other], books.totals
    smaller = min(a.requested, b.requested)
    first, second = np.int64(a.tier), np.int64(b.tier)
    if kind == SWAP and books.scratch and first == second:
        row = books.tiers[first]
        request = make_request(smaller, 0, 0, -1, totals[SPARE])
        address = t.ask(states, row[GROUP], row[MEMBER], request, 0, 0, books.peaks[first, 0])
        totals[TOUCHED] |= 1 << first
        if address == ENLARGE:
            totals[ENLARGED] = first
        if address == ENLARGE or address == NOWHERE:
            return address
        if address >= 0:
            t.free(states, row[GROUP], row[MEMBER], request, address, 0, books.peaks[first, 0])
    moves = moved_bytes(size, smaller)
    totals[MOVED] += moves
    cross(books, first, second, moves)
    if kind == SWAP:
        cross(books, second, first, moves)
    return NOTHING


@apart
def observe(t, states, books, tier):
    """Raise a tier's peaks."""
    row = books.tiers[tier]
    request = make_request(0, 0, 0, -1, 0)
    group, member, peaks = row[GROUP], row[MEMBER], books.peaks[tier]
    allocated = t.book(states, group, member, request, 0, ALLOCATED, peaks[0])
    reserved = t.book(states, group, member, request, 0, RESERVED, peaks[0])
    live, event = row[RESIDENT], books.totals[EVENT]
    row[PEAK_STORED] = max(row[PEAK_STORED], row[STORED])
    if live > row[PEAK_LIVE]:
        row[PEAK_LIVE] = live
        t.note(states, group, member, request, event, live, peaks[0])
    if allocated > row[PEAK_ALLOCATED]:
        row[PEAK_ALLOCATED] = allocated
        t.note(states, group, member, request, event, live, peaks[1])
    if reserved > row[PEAK_RESERVED]:
        row[PEAK_RESERVED] = reserved
        t.note(states, group, member, request, event, live, peaks[2])


@apart
def sample(t, states, books):
    totals = books.totals
    request = make_request(0, 0, 0, -1, 0)
    for tier in range(books.tiers.shape[0]):
        row, out = books.tiers[tier], books.samples[totals[SAMPLE], tier]
        t.note(states, row[GROUP], row[MEMBER], request, totals[EVENT], row[RESIDENT], out)
        out[11] = row[STORED]
        out[12] = row[DOWN_BYTES]
        out[13] = row[UP_BYTES]
        out[14] = row[REMOTE_BYTES]
        out[15] = row[EVICTIONS]
        out[16] = totals[STALL]
    totals[SAMPLE] += 1


def uses_of_event(t, states, books, order, kind, slot, other):
    """What the event itself uses, each once: STEP counts them."""
    totals = books.totals
    if kind == FREE and books.last_uses[books.blocks[slot].tag] == 0:
        return NOTHING
    if totals[STEP] == 1:
        # A copy reads only what it copies: `exchange` has the bytes.
        if use(t, states, books, order, slot, other, other < 0) == ENLARGE:
            return ENLARGE
        totals[STEP] = 2
    if other >= 0 and totals[STEP] == 2:
        if use(t, states, books, order, other, slot, False) == ENLARGE:
            return ENLARGE
        totals[STEP] = 3
    return NOTHING


def specialise(t):
    """The loop of one choice of policies and rule; ``t`` is the module that `binding.bind_tiers` makes of it."""

    def replay(op, block, size, align, stream, dst, tag, time, start, states, books, order, addresses, tiers):
        """Replay a batch from event ``start`` of it; returns how far it came, and why it stopped."""
        totals, blocks = books.totals, books.blocks
        for i in range(start, op.size):
            kind, slot = op[i], np.int64(block[i])
            if totals[STEP] == 0:
                tick(books, time, i)
                totals[STEP] = 1
            if books.ahead > 0 and fetch_ahead(t, states, books, order) == ENLARGE:
                return i, TOO_SMALL
            if use_extra(t, states, books, order) == ENLARGE:
                return i, TOO_SMALL
            other = np.int64(-1)
            if kind == COPY or kind == SWAP:
                other = np.int64(dst[i if dst.size > 1 else 0])
            if slot >= 0 and kind != ALLOC and kind != TRIM and kind != COMPLETE:
                if uses_of_event(t, states, books, order, kind, slot, other) == ENLARGE:
                    return i, TOO_SMALL
            address = np.int64(NOTHING)
            its_align = align[i if align.size > 1 else 0]
            if kind == ALLOC:
                code = tag[i if tag.size > 1 else 0]
                open_block(books, slot, size[i], its_align, stream[i if stream.size > 1 else 0], code)
                address = settle(t, states, books, order, slot, np.int64(0), np.int64(books.tiers.shape[0]), np.int64(-1))
                if address == ENLARGE:
                    return i, TOO_SMALL
                blocks[slot].lives += 1
                if address != NOWHERE:
                    found_place(t, books, order, slot, address)
                totals[USE] += 1
            elif kind == TRIM:
                request = make_request(0, 0, 0, -1, 0)
                for tier in range(books.tiers.shape[0]):
                    row = books.tiers[tier]
                    t.trim(states, row[GROUP], row[MEMBER], request, 0, 0, books.peaks[tier, 0])
                    totals[TOUCHED] |= 1 << tier
            elif kind == COMPLETE or slot < 0:
                pass
            elif blocks[slot].status == DEAD or (other >= 0 and blocks[other].status == DEAD):
                totals[SKIPPED] += 1
            elif kind == FREE:
                release(t, states, books, order, slot, stream[i if stream.size > 1 else 0])
            elif kind == REALLOC:
                address = reallocate(t, states, books, order, slot, size[i], its_align)
                if address == ENLARGE:
                    return i, TOO_SMALL
            elif other >= 0:
                address = exchange(t, states, books, kind, slot, other, size[i])
                if address == ENLARGE:
                    return i, TOO_SMALL
            elif kind == ACCESS:
                row = books.tiers[blocks[slot].tier]
                request = request_for(blocks[slot], blocks[slot].stored)
                t.access(states, row[GROUP], row[MEMBER], request, blocks[slot].address, 0, books.peaks[0, 0])

            failed = address == NOWHERE
            event = totals[EVENT]
            if addresses.size > 1:
                placed = (kind == ALLOC or kind == REALLOC) and not failed
                addresses[i] = address if kind == ALLOC or kind == REALLOC else NOTHING
                tiers[i] = blocks[slot].tier if placed else -1
            touched = totals[TOUCHED]
            if touched & 1:
                observe(t, states, books, np.int64(0))
            for tier in range(1, books.tiers.shape[0]):
                if touched >> tier & 1:
                    observe(t, states, books, tier)
            if event == books.sample_events[totals[SAMPLE]]:
                sample(t, states, books)
            totals[TOUCHED] = 0
            totals[STEP] = 0
            totals[EVENT] = event + 1
            if failed:
                totals[FAILED] += 1
                if not books.skip:
                    totals[OOM_EVENT] = event
                    return i + 1, STOPPED
        return op.size, FINISHED

    return replay
