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
# Version of a capture's header -> the first memray that writes it, and the first that no longer does. Each memray reads the
# version that it writes, and no other. Source: bloomberg/memray, src/memray/_memray/records.h, CURRENT_HEADER_VERSION.
RELEASES = {
    6: ("1.0.0", "1.1"),
    7: ("1.1.0", "1.2"),
    8: ("1.2.0", "1.4"),
    9: ("1.4.0", "1.7"),
    10: ("1.7.0", "1.11"),
    11: ("1.11.0", "1.19"),
    12: ("1.19.0", "1.20"),
    13: ("1.20.0", ""),  # the newest that is known
}
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
        raise InputError(f"{source.label}: {refusal(source.head(), capture.message, memray.__version__)}")
    said.append(f"the file is cut or damaged after {number:,} records: the rest of the recording is missing")


def refusal(head: bytes, message: str, installed: str) -> str:
    """Return why memray refused a capture that begins with `head`, and what to try.

    `message` is what memray said, `installed` its version.
    """
    if "aggregated" in message:
        return "an aggregated capture holds sums, no single allocations\ntry: record it again without --aggregate"
    version = header_version(head)
    if "incompatible" not in message or version is None:
        return f"memray cannot read it: {message}\ntry: record it again"
    if version not in RELEASES:
        newer = version > max(RELEASES)
        return (
            f"it was written by {'a newer' if newer else 'an older'} memray (version {version} of its header), and memray "
            f"{installed} is installed\ntry: " + ("pip install --upgrade memray" if newer else "record it again")
        )
    first, end = RELEASES[version]
    wanted = f"memray>={first}" + (f",<{end}" if end else "")
    return (
        f"it was written by another memray (version {version} of its header: {first} or later"
        + (f", before {end}" if end else "")
        + f"), and memray {installed} is installed, which reads its own version only\ntry: pip install '{wanted}'"
    )


def header_version(head: bytes) -> int | None:
    """Return the version in the header of a capture, of which `head` has the first bytes; None if it cannot be read."""
    if head.startswith(LZ4):
        import pyarrow as pa

        try:
            head = pa.CompressedInputStream(pa.BufferReader(head), "lz4").read(len(MAGIC) + 5)
        except OSError:
            return None
    at = len(MAGIC) + 1  # behind the magic bytes and a zero
    return int.from_bytes(head[at : at + 4], "little") if head.startswith(MAGIC) and len(head) >= at + 4 else None
