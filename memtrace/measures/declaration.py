"""Declare a measure: its name, unit, formula and source beside the function that computes its value from ``Readings``.

``Readings`` gives the figures that a replay recorded by name: it wraps a placement's recorder and ledger. ``Rows`` wraps the
recorded samples or peaks, and computes the fragmentation of each row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from memtrace.contract import ledger as led
from memtrace.engine import recorder as rec

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement

Unit = Literal["bytes", "ratio", "count", "event", "holes", "word"]
Direction = Literal["lower", "higher", ""]  # the direction that is better; "" where neither is
Value = int | float | str | None
DESIGN = "this project"  # the source of measures that were not taken from a publication
# The state that the measures "at the peak" look at; see `Readings.at_peak`.
AT_PEAK = "at the first event with the peak of R, or of A in a heap that never grows"
JOHNSTONE_WILSON = "Johnstone and Wilson 1998, The memory fragmentation problem: solved?, section 3"


@dataclass(frozen=True)
class Metric:
    """One measure, which is one column of summary.parquet."""

    name: str  # of the column
    unit: Unit
    direction: Direction
    formula: str  # the definition in words, printed by `memtrace metrics`
    source: str  # the paper or book that defines the measure, or DESIGN
    compute: Callable[[Readings], Value]  # None where the measure has no value
    needs: tuple[str, ...] = ()  # words of memtrace.engine.known; where one is not known, the measure has no value


def metric(
    unit: Unit, direction: Direction, formula: str, source: str = DESIGN, needs: tuple[str, ...] = ()
) -> Callable[[Callable[[Readings], Value]], Metric]:
    """Return a decorator that turns a function of Readings into a Metric of the function's name."""

    def declare(compute: Callable[[Readings], Value]) -> Metric:
        """Wrap the function in a Metric."""
        return Metric(
            name=compute.__name__,
            unit=unit,
            direction=direction,
            formula=formula,
            source=source,
            compute=compute,
            needs=needs,
        )

    return declare


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Rows:
    """Recorded states of a replay, one per row, with the columns that ``recorder.ROW`` names."""

    def __init__(self, table: Ints) -> None:
        """Wrap an int64 array `[row, column]`."""
        self.table = table

    def column(self, name: str) -> Ints:
        """Return the column of this name, one value per row."""
        return self.table[:, rec.ROW.index(name)]

    def ratio(self, above: str, below: str) -> Floats:
        """Return column ``above`` divided by column ``below``, and NaN where the divisor is 0."""
        return divided(self.column(above), self.column(below))

    def internal(self) -> Floats:
        """Return the internal fragmentation of each row: 1 - live / allocated, 0 where nothing is allocated."""
        return 1.0 - divided(self.column("live"), self.column("allocated"), 1.0)

    def external(self) -> Floats:
        """Return the external fragmentation of each row: 1 - largest hole / free bytes, 0 where nothing is free."""
        return 1.0 - divided(self.column("largest"), self.column("free"), 1.0)

    def squares(self) -> Floats:
        """Return 1 - sqrt(sum of the squares of hole sizes) / free bytes of each row, 0 where nothing is free."""
        high, low = self.column("squares_high"), self.column("squares")
        root = np.sqrt(high.astype(np.float64) * float(led.SQUARE_UNIT) + low.astype(np.float64))
        return np.maximum(1.0 - divided(root, self.column("free"), 1.0), 0.0)


