"""Define what a workload returns: pieces of events on their way to a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.trace.model import Int32s, Int64s

PIECE_EVENTS = 1 << 18  # about the number of events that a piece should have: some MiB


class Piece(NamedTuple):
    """Store consecutive events as columns, one element for each; MISSING where an event has no such value, None for no column."""

    op: NDArray[np.uint8]  # codes of Op
    id: Int64s
    size: Int64s  # bytes
    tag: Int32s  # index into `Made.tags`, -1 for none
    time: Int64s | None = None  # nanoseconds
    stream: Int64s | None = None
    dst: Int64s | None = None  # id of the second block of a copy


@dataclass(frozen=True)
class Made:
    """Describe what a workload's `generate` returns: its events, which can be read once."""

    pieces: Iterator[Piece]
    tags: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)  # metadata of the trace, such as the model's parameter count
    events: int | None = None  # number of events in all pieces, None if unknown
