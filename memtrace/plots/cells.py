"""Turn the table `occupancy` of one policy into images: for each cell of addresses and time the live share, tag and age."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from memtrace.plots.series import Floats, Rows, distinct, held, unknown

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
    if "age_from_events" in rows and not unknown(rows["age_from_events"]):
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
    when = numpy.maximum(0, held(samples, last, columns))
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
