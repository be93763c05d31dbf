"""What `memtrace record native` writes while a program runs: its calls of malloc and free, 40 bytes each.

A header names the process, the number of calls that follow, and the most that glibc held from the system for the process,
which is kept in the metadata. The tag is the function that was called (aligned: memalign and its relatives). A program that
was killed leaves a file that is whole up to its last call.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import InputError
from memtrace.formats._calls import FREES, MALLOCS, REALLOCS, Calls
from memtrace.formats._reading import BATCH_ROWS, EventBatcher
from memtrace.trace.batches import MISSING

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "calls"
SUFFIXES = (".calls",)

MAGIC = b"memtrace.calls/1"
FIRST_RECORD = 4096  # offset in the file
# As in recorder.c. inherited: calls of the parent before the fork; heap_peak: bytes, 0 if unknown; cut: an
# errno, 0 if the recording went on until the program ended.
HEADER = np.dtype(
    [
        *(("magic", "S16"), ("count", "<u8"), ("inherited", "<u8"), ("heap_peak", "<u8"), ("heap_count", "<u8")),
        *(("pid", "<u4"), ("parent", "<u4"), ("number", "<u4"), ("parent_number", "<u4"), ("program", "S52"), ("cut", "<u4")),
    ]
)
# As in recorder.c. time: ns; block: the pointer returned or freed; old: the pointer that realloc was given; align: log2.
RECORD = np.dtype(
    [
        *(("time", "<u8"), ("block", "<u8"), ("old", "<u8"), ("size", "<u8")),
        *(("thread", "<u4"), ("call", "u1"), ("align", "u1"), ("unused", "<u2")),
    ]
)
TAGS = ("malloc", "free", "realloc", "calloc", "aligned")  # by `call` of a record
KINDS = np.array([MALLOCS, FREES, REALLOCS, MALLOCS, MALLOCS], np.uint8)  # by `call` of a record
FREE, REALLOC, ALIGNED = 1, 2, 4  # values of `call`


def sniff(head: bytes, path: str) -> bool:
    """Return whether the file starts with the recorder's magic bytes."""
    return head.startswith(MAGIC)


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks."""
    events = EventBatcher(NAME, ("op", "id", "size", "time", "align", "stream", "tag"), True, None, word="call")
    said: list[str] = []
    metadata: dict[str, str] = {}
    with source.open() as stream:
        header = _header(stream.read(FIRST_RECORD), source.label)
        done, count = 0, int(header["count"])
        while done < count:
            records = _records(stream, min(BATCH_ROWS, count - done), source.label, done)
            if not records.size:
                said.append(f"the file ends early, after {done:,} of {count:,} calls")
                break
            yield from _batches(records, events, done)
            done += records.size
    if header["cut"]:
        said.append(f"the recording ended after {count:,} calls, before the program did: {os.strerror(int(header['cut']))}")
    metadata["program"] = bytes(header["program"]).decode(errors="replace")
    if header["heap_peak"]:
        metadata["heap_peak_bytes"] = str(header["heap_peak"])
    yield events.last(said, metadata)


def _header(data: bytes, label: str) -> Any:
    """Return the header's fields; raises InputError if `data`, the file's first bytes, is no such header."""
    if len(data) < HEADER.itemsize or not data.startswith(MAGIC):
        raise InputError(f"{label} is no recording of memtrace record native: its header is missing")
    return np.frombuffer(data, HEADER, 1)[0]


def _records(stream: Any, most: int, label: str, done: int) -> Any:
    """Return the next records, at most `most`; fewer at the end of the file.

    Raises InputError for a call of an unknown kind; `label` and `done`, the number of records before, are for its message.
    """
    parts, missing = [], most * RECORD.itemsize
    while missing and (data := stream.read(missing)):
        parts.append(data)
        missing -= len(data)
    data = b"".join(parts)
    records = np.frombuffer(data, RECORD, len(data) // RECORD.itemsize)
    unknown = np.flatnonzero(records["call"] >= len(TAGS))
    if unknown.size:
        row = int(unknown[0])
        raise InputError(
            f"{label}: call {done + row + 1} is of a kind that is not known, {records['call'][row]}: the file is damaged"
        )
    return records


def _batches(records: Any, events: EventBatcher, done: int) -> Iterator[Batch]:
    """Yield the events of some records in batches; `done` is the number of records before these."""
    call = records["call"]
    old = np.where(call == REALLOC, _signed(records["old"]), MISSING)
    aligned = call == ALIGNED
    old[aligned] = np.int64(1) << np.minimum(records["align"][aligned], 62).astype(np.int64)
    # In place of line numbers: `settle` passes this column on, so that each row has the index of its call.
    which = np.arange(records.size)
    time, thread = _signed(records["time"]), records["thread"].astype(np.int64)
    calls = Calls(KINDS[call], _signed(records["block"]), old, _signed(records["size"]), thread, time, which)
    for rows in events.settled(calls, records.size):
        made = call[rows.line]
        batch = events.batch(rows._replace(line=rows.line + done + 1), {}, done + records.size)
        tag = np.where((rows.op == 0) & (made != FREE), made.astype(np.int32), np.int32(-1))
        yield replace(batch, rows=batch.rows._replace(tag=tag), tags=TAGS)


def _signed(column: Any) -> Any:
    """Return a column of uint64 as int64, without converting the bits."""
    return np.ascontiguousarray(column).view(np.int64)
