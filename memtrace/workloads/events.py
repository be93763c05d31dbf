"""Blocks of generated events on their way to a trace, and what a workload hands over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.trace.model import Int32s, Int64s

PIECE_EVENTS = 1 << 18  # about as many as a piece should hold: some MiB


class Piece(NamedTuple):
    """Events in order, one row each; `MISSING` where an event has no such value."""

    op: NDArray[np.uint8]
    id: Int64s
    size: Int64s
    tag: Int32s  # code into `Made.tags`, -1 for none
    time: Int64s | None = None
    stream: Int64s | None = None
    dst: Int64s | None = None


@dataclass(frozen=True)
class Made:
    """What a workload's `generate` gives: its events in pieces, once."""

    pieces: Iterator[Piece]
    tags: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)  # of the workload, such as its parameter count
    events: int | None = None  # how many will come, where that is known
