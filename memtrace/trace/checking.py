"""Prepare raw rows in one pass: check each row, renumber ids to recycled slots, and count the facts of the trace.

The live ids are in a hash table (`live_ids`). Free slots are a stack, so each slot number is below the greatest number of
blocks that had a slot at once. A block that another stream uses (op RECORD) waits when it is freed: it keeps its id and slot
until a COMPLETE that names it, a COMPLETE of all waiting blocks, or an ALLOC of the same id, which takes over the slot.
The kernel allocates no memory: it returns to its caller (`preparing`) at the end of the batch, when an array is full, and,
if asked to, at an invalid row.
"""

from __future__ import annotations

import numpy as np

from memtrace.kernels import kernel
from memtrace.trace.batches import MISSING, UNREADABLE
from memtrace.trace.live_ids import PREFETCH_MIN_PLACES, PREFETCH_ROWS, find, log2_class, prefetch, remove
from memtrace.trace.model import Op

ALLOC, FREE, REALLOC, COPY, SWAP, ACCESS, TRIM, RECORD, COMPLETE = (int(op) for op in Op)
OPS = len(Op)

# Reasons why the kernel returned: all rows are prepared; `out` is full; `table` must grow; a row is invalid.
DONE, FULL, GROW, INVALID = range(4)

# What is wrong with a row (FINE: nothing). `problems` has the texts.
FINE, BAD_OP, BAD_ROW, NO_ID, NOT_LIVE, IS_LIVE, NO_SIZE, SIZE_RANGE, BAD_ALIGN, BAD_STREAM = range(10)
NO_DST, DST_NOT_LIVE, TIME_BACK, LIVE_RANGE, TOTAL_RANGE = range(10, 15)

# Indices in `Table.totals`. USED: slots given out so far. LOADED: a sum that only keeps the prefetching loads from being
# optimised away.
EVENT, LIVE, USED, SPARE_SLOTS, LIVE_BYTES, PEAK_BYTES, PEAK_EVENT, TOTAL_BYTES = range(8)
FIRST_TIME, LAST_TIME, NULL_FREES, INVALID_ROWS, SMALLEST, LARGEST, LOADED = range(8, 15)
ALIGNED, STREAMED, PAIRED, TAGGED = range(15, 19)  # not 0 if the column has a value other than its default
WAITING, NEWEST = 19, 20  # number of waiting blocks; slot of the waiting block that was freed last, -1 for none
OP_COUNTS = 21  # first of the OPS counts of valid events by op
TOTALS = OP_COUNTS + OPS  # length of `Table.totals`

MOST_BYTES = 1 << 60  # upper bound of a size and of an alignment
MOST_LIVE, MOST_TOTAL = 1 << 62, 1 << 62  # upper bounds of the live bytes, and of all requested bytes, which int64 has to count
WAITS = -1  # sentinel in place of the bytes in a waiting block's slot, whose other field is the id instead of the event
# Bins of request sizes: each size below EXACT has its own bin; from EXACT on, each power of two has 2^STEP_BITS bins of equal
# width.
EXACT_BITS, STEP_BITS = 8, 7
EXACT = 1 << EXACT_BITS
SIZE_BINS = EXACT + ((60 - EXACT_BITS + 1) << STEP_BITS)


def start_wait(table, slot, id):  # type: ignore[no-untyped-def]
    """Make a freed block wait: its slot keeps its id, and is linked in as the newest waiting block.

    Waiting blocks are a doubly linked list in `table.waiting`, from the last freed to the first freed. Changes `table` in place.
    """
    slots, waiting, totals = table.slots, table.waiting, table.totals
    slots[2 * slot], slots[2 * slot + 1] = WAITS, id
    newest = totals[NEWEST]
    waiting[2 * slot], waiting[2 * slot + 1] = -1, newest
    if newest >= 0:
        waiting[2 * newest] = slot
    totals[NEWEST] = slot
    totals[WAITING] += 1


def end_wait(table, slot):  # type: ignore[no-untyped-def]
    """Unlink a waiting block's slot from the list of waiting blocks, in place; the caller frees or reuses the slot."""
    waiting, totals = table.waiting, table.totals
    newer, older = waiting[2 * slot], waiting[2 * slot + 1]
    if newer >= 0:
        waiting[2 * newer + 1] = older
    else:
        totals[NEWEST] = older
    if older >= 0:
        waiting[2 * older] = newer
    totals[WAITING] -= 1


def complete(table, mask, slot, spares):  # type: ignore[no-untyped-def]
    """Free the slot and the id of one waiting block, or of all of them if `slot` is -1, in place.

    `mask` is the number of places in the hash table minus 1; `spares` is the height of the stack `table.spare`. The new height is
    returned, and not stored in `table`.
    """
    pairs, slots = table.pairs, table.slots
    at = slot if slot >= 0 else table.totals[NEWEST]
    while at >= 0:
        remove(pairs, mask, find(pairs, mask, slots[2 * at + 1]))
        end_wait(table, at)
        table.spare[spares] = at
        spares += 1
        at = table.totals[NEWEST] if slot < 0 else np.int64(-1)
    return spares


