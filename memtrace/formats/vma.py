"""Recordings of the Vulkan Memory Allocator 2.x (pRecordSettings): CSV of calls below `Vulkan Memory Allocator,Calls recording`.

Allocations of memory and of buffers are read; a buffer has the size that was asked for it, which the driver may round up. An
image has no size in a recording: images are left out, counted. Calls that move no memory are left out. The thread is the stream.
Source: GPUOpen-LibrariesAndSDKs/VulkanMemoryAllocator, docs/Recording file format.md, versions 1.0 to 1.8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.formats._logs import LogFormat, read_log
from memtrace.formats._patterns import Line

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "vma"
SUFFIXES = (".csv",)

START = b"Vulkan Memory Allocator,Calls recording"  # first bytes of a recording


def words(count: int) -> str:
    """Return the pattern of so many fields of numbers, each with its comma."""
    return "{word}," * count


FORMAT = LogFormat(
    NAME,
    (
        Line("alloc", f"vmaCreateBuffer,{{word}},{{size}},{words(8)}{{ptr}},{{*}}", "buffer"),
        Line("free", "vmaDestroyBuffer,{ptr}"),
        Line("alloc", f"vmaAllocateMemory,{{size}},{{align}},{words(7)}{{ptr}},{{*}}", "memory"),
        Line("free", "vmaFreeMemory,{ptr}"),
        Line("alloc", f"vmaAllocateMemoryForBuffer,{{size}},{{align}},{words(9)}{{ptr}},{{*}}", "buffer"),
        Line("alloc", f"vmaAllocateMemoryForImage,{{size}},{{align}},{words(9)}{{ptr}},{{*}}", "image"),
        Line("skip", "vmaCreateImage,{*}", note=1),
        Line("again", "vmaDestroyImage,{ptr}"),
        Line("skip", "vmaAllocateMemoryPages,{*}", note=2),
        Line("skip", "vmaFreeMemoryPages,{*}"),
        Line("bad", "vmaCreateBuffer,{*}"),
        Line("bad", "vmaDestroyBuffer,{*}"),
        Line("bad", "vmaAllocateMemory{*}"),
        Line("bad", "vmaFreeMemory,{*}"),
        Line("skip", "vma{*}", note=3),
    ),
    heads=("{thread},{s},{word},",),
    columns=("op", "id", "size", "time", "align", "stream", "tag"),
    notes=(
        "images, whose size is not in a recording, left out",
        "allocations of several blocks at once, left out",
        "calls that move no memory, left out",
    ),
    foreign="lines of the header and the configuration, left out",
)


def sniff(head: bytes, path: str) -> bool:
    """Return whether the file has the first line of a recording."""
    return head.startswith(START)


def read(source: Source) -> Iterator[Batch]:
    """Yield events of numbered blocks."""
    return read_log(source, FORMAT)
