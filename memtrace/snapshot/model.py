"""What a memory snapshot says, as columns: per device the recorded events, and the segments and blocks at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from numpy.typing import NDArray

from memtrace.trace.model import Int32s, Int64s

POOL_BITS = 50  # of a stream's number, above its handle, which is small or an address: the private pool


class Action(IntEnum):
    """What the allocator recorded."""

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
    """Of a block at the end."""

    INACTIVE = 0
    ALLOCATED = 1
    PENDING = 2  # freed, but a stream may still use it


class Recorded(NamedTuple):
    """Events, oldest first; sizes as PyTorch records them: requested bytes of a block, bytes of a segment."""

    action: NDArray[Any]
    address: Int64s  # of an OOM: free bytes of the device
    size: Int64s
    stream: Int64s  # handles
    time_us: Int64s  # -1 where it was not recorded
    site: Int32s  # number of a site, -1 for none
    pool: Int32s  # code of a pool's id, 0 for the default pool


class Segments(NamedTuple):
    """At the end, by address; an expandable segment has an entry for each mapped range."""

    address: Int64s
    size: Int64s
    stream: Int64s
    large: NDArray[Any]
    expandable: NDArray[Any]
    pool: Int32s


class Blocks(NamedTuple):
    """At the end, by address; requested says nothing of an inactive block."""

    address: Int64s
    size: Int64s
    requested: Int64s
    state: NDArray[Any]
    segment: Int64s  # its number


@dataclass(frozen=True, eq=False)
class Recording:
    """One device."""

    device: int
    events: Recorded
    segments: Segments
    blocks: Blocks


class Site(NamedTuple):
    """Where in the user's program a block was asked for."""

    tag: str
    file: str
    line: int
    name: str


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A whole file."""

    recordings: dict[int, Recording]  # of devices with events or segments
    settings: dict[str, Any]  # as recorded; empty in old files
    sites: list[Site]
    notes: list[str] = field(default_factory=list)  # what a reader should know, in sentences

    def busiest(self) -> Recording:
        return max(self.recordings.values(), key=lambda one: (one.events.action.size, one.segments.size.sum()))
