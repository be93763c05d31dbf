"""PyTorch's memory snapshots, torch.cuda.memory._dump_snapshot: pickles, read without torch, and without running anything.

The program's own requests are read: alloc, free, and use by other streams. What the recorded allocator did about them
(segments) is not in the trace; `memtrace whatif` compares with it. If a recording starts in mid-run, the blocks that were
live then are put in front; without events, the blocks at the dump are the trace. Tags are the innermost frame of the user's
own code, with annotations and metadata. Of several devices the one that ran out of memory is read, else the one with most
events; `--format torch-snapshot:1` reads device 1, `torch-snapshot:pinned` the pinned memory of the host. All versions since
2.0 are read, and memory_viz pages and JSON of a snapshot.

Source: PyTorch, torch/csrc/cuda/memory_snapshot.cpp, and recordings of 2.1 to 2.15.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "torch-snapshot"
SUFFIXES = (".pickle", ".pkl", ".html")


def sniff(head: bytes, path: str) -> bool:
    """Return whether the file starts as a pickle of protocol 2 to 5, or as a page or JSON that holds a snapshot."""
    from memtrace.formats.snapshot.wrapped import is_wrapped

    return (len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5) or is_wrapped(head)


def read(source: Source, device: str = "") -> Iterator[Batch]:
    """Yield the rows of one device in batches; `device` is its number as text, "" for the main one."""
    from memtrace.formats.snapshot.batches import read_batches

    return read_batches(source, device)
