"""A placement's recorder -> the figures that metrics are computed from, under their names."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memtrace.engine import recorder as rec
from memtrace.structures import ledger as led

if TYPE_CHECKING:
    from memtrace.replaying import Placement

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Rows:
    """States written down by the recorder, one per row: int64 arrays under the names of ``recorder.ROW``."""

    def __init__(self, table: Ints) -> None:
        self.table = table

    def column(self, name: str) -> Ints:
        return self.table[:, rec.ROW.index(name)]

    def ratio(self, above: str, below: str) -> Floats:
        """One column over another, nan where that is 0."""
        return divided(self.column(above), self.column(below))

    def internal(self) -> Floats:
        """1 - live / allocated, 0 where nothing is allocated."""
        return 1.0 - divided(self.column("live"), self.column("allocated"), 1.0)

    def external(self) -> Floats:
        """1 - largest / free, 0 where nothing is free."""
        return 1.0 - divided(self.column("largest"), self.column("free"), 1.0)

    def squares(self) -> Floats:
        """1 - sqrt(sum of squares) / free, 0 where nothing is free."""
        high, low = self.column("squares_high"), self.column("squares")
        root = np.sqrt(high.astype(np.float64) * float(led.SQUARE_UNIT) + low.astype(np.float64))
        return np.maximum(1.0 - divided(root, self.column("free"), 1.0), 0.0)


class Readings:
    """What one replay wrote down."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.facts = placement.trace.facts
        self.totals = placement.recorder.totals
        self.sums = placement.recorder.sums
        self.ledger = placement.ledger
        # A replay that ran out of memory took only some of the samples that were planned.
        self.samples = Rows(placement.recorder.samples[: int(self.totals[rec.SAMPLE])])

    @cached_property
    def knows_holes(self) -> bool:
        """Whether the policy counts the sizes of its holes, which an adapted one does not."""
        from memtrace.engine.binding import has_ledger

        return has_ledger(self.placement.policy.module) and not self.hides

    @cached_property
    def hides(self) -> bool:
        """Whether only addresses and footprint are known, and the footprint only where it was read: a real allocator."""
        from memtrace.engine.registry import is_real

        return is_real(self.placement.policy.module)

    def total(self, index: int) -> int:
        return int(self.totals[index])

    def booked(self, index: int) -> int:
        return int(self.ledger[index])

    def peak(self, which: int) -> Rows:
        return Rows(self.placement.recorder.peaks[which : which + 1])

    def at_peak(self) -> Rows:
        """The state at the first event of the peak of reserved bytes."""
        return self.peak(rec.AT_PEAK_RESERVED)


def divided(above: NDArray[np.generic], below: NDArray[np.generic], if_zero: float = float("nan")) -> Floats:
    result = np.full(above.shape, if_zero, np.float64)
    np.divide(above, below, out=result, where=below != 0, casting="unsafe")
    return result


def mean(values: Floats) -> float | None:
    """The mean of what is no nan; None if nothing is."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else None


def only(values: Floats) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])


def share(above: float, below: float) -> float | None:
    return above / below if below else None
