"""Define the prepared trace: its ops, batches of events, facts counted over all events, and the class Trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

SCHEMA = "memtrace.trace/1"
COLUMNS = ("op", "id", "size", "time", "align", "stream", "dst", "tag")  # of a trace file, in the order of the schema
BATCH_ROWS = 1 << 20  # events of a prepared batch
Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]


class Op(IntEnum):
    """Name what an event does; the values are the codes of the prepared column `op`."""

    ALLOC = 0
    FREE = 1
    REALLOC = 2
    COPY = 3
    SWAP = 4
    ACCESS = 5
    TRIM = 6
    RECORD = 7
    COMPLETE = 8


class Events(NamedTuple):
    """Store one batch of prepared events as read-only columns.

    A column that the trace lacks has one element, its default, instead of one for each event.
    """

    op: NDArray[np.uint8]
    block: Int32s  # slot of the block, below Facts.max_live; -1 where there is no block
    size: Int64s  # bytes requested (alloc, realloc) or moved (copy, swap; -1: the whole block); 0 for other ops
    align: Int64s  # bytes; 0: the policy's own alignment
    stream: Int32s  # GPU stream or thread
    dst: Int32s  # slot of the second block of a copy or swap, -1 for other ops
    tag: Int32s  # index into Trace.tags, -1 for none


@dataclass(frozen=True, eq=False)
class Facts:
    """Count what a trace contains, exactly, over its valid events.

    Class k of sizes (bytes) and lifetimes (events) is the half-open interval [2^k, 2^(k+1)); 0 is in class 0.
    """

    events: int
    allocs: int
    frees: int  # with reallocs to size 0 and frees of null
    reallocs: int
    copies: int
    swaps: int
    accesses: int
    trims: int
    records: int
    completes: int
    null_frees: int  # frees that name no block
    invalid_events: int  # rows that were left out
    never_freed: int  # blocks live after the last event
    max_live: int  # number of slots: the most blocks that were at once live, or freed and waiting for a stream
    total_bytes: int  # requested by alloc and realloc
    peak_live_bytes: int
    peak_live_event: int  # number of the first event after which the live bytes were at their peak
    median_request: int  # bytes, nearest rank over requests of more than 0 bytes; 0 if there is none
    p99_request: int  # bytes, 99th percentile, likewise
    smallest_request: int  # bytes, of requests of more than 0 bytes; 0 if there is none
    largest_request: int  # bytes
    size_counts: Int64s  # [64] requests by size class
    size_bytes: Int64s  # [64] requested bytes by size class
    lifetime_counts: Int64s  # [64] freed blocks by lifetime class (events from alloc to free)
    lifetime_bytes: Int64s  # [64] bytes of freed blocks by lifetime class
    size_lifetime: Int64s  # [64, 64] freed blocks by size class and lifetime class
    first_time: int  # nanoseconds; 0 without a time column
    last_time: int  # nanoseconds; the last event's number without a time column


class Prepared(Protocol):
    """Define the interface of the storage of prepared columns: in memory (`store.Memory`) or in a file (`store.File`)."""

    # Yields all events in order, at most `rows` in a batch.
    def batches(self, rows: int) -> Iterator[Events]: ...

    def column(self, name: str, events: Int64s) -> Int64s | None:
        """Return the values of `time` or `id` at these event numbers, or None if that column was not kept."""

    # Returns the bytes that the columns take in memory or in the file.
    def nbytes(self) -> int: ...

    def share(self, directory: Path, name: str) -> Prepared:
        """Return a copy of the storage in a file in this directory, which other processes open by its path."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Store where a file's own plan puts the blocks of a trace: one entry for each request, in their order."""

    offset: Int64s  # bytes; -1 where the plan does not say
    place: Int64s  # where the request is in the file: the number of a line, or of the unit `word`
    word: str


@dataclass(frozen=True, eq=False)
class Trace:
    """Store a valid trace, prepared for replay. It can be pickled; `share` makes the pickle small."""

    name: str  # of the file without its suffix, or of the workload
    source: str  # the path, URL or workload as the user gave it
    sha256: str  # hexadecimal digest of the file's stored bytes, or of the columns of a trace made in Python
    metadata: dict[str, str]
    tags: tuple[str, ...]  # texts that the codes of Events.tag index
    facts: Facts
    columns: tuple[str, ...]  # names of the columns that the input has
    prepared: Prepared
    plan: Plan | None = None  # None: the file has none, or it was read without it

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[Events]:
        """Yield all events in order, at most `rows` in a batch; every call starts at the first event."""
        return self.prepared.batches(rows)

    def times(self, events: Int64s) -> Int64s:
        """Return the times in nanoseconds of these event numbers; the numbers themselves if the trace has no time."""
        numbers = np.asarray(events, np.int64)
        found = self.prepared.column("time", numbers)
        return numbers.copy() if found is None else found

    def ids(self, events: Int64s) -> Int64s:
        """Return the input's ids at these event numbers, MISSING where an event has none.

        Raises ValueError unless the trace was read with keep_ids=True.
        """
        found = self.prepared.column("id", np.asarray(events, np.int64))
        if found is None:
            raise ValueError("the ids of this trace were not kept: read it with keep_ids=True")
        return found

    def share(self, directory: str | Path) -> Trace:
        """Return the same trace with its columns in a file in `directory`, so that sending it to a process sends only a path."""
        return replace(self, prepared=self.prepared.share(Path(directory), self.name))

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with one row per event: op by name, block, size, and the other columns that the trace has."""
        from memtrace.trace.store import to_frame

        return to_frame(self)

    def to_arrow(self) -> pyarrow.Table:
        """Return an arrow table with one row per event, and the columns of `to_pandas`."""
        import pyarrow

        return pyarrow.Table.from_pandas(self.to_pandas().reset_index(), preserve_index=False)

    def _repr_html_(self) -> str:
        """Return the trace's name and its facts as HTML, which a notebook shows."""
        from html import escape

        return f"<p>{escape(repr(self)[1:-1])}</p>"

    def __repr__(self) -> str:
        """Return the trace's name, its number of events and the greatest number of live blocks."""
        return f"<Trace {self.name}: {self.facts.events:,} events, {self.facts.max_live:,} blocks live at most>"


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Mark an array as read-only, in place, and return it.

    Compiled code has different types for writable and read-only arrays, and the engine is compiled for read-only ones.
    """
    array.flags.writeable = False
    return array


def split_after(batches: Iterable[Events], after: Int64s) -> Iterator[Events]:
    """Yield the same events in batches such that each event number in `after` is the last event of its batch.

    `after` is ascending. Columns are slices of the input, not copies; a column of one element (a default) is passed on.
    """
    start = 0
    for events in batches:
        count = events.op.size
        inside = after[np.searchsorted(after, start) : np.searchsorted(after, start + count)] - start + 1
        for low, high in pairwise(dict.fromkeys([0, *inside.tolist(), count])):
            yield Events._make(column if column.size == 1 else column[low:high] for column in events)
        start += count
