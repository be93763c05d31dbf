"""Read XLA's HloProto (`.hlo.pb`) without the protobuf package: the buffer assignment and the heap simulator's trace.

The time of an alloc or a free is the number of its event in the trace. Buffers that share another's memory are one block with
it, until the last of them is freed. Which allocation a buffer is in is found by the buffer's id: the number of the allocation
that the trace itself states may be an old one.
Source: xla/service/hlo.proto, the numbers of the fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from memtrace.formats._xla_text import Block

# Numbers of fields: HloProto, BufferAssignmentProto, LogicalBufferProto, its Location, BufferAllocationProto, its Assigned,
# HeapSimulatorTrace and its Event.
MODULE, ASSIGNMENT = 1, 3
BUFFERS, ALLOCATIONS, TRACES = 1, 3, 4
BUFFER_ID, BUFFER_SIZE, DEFINED_AT = 1, 2, 3
INSTRUCTION_NAME, INSTRUCTION_ID = 2, 4
ALLOCATION_INDEX, ALLOCATION_SIZE, ASSIGNED = 1, 2, 9
ASSIGNED_BUFFER, ASSIGNED_OFFSET, ASSIGNED_SIZE = 1, 2, 3
EVENT, EVENT_KIND, EVENT_BUFFER, EVENT_INSTRUCTION, SHARED_WITH = 1, 1, 2, 4, 5
ALLOC, FREE, SHARE = 0, 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # types of fields on the wire


class Damaged(ValueError):
    """Raised where bytes are no message of protobuf."""


@dataclass
class Arena:
    """An allocation whose buffers were packed by their lifetimes."""

    number: int
    size: int  # bytes
    blocks: list[Block] = field(default_factory=list)
    added: int = 0  # buffers in the allocation that the heap simulator's trace does not have


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at offset `at`, and the offset behind it."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
    raise Damaged("a number has no end")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message: their numbers, with an int or the bytes of a text or message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == VARINT:
            value, at = varint(data, at)
            yield key >> 3, value
            continue
        if kind not in (FIXED64, BYTES, FIXED32):
            raise Damaged(f"there is no type of field {kind}")
        length = 8 if kind == FIXED64 else 4
        if kind == BYTES:
            length, at = varint(data, at)
        if at + length > len(data):
            raise Damaged("a field ends behind the end of its message")
        yield key >> 3, data[at : at + length]
        at += length


def message(data: bytes) -> dict[int, int | bytes]:
    """Return the fields of a message, the last of each number; an absent one is taken as 0 by those who ask."""
    return dict(fields(data))


def number(found: dict[int, int | bytes], which: int) -> int:
    """Return a whole number of a message, 0 where it is absent."""
    value = found.get(which, 0)
    if not isinstance(value, int):
        raise Damaged(f"field {which} is no number")
    return value


def parts(data: bytes, which: int) -> Iterator[bytes]:
    """Yield the bytes of all fields of this number."""
    for key, value in fields(data):
        if key == which:
            if not isinstance(value, bytes):
                raise Damaged(f"field {which} is no message")
            yield value


def arenas(data: bytes) -> list[Arena] | None:
    """Return the allocations of an HloProto that have buffers of heap simulator's traces; None without a buffer assignment.

    Raises Damaged.
    """
    assignment = b"".join(parts(data, ASSIGNMENT))
    if not assignment:
        return None
    owner: dict[int, tuple[Arena, int, int]] = {}  # id of a buffer -> its allocation, offset and size
    for part in parts(assignment, ALLOCATIONS):
        about = message(part)
        arena = Arena(number(about, ALLOCATION_INDEX), number(about, ALLOCATION_SIZE))
        for assigned in map(message, parts(part, ASSIGNED)):
            buffer = number(assigned, ASSIGNED_BUFFER)
            owner[buffer] = (arena, number(assigned, ASSIGNED_OFFSET), number(assigned, ASSIGNED_SIZE))
            arena.added += 1
    found: dict[int, Arena] = {}
    for trace in parts(assignment, TRACES):
        for arena in simulated(trace, owner):
            found[arena.number] = arena
    return sorted(found.values(), key=lambda arena: -arena.size)


def simulated(trace: bytes, owner: dict[int, tuple[Arena, int, int]]) -> list[Arena]:
    """Add the blocks of one heap simulator's trace to the allocations that they are in, and return those allocations."""
    first: dict[int, int] = {}  # buffer -> the buffer whose memory it shares, or itself
    lower: dict[int, int] = {}  # buffer that others share -> its alloc
    upper: dict[int, int] = {}  # the same -> the last free of those that share it
    name: dict[int, str] = {}
    time = 0
    for time, event in enumerate(map(message, parts(trace, EVENT))):
        buffer, kind = number(event, EVENT_BUFFER), number(event, EVENT_KIND)
        if kind == FREE:
            shared = first.get(buffer, buffer)
            upper[shared] = time
            continue
        shared = first.get(number(event, SHARED_WITH), buffer) if kind == SHARE else buffer
        first[buffer] = shared
        if kind == ALLOC:
            lower[buffer] = time
            text = event.get(EVENT_INSTRUCTION, b"")
            name[buffer] = text.decode(errors="replace") if isinstance(text, bytes) else ""
    found: dict[int, Arena] = {}
    sizes: dict[int, int] = {}
    for buffer, shared in first.items():
        if buffer in owner:
            sizes[shared] = max(sizes.get(shared, 0), owner[buffer][2])
            owner[buffer][0].added -= 1
    for buffer, begin in lower.items():
        if buffer in owner:
            arena, offset, _ = owner[buffer]
            end = upper.get(buffer, time + 1)
            arena.blocks.append(Block(name[buffer] or f"buffer.{buffer}", begin, end, sizes[buffer], offset, buffer))
            found[arena.number] = arena
    return list(found.values())
