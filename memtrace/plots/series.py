"""Rows of the results to the arrays that are drawn: curves without invisible points, even grids."""

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
Rows = Mapping[str, NDArray[Any]]


def summary(results: Results, trace: str) -> list[dict[str, Any]]:
    """The summary rows of a trace, best first: the order of panels and bars everywhere."""
    return rank([row for row in results.summary if row["trace"] == trace])


def showing_holes(results: Results, trace: str) -> list[dict[str, Any]]:
    """Those rows of policies whose holes are known, which a real allocator's are not."""
    return [row for row in summary(results, trace) if row["external_frag_mean"] is not None]


def capacity_of(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """The capacity of these runs; None where memory was not limited."""
    return next((int(row["capacity_bytes"]) for row in rows if row.get("capacity_bytes")), None)


def last_event(results: Results, trace: str) -> int:
    """The right end of the event axis: the furthest that any of these policies came."""
    events = [results.rows("timeline", trace, policy)["event"] for policy in results.policies(trace)]
    return max((int(one[-1]) for one in events if one.size), default=0)


def curve(events: NDArray[Any], values: NDArray[Any], columns: int) -> tuple[Floats, Floats]:
    """Points of the curve of samples: each value holds until the next, as memory does.

    Where many samples share a column of pixels only the lowest and highest are kept: no peak is lost.
    """
    x, y = events.astype(numpy.float64), values.astype(numpy.float64)
    if x.size <= columns:
        return numpy.repeat(x, 2)[1:], numpy.repeat(y, 2)[: max(0, 2 * y.size - 1)]
    if x.size <= 2 * columns:
        return x, y
    return _envelope(x, y, columns)


def means(events: NDArray[Any], values: NDArray[Any], columns: int) -> tuple[Floats, Floats]:
    """As `curve`, but where many samples share a column of pixels, their mean: for layers, whose sum it keeps."""
    x, y = events.astype(numpy.float64), values.astype(numpy.float64)
    if x.size <= columns:
        return curve(events, values, columns)
    starts, ends = _columns(x, columns)
    mean = numpy.add.reduceat(y, starts) / (ends - starts + 1)
    return numpy.stack([x[starts], x[ends]], 1).ravel(), numpy.repeat(mean, 2)


def fullest(events: NDArray[Any], values: NDArray[Any], columns: int) -> NDArray[numpy.int64]:
    """The samples to draw of curves that belong together: all, or of each column that with the highest value."""
    if events.size <= columns:
        return numpy.arange(events.size)
    starts, ends = _columns(events.astype(numpy.float64), columns)
    sizes = ends - starts + 1
    return numpy.lexsort((values, numpy.repeat(numpy.arange(starts.size), sizes)))[ends]


def _columns(x: Floats, columns: int) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64]]:
    """The first and the last sample of each column of pixels that has any."""
    bucket = ((x - x[0]) * (columns / max(1.0, x[-1] - x[0]))).astype(numpy.int64)
    starts = numpy.flatnonzero(numpy.diff(bucket, prepend=-1))
    return starts, numpy.append(starts[1:], x.size) - 1


def _envelope(x: Floats, y: Floats, columns: int) -> tuple[Floats, Floats]:
    starts, ends = _columns(x, columns)
    low, high = numpy.minimum.reduceat(y, starts), numpy.maximum.reduceat(y, starts)
    rising = y[ends] >= y[starts]
    pairs = numpy.where(rising[:, None], numpy.stack([low, high], 1), numpy.stack([high, low], 1))
    return numpy.stack([x[starts], x[ends]], 1).ravel(), pairs.ravel()


def unknown(values: NDArray[Any]) -> bool:
    """Whether a column is null: a real allocator shows no holes."""
    return values.dtype.kind == "O" or (values.dtype.kind == "f" and bool(numpy.isnan(values).all()))


def held(samples: NDArray[Any], last: int, columns: int) -> NDArray[numpy.int64]:
    """For each of `columns` even steps from event 0 to `last`: the sample that holds, -1 before the first."""
    at = (numpy.arange(columns) + 0.5) * (max(1, last) / columns)
    return numpy.searchsorted(samples, at, side="right") - 1


def distinct(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[numpy.int64]]:
    """Distinct values in order, and the place of each value among them; sorted ones are not sorted again."""
    steps = numpy.diff(values)
    if values.size and (steps >= 0).all():
        place = numpy.concatenate([[0], numpy.cumsum(steps > 0)])
        return values[numpy.concatenate([[True], steps > 0])], place
    found, place = numpy.unique(values, return_inverse=True)
    return found, place


def hole_counts(rows: Rows, timeline: Rows, samples: NDArray[Any], last: int, columns: int) -> dict[int, Floats]:
    """Number of holes over even steps of time, by their power-of-two class.

    The table has rows only where there are holes, so the timeline says where there are none.
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
