"""What a trace is once it is read: batches of prepared events, and the facts counted over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "memtrace.trace/1"
COLUMNS = ("op", "id", "size", "time", "align", "stream", "dst", "tag")
BATCH_ROWS = 1 << 20

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]


class Op(IntEnum):
    """What an event does; the codes of the prepared column `op`."""

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
    """One batch of prepared columns, read-only; a column that the trace lacks is one element, its default."""

    op: NDArray[np.uint8]
    block: Int32s  # slot: below max_live and used again; -1 where there is no block
    size: Int64s  # bytes requested (alloc, realloc) or moved (copy, swap; -1: the whole block); 0 else
    align: Int64s  # 0: the policy's own
    stream: Int32s
    dst: Int32s  # slot of the second block of a copy or swap, -1 else
    tag: Int32s  # code into Trace.tags, -1 for none


@dataclass(frozen=True, eq=False)
class Facts:
    """Exact counts over the events kept; class k of sizes and lifetimes is [2^k, 2^(k+1)), and 0 in class 0."""

    events: int
    allocs: int
    frees: int  # reallocs to size 0 among them, frees of null too
    reallocs: int
    copies: int
    swaps: int
    accesses: int
    trims: int
    records: int
    completes: int
    null_frees: int
    invalid_events: int
    never_freed: int
    max_live: int  # most blocks live at once, or freed and waiting for a stream: the number of slots
    total_bytes: int  # requested by alloc and realloc
    peak_live_bytes: int
    peak_live_event: int
    median_request: int  # nearest rank over requests of more than 0 bytes; 0 if there is none
    p99_request: int
    smallest_request: int
    largest_request: int
    size_counts: Int64s  # [64] requests by size class
    size_bytes: Int64s  # [64]
    lifetime_counts: Int64s  # [64] freed blocks by events from alloc to free
    lifetime_bytes: Int64s  # [64]
    size_lifetime: Int64s  # [64, 64] freed blocks by size class and lifetime class
    first_time: int
    last_time: int


class Prepared(Protocol):
    """Where the prepared columns are: in memory, or in a file."""

    def batches(self, rows: int) -> Iterator[Events]: ...

    def column(self, name: str, events: Int64s) -> Int64s | None:
        """The values of `time` or `id` at these event numbers, None if that column was not kept."""

    def nbytes(self) -> int: ...

    def share(self, directory: Path, name: str) -> Prepared:
        """The same in a file in this directory, which another process opens by its path."""


@dataclass(frozen=True, eq=False)
class Trace:
    """A valid trace, prepared for replay. It pickles; `share` makes that cheap."""

    name: str
    source: str
    sha256: str
    metadata: dict[str, str]
    tags: tuple[str, ...]
    facts: Facts
    columns: tuple[str, ...]  # those that the input has
    prepared: Prepared

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[Events]:
        """All events in order, at most this many at a time; every call starts anew."""
        return self.prepared.batches(rows)

    def times(self, events: Int64s) -> Int64s:
        """Nanoseconds at these event numbers; the numbers themselves where the trace has no time."""
        numbers = np.asarray(events, np.int64)
        found = self.prepared.column("time", numbers)
        return numbers.copy() if found is None else found

    def ids(self, events: Int64s) -> Int64s:
        """The input's ids at these event numbers, MISSING for none; needs `read(..., keep_ids=True)`."""
        found = self.prepared.column("id", np.asarray(events, np.int64))
        if found is None:
            raise ValueError("the ids of this trace were not kept: read it with keep_ids=True")
        return found

    def share(self, directory: str | Path) -> Trace:
        """The same trace with its columns in a file in `directory`: sending it to a process sends a path."""
        return replace(self, prepared=self.prepared.share(Path(directory), self.name))

    def to_pandas(self) -> pd.DataFrame:
        """One row per event: op by name, block, and the columns that the trace has."""
        from memtrace.trace.frame import to_frame

        return to_frame(self)

    def __repr__(self) -> str:
        return f"<Trace {self.name}: {self.facts.events:,} events, {self.facts.max_live:,} blocks live at most>"


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The array, not to be written to: compiled code takes writable and read-only arrays for two types."""
    array.flags.writeable = False
    return array
