"""The arrays that the loop writes while it replays: running sums, peaks, samples, and classes of hole sizes.

They are plain functions over a NamedTuple of arrays, compiled into the loop. All sums persist between batches, so a trace that
is replayed in pieces gives the same figures to the last bit.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import highest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    BELOW_MEDIAN,
    BELOW_P99,
    CLASS_HOLES,
    CLASSES_END,
    FREE,
    HOLES,
    RESERVED,
    SQUARES,
    SQUARES_HIGH,
    settle,
)

# totals: int64, one entry per running count
EVENT = 0  # events replayed
LIVE = 1
FAILED = 2
SKIPPED = 3
MOVED = 4
REQUESTS = 5
SEARCH_SUM = 6
SEARCH_MAX = 7
HOLES_SUM = 8
HOLES_MAX = 9
FITS = 10  # requests served from a hole
RATIO_EVENTS = 11  # events at which something was live
PEAK_LIVE = 12
PEAK_ALLOCATED = 13
PEAK_RESERVED = 14
SAMPLE = 15  # the next sample and class sample to take
CLASS_SAMPLE = 16
SPARE = 17  # the handle that no block has
OOM_EVENT = 18
PLACES = 19  # rows of places
FOLLOWED = 20  # bytes the policy itself had moved when its blocks were last looked up
VARIED = 21  # 1: some block has an alignment, a stream or a tag
NEXT_SAMPLE = 22  # the event of the next sample; the number of events if there is none
HIGHEST_END = 23  # the highest end of a block's requested bytes so far
RISES = 24  # events at which the reserved bytes had a new peak
TOTALS = 25

# sums: float64
RESERVED_RATIO = 0  # sum over events of reserved / live
FIT_RATIO = 1  # sum over requests of hole / block

# a row of samples and peaks: int64
ROW = (
    "event",
    "live",
    "allocated",
    "reserved",
    "free",
    "holes",
    "largest",
    "squares",
    "squares_high",
    "below_median",
    "below_p99",
    "releasable",
)
AT_PEAK_LIVE, AT_PEAK_ALLOCATED, AT_PEAK_RESERVED = 0, 1, 2
FIRST_PLACES = 4096
REQUESTED, SERVED = 1, 2  # rows of classes of requests


class Recorder(NamedTuple):
    """What one replay has written down so far."""

    totals: np.ndarray
    sums: np.ndarray
    peaks: np.ndarray  # [3, row]: the state at the first event that reaches each peak
    sample_events: np.ndarray  # which events are sampled; ends with one that never comes
    samples: np.ndarray  # [sample, row]
    sample_counters: np.ndarray  # [sample, counter]: the policy's own
    peak_counters: np.ndarray  # [3, counter]
    class_events: np.ndarray
    classes: np.ndarray  # [class sample, 128]: holes, then bytes, by floor(log2(size))
    requests: np.ndarray  # [3, 64]: requests that got a block, their bytes, their blocks' bytes; by floor(log2(size))
    places: np.ndarray  # [place, (event, block, address, bytes)]: moves and pieces of blocks (engine.places)
    measured: bool  # False: only what costs nothing is written down


@out_of_line
def write_row(row, event, live, ledger, largest, releasable):
    """Write the state after an event into a row of samples or peaks, in the order of ROW; the ledger is settled first."""
    settle(ledger)
    row[0] = event
    row[1] = live
    row[2] = ledger[ALLOCATED]
    row[3] = ledger[RESERVED]
    row[4] = ledger[FREE]
    row[5] = ledger[HOLES]
    row[6] = largest
    row[7] = ledger[SQUARES]
    row[8] = ledger[SQUARES_HIGH]
    row[9] = ledger[BELOW_MEDIAN]
    row[10] = ledger[BELOW_P99]
    row[11] = releasable


def note_end(recorder, end):
    """Keep the highest end of a block; ``end`` is the address behind its requested bytes."""
    if end > recorder.totals[HIGHEST_END]:
        recorder.totals[HIGHEST_END] = end


def count_request(recorder, requested, extent):
    """Count a request of ``requested`` bytes that got a block of ``extent`` bytes, in its class of sizes."""
    size_class = np.uint64(highest_set(requested | 1))
    requests = recorder.requests
    requests[0, size_class] += 1
    requests[REQUESTED, size_class] += requested
    requests[SERVED, size_class] += extent


@out_of_line
def write_classes(recorder, ledger):
    """Copy the ledger's classes of hole sizes into the next class sample."""
    row = recorder.classes[recorder.totals[CLASS_SAMPLE]]
    for i in range(row.size):
        row[i] = ledger[CLASS_HOLES + i]
    recorder.totals[CLASS_SAMPLE] += 1


def even_events(events, count):
    """Return ``count`` events spread evenly over ``events``: floor(k (n - 1) / (N - 1)), k = 0..N-1; all if there are fewer.

    int64, ascending.
    """
    if events <= count:
        return np.arange(events, dtype=np.int64)
    if count == 1:
        return np.zeros(1, np.int64)
    # k (n - 1) stays below 2^63 for any trace and count that fit in memory.
    return np.arange(count, dtype=np.int64) * (events - 1) // (count - 1)


def new_recorder(events, max_live, samples, counters, measured):
    """Return the recorder of a replay before its first event.

    ``samples`` is the most events that are sampled, ``counters`` the number of the policy's own counters. Without ``measured``
    only the sums that cost nothing are kept, and nothing is sampled.
    """
    never = np.array([events], np.int64)
    sampled = even_events(events, samples) if measured else np.zeros(0, np.int64)
    classed = sampled[even_events(sampled.size, 200)]
    totals = np.zeros(TOTALS, np.int64)
    totals[SPARE] = max_live
    totals[OOM_EVENT] = -1
    totals[NEXT_SAMPLE] = sampled[0] if sampled.size else events
    return Recorder(
        totals,
        np.zeros(2, np.float64),
        np.zeros((3, len(ROW)), np.int64),
        np.concatenate((sampled, never)),
        np.zeros((sampled.size, len(ROW)), np.int64),
        np.zeros((sampled.size, counters), np.int64),
        np.zeros((3, counters), np.int64),
        np.concatenate((classed, never)),
        np.zeros((classed.size, CLASSES_END - CLASS_HOLES), np.int64),
        np.zeros((3, 64), np.int64),
        np.zeros((1, 4), np.int64),
        measured,
    )


def empty_places(recorder, room):
    """Return the rows of places so far, and the recorder with an empty table that has room for ``room`` rows."""
    rows = recorder.places[: int(recorder.totals[PLACES])].copy()
    recorder.totals[PLACES] = 0
    if recorder.places.shape[0] < room:
        recorder = recorder._replace(places=np.zeros((room + FIRST_PLACES, 4), np.int64))
    return rows, recorder
