"""Turn rows of the results into the arrays that are drawn: curves without points that nobody could see, and even grids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy
from numpy.typing import NDArray

from memtrace.drawing.scales import class_of
from memtrace.results.verdict import rank

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


def showing_sizes(results: Results, trace: str) -> list[dict[str, Any]]:
    """Return those summary rows whose policies' holes are known by size."""
    return [row for row in showing_holes(results, trace) if row.get("squares_frag_mean", 0.0) is not None]


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


def highest_samples(events: NDArray[Any], values: NDArray[Any], columns: int) -> NDArray[numpy.int64]:
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


def is_null(values: NDArray[Any]) -> bool:
    """Return whether a column is null throughout, as the columns of holes are for a real allocator."""
    return values.dtype.kind == "O" or (values.dtype.kind == "f" and bool(numpy.isnan(values).all()))


def sample_at_steps(samples: NDArray[Any], last: int, columns: int) -> NDArray[numpy.int64]:
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
    place = sample_at_steps(samples, last, columns)
    at = sample_at_steps(timeline["event"], last, columns)
    some = (place >= 0) & (at >= 0) & (numpy.append(timeline["holes"], 0)[at] > 0)
    found = {}
    for hole_from in numpy.unique(rows["hole_bytes_from"]):
        of_class = rows["hole_bytes_from"] == hole_from
        counts = numpy.zeros(samples.size)
        counts[numpy.searchsorted(samples, rows["event"][of_class])] = rows["holes"][of_class]
        found[class_of(hole_from)] = numpy.where(some, counts[place], 0.0)
    return found


MOST_TAGS = 8  # that are told apart, OTHERS included
OTHERS = "(other)"  # the tag that stands for all further tags


class Region(NamedTuple):
    """A range of addresses without a gap."""

    row: int  # of the image, where the range begins
    address: int  # of its first byte


class Cells(NamedTuple):
    """Images `[row, column]` of one policy, the lowest address in row 0.

    Share and age are NaN, and tag is -1, after the policy's last event; tag and age are also so where nothing is live.
    """

    share: Floats  # live bytes of the cell over its bytes
    tag: NDArray[numpy.int64]  # the tag with most of the live bytes, as its index in the given names; -1 if it has no tag
    age: Floats  # log2 of the events since the bytes were allocated, in the mean
    row_bytes: int  # bytes of addresses that one row shows
    regions: tuple[Region, ...]  # ascending

    @property
    def span(self) -> int:
        """Return the number of bytes of addresses that are shown; gaps between regions do not count."""
        return self.share.shape[0] * self.row_bytes

    def ends(self) -> list[tuple[Region, int]]:
        """Return each region with its number of rows."""
        edges = [region.row for region in self.regions] + [self.share.shape[0]]
        return [(region, edges[i + 1] - region.row) for i, region in enumerate(self.regions)]


def tag_names(tables: Iterable[Rows]) -> tuple[str, ...]:
    """Return the tags in these tables, those with the most bytes first.

    At most MOST_TAGS names are returned; if there are more tags, the last name is OTHERS.
    """
    weights: dict[str, int] = {}
    for rows in tables:
        if "tag" not in rows or not rows["tag"].size:
            continue
        names = sorted(name for name in set(rows["tag"].tolist()) if name is not None)
        codes = _codes(rows["tag"], names)
        for name, weight in zip(names, numpy.bincount(codes + 1, rows["live_bytes"], len(names) + 1)[1:].tolist(), strict=True):
            weights[name] = weights.get(name, 0) + weight
    found = sorted(weights, key=lambda name: (name == OTHERS, -weights[name], name))
    return tuple(found) if len(found) <= MOST_TAGS else (*[name for name in found if name != OTHERS][: MOST_TAGS - 1], OTHERS)


