"""Measures of fragmentation: the reserved bytes that are lost inside blocks (internal) and between blocks (external)."""

import numpy as np

from memtrace.engine import recorder as rec
from memtrace.engine.known import ALLOCATED, HOLES, SIZES, STATES
from memtrace.measures.declaration import AT_PEAK, Readings, first_or_none, mean, metric

ORDER = 2
WILSON = "Wilson, Johnstone, Neely and Boles 1995, Dynamic storage allocation, section 2"
GORMAN = "Gorman and Healy 2005, Measuring the impact of the Linux memory manager, unusable free space index"


@metric("ratio", "lower", "mean over samples of 1 - L / A, 0 where A = 0", WILSON, (STATES, ALLOCATED))
def internal_frag_mean(r: Readings) -> float | None:
    return mean(r.samples.internal())


@metric("ratio", "lower", f"1 - L / A {AT_PEAK}, 0 where A = 0", WILSON, (STATES, ALLOCATED))
def internal_frag_at_peak(r: Readings) -> float | None:
    return first_or_none(r.at_peak().internal())


@metric("ratio", "lower", "mean over samples of 1 - max h / F, 0 where F = 0", WILSON, (STATES, HOLES))
def external_frag_mean(r: Readings) -> float | None:
    return mean(r.samples.external())


@metric("ratio", "lower", f"1 - max h / F {AT_PEAK}, 0 where F = 0", WILSON, (STATES, HOLES))
def external_frag_at_peak(r: Readings) -> float | None:
    return first_or_none(r.at_peak().external())


@metric(
    "ratio",
    "lower",
    "max over samples, not over all events, of 1 - max h / F, 0 where F = 0: a lower bound of the maximum",
    WILSON,
    (STATES, HOLES),
)
def external_frag_max(r: Readings) -> float | None:
    values = r.samples.external()
    return float(values.max()) if values.size else None


@metric("ratio", "lower", "mean over samples of 1 - sqrt(sum h^2) / F, 0 where F = 0", needs=(STATES, SIZES))
def squares_frag_mean(r: Readings) -> float | None:
    return mean(r.samples.squares())


@metric(
    "ratio",
    "lower",
    "max over samples, not over all events, of 1 - sqrt(sum h^2) / F, 0 where F = 0: a lower bound of the maximum",
    needs=(STATES, SIZES),
)
def squares_frag_max(r: Readings) -> float | None:
    values = r.samples.squares()
    return float(values.max()) if values.size else None


@metric("ratio", "lower", f"1 - sqrt(sum h^2) / F {AT_PEAK}, 0 where F = 0", needs=(STATES, SIZES))
def squares_frag_at_peak(r: Readings) -> float | None:
    return first_or_none(r.at_peak().squares())


@metric(
    "ratio",
    "lower",
    "share of F in holes below the trace's median request above 0 bytes (the smallest size that half of them do not exceed), "
    f"{AT_PEAK}",
    GORMAN,
    (STATES, SIZES),
)
def unusable_median_at_peak(r: Readings) -> float | None:
    return unusable(r, "below_median")


@metric("ratio", "lower", "the same for the 99th percentile of requests", GORMAN, (STATES, SIZES))
def unusable_p99_at_peak(r: Readings) -> float | None:
    return unusable(r, "below_p99")


def unusable(r: Readings, column: str) -> float:
    """Return the share of the free bytes at the peak of reserved bytes that lies in holes too small for a request of some size.

    ``column`` names the recorded count of bytes in such holes. Return 0 where nothing is free.
    """
    return min(1.0, float(np.nan_to_num(r.at_peak().ratio(column, "free"))[0]))


@metric("ratio", "higher", f"L / R {AT_PEAK}", needs=(STATES,))
def utilisation_at_peak(r: Readings) -> float | None:
    return first_or_none(r.at_peak().ratio("live", "reserved"))


@metric("holes", "lower", "mean over events of the number of holes", needs=(STATES, HOLES))
def holes_mean(r: Readings) -> float | None:
    return r.total(rec.HOLES_SUM) / r.placement.events if r.placement.events else None


@metric("holes", "lower", "max over events of the number of holes", needs=(STATES, HOLES))
def holes_max(r: Readings) -> int:
    return r.total(rec.HOLES_MAX)
