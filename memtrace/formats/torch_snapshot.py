"""PyTorch's memory snapshots, torch.cuda.memory._dump_snapshot: pickles, read without torch, and without running anything.

The program's own requests are read: alloc, free, and use by other streams. What the recorded allocator did about them
(segments) is not in the trace; `memtrace whatif` compares with it. A recording that starts in mid-run gets the blocks
that were there in front. Tags are the innermost frame of the user's own code. Of several devices that with most events
is read; `--format torch-snapshot:1` reads device 1. All versions since 2.0, and torch.profiler's memory timelines.

Source: PyTorch, torch/csrc/cuda/memory_snapshot.cpp, and recordings of 2.1 to 2.14.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.trace.raw import Batch
    from memtrace.trace.source import Source

NAME = "torch-snapshot"
SUFFIXES = (".pickle", ".pkl")


def sniff(head: bytes, path: str) -> bool:
    """Whether the file starts as a pickle of protocol 2 to 5 does."""
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def read(source: Source, device: str = "") -> Iterator[Batch]:
    """The rows of one device, in batches."""
    from memtrace.snapshot.batches import read_batches

    return read_batches(source, device)
