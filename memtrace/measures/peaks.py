"""Peaks of live, allocated and reserved bytes, and the four measures of Johnstone and Wilson of reserved over live bytes."""

from memtrace.engine import recorder as rec
from memtrace.engine.known import ALLOCATED, EVENTS, STATES
from memtrace.measures.declaration import AT_PEAK, JOHNSTONE_WILSON, Readings, first_or_none, metric, share

ORDER = 1


@metric("bytes", "", "max of L over the events of the trace: no placement can do with less")
def lower_bound_bytes(r: Readings) -> int:
    return r.facts.peak_live_bytes


@metric("bytes", "", "max of L over the events replayed", needs=(STATES,))
def peak_live_bytes(r: Readings) -> int:
    return r.total(rec.PEAK_LIVE)


@metric("event", "", "first event with the peak of L", needs=(STATES,))
def peak_live_event(r: Readings) -> int:
    return int(r.peak(rec.AT_PEAK_LIVE).column("event")[0])


@metric("bytes", "lower", "max of A over events", needs=(STATES, ALLOCATED))
def peak_allocated_bytes(r: Readings) -> int:
    return r.total(rec.PEAK_ALLOCATED)


@metric("event", "", "first event with the peak of A", needs=(STATES, ALLOCATED))
def peak_allocated_event(r: Readings) -> int:
    return int(r.peak(rec.AT_PEAK_ALLOCATED).column("event")[0])


@metric("bytes", "lower", "max of R over events")
def peak_reserved_bytes(r: Readings) -> int:
    return r.total(rec.PEAK_RESERVED)


@metric("event", "", "first event with the peak of R", needs=(STATES,))
def peak_reserved_event(r: Readings) -> int:
    return int(r.peak(rec.AT_PEAK_RESERVED).column("event")[0])


@metric("ratio", "lower", "mean over events of R / L, minus 1", JOHNSTONE_WILSON + ", measure 1", (STATES, EVENTS))
def jw1(r: Readings) -> float | None:
    return above_one(share(float(r.sums[rec.RESERVED_RATIO]), r.total(rec.RATIO_EVENTS)))


@metric("ratio", "lower", "R / L at the first event with the peak of L, minus 1", JOHNSTONE_WILSON + ", measure 2", (STATES,))
def jw2(r: Readings) -> float | None:
    return above_one(first_or_none(r.peak(rec.AT_PEAK_LIVE).ratio("reserved", "live")))


@metric("ratio", "lower", f"R / L {AT_PEAK}, minus 1", JOHNSTONE_WILSON + ", measure 3", (STATES,))
def jw3(r: Readings) -> float | None:
    return above_one(first_or_none(r.at_peak().ratio("reserved", "live")))


@metric("ratio", "lower", "max of R / max of L, minus 1", JOHNSTONE_WILSON + ", measure 4", (STATES,))
def jw4(r: Readings) -> float | None:
    return above_one(share(r.total(rec.PEAK_RESERVED), r.total(rec.PEAK_LIVE)))


def above_one(ratio: float | None) -> float | None:
    """Return the ratio less 1, or None if there is no ratio."""
    return None if ratio is None else ratio - 1.0
