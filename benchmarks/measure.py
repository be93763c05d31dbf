"""Interleaved timing: every column takes its turn on a trace, trace after trace, round after round.

A machine that slows down for a while then slows all columns alike. What is reported is each column's best
round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.cache import TraceFile

BATCH = 1 << 20  # events in a batch of a replay; times of policies are known batch by batch


def steady_from(trace: TraceFile) -> int:
    """The event from which on the cost is steady: the first batch that begins after the ramp."""
    return -(-trace.ramp // BATCH) * BATCH


@dataclass(frozen=True)
class Sample:
    """One turn of a column on a trace: user CPU nanoseconds per event, and what the placement came to."""

    ns: float
    steady_ns: float
    peak_reserved_bytes: int | None = None  # None: the column does not say
    holes: int | None = None
    address_sum: int | None = None


class Column(Protocol):
    """Something that replays traces: a policy at some detail, a twin, the C library."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    def measure(self, trace: TraceFile, min_seconds: float) -> Sample:
        """Replay the trace, again and again until the replays took that long."""


@dataclass
class Results:
    """All samples of a run of the benchmarks."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)

    def add(self, column: str, trace: str, sample: Sample) -> None:
        """Keep one more turn."""
        self.samples.setdefault((column, trace), []).append(sample)

    def first(self, column: str, trace: str) -> Sample | None:
        """Any sample of a column on a trace; the placement is the same in all."""
        return next(iter(self.samples.get((column, trace), ())), None)

    def ns(self, column: str, trace: str) -> float | None:
        """The best round's nanoseconds per event of the whole trace."""
        return min((one.ns for one in self.samples.get((column, trace), ())), default=None)

    def steady_ns(self, column: str, trace: str) -> float | None:
        """The best round's nanoseconds per event after the ramp."""
        return min((one.steady_ns for one in self.samples.get((column, trace), ())), default=None)

    @property
    def columns(self) -> list[str]:
        """The columns' names, in the order of their first turn."""
        return list(dict.fromkeys(column for column, _ in self.samples))

    @property
    def traces(self) -> list[str]:
        """The traces' names, in the order of their first turn."""
        return list(dict.fromkeys(trace for _, trace in self.samples))


def run_rounds(
    columns: Sequence[Column],
    traces: Sequence[TraceFile],
    *,
    rounds: int,
    min_seconds: float,
    progress: Callable[[str], None],
) -> Results:
    """A B C, A B C, ...: every column on every trace, `rounds` times over."""
    results = Results()
    for number in range(1, rounds + 1):
        for trace in traces:
            progress(f"round {number} of {rounds}: {trace.name}")
            for column in columns:
                results.add(column.name, trace.name, column.measure(trace, min_seconds))
    return results