class Readings:
    """The figures that one replay recorded: running counts, peaks, samples, and the policy's ledger."""

    def __init__(self, placement: Placement) -> None:
        """Take the recorder and the ledger of a finished replay."""
        self.placement = placement
        self.facts = placement.trace.facts
        self.totals = placement.recorder.totals
        self.sums = placement.recorder.sums
        self.ledger = placement.ledger
        # A replay that ran out of memory took only the first of the planned samples; the rows behind them were never written.
        self.samples = Rows(placement.recorder.samples[: int(self.totals[rec.SAMPLE])])

    @cached_property
    def known(self) -> frozenset[str]:
        """Return what is known of the replay, as words of memtrace.engine.known."""
        from memtrace.engine.known import known_of

        return known_of(self.placement)

    def value(self, metric: Metric) -> Value:
        """Return the value of a measure, or None where it has none or something that it needs is not known."""
        return metric.compute(self) if self.known.issuperset(metric.needs) else None

    def total(self, index: int) -> int:
        """Return one running count of the recorder; ``index`` is a constant of memtrace.engine.recorder such as PEAK_LIVE."""
        return int(self.totals[index])

    def booked(self, index: int) -> int:
        """Return one count of the policy's ledger; ``index`` is a constant of memtrace.contract.ledger such as SPLITS."""
        return int(self.ledger[index])

    def peak(self, which: int) -> Rows:
        """Return the recorded state at one of the three peaks, as a single row.

        ``which`` is AT_PEAK_LIVE, AT_PEAK_ALLOCATED or AT_PEAK_RESERVED.
        """
        return Rows(self.placement.recorder.peaks[which : which + 1])

    def at_peak(self) -> Rows:
        """Return the state at the peak of reserved bytes, as a single row.

        It is that at the first event with the peak. A heap that never grows, as a pool of fixed size, reserves its peak at
        once, before it has blocks: there it is the state at the first event with the peak of allocated bytes (of live ones
        where those are not known), if the same bytes are reserved then.
        """
        from memtrace.engine.known import ALLOCATED

        if self.total(rec.RISES) == 1:
            fullest = self.peak(rec.AT_PEAK_ALLOCATED if ALLOCATED in self.known else rec.AT_PEAK_LIVE)
            if fullest.column("reserved")[0] == self.total(rec.PEAK_RESERVED):
                return fullest
        return self.peak(rec.AT_PEAK_RESERVED)

    @cached_property
    def states(self) -> Rows:
        """Return the rows of timeline.parquet: the samples, and the states at the three peaks; not in order.

        A peak that is 0 after all events was reached by none, and has no state.
        """
        reached = self.totals[[rec.PEAK_LIVE, rec.PEAK_ALLOCATED, rec.PEAK_RESERVED]] > 0
        return Rows(np.concatenate((self.samples.table, self.placement.recorder.peaks[reached])))

    @cached_property
    def gaps(self) -> tuple[Ints, Ints]:
        """Return start and end of the ranges below, between and above the live blocks at the end; some may be empty.

        A block is what was asked for, without rounding. This is for policies with all blocks in the one range that is reserved.
        """
        from memtrace.engine.blocks import PLACED

        blocks = self.placement.blocks
        live = np.flatnonzero((blocks["status"] == PLACED) & (blocks["requested"] > 0))
        start = blocks["address"][live].astype(np.int64)
        order = np.argsort(start, kind="stable")
        start, size = start[order], blocks["requested"][live].astype(np.int64)[order]
        return np.concatenate(([0], start + size)), np.concatenate((start, [self.booked(led.RESERVED)]))

    @cached_property
    def fixed(self) -> bool:
        """Return whether the same bytes were reserved all the time, and no call to the system was made: a fixed pool."""
        from memtrace.engine.known import CALLS

        calls = self.booked(led.RESERVE_CALLS) + self.booked(led.RELEASE_CALLS)
        first = int(self.peak(rec.AT_PEAK_RESERVED).column("event")[0])
        return CALLS in self.known and calls == 0 and first == 0 and self.total(rec.PEAK_RESERVED) > 0


def divided(above: NDArray[np.generic], below: NDArray[np.generic], if_zero: float = float("nan")) -> Floats:
    """Return the quotients of two arrays, with ``if_zero`` where the divisor is 0."""
    result = np.full(above.shape, if_zero, np.float64)
    np.divide(above, below, out=result, where=below != 0, casting="unsafe")
    return result


def mean(values: Floats) -> float | None:
    """Return the mean of the values that are not NaN, or None if all are."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else None


def first_or_none(values: Floats) -> float | None:
    """Return the first value, or None if it is NaN."""
    return None if np.isnan(values[0]) else float(values[0])


def share(above: float, below: float) -> float | None:
    """Return the quotient, or None if the divisor is 0."""
    return above / below if below else None
