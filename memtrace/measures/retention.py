"""Measures of what is held from the system while it is not needed: after the peak of live bytes, at the end, in the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from memtrace.contract import ledger as led
from memtrace.engine import recorder as rec
from memtrace.engine.known import ENDS, STATES, TIMES
from memtrace.measures.declaration import Floats, Ints, Readings, metric

if TYPE_CHECKING:
    from memtrace.trace import Trace

ORDER = 4
SMALL_PAGE, HUGE_PAGE = 4 << 10, 2 << 20
MOST_TIMES = 1 << 20  # times of events that are read at once
BY_CLOCK = (
    "by the trace's clock, from the first sample to the last: each event counts by the time until the next; between two samples "
    "it is taken to change evenly from event to event"
)
EMPTY = (
    "below R in which no live block has a byte that was asked for, after the last event: what trimming could give back at most"
)


@metric("bytes", "", "L after the last event replayed", needs=(STATES,))
def live_end_bytes(r: Readings) -> int:
    return r.total(rec.LIVE)


@metric("bytes", "lower", "R after the last event replayed", needs=(STATES,))
def reserved_end_bytes(r: Readings) -> int:
    return r.booked(led.RESERVED)


@metric(
    "bytes",
    "lower",
    "min of R over the first event with the peak of L, the samples after it, and the last event: an upper bound of the minimum",
    needs=(STATES,),
)
def reserved_least_after_peak_bytes(r: Readings) -> int:
    after = r.states.column("event") >= r.peak(rec.AT_PEAK_LIVE).column("event")[0]
    return min(r.booked(led.RESERVED), int(r.states.column("reserved")[after].min(initial=r.total(rec.PEAK_RESERVED))))


@metric("bytes", "lower", "mean over samples of R", needs=(STATES,))
def reserved_bytes_mean(r: Readings) -> float | None:
    return by_event(r, r.samples.column("reserved"))


@metric("bytes", "lower", "mean over samples of R - L", needs=(STATES,))
def unused_bytes_mean(r: Readings) -> float | None:
    return by_event(r, unused(r))


@metric("bytes", "lower", f"mean of R {BY_CLOCK}", needs=(STATES, TIMES))
def reserved_bytes_clock_mean(r: Readings) -> float | None:
    return by_clock(r, r.samples.column("reserved"))


@metric("bytes", "lower", f"mean of R - L {BY_CLOCK}", needs=(STATES, TIMES))
def unused_bytes_clock_mean(r: Readings) -> float | None:
    return by_clock(r, unused(r))


@metric("bytes", "", f"bytes of the whole pages of 4 KiB (from multiples of 4 KiB on) {EMPTY}", needs=(STATES, ENDS))
def empty_pages_4k_bytes(r: Readings) -> int:
    return empty_pages(r, SMALL_PAGE)


@metric("bytes", "", f"bytes of the whole pages of 2 MiB (from multiples of 2 MiB on) {EMPTY}", needs=(STATES, ENDS))
def empty_pages_2m_bytes(r: Readings) -> int:
    return empty_pages(r, HUGE_PAGE)


def unused(r: Readings) -> Ints:
    """Return the bytes of each sample that are reserved and not live."""
    return r.samples.column("reserved") - r.samples.column("live")


def by_event(r: Readings, values: Ints) -> float | None:
    """Return the mean of the values of the samples, None if there is no sample."""
    return float(values.mean(dtype=np.float64)) if values.size else None


def by_clock(r: Readings, values: Ints) -> float | None:
    """Return the mean of the values of the samples over time, None if no time passes between them."""
    left, right = clock_weights(r.placement.trace, r.placement.recorder.sample_events[:-1])
    taken = max(0, values.size - 1)  # intervals between the samples that were taken before memory ran out
    left, right = left[:taken], right[:taken]
    passed = float(left.sum() + right.sum())
    return float(left @ values[:-1] + right @ values[1:]) / passed if passed > 0 else None


_weights: WeakKeyDictionary[Trace, dict[int, tuple[Floats, Floats]]] = WeakKeyDictionary()


def clock_weights(trace: Trace, samples: Ints) -> tuple[Floats, Floats]:
    """Return the weights of the left and of the right sample of each interval between two of the events ``samples``, in ns.

    What changes evenly by event has, over the interval's time, the sum of its two values by these weights.
    """
    kept = _weights.setdefault(trace, {})
    if samples.size not in kept:
        kept[samples.size] = _clock_weights(trace, samples)
    return kept[samples.size]


def _clock_weights(trace: Trace, samples: Ints) -> tuple[Floats, Floats]:
    """Return what `clock_weights` says.

    With t the times of the m events of an interval and of the sample behind it, the right weight is the sum over j of
    j / m * (t[j + 1] - t[j]), which is ((m - 1) t[m] - t[1] - ... - t[m - 1]) / m.
    """
    if samples.size < 2:
        return np.zeros(0), np.zeros(0)
    begin = int(trace.times(samples[:1])[0])
    times = (trace.times(samples) - begin).astype(np.float64)
    sums = np.zeros(samples.size)
    for start in range(int(samples[0]), int(samples[-1]), MOST_TIMES):
        stop = min(start + MOST_TIMES, int(samples[-1]))
        first, end = int(np.searchsorted(samples, start, side="right")) - 1, int(np.searchsorted(samples, stop))
        cuts = np.maximum(samples[first:end], start) - start
        sums[first:end] += np.add.reduceat((trace.times(np.arange(start, stop)) - begin).astype(np.float64), cuts)
    count = np.diff(samples)
    right = ((count - 1) * times[1:] - (sums[:-1] - times[:-1])) / count
    return np.diff(times) - right, right


def empty_pages(r: Readings, page: int) -> int:
    """Return the bytes of the pages of this size, all of it reserved, in which no live block has a requested byte at the end."""
    before, behind = r.gaps
    return int(np.maximum(behind // page - -(-before // page), 0).sum()) * page
