"""Raw rows -> prepared events, one streaming pass: validates each row, renumbers ids to recycled slots, counts the facts.

Compiled code. The live ids are in an open-addressing table of (id, slot) pairs, linear probing, at most half full;
a removal shifts the pairs behind it back, so there are no tombstones and the table never degrades. Slots are given out
last in, first out: a slot number is below the number of blocks that were live at once.

The kernel allocates nothing. It returns to its driver (`prepare`) at the end of the batch, when the output is full,
when its tables are, and, if asked to, at a row that is invalid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import leading_zeros
from numba.extending import overload

from memtrace.trace.model import Int32s, Int64s, Op
from memtrace.trace.raw import MISSING, UNREADABLE, Rows

ALLOC, FREE, REALLOC, COPY, SWAP, ACCESS, TRIM, RECORD, COMPLETE = (int(op) for op in Op)
OPS = len(Op)

# Why the kernel returned.
DONE, FULL, GROW, INVALID = range(4)

# What is wrong with a row; 0: nothing. `problems` has the texts.
(FINE, BAD_OP, BAD_ROW, NO_ID, NOT_LIVE, IS_LIVE, NO_SIZE, SIZE_RANGE, BAD_ALIGN, BAD_STREAM, NO_DST, DST_NOT_LIVE, TIME_BACK) = range(13)

# Places in `Table.totals`.
(LIVE, USED, SPARE_SLOTS, EVENT, LIVE_BYTES, PEAK_BYTES, PEAK_EVENT, TOTAL_BYTES, LAST_TIME, FIRST_TIME, NULL_FREES, INVALID_ROWS, SMALLEST, LARGEST) = range(14)
ALIGNED, STREAMED, PAIRED, TAGGED, OP_COUNTS = range(14, 19)  # whether a column says anything; then a count per op
TOTALS = OP_COUNTS + OPS

MOST_BYTES = 1 << 60
EXACT_BITS, STEP_BITS = 8, 7
EXACT = 1 << EXACT_BITS  # sizes below this have a bin each; above, every doubling has 2^STEP_BITS bins
SIZE_BINS = EXACT + ((60 - EXACT_BITS + 1) << STEP_BITS)


class Out(NamedTuple):
    """Where prepared events go; a column that is not wanted has one element."""

    op: np.ndarray[tuple[int], np.dtype[np.uint8]]
    block: Int32s
    size: Int64s
    align: Int64s
    stream: Int32s
    dst: Int32s
    tag: Int32s
    time: Int64s
    id: Int64s
    row: Int32s  # the row of the batch that the event was


class Table(NamedTuple):
    """The live blocks and the running counts."""

    pairs: Int64s  # [2 * places] id, slot; slot -1: the place is empty
    slots: Int64s  # [2 * slots] bytes, event of the alloc
    spare: Int32s  # stack of slots to be used again
    totals: Int64s  # [TOTALS]
    size_bins: Int64s  # [SIZE_BINS] requests
    size_bytes: Int64s  # [64]
    lifetime_bytes: Int64s  # [64]
    size_lifetime: Int64s  # [64 * 64]


def log2_class(number):  # type: ignore[no-untyped-def]
    """floor(log2(number)), 0 for 0."""
    return int(number | 1).bit_length() - 1


@overload(log2_class, inline="always")
def _log2_class(number):  # type: ignore[no-untyped-def]
    return lambda number: np.int64(63) - np.int64(leading_zeros(np.uint64(number) | np.uint64(1)))


@njit(inline="always")
def home(id, mask):  # type: ignore[no-untyped-def]
    """Where an id would like to be: the top bits of its product with 2^64 / golden ratio (Knuth, vol. 3, 6.4)."""
    mixed = np.uint64(id) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(63 - log2_class(mask)))


@njit(inline="always")
def find(pairs, mask, id):  # type: ignore[no-untyped-def]
    """The place of an id, or the empty place where it would go."""
    place = home(id, mask)
    while pairs[2 * place + 1] >= 0 and pairs[2 * place] != id:
        place = (place + 1) & mask
    return place


@njit(inline="always")
def take_out(pairs, mask, place):  # type: ignore[no-untyped-def]
    """Empty a place, and move the pairs behind it that would no longer be found."""
    hole = place
    following = (hole + 1) & mask
    while pairs[2 * following + 1] >= 0:
        wanted = home(pairs[2 * following], mask)
        # It may move if its home does not lie in the cyclic interval (hole, following].
        if ((following - wanted) & mask) >= ((following - hole) & mask):
            pairs[2 * hole] = pairs[2 * following]
            pairs[2 * hole + 1] = pairs[2 * following + 1]
            hole = following
        following = (following + 1) & mask
    pairs[2 * hole + 1] = -1


@njit(cache=True, nogil=True, error_model="numpy")
def rehash(pairs, larger):  # type: ignore[no-untyped-def]
    """Move all pairs into an empty table of more places."""
    mask = larger.size // 2 - 1
    for place in range(pairs.size // 2):
        if pairs[2 * place + 1] >= 0:
            at = find(larger, mask, pairs[2 * place])
            larger[2 * at] = pairs[2 * place]
            larger[2 * at + 1] = pairs[2 * place + 1]


@njit(inline="always")
def size_bin(size):  # type: ignore[no-untyped-def]
    """The bin of a size in `Table.size_bins`."""
    if size < EXACT:
        return size
    power = log2_class(size)
    return EXACT + ((power - EXACT_BITS) << STEP_BITS) + (size >> (power - STEP_BITS)) - (1 << STEP_BITS)


@njit(cache=True, nogil=True, error_model="numpy")
def prepare(rows, start, out, filled, table, stop):  # type: ignore[no-untyped-def]
    """Prepare rows from `start` into `out` from `filled`; returns (why it returned, next row, filled, what is wrong).

    An invalid row is counted and left out; if `stop`, the kernel also returns, with that row as the next one.
    """
    pairs, slots, spare, totals = table.pairs, table.slots, table.spare, table.totals
    mask = pairs.size // 2 - 1
    room, most_live = out.op.size, slots.size // 2
    has_time, has_align, has_stream = rows.time.size > 1, rows.align.size > 1, rows.stream.size > 1
    has_dst, has_tag = rows.dst.size > 1, rows.tag.size > 1

    for i in range(start, rows.op.size):
        if filled == room:
            return FULL, i, filled, FINE
        if totals[LIVE] == most_live:
            return GROW, i, filled, FINE

        op = rows.op[i]
        id = rows.id[i if rows.id.size > 1 else 0]
        size = rows.size[i if rows.size.size > 1 else 0]
        time = rows.time[i if has_time else 0]
        align = rows.align[i if has_align else 0]
        stream = rows.stream[i if has_stream else 0]
        place, slot, other = np.int64(0), np.int64(-1), np.int64(-1)
        wrong = FINE

        if op >= OPS:
            wrong = BAD_ROW if op == UNREADABLE else BAD_OP
        elif time != MISSING and time < totals[LAST_TIME]:
            wrong = TIME_BACK
        elif stream != MISSING and (stream < -(1 << 31) or stream >= 1 << 31):
            wrong = BAD_STREAM
        elif op != TRIM and id != MISSING:
            place = find(pairs, mask, id)
            slot = pairs[2 * place + 1]
            if op == ALLOC:
                if slot >= 0:
                    wrong = IS_LIVE
            elif slot < 0 and op != COMPLETE:
                wrong = NOT_LIVE
        elif op != TRIM and op != FREE and op != COMPLETE:
            wrong = NO_ID

        if wrong == FINE and (op == ALLOC or op == REALLOC):
            if size == MISSING:
                wrong = NO_SIZE
            elif size < 0 or size > MOST_BYTES:
                wrong = SIZE_RANGE
            elif align == MISSING:
                align = 0
            elif align <= 0 or align > MOST_BYTES or align & (align - 1) != 0:
                wrong = BAD_ALIGN
        elif wrong == FINE and (op == COPY or op == SWAP):
            dst = rows.dst[i if has_dst else 0]
            align = 0
            if size == MISSING:
                size = -1
            elif size < 0 or size > MOST_BYTES:
                wrong = SIZE_RANGE
            if dst == MISSING:
                wrong = NO_DST
            else:
                other = pairs[2 * find(pairs, mask, dst) + 1]
                if other < 0:
                    wrong = DST_NOT_LIVE
        else:
            size, align = 0, 0

        if wrong != FINE:
            totals[INVALID_ROWS] += 1
            if stop:
                return INVALID, i, filled, wrong
            continue

        event = totals[EVENT]
        if op == ALLOC:
            if totals[SPARE_SLOTS] > 0:
                totals[SPARE_SLOTS] -= 1
                slot = np.int64(spare[totals[SPARE_SLOTS]])
            else:
                slot = totals[USED]
                totals[USED] += 1
            pairs[2 * place] = id
            pairs[2 * place + 1] = slot
            slots[2 * slot] = size
            slots[2 * slot + 1] = event
            totals[LIVE] += 1
            totals[LIVE_BYTES] += size
        elif op == REALLOC and size > 0:
            totals[LIVE_BYTES] += size - slots[2 * slot]
            slots[2 * slot] = size
        elif op == FREE or op == REALLOC:
            op = np.uint8(FREE)
            align = 0
            if slot >= 0:
                take_out(pairs, mask, place)
                spare[totals[SPARE_SLOTS]] = slot
                totals[SPARE_SLOTS] += 1
                bytes = slots[2 * slot]
                life = log2_class(event - slots[2 * slot + 1])
                table.lifetime_bytes[life] += bytes
                table.size_lifetime[64 * log2_class(bytes) + life] += 1
                totals[LIVE] -= 1
                totals[LIVE_BYTES] -= bytes
            else:
                totals[NULL_FREES] += 1

        if op == ALLOC or op == REALLOC:
            totals[TOTAL_BYTES] += size
            table.size_bins[size_bin(size)] += 1
            table.size_bytes[log2_class(size)] += size
            totals[LARGEST] = max(totals[LARGEST], size)
            if size > 0:
                totals[SMALLEST] = min(totals[SMALLEST], size)
            if totals[LIVE_BYTES] > totals[PEAK_BYTES]:
                totals[PEAK_BYTES] = totals[LIVE_BYTES]
                totals[PEAK_EVENT] = event
        totals[OP_COUNTS + op] += 1
        totals[EVENT] = event + 1

        out.op[filled] = op
        out.block[filled] = slot
        out.size[filled] = size
        if out.align.size > 1:
            out.align[filled] = align
            totals[ALIGNED] |= align
        if out.stream.size > 1:
            value = 0 if stream == MISSING else stream
            out.stream[filled] = value
            totals[STREAMED] |= value
        if out.dst.size > 1:
            out.dst[filled] = other
            totals[PAIRED] |= other + 1
        if out.tag.size > 1:
            tag = rows.tag[i if has_tag else 0]
            out.tag[filled] = tag
            totals[TAGGED] |= tag + 1
        if out.time.size > 1:
            if time == MISSING:
                time = totals[LAST_TIME] if totals[LAST_TIME] != MISSING else 0
            if event == 0:
                totals[FIRST_TIME] = time
            totals[LAST_TIME] = time
            out.time[filled] = time
        if out.id.size > 1:
            out.id[filled] = MISSING if op == TRIM else id
        if out.row.size > 1:
            out.row[filled] = i
        filled += 1
    return DONE, rows.op.size, filled, FINE
