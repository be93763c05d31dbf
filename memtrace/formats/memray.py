"""memray's capture files (memray run, Tracker): needs the extra `memtrace-replay[memray]`.

Every call that memray saw is read, as memray counts them itself; the tag is the allocator that was called. memray records
a realloc as a free and an alloc. With --trace-python-allocators the objects and the arenas beneath them are both in
the file. Threads are numbered by first appearance. A munmap of part of a mapping is left out.
Source: bloomberg/memray, FileReader.get_allocation_records.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.errors import InputError, UsageError
from memtrace.formats import _reading as _given
from memtrace.formats._capture import ENDED, Capture
from memtrace.formats._reading import Call, EventBatcher

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "memray"
SUFFIXES = (".bin", ".memray")

MAGIC, LZ4 = b"memray", b"\x04\x22\x4d\x18"  # a capture is compressed with LZ4 by default
EXTRA = "pip install 'memtrace-replay[memray]'"
PARTS = ("parts", "pymalloc")  # keys of `counts` in `_calls`


def sniff(head: bytes, path: str) -> bool:
    """Return whether the file starts with memray's magic bytes, compressed or not."""
    return head.startswith(MAGIC) or (head.startswith(LZ4) and MAGIC in head[:32])


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks; raises UsageError if memray is not installed, InputError if it cannot read the file."""
    try:
        import memray
    except ImportError:
        raise UsageError(f"reading memray's captures needs an extra: {EXTRA}") from None
    counts = dict.fromkeys(PARTS, 0)
    events = EventBatcher(NAME, ("op", "id", "size", "stream", "tag"), True, None, word="record")
    said: list[str] = []
    with source.seekable() as path:
        yield from _given.batches(_calls(memray, source, path, counts, said), events)
    if counts["parts"]:
        said.append(f"unmappings of a part of a mapping, left out: {counts['parts']:,}")
    if counts["pymalloc"]:
        said.append(f"calls of Python's own allocator, read besides those beneath it: {counts['pymalloc']:,}")
    yield events.last(said, {})


def _calls(memray: Any, source: Source, path: Path, counts: dict[str, int], said: list[str]) -> Iterator[Call]:
    """Yield the calls in a capture file.

    `counts` counts, in place, partial unmappings (left out) and calls of Python's allocator; `said` gets a sentence if the file
    is damaged.
    """
    kinds = memray.AllocatorType
    names = {int(kind): kind.name.lower() for kind in kinds}
    frees = {int(kinds.FREE), int(kinds.PYMALLOC_FREE), int(kinds.MUNMAP)}
    mapped: dict[int, int] = {}
    capture = Capture(path)
    number = 0
    for number, (kind, address, size, thread) in enumerate(capture.records(), 1):
        name = names.get(kind, "unknown")
        counts["pymalloc"] += name.startswith("pymalloc")
        if kind == kinds.MUNMAP:
            if mapped.pop(address, size) != size:
                counts["parts"] += 1
                continue
        elif kind == kinds.MMAP:
            mapped[address] = size
        if kind in frees:
            yield _given.free(number, address, thread=thread)
        else:
            yield _given.alloc(number, address, size, thread=thread, tag=name)
    if capture.how == ENDED:
        return
    if not number:
        raise InputError(f"{source.label}: memray cannot read it: {capture.message}\ntry: record it again, without --aggregate")
    said.append(f"the file is cut or damaged after {number:,} records: the rest of the recording is missing")
