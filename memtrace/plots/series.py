"""Turn rows of the results into the arrays that are drawn: curves without points that nobody could see, and even grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray

from memtrace.plots.scales import class_of
from memtrace.report.verdict import rank

if TYPE_CHECKING:
    from memtrace.results.tables import Results

Floats = NDArray[numpy.float64]
Rows = Mapping[str, NDArray[Any]]  # columns of a table by name


def summary(results: Results, trace: str) -> list[dict[str, Any]]:
    """Return the summary rows of a trace, the best policy first, which is the order of panels and bars in every plot."""
    return rank([row for row in results.summary if row["trace"] == trace])


def showing_holes(results: Results, trace: str) -> list[dict[str, Any]]:
    """Return those summary rows whose policies' holes are known; those of a real allocator are not."""
    return [row for row in summary(results, trace) if row["external_frag_mean"] is not None]


def capacity_of(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the capacity in bytes of these summary rows; None if memory was not limited."""
    return next((int(row["capacity_bytes"]) for row in rows if row.get("capacity_bytes")), None)


def last_event(results: Results, trace: str) -> int:
    """Return the last event that any policy was sampled at, which is the right end of the scale of events."""
    events = [results.rows("timeline", trace, policy)["event"] for policy in results.policies(trace)]
    return max((int(one[-1]) for one in events if one.size), default=0)


def curve(events: NDArray[Any], values: NDArray[Any], columns: int) -> tuple[Floats, Floats]:
    """Return the points (x, y) of the curve of samples, as steps: each value holds until the next sample.

    If there are more samples than ``columns``, only the lowest and the highest of each column of pixels are kept, so
    that no peak is lost.
    """
    x, y = events.astype(numpy.float64), values.astype(numpy.float64)
    if x.size <= columns:
        return numpy.repeat(x, 2)[1:], numpy.repeat(y, 2)[: max(0, 2 * y.size - 1)]
    if x.size <= 2 * columns:
        return x, y
    return _envelope(x, y, columns)


def means(events: NDArray[Any], values: NDArray[Any], columns: int) -> tuple[Floats, Floats]:
    """Return the points of a curve like `curve`, but with the mean of the samples in each column of pixels.

    For layers this keeps their sum.
    """
    x, y = events.astype(numpy.float64), values.astype(numpy.float64)
    if x.size <= columns:
        return curve(events, values, columns)
    starts, ends = _columns(x, columns)
    mean = numpy.add.reduceat(y, starts) / (ends - starts + 1)
    return numpy.stack([x[starts], x[ends]], 1).ravel(), numpy.repeat(mean, 2)


def fullest(events: NDArray[Any], values: NDArray[Any], columns: int) -> NDArray[numpy.int64]:
    """Return the indexes of the samples to draw of curves that belong together.

    They are all samples, or if there are more than ``columns``, the one with the highest value in each column of
    pixels.
    """
    if events.size <= columns:
        return numpy.arange(events.size)
    starts, ends = _columns(events.astype(numpy.float64), columns)
    sizes = ends - starts + 1
    return numpy.lexsort((values, numpy.repeat(numpy.arange(starts.size), sizes)))[ends]


def _columns(x: Floats, columns: int) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64]]:
    """Return the indexes of the first and the last sample of each column of pixels that has samples."""
    bucket = ((x - x[0]) * (columns / max(1.0, x[-1] - x[0]))).astype(numpy.int64)
    starts = numpy.flatnonzero(numpy.diff(bucket, prepend=-1))
    return starts, numpy.append(starts[1:], x.size) - 1


def _envelope(x: Floats, y: Floats, columns: int) -> tuple[Floats, Floats]:
    """Return points through the lowest and the highest value of each column of pixels, in the order in which the curve goes."""
    starts, ends = _columns(x, columns)
    low, high = numpy.minimum.reduceat(y, starts), numpy.maximum.reduceat(y, starts)
    rising = y[ends] >= y[starts]
    pairs = numpy.where(rising[:, None], numpy.stack([low, high], 1), numpy.stack([high, low], 1))
    return numpy.stack([x[starts], x[ends]], 1).ravel(), pairs.ravel()


def unknown(values: NDArray[Any]) -> bool:
    """Return whether a column is null throughout, as the columns of holes are for a real allocator."""
    return values.dtype.kind == "O" or (values.dtype.kind == "f" and bool(numpy.isnan(values).all()))


def held(samples: NDArray[Any], last: int, columns: int) -> NDArray[numpy.int64]:
    """Return the index of the sample that holds at each of ``columns`` even steps from event 0 to ``last``.

    It is the last sample at or before the middle of the step, and -1 before the first sample. ``samples`` are ascending
    events.
    """
    at = (numpy.arange(columns) + 0.5) * (max(1, last) / columns)
    return numpy.searchsorted(samples, at, side="right") - 1


def distinct(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[numpy.int64]]:
    """Return the distinct values in order, and for each value its index among them.

    Values that are sorted already are not sorted again.
    """
    steps = numpy.diff(values)
    if values.size and (steps >= 0).all():
        place = numpy.concatenate([[0], numpy.cumsum(steps > 0)])
        return values[numpy.concatenate([[True], steps > 0])], place
    found, place = numpy.unique(values, return_inverse=True)
    return found, place


def hole_counts(rows: Rows, timeline: Rows, samples: NDArray[Any], last: int, columns: int) -> dict[int, Floats]:
    """Return the number of holes at even steps of time, by power-of-two class.

    ``rows`` are those of the table `holes`, ``samples`` the events at which that table was sampled.

    The table has no rows where there are no holes, so the timeline is needed to tell no holes from no sample.
    """
    place = held(samples, last, columns)
    at = held(timeline["event"], last, columns)
    some = (place >= 0) & (at >= 0) & (numpy.append(timeline["holes"], 0)[at] > 0)
    found = {}
    for hole_from in numpy.unique(rows["hole_bytes_from"]):
        of_class = rows["hole_bytes_from"] == hole_from
        counts = numpy.zeros(samples.size)
        counts[numpy.searchsorted(samples, rows["event"][of_class])] = rows["holes"][of_class]
        found[class_of(hole_from)] = numpy.where(some, counts[place], 0.0)
    return found
