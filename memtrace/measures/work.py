"""Measures of a policy's work: holes searched, splits, merges, calls to the system, and bytes moved."""

from memtrace.contract import ledger as led
from memtrace.engine import recorder as rec
from memtrace.engine.known import CALLS, FITS, MERGES, SEARCHES, SPLITS, STATES
from memtrace.measures.declaration import Readings, metric, share

ORDER = 3
KNUTH = "Knuth, The Art of Computer Programming 1, 2.5"


@metric("holes", "lower", "mean over requests of the holes that a linear free list would inspect", KNUTH, (STATES, SEARCHES))
def search_mean(r: Readings) -> float | None:
    return share(r.total(rec.SEARCH_SUM), r.total(rec.REQUESTS))


@metric("holes", "lower", "max over requests of the holes that a linear free list would inspect", KNUTH, (STATES, SEARCHES))
def search_max(r: Readings) -> int:
    return r.total(rec.SEARCH_MAX)


@metric("ratio", "lower", "mean over requests served from a hole of the hole's size / block size", needs=(STATES, FITS))
def fit_ratio_mean(r: Readings) -> float | None:
    return share(float(r.sums[rec.FIT_RATIO]), r.total(rec.FITS))


@metric("count", "lower", "holes that were cut in two", needs=(SPLITS,))
def splits(r: Readings) -> int:
    return r.booked(led.SPLITS)


@metric("count", "lower", "holes that were joined with a neighbour", needs=(MERGES,))
def merges(r: Readings) -> int:
    return r.booked(led.MERGES)


@metric("bytes", "lower", "bytes copied by reallocations that moved, by copies and swaps, and by the policy itself")
def moved_bytes(r: Readings) -> int:
    return r.total(rec.MOVED) + r.booked(led.MOVED)


@metric("count", "lower", "times that bytes were got from the system", needs=(CALLS,))
def reserve_calls(r: Readings) -> int:
    return r.booked(led.RESERVE_CALLS)


@metric("count", "", "times that bytes were given back to the system", needs=(CALLS,))
def release_calls(r: Readings) -> int:
    return r.booked(led.RELEASE_CALLS)
