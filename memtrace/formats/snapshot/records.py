"""The contents of a memory snapshot as columns: for each device the recorded events, and the segments and blocks at the end of
the recording.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from numpy.typing import NDArray

from memtrace.formats.snapshot.schema import Versions
from memtrace.trace.model import Int32s, Int64s

# A stream here is PyTorch's handle of it (a small number or an address), plus the code of its private pool << POOL_BITS.
POOL_BITS = 50
HOST = -1  # in place of a device's number: pinned memory of the host


class Action(IntEnum):
    """Name the kinds of recorded events; OTHER is any kind that no replay needs."""

    ALLOC = 0
    FREE_REQUESTED = 1
    FREE_COMPLETED = 2
    SEGMENT_ALLOC = 3
    SEGMENT_FREE = 4
    SEGMENT_MAP = 5
    SEGMENT_UNMAP = 6
    OOM = 7
    OTHER = 8


class State(IntEnum):
    """Name the states of a block at the end of the recording."""

    INACTIVE = 0
    ALLOCATED = 1
    PENDING = 2  # freed, but another stream may still use it


class Recorded(NamedTuple):
    """Hold the events of a device as columns, oldest first.

    Sizes are as PyTorch records them: of a block the requested bytes, of a segment its bytes, of an OOM the rounded request.
    """

    action: NDArray[Any]  # codes of Action
    address: Int64s  # of an OOM: free bytes of the device; -1 where it was not recorded
    size: Int64s  # bytes, -1 where it was not recorded
    stream: Int64s  # handles, above them the private pool (POOL_BITS)
    time_us: Int64s  # microseconds, -1 where it was not recorded
    site: Int32s  # index into Snapshot.sites, -1 for none
    pool: Int32s  # code of the pool's id, 0 for the default pool


class Segments(NamedTuple):
    """Hold the segments of a device at the end as columns, by address.

    An expandable segment has a row for each contiguous mapped range.
    """

    address: Int64s
    size: Int64s  # bytes
    stream: Int64s  # as in Recorded
    large: NDArray[Any]  # bool: of the large pool
    expandable: NDArray[Any]  # bool
    pool: Int32s  # code of the pool's id, 0 for the default pool


class Blocks(NamedTuple):
    """Hold the blocks of a device at the end as columns, in the order of their segments."""

    address: Int64s
    size: Int64s
    requested: Int64s  # bytes; meaningless for an inactive block; the size where it was not recorded
    state: NDArray[Any]  # codes of State
    segment: Int64s  # row in Segments
    site: Int32s  # index into Snapshot.sites, -1 for none


@dataclass(frozen=True, eq=False)
class Recording:
    """Hold what a snapshot says about one device."""

    device: int
    events: Recorded
    segments: Segments
    blocks: Blocks
    pools_told: bool = True  # whether events say which pool they are of; else it is inferred from the segments at the end

    @property
    def failed(self) -> bool:
        """Return whether a request failed for lack of memory."""
        return bool((self.events.action == Action.OOM).any())


class Site(NamedTuple):
    """Name a place in the user's program where blocks were requested."""

    tag: str  # file, line and function, with as few folders as tell the sites apart
    file: str
    line: int
    name: str  # of the function


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Hold the contents of a snapshot file."""

    recordings: dict[
        int, Recording
    ]  # by device number, HOST for pinned memory; devices with neither events nor segments are left out
    settings: dict[str, Any]  # allocator_settings as recorded; empty in old files
    sites: list[Site]
    versions: Versions  # of PyTorch that can have written the file
    notes: list[str] = field(default_factory=list)  # remarks for the user, in sentences

    def main(self) -> Recording:
        """Return the recording of the device that ran out of memory, and if none did, of the one with the most events.

        Of several devices that ran out, or equals, it is the one with more events, then with more reserved bytes at the end.
        """
        devices = [one for one in self.recordings.values() if one.device != HOST] or list(self.recordings.values())
        return max(devices, key=lambda one: (one.failed, one.events.action.size, one.segments.size.sum()))
