"""PyTorch's memory snapshots, torch.cuda.memory._dump_snapshot: pickles, read without torch, and without running anything.

The program's own requests are read: alloc, free, and use by other streams. What the recorded allocator did about them
(segments) is not in the trace; `memtrace whatif` compares with it. If a recording starts in mid-run, the blocks that were
live then are put in front. Tags are the innermost frame of the user's own code. Of several devices the one with most events
is read; `--format torch-snapshot:1` reads device 1. All versions since 2.0 are read, and torch.profiler's memory timelines.

Source: PyTorch, torch/csrc/cuda/memory_snapshot.cpp, and recordings of 2.1 to 2.14.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "torch-snapshot"
SUFFIXES = (".pickle", ".pkl")


def sniff(head: bytes, path: str) -> bool:
    """Return whether the file starts as a pickle of protocol 2 to 5."""
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def read(source: Source, device: str = "") -> Iterator[Batch]:
    """Yield the rows of one device in batches; `device` is its number as text, "" for the device with most events."""
    from memtrace.formats.snapshot.batches import read_batches

    return read_batches(source, device)
