"""From a recorder's file to the events of a trace: pointers become ids, one for each block's lifetime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Call(IntEnum):
    """The function that the program called; the numbers of recorder.c."""

    MALLOC = 0
    FREE = 1
    REALLOC = 2
    CALLOC = 3
    ALIGNED = 4


RECORD = np.dtype(
    [
        ("time", "u8"),
        ("block", "u8"),
        ("old", "u8"),
        ("size", "u8"),
        ("align", "u4"),
        ("thread", "u2"),
        ("call", "u2"),
    ]
)


class Row(NamedTuple):
    """An event of memtrace.trace/1."""

    op: str
    id: int
    size: int | None = None
    time: int | None = None
    align: int | None = None
    stream: int = 0
    tag: str | None = None


@dataclass
class Decoder:
    """The blocks that are live, by pointer; and what had to be left out or read differently."""

    live: dict[int, int] = field(default_factory=dict)
    blocks: int = 0  # ids given
    unknown: int = 0  # frees and reallocs of blocks from before the recording

    def rows(self, records: np.ndarray) -> Iterator[Row]:
        """The events of the records, in their order."""
        for time, block, old, size, align, thread, call in records.tolist():
            if call == Call.FREE:
                if (id := self.live.pop(block, None)) is None:
                    self.unknown += 1
                else:
                    yield Row("free", id, time=time, stream=thread)
            elif call == Call.REALLOC and (id := self._moved(old, block)) is not None:
                yield Row("realloc", id, size, time, stream=thread)
            else:
                yield Row("alloc", self._new(block), size, time, align or None, thread, Call(call).name.lower())

    def _new(self, block: int) -> int:
        if block in self.live:
            raise ValueError(f"block {block:#x} was handed out twice: the recording missed a free")
        self.live[block] = self.blocks
        self.blocks += 1
        return self.live[block]

    def _moved(self, old: int, block: int) -> int | None:
        """The id of the block that a realloc resized; None where there was none, or none that is known."""
        id = self.live.pop(old, None)
        if id is not None:
            self.live[block] = id
        elif old:
            self.unknown += 1
        return id


def records(path: Path) -> np.ndarray:
    """The calls in a recorder's file; its first record holds their number."""
    count = int(np.fromfile(path, np.uint64, 1)[0])
    return np.fromfile(path, RECORD, count, offset=RECORD.itemsize)
