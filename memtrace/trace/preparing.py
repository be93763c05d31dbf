"""Drive the preparing kernel: turn batches of raw rows into full batches of prepared events, and then return the facts.

The kernel fills the prepared columns (`Out`), and the live blocks with the running counts (`Table`). The 99th percentile and
the median of the request sizes are exact: the kernel's bins give the interval of sizes in which each lies, and further passes
over the sizes narrow it down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.kernels import kernel
from memtrace.trace import checking, live_ids
from memtrace.trace.batches import MISSING, Batch
from memtrace.trace.checking import ALLOC, EXACT, EXACT_BITS, REALLOC, STEP_BITS
from memtrace.trace.model import BATCH_ROWS, Facts, Int32s, Int64s, Op, Prepared, read_only

FINE_BITS = 16  # each refining pass counts in at most 2^FINE_BITS bins
FIRST_PLACES = 1 << 12  # places of the hash table at the start, twice the number of slots
# Called with an invalid row: its batch, its number in the batch, and a code of the kernel that says what is wrong. It may raise.
Report = Callable[[Batch, int, int], None]


class Out(NamedTuple):
    """Receive prepared events, one element for each in every column; a column that is not wanted has one element in all.

    The columns are those of `model.Events`, and `time` (nanoseconds), `id` (of the input) and `row`.
    """

    op: NDArray[np.uint8]
    block: Int32s
    size: Int64s
    align: Int64s
    stream: Int32s
    dst: Int32s
    tag: Int32s
    time: Int64s
    id: Int64s
    row: Int32s  # the event's row number in its raw batch


class Table(NamedTuple):
    """Keep the live blocks of a trace and the running counts.

    A place is an index in the hash table of `live_ids`; `slots` and `waiting` have two elements for each slot.
    """

    pairs: Int64s  # [2 * places] id and slot of each place; slot -1: the place is empty
    # [2 * slots] bytes, and event of the alloc (-1 - event: another stream uses the block); for a waiting block WAITS and its id.
    slots: Int64s
    waiting: Int64s  # [2 * slots] doubly linked list of waiting blocks: slots freed next after and last before this one, -1: none
    spare: Int32s  # stack of free slots; totals[SPARE_SLOTS] is its height
    totals: Int64s  # [TOTALS] counts, at the indices that `kernel` defines
    size_bins: Int64s  # [SIZE_BINS] number of requests by `checking.size_bin`
    size_bytes: Int64s  # [64] requested bytes by size class floor(log2)
    lifetime_bytes: Int64s  # [64] bytes of freed blocks by lifetime class floor(log2), in events
    size_lifetime: Int64s  # [64 * size class + lifetime class] freed blocks


def request_of_rank(prepared: Prepared, size_bins: Int64s, percent: int) -> int:
    """Return the request in bytes of rank ceil(percent/100 * n) among the n requests of more than 0 bytes, or 0 if n is 0.

    `size_bins` are the kernel's counts of all requests by `checking.size_bin`.
    """
    bins = size_bins.copy()
    bins[0] = 0
    requests = int(bins.sum())
    if not requests:
        return 0
    rank = -(-percent * requests // 100)
    found, rank = _bin_of(bins, rank)
    if found < EXACT:
        return found
    step, low = divmod(found - EXACT, 1 << STEP_BITS)
    start, bits = (low + (1 << STEP_BITS)) << (step + EXACT_BITS - STEP_BITS), step + EXACT_BITS - STEP_BITS
    while bits:
        shift = max(0, bits - FINE_BITS)
        counts = np.zeros(1 << (bits - shift), np.int64)
        for events in prepared.batches(BATCH_ROWS):
            _count.run(events.op.size, events.op, events.size, start, shift, counts)
        found, rank = _bin_of(counts, rank)
        start, bits = start + (found << shift), shift
    return start


def _bin_of(counts: Int64s, rank: int) -> tuple[int, int]:
    """Return the index of the bin that contains a rank (from 1), and the rank within that bin."""
    upto = np.cumsum(counts)
    found = int(np.searchsorted(upto, rank))
    return found, rank - int(upto[found] - counts[found])


@kernel(error_model="numpy")
def _count(op, size, start, shift, counts):  # type: ignore[no-untyped-def]
    """Count the requests of at least `start` bytes in bins of 2^shift bytes, in place.

    Requests beyond the last bin are ignored.
    """
    for i in range(op.size):
        if op[i] == ALLOC or op[i] == REALLOC:
            place = (size[i] - start) >> shift
            if place >= 0 and place < counts.size:
                counts[place] += 1


class Preparer:
    """Keep the live blocks and the counts of a trace as far as it has been read, and the output batch that is being filled."""

    def __init__(self, columns: tuple[str, ...], *, keep_ids: bool = False, keep_rows: bool = False) -> None:
        """Start an empty trace.

        `columns` are the names that the input has; `keep_ids` and `keep_rows` add each event's id and row number to the output.
        """
        self.columns = columns
        self.keep_rows = keep_rows
        optional = [name for name in ("align", "stream", "dst", "tag", "time") if name in columns]
        self.filling = (*optional, "id") if keep_ids else tuple(optional)
        self.table = _new_table()
        self.out = self._new_out()
        self.filled = 0

    def prepare(self, batch: Batch, report: Report | None) -> Iterator[Out]:
        """Prepare all rows of a raw batch, and yield the output each time it is full.

        With `report`, each invalid row is passed to it; without, such rows are only counted.
        """
        start = 0
        while True:
            with np.errstate(over="ignore"):  # the hash wraps round, of which numpy warns if the kernel is not compiled
                rows = batch.rows.op.size
                why, start, self.filled, wrong = checking.prepare.run(
                    rows, batch.rows, start, self.out, self.filled, self.table, report is not None
                )
            if why == checking.DONE:
                return
            if why == checking.FULL:
                yield self.taken()
            elif why == checking.GROW:
                self.table = _grown(self.table)
            elif report is not None:
                report(batch, start, wrong)
                start += 1

    def taken(self) -> Out:
        """Return the events put out since the last call as read-only columns cut to length, and start a new output."""
        out, filled = self.out, self.filled
        self.out, self.filled = self._new_out(), 0
        if filled == out.op.size:
            return Out(*(read_only(column) for column in out))
        # A copy, so that the memory of the unused rest is freed.
        return Out(*(read_only(column[:filled].copy() if column.size > 1 else column) for column in out))

    def _new_out(self) -> Out:
        """Return an empty output of BATCH_ROWS events; a column that is not wanted has one element, its default."""

        def column(kept: bool, kind: type, default: int = 0) -> Any:
            """Return an array for one column."""
            return np.empty(BATCH_ROWS, kind) if kept else np.full(1, default, kind)

        has = self.filling.__contains__
        return Out(
            op=column(True, np.uint8),
            block=column(True, np.int32),
            size=column(True, np.int64),
            align=column(has("align"), np.int64),
            stream=column(has("stream"), np.int32),
            dst=column(has("dst"), np.int32, -1),
            tag=column(has("tag"), np.int32, -1),
            time=column(has("time"), np.int64),
            id=column(has("id"), np.int64),
            row=column(self.keep_rows, np.int32),
        )

    def dull(self) -> tuple[str, ...]:
        """Return the names of the optional columns that have only default values so far; they may be left out."""
        flags = {
            "align": checking.ALIGNED,
            "stream": checking.STREAMED,
            "dst": checking.PAIRED,
            "tag": checking.TAGGED,
        }
        return tuple(name for name, flag in flags.items() if not self.table.totals[flag])

    def facts(self, rank: Callable[[Int64s, int], int]) -> Facts:
        """Return the facts; `rank(size_bins, percent)` must return the request of that percentile in bytes."""
        table, totals = self.table, [int(number) for number in self.table.totals]
        events = totals[checking.EVENT]
        counts = dict(zip(Op, totals[checking.OP_COUNTS :], strict=True))
        size_lifetime = table.size_lifetime.reshape(64, 64)
        timed = "time" in self.columns
        return Facts(
            events=events,
            allocs=counts[Op.ALLOC],
            frees=counts[Op.FREE],
            reallocs=counts[Op.REALLOC],
            copies=counts[Op.COPY],
            swaps=counts[Op.SWAP],
            accesses=counts[Op.ACCESS],
            trims=counts[Op.TRIM],
            records=counts[Op.RECORD],
            completes=counts[Op.COMPLETE],
            null_frees=totals[checking.NULL_FREES],
            invalid_events=totals[checking.INVALID_ROWS],
            never_freed=totals[checking.LIVE],
            max_live=totals[checking.USED],
            total_bytes=totals[checking.TOTAL_BYTES],
            peak_live_bytes=totals[checking.PEAK_BYTES],
            peak_live_event=totals[checking.PEAK_EVENT],
            median_request=rank(table.size_bins, 50),
            p99_request=rank(table.size_bins, 99),
            smallest_request=totals[checking.SMALLEST] if totals[checking.LARGEST] else 0,
            largest_request=totals[checking.LARGEST],
            size_counts=read_only(_size_counts(table.size_bins)),
            size_bytes=read_only(table.size_bytes),
            lifetime_counts=read_only(size_lifetime.sum(axis=0)),
            lifetime_bytes=read_only(table.lifetime_bytes),
            size_lifetime=read_only(size_lifetime),
            first_time=totals[checking.FIRST_TIME] if timed else 0,
            last_time=totals[checking.LAST_TIME] if timed and events else max(events - 1, 0),
        )


def _new_table() -> Table:
    """Return the kernel's table of a trace without events."""
    totals = np.zeros(checking.TOTALS, np.int64)
    totals[checking.LAST_TIME] = MISSING
    totals[checking.SMALLEST] = np.iinfo(np.int64).max
    totals[checking.NEWEST] = -1
    return Table(
        pairs=np.full(2 * FIRST_PLACES, -1, np.int64),
        slots=np.zeros(FIRST_PLACES, np.int64),
        waiting=np.zeros(FIRST_PLACES, np.int64),
        spare=np.zeros(FIRST_PLACES // 2, np.int32),
        totals=totals,
        size_bins=np.zeros(checking.SIZE_BINS, np.int64),
        size_bytes=np.zeros(64, np.int64),
        lifetime_bytes=np.zeros(64, np.int64),
        size_lifetime=np.zeros(64 * 64, np.int64),
    )


def _grown(table: Table) -> Table:
    """Return a copy of the table with twice the places and slots."""
    pairs = np.full(2 * table.pairs.size, -1, np.int64)
    with np.errstate(over="ignore"):
        live_ids.rehash.run(table.pairs.size, table.pairs, pairs)
    slots, waiting = (np.zeros(2 * table.slots.size, np.int64) for _ in range(2))
    slots[: table.slots.size] = table.slots
    waiting[: table.waiting.size] = table.waiting
    spare = np.zeros(2 * table.spare.size, np.int32)
    spare[: table.spare.size] = table.spare
    return table._replace(pairs=pairs, slots=slots, waiting=waiting, spare=spare)


def _size_counts(bins: Int64s) -> Int64s:
    """Return the requests by size class floor(log2(size)), summed from the finer bins of the kernel."""
    counts = np.zeros(64, np.int64)
    for power in range(checking.EXACT_BITS):
        counts[power] = bins[(1 << power if power else 0) : 2 << power].sum()
    steps = bins[checking.EXACT :].reshape(-1, 1 << checking.STEP_BITS).sum(axis=1)
    counts[checking.EXACT_BITS : checking.EXACT_BITS + steps.size] = steps
    return counts