def size_bin(size):  # type: ignore[no-untyped-def]
    """Return the index in `Table.size_bins` of the bin that counts requests of `size` bytes."""
    if size < EXACT:
        return size
    power = log2_class(size)
    return EXACT + ((power - EXACT_BITS) << STEP_BITS) + (size >> (power - STEP_BITS)) - (1 << STEP_BITS)


def judge_request(size, align):  # type: ignore[no-untyped-def]
    """Return what is wrong with the size or the alignment of an ALLOC or REALLOC: NO_SIZE, SIZE_RANGE, BAD_ALIGN, or FINE."""
    if size == MISSING:
        return NO_SIZE
    if size < 0 or size > MOST_BYTES:
        return SIZE_RANGE
    if align != MISSING and (align <= 0 or align > MOST_BYTES or align & (align - 1) != 0):
        return BAD_ALIGN
    return FINE


def judge_pair(size, dst, other):  # type: ignore[no-untyped-def]
    """Return what is wrong with a COPY or SWAP of `size` bytes: SIZE_RANGE, NO_DST, DST_NOT_LIVE, or FINE.

    `dst` is the id of the second block and `other` its slot, -1 if it is not live.
    """
    if size != MISSING and (size < 0 or size > MOST_BYTES):
        return SIZE_RANGE
    if dst == MISSING:
        return NO_DST
    return FINE if other >= 0 else DST_NOT_LIVE


def judge_id(op, id, slot):  # type: ignore[no-untyped-def]
    """Return what is wrong with the id of a row: NO_ID, IS_LIVE, NOT_LIVE, or FINE; `slot` is the live block's slot, or -1.

    A FREE may lack an id (a free of null). A COMPLETE may name any block, since it may come after the block was freed.
    """
    if op == ALLOC:
        return NO_ID if id == MISSING else (IS_LIVE if slot >= 0 else FINE)
    if slot >= 0 or op == TRIM or op == COMPLETE:
        return FINE
    if id == MISSING:
        return FINE if op == FREE else NO_ID
    return NOT_LIVE


def count_request(totals, size_bins, size_bytes, size):  # type: ignore[no-untyped-def]
    """Count the bytes and the size class of an ALLOC or REALLOC, in place."""
    totals[TOTAL_BYTES] += size
    size_bins[size_bin(size)] += 1
    size_bytes[log2_class(size)] += size
    totals[LARGEST] = max(totals[LARGEST], size)
    if size > 0:
        totals[SMALLEST] = min(totals[SMALLEST], size)


def count_life(lifetime_bytes, size_lifetime, bytes, events):  # type: ignore[no-untyped-def]
    """Count a block of `bytes` bytes that is freed `events` events after its alloc, in place, by classes floor(log2)."""
    life = log2_class(events)
    lifetime_bytes[life] += bytes
    size_lifetime[64 * log2_class(bytes) + life] += 1


