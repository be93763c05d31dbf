"""Measures of fragmentation: the reserved bytes that are lost inside blocks (internal) and between blocks (external)."""

import numpy as np

from memtrace.engine import recorder as rec
from memtrace.measures.declaration import Readings, first_or_none, mean, metric

ORDER = 2
WILSON = "Wilson, Johnstone, Neely and Boles 1995, Dynamic storage allocation, section 2"
GORMAN = "Gorman and Healy 2005, Measuring the impact of the Linux memory manager, unusable free space index"


@metric("ratio", "lower", "mean over samples of 1 - L / A, 0 where A = 0", WILSON)
def internal_frag_mean(r: Readings) -> float | None:
    return mean(r.samples.internal())


@metric("ratio", "lower", "1 - L / A at the first event with the peak of R, 0 where A = 0", WILSON)
def internal_frag_at_peak(r: Readings) -> float | None:
    return first_or_none(r.at_peak().internal())


@metric("ratio", "lower", "mean over samples of 1 - max h / F, 0 where F = 0", WILSON)
def external_frag_mean(r: Readings) -> float | None:
    return None if r.hides else mean(r.samples.external())


@metric("ratio", "lower", "1 - max h / F at the first event with the peak of R, 0 where F = 0", WILSON)
def external_frag_at_peak(r: Readings) -> float | None:
    return None if r.hides else first_or_none(r.at_peak().external())


@metric("ratio", "lower", "max over samples of 1 - max h / F, 0 where F = 0", WILSON)
def external_frag_max(r: Readings) -> float | None:
    values = r.samples.external()
    return float(values.max()) if values.size and not r.hides else None


@metric("ratio", "lower", "mean over samples of 1 - sqrt(sum h^2) / F, 0 where F = 0")
def squares_frag_mean(r: Readings) -> float | None:
    return mean(r.samples.squares()) if r.knows_holes else None


@metric("ratio", "lower", "1 - sqrt(sum h^2) / F at the first event with the peak of R, 0 where F = 0")
def squares_frag_at_peak(r: Readings) -> float | None:
    return first_or_none(r.at_peak().squares()) if r.knows_holes else None


@metric(
    "ratio",
    "lower",
    "share of F in holes below the trace's median request, at the first event with the peak of R",
    GORMAN,
)
def unusable_median_at_peak(r: Readings) -> float | None:
    return unusable(r, "below_median")


@metric("ratio", "lower", "the same for the 99th percentile of requests", GORMAN)
def unusable_p99_at_peak(r: Readings) -> float | None:
    return unusable(r, "below_p99")


def unusable(r: Readings, column: str) -> float | None:
    """Return the share of the free bytes at the peak of reserved bytes that lies in holes too small for a request of some size.

    ``column`` names the recorded count of bytes in such holes. Return 0 where nothing is free, and None where the holes
    are not known.
    """
    return float(np.nan_to_num(r.at_peak().ratio(column, "free"))[0]) if r.knows_holes else None


@metric("ratio", "higher", "L / R at the first event with the peak of R")
def utilisation_at_peak(r: Readings) -> float | None:
    return first_or_none(r.at_peak().ratio("live", "reserved"))


@metric("holes", "lower", "mean over events of the number of holes")
def holes_mean(r: Readings) -> float | None:
    return r.total(rec.HOLES_SUM) / r.placement.events if r.placement.events and not r.hides else None


@metric("holes", "lower", "max over events of the number of holes")
def holes_max(r: Readings) -> int | None:
    return None if r.hides else r.total(rec.HOLES_MAX)