def cells_of(rows: Rows, last: int, columns: int, most_rows: int, tags: Sequence[str] = ()) -> Cells | None:
    """Return the images of one policy, or None if its rows of `occupancy` are empty.

    ``last`` is the event at the right edge. The images have ``columns`` columns, and about ``most_rows`` rows at most:
    neighbouring ranges of addresses are merged, never across a gap. ``tags`` are the names that get codes.
    """
    events, address, tall = rows["event"], rows["address_from_bytes"], rows["address_bytes"]
    if not events.size:
        return None
    samples, at_sample = distinct(events)
    starts, at_row = distinct(address)
    heights = numpy.zeros(starts.size, numpy.int64)
    heights[at_row] = tall
    merged, regions, factor = _merged(starts, heights, most_rows)
    live = numpy.zeros((starts.size, samples.size))
    live[at_row, at_sample] = rows["live_bytes"]

    def summed(values: Floats) -> Floats:
        """Return the sums of the values over each row of the image."""
        return numpy.add.reduceat(values, merged)

    total = summed(live)
    share = total / numpy.maximum(1, numpy.add.reduceat(heights, merged))[:, None]
    when = _fullest(samples, live.sum(axis=0), last, columns)
    wide, step = max(1, last) / columns, numpy.diff(samples, prepend=0).max()
    beyond = numpy.arange(columns) * wide > (last if last - samples[-1] <= step else samples[-1] + wide)
    image = share[:, when]
    image[:, beyond] = numpy.nan
    tag, age = numpy.full(image.shape, -1), numpy.full(image.shape, numpy.nan)
    if tags and "tag" in rows:
        codes = numpy.full(live.shape, -1)
        codes[at_row, at_sample] = _codes(rows["tag"], tags)
        weights = numpy.stack([summed(numpy.where(codes == kind, live, 0)) for kind in range(len(tags))])
        most = numpy.where(weights.max(axis=0) > total - weights.sum(axis=0), weights.argmax(axis=0), -1)
        tag = numpy.where(beyond, -1, most[:, when])
    if "age_from_events" in rows and not is_null(rows["age_from_events"]):
        known = rows["age_from_events"].astype(float)
        logs = numpy.zeros(live.shape)
        logs[at_row, at_sample] = numpy.log2(numpy.where(known > 0, known, 1))
        mean = numpy.where(total > 0, summed(logs * live) / numpy.maximum(1, total), numpy.nan)
        age = numpy.where(beyond, numpy.nan, mean[:, when])
    return Cells(image, tag, age, int(heights[0]) * factor, regions)


def _fullest(samples: NDArray[Any], live: Floats, last: int, columns: int) -> NDArray[numpy.int64]:
    """Return the sample that each column of the image shows.

    Of the samples within a column it is the one with the most live bytes, so that no peak is lost; a column without a
    sample shows the sample before. ``live`` are the live bytes at each sample.
    """
    when = numpy.maximum(0, sample_at_steps(samples, last, columns))
    column = (samples * (columns / max(1, last))).astype(numpy.int64).clip(0, columns - 1)
    order = numpy.lexsort((live, column))
    ends = order[numpy.flatnonzero(numpy.diff(column[order], append=columns))]
    when[column[ends]] = ends
    return when


def highest_so_far(cells: Cells) -> NDArray[numpy.bool_]:
    """Return a mask of the cells up to the highest address of their region that was used so far."""
    used = numpy.nan_to_num(cells.share) > 0
    below = numpy.zeros(used.shape, bool)
    for region, count in cells.ends():
        part = used[region.row : region.row + count]
        row = numpy.arange(count)[:, None]
        highest = numpy.maximum.accumulate(numpy.where(part, row + 1, 0).max(axis=0))
        below[region.row : region.row + count] = row < highest
    return below & ~numpy.isnan(cells.share)


def _merged(starts: NDArray[Any], heights: NDArray[Any], most_rows: int) -> tuple[NDArray[Any], tuple[Region, ...], int]:
    """Return the first of the ranges that become each row of the image, the regions, and how many ranges become one row.

    ``starts`` and ``heights`` are the ascending ranges in bytes; ranges on both sides of a gap are never merged.
    """
    gaps = numpy.flatnonzero(starts[1:] != starts[:-1] + heights[:-1]) + 1
    firsts = [0, *gaps.tolist()]
    factor = -(-starts.size // most_rows)
    merged: list[int] = []
    regions = []
    for first, end in zip(firsts, [*firsts[1:], starts.size], strict=True):
        regions.append(Region(len(merged), int(starts[first])))
        merged += range(first, end, factor)
    return numpy.array(merged), tuple(regions), factor


def _codes(names: NDArray[Any], tags: Sequence[str]) -> NDArray[numpy.int64]:
    """Return the index of each name among the tags.

    A name that is not among them gets the index of OTHERS, or -1 if there is none; no name (None) gets -1.
    """
    place = {tag: at for at, tag in enumerate(tags)}
    others = place.get(OTHERS, -1)
    found = {name: -1 if name is None else place.get(name, others) for name in set(names.tolist())}
    return numpy.array([found[name] for name in names.tolist()], numpy.int64)