@kernel(error_model="numpy")
def prepare(rows, start, out, filled, table, stop):  # type: ignore[no-untyped-def]
    """Prepare the rows of a batch from `start` on: write the events to `out` from index `filled` on; changes `table` in place.

    Returns (reason of return, next row to prepare, new `filled`, what is wrong with that row). The reason is DONE (no row is
    left), FULL (`out` is full), GROW (`table` has no room for another block) or INVALID. An invalid row is counted and left out;
    only if `stop` is true does the kernel return with INVALID, and that row as the next row.
    """
    pairs, slots, spare, totals = table.pairs, table.slots, table.spare, table.totals
    mask = pairs.size // 2 - 1
    room, most_live = out.op.size, slots.size // 2
    has_id, has_size, has_time = rows.id.size > 1, rows.size.size > 1, rows.time.size > 1
    has_align, has_stream = rows.align.size > 1, rows.stream.size > 1
    has_dst, has_tag = rows.dst.size > 1, rows.tag.size > 1
    # Local copies of the totals, which the compiler keeps in registers.
    event, live, spares = totals[EVENT], totals[LIVE], totals[SPARE_SLOTS]
    live_bytes, peak, clock = totals[LIVE_BYTES], totals[PEAK_BYTES], totals[LAST_TIME]
    why, wrong, i = DONE, FINE, start
    next_fetch = start if mask >= PREFETCH_MIN_PLACES else rows.op.size

    while i < rows.op.size:
        if filled == room or live + totals[WAITING] == most_live:
            why = FULL if filled == room else GROW
            break
        if i >= next_fetch:
            totals[LOADED] = prefetch(pairs, slots, mask, rows.id, i)
            next_fetch = i + PREFETCH_ROWS
        op = rows.op[i]
        id = rows.id[i if has_id else 0]
        size = rows.size[i if has_size else 0]
        time = rows.time[i if has_time else 0]
        align = rows.align[i if has_align else 0]
        stream = rows.stream[i if has_stream else 0]
        place, slot, other = np.int64(0), np.int64(-1), np.int64(-1)

        if op != TRIM and id != MISSING:
            place = find(pairs, mask, id)
            slot = pairs[2 * place + 1]
        waits = slot >= 0 and slots[2 * slot] == WAITS
        kept = slot
        if waits:
            slot = np.int64(-1)
        if op >= OPS:
            wrong = BAD_ROW if op == UNREADABLE else BAD_OP
        elif time != MISSING and time < clock:
            wrong = TIME_BACK
        elif stream != MISSING and (stream < -(1 << 31) or stream >= 1 << 31):
            wrong = BAD_STREAM
        else:
            wrong = judge_id(op, id, slot)
        if wrong == FINE:
            if op == ALLOC or op == REALLOC:
                wrong = judge_request(size, align)
                if wrong == FINE and live_bytes > MOST_LIVE - size:
                    wrong = LIVE_RANGE
                elif wrong == FINE and totals[TOTAL_BYTES] > MOST_TOTAL - size:
                    wrong = TOTAL_RANGE
            elif op == COPY or op == SWAP:
                dst = rows.dst[i if has_dst else 0]
                other = pairs[2 * find(pairs, mask, dst) + 1]
                wrong = judge_pair(size, dst, other)
                size = -1 if size == MISSING else size
                align = 0
            else:
                size, align = 0, 0
        if wrong != FINE:
            totals[INVALID_ROWS] += 1
            if stop:
                why = INVALID
                break
            i += 1
            continue

        if op == ALLOC:
            if waits:
                end_wait(table, kept)
                slot = kept
            elif spares > 0:
                spares -= 1
                slot = np.int64(spare[spares])
            else:
                slot = totals[USED]
                totals[USED] += 1
            pairs[2 * place], pairs[2 * place + 1] = id, slot
            slots[2 * slot], slots[2 * slot + 1] = size, event
            live += 1
            live_bytes += size
            count_request(totals, table.size_bins, table.size_bytes, size)
        elif op == REALLOC and size > 0:
            live_bytes += size - slots[2 * slot]
            slots[2 * slot] = size
            count_request(totals, table.size_bins, table.size_bytes, size)
        elif op == FREE or op == REALLOC:
            op = np.uint8(FREE)
            align = 0
            if slot >= 0:
                live -= 1
                bytes, born = slots[2 * slot], slots[2 * slot + 1]
                if born < 0:  # another stream uses the block
                    born = -1 - born
                    start_wait(table, slot, id)
                else:
                    remove(pairs, mask, place)
                    spare[spares] = slot
                    spares += 1
                live_bytes -= bytes
                count_life(table.lifetime_bytes, table.size_lifetime, bytes, event - born)
            else:
                totals[NULL_FREES] += 1
        elif op == RECORD:
            # Store -1 - event once, however many RECORDs name the block.
            slots[2 * slot + 1] = min(slots[2 * slot + 1], -1 - slots[2 * slot + 1])
        elif op == COMPLETE and (slot < 0 and totals[WAITING] > 0):
            # A COMPLETE that names neither a live nor a waiting block completes all waiting blocks (slot -1).
            slot = kept if waits else slot
            spares = complete(table, mask, slot, spares)
        if live_bytes > peak:
            peak = live_bytes
            totals[PEAK_EVENT] = event
        totals[OP_COUNTS + op] += 1

        out.op[filled], out.block[filled], out.size[filled] = op, slot, size
        if out.align.size > 1:
            align = 0 if align == MISSING else align
            out.align[filled] = align
            totals[ALIGNED] |= align
        if out.stream.size > 1:
            stream = 0 if stream == MISSING else stream
            out.stream[filled] = stream
            totals[STREAMED] |= stream
        if out.dst.size > 1:
            out.dst[filled] = other
            totals[PAIRED] |= other + 1
        if out.tag.size > 1:
            tag = rows.tag[i if has_tag else 0]
            out.tag[filled] = tag
            totals[TAGGED] |= tag + 1
        if out.id.size > 1:
            out.id[filled] = MISSING if op == TRIM else id
        if out.row.size > 1:
            out.row[filled] = i
        if out.time.size > 1:
            if time == MISSING:
                time = clock if event > 0 else np.int64(0)
            if event == 0:
                totals[FIRST_TIME] = time
            clock = time
            out.time[filled] = time
        filled, event, i = filled + 1, event + 1, i + 1

    totals[EVENT], totals[LIVE], totals[SPARE_SLOTS] = event, live, spares
    totals[LIVE_BYTES], totals[PEAK_BYTES], totals[LAST_TIME] = live_bytes, peak, clock
    return why, i, filled, wrong
