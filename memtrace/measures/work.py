"""Measures of a policy's work: holes searched, splits, merges, calls to the system, and bytes moved."""

from memtrace.contract import ledger as led
from memtrace.engine import recorder as rec
from memtrace.engine.known import CALLS, FITS, MERGES, SEARCHES, SPLITS, STATES
from memtrace.measures.declaration import Readings, metric, share

ORDER = 5
KNUTH = "Knuth, The Art of Computer Programming 1, 2.5"


# A request that is searched for: of an alloc, of a realloc that was not served in place, of the scratch block of a swap.
SEARCHED = (
    "over requests that are searched for (not reallocs in place, nor 0 bytes that get no block) of the holes that a linear free "
    "list would inspect: up to the one taken, or all if the list is not in the policy's order or none fits; a policy that finds "
    "its hole by a table inspects 1, or 0 if it takes none"
)


@metric("holes", "lower", f"mean {SEARCHED}", KNUTH, (STATES, SEARCHES))
def search_mean(r: Readings) -> float | None:
    return share(r.total(rec.SEARCH_SUM), r.total(rec.REQUESTS))


@metric("holes", "lower", "max over the same requests of the same holes", KNUTH, (STATES, SEARCHES))
def search_max(r: Readings) -> int:
    return r.total(rec.SEARCH_MAX)


@metric(
    "ratio",
    "lower",
    "mean over requests served from a hole of the hole's size / the size asked of it, with rounding and header",
    needs=(STATES, FITS),
)
def fit_ratio_mean(r: Readings) -> float | None:
    return share(float(r.sums[rec.FIT_RATIO]), r.total(rec.FITS))


@metric(
    "count",
    "lower",
    "cuts of a hole, of what the heap grew by, or of a block that shrinks in place, into two; a gap before a block is a cut too; "
    "of a buddy system each halving, above R too",
    needs=(SPLITS,),
)
def splits(r: Readings) -> int:
    return r.booked(led.SPLITS)


@metric(
    "count",
    "lower",
    "joins of a free range with a hole beside it: none, one or two for a block that is freed or shrinks; of a buddy system each "
    "level, above R too, and each buddy that a block grows into",
    needs=(MERGES,),
)
def merges(r: Readings) -> int:
    return r.booked(led.MERGES)


@metric(
    "bytes",
    "lower",
    "bytes copied by reallocations that moved, by copies, by swaps that got their scratch block, and by the policy itself",
)
def moved_bytes(r: Readings) -> int:
    return r.total(rec.MOVED) + r.booked(led.MOVED)


@metric(
    "count",
    "lower",
    "times that bytes were got from the system; without a ledger, calls of the policy after which R is higher",
    needs=(CALLS,),
)
def reserve_calls(r: Readings) -> int:
    return r.booked(led.RESERVE_CALLS)


@metric(
    "count", "", "times that bytes were given back to the system; without a ledger, calls after which R is lower", needs=(CALLS,)
)
def release_calls(r: Readings) -> int:
    return r.booked(led.RELEASE_CALLS)
