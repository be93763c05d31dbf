"""Generated traces and compiled twins, kept between runs in one folder that git ignores."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.workloads import Columns, Workload

FOLDER = Path(__file__).with_name(".cache")
FORMAT = 1  # raise it when a generator or the file's layout changes
HEADER = 3  # int64: events, blocks, ramp


@dataclass(frozen=True)
class TraceFile:
    """A generated trace on disk, in the layout that cpp/trace.hpp reads."""

    workload: Workload
    path: Path
    events: int
    ramp: int

    @property
    def name(self) -> str:
        """The workload's name."""
        return self.workload.name

    def columns(self) -> Columns:
        """The trace, in memory."""
        return load(self.path)


def store(columns: Columns, path: Path) -> None:
    """Write a trace; the file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    with unfinished.open("wb") as file:
        np.array([columns.op.size, columns.blocks, columns.ramp], np.int64).tofile(file)
        for column in (columns.size, columns.block, columns.op):
            np.ascontiguousarray(column).tofile(file)
    unfinished.replace(path)


def load(path: Path) -> Columns:
    """Read a trace that `store` wrote."""
    events, _, ramp = (int(word) for word in np.fromfile(path, np.int64, HEADER))
    start = 8 * HEADER
    size = np.fromfile(path, np.int64, events, offset=start)
    block = np.fromfile(path, np.int32, events, offset=start + 8 * events)
    op = np.fromfile(path, np.uint8, events, offset=start + 12 * events)
    return Columns(op, block, size, ramp)


def trace_file(workload: Workload, *, quick: bool, folder: Path = FOLDER, seed: int = 0) -> TraceFile:
    """The workload's trace, generated if it is not there yet."""
    length = workload.quick_events if quick else workload.events
    path = folder / "traces" / f"{workload.name}-{length}-{seed}-v{FORMAT}.bin"
    if not path.exists():
        store(workload.generate(length, seed), path)
    events, _, ramp = (int(word) for word in np.fromfile(path, np.int64, HEADER))
    return TraceFile(workload, path, events, ramp)
