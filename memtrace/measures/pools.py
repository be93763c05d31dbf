"""High-water marks: how far up a heap was ever used, and, in a pool of fixed size, how little of it was ever free.

A fixed pool reserves the same bytes all the time, so its peak of reserved bytes says nothing; these measures rank pools.
"""

from memtrace.engine import recorder as rec
from memtrace.engine.known import CALLS, ENDS, HOLES, STATES
from memtrace.measures.declaration import Readings, metric

ORDER = 3
FREERTOS = "FreeRTOS, xPortGetMinimumEverFreeHeapSize; ESP-IDF, heap_caps_get_info"
FIXED = "of a fixed pool: R is above 0 and the same after every event, without a call to the system"
STATED = "min over samples and the events with the peaks of L, A and R"


@metric(
    "bytes",
    "lower",
    "max over requests, the scratch blocks of swaps among them, of the address + the bytes asked for: the highest end of a block",
    needs=(STATES, ENDS),
)
def highest_end_bytes(r: Readings) -> int:
    return r.total(rec.HIGHEST_END)


@metric("bytes", "higher", f"{FIXED}; {STATED} of F", FREERTOS, (STATES, HOLES, CALLS))
def least_free_bytes(r: Readings) -> int | None:
    return least(r, "free")


@metric("bytes", "higher", f"{FIXED}; {STATED} of max h: an upper bound of the minimum", FREERTOS, (STATES, HOLES, CALLS))
def least_largest_hole_bytes(r: Readings) -> int | None:
    return least(r, "largest")


def least(r: Readings, column: str) -> int | None:
    """Return the minimum of a column of `Readings.states`; None if the heap is no fixed pool, or if nothing was replayed."""
    return int(r.states.column(column).min()) if r.fixed and r.placement.events else None
