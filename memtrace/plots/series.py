"""Turn rows of the results into the arrays that are drawn: curves without points that nobody could see, and even grids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy
from numpy.typing import NDArray

from memtrace.drawing.scales import class_of
from memtrace.results.rows import codes_of, once
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
        if "tag" not in rows:
            continue
        names, codes = codes_of(rows, "tag")
        for name, weight in zip(names, numpy.bincount(codes + 1, rows["live_bytes"], len(names) + 1)[1:].tolist(), strict=True):
            weights[name] = weights.get(name, 0) + weight
    found = sorted(weights, key=lambda name: (name == OTHERS, -weights[name], name))
    return tuple(found) if len(found) <= MOST_TAGS else (*[name for name in found if name != OTHERS][: MOST_TAGS - 1], OTHERS)


class Grid(NamedTuple):
    """The rows of `occupancy` of one policy as arrays `[range of addresses, sample]`, the lowest address first."""

    samples: NDArray[Any]  # event of each sample, ascending
    starts: NDArray[Any]  # first address of each range, ascending
    heights: NDArray[numpy.int64]  # bytes of each range
    live: Floats  # live bytes
    tags: Sequence[str]  # that the codes stand for
    codes: NDArray[numpy.int64] | None  # index of the tag, -1 for none; None if tags are not known
    ages: Floats | None  # log2 of the age in events, 0 where it is not known; None if no age is known


def grid_of(rows: Rows) -> Grid:
    """Return the grid of a policy's rows of `occupancy`, of which there is at least one.

    They mostly have one row for each sample and range, sample by sample; such rows need no sorting.
    """
    events, address = rows["event"], rows["address_from_bytes"]
    tall = int(numpy.argmax(events != events[0])) or events.size
    wide = events.size // tall
    whole = wide * tall == events.size
    if whole:
        by_event, by_address = events.reshape(wide, tall), address.reshape(wide, tall)
        whole = bool((by_event == by_event[:, :1]).all() and (by_address == by_address[0]).all())
        whole = whole and bool((numpy.diff(by_event[:, 0]) > 0).all() and (numpy.diff(by_address[0]) > 0).all())
    samples, starts = (events[::tall], address[:tall]) if whole else (numpy.unique(events), numpy.unique(address))
    at = None if whole else (numpy.searchsorted(starts, address), numpy.searchsorted(samples, events))

    def spread(values: NDArray[Any], absent: float, kind: type) -> NDArray[Any]:
        """Return the values of the rows as an array [range, sample], with ``absent`` where there is no row."""
        if at is None:
            return numpy.ascontiguousarray(values.reshape(wide, tall).T, kind)
        found: NDArray[Any] = numpy.full((starts.size, samples.size), absent, kind)
        found[at] = values
        return found

    heights = numpy.zeros(starts.size, numpy.int64)
    heights[slice(None) if at is None else at[0]] = rows["address_bytes"][: tall if whole else None]
    tags, codes = codes_of(rows, "tag") if "tag" in rows else ([], None)
    ages = rows.get("age_from_events")
    if ages is not None:
        ages = None if is_null(ages) else numpy.log2(numpy.fmax(1, ages.astype(float)))
    return Grid(
        samples=samples,
        starts=starts,
        heights=heights,
        live=spread(rows["live_bytes"], 0, float),
        tags=tags,
        codes=None if codes is None else spread(codes, -1, numpy.int64),
        ages=None if ages is None else spread(ages, 0, float),
    )


def cells_of(rows: Rows, last: int, columns: int, most_rows: int, tags: Sequence[str] = ()) -> Cells | None:
    """Return the images of one policy, or None if its rows of `occupancy` are empty.

    ``last`` is the event at the right edge. The images have ``columns`` columns, and about ``most_rows`` rows at most:
    neighbouring ranges of addresses are merged, never across a gap. ``tags`` are the names that get codes.
    """
    if not rows["event"].size:
        return None
    grid = once(rows, "grid", lambda: grid_of(rows))
    found = once(rows, ("cells", last, columns, most_rows), lambda: _without_tags(grid, last, columns, most_rows))
    if not tags or grid.codes is None:
        return found
    return once(rows, ("cells", last, columns, most_rows, *tags), lambda: _with_tags(found, grid, last, most_rows, tags))


def _without_tags(grid: Grid, last: int, columns: int, most_rows: int) -> Cells:
    """Return the images of a grid in which no cell has a tag."""
    merged, regions, factor = _merged(grid.starts, grid.heights, most_rows)
    total = numpy.add.reduceat(grid.live, merged)
    share = total / numpy.maximum(1, numpy.add.reduceat(grid.heights, merged))[:, None]
    when, beyond = _moments(grid, last, columns)
    image = share[:, when]
    image[:, beyond] = numpy.nan
    age = numpy.full(image.shape, numpy.nan)
    if grid.ages is not None:
        mean = numpy.where(total > 0, numpy.add.reduceat(grid.ages * grid.live, merged) / numpy.maximum(1, total), numpy.nan)
        age = numpy.where(beyond, numpy.nan, mean[:, when])
    return Cells(image, numpy.full(image.shape, -1), age, int(grid.heights[0]) * factor, regions)


def _with_tags(cells: Cells, grid: Grid, last: int, most_rows: int, tags: Sequence[str]) -> Cells:
    """Return the images with the tags of the grid, which knows them."""
    assert grid.codes is not None
    merged, _, _ = _merged(grid.starts, grid.heights, most_rows)
    codes = numpy.append(_places(grid.tags, tags), -1)[grid.codes]
    total = numpy.add.reduceat(grid.live, merged)
    weights = numpy.stack([numpy.add.reduceat(numpy.where(codes == k, grid.live, 0), merged) for k in range(len(tags))])
    most = numpy.where(weights.max(axis=0) > total - weights.sum(axis=0), weights.argmax(axis=0), -1)
    when, beyond = _moments(grid, last, cells.share.shape[1])
    return cells._replace(tag=numpy.where(beyond, -1, most[:, when]))


def _moments(grid: Grid, last: int, columns: int) -> tuple[NDArray[numpy.int64], NDArray[numpy.bool_]]:
    """Return for each column of the image the sample that it shows, and whether the column is after the policy's last event.

    Of the samples within a column it is the one with the most live bytes, so that no peak is lost; a column without a
    sample shows the sample before.
    """
    samples, live = grid.samples, grid.live.sum(axis=0)
    when = numpy.maximum(0, sample_at_steps(samples, last, columns))
    column = (samples * (columns / max(1, last))).astype(numpy.int64).clip(0, columns - 1)
    order = numpy.lexsort((live, column))
    ends = order[numpy.flatnonzero(numpy.diff(column[order], append=columns))]
    when[column[ends]] = ends
    wide, step = max(1, last) / columns, numpy.diff(samples, prepend=0).max()
    return when, numpy.arange(columns) * wide > (last if last - samples[-1] <= step else samples[-1] + wide)


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


def _places(names: Sequence[str], tags: Sequence[str]) -> NDArray[numpy.int64]:
    """Return the index of each name among the tags. A name that is not among them gets that of OTHERS, -1 if there is none."""
    place = {tag: at for at, tag in enumerate(tags)}
    return numpy.array([place.get(name, place.get(OTHERS, -1)) for name in names], numpy.int64)
