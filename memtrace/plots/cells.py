"""Rows of the occupancy table to one image a policy: shares, tags and ages of cells, and the addresses of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from memtrace.plots.series import Floats, Rows, distinct, held, unknown

MOST_TAGS = 8
OTHERS = "(other)"


class Region(NamedTuple):
    """A range of addresses without a gap: its first row in the image, and the address of that."""

    row: int
    address: int


class Cells(NamedTuple):
    """Lowest address first. NaN, or -1 for tags, after the policy's last event and where nothing is live."""

    share: Floats  # that is live; 0 where nothing is
    tag: NDArray[numpy.int64]  # of most of the live bytes: its place in the names given
    age: Floats  # log2 of events
    row_bytes: int
    regions: tuple[Region, ...]

    @property
    def span(self) -> int:
        """Bytes of addresses that are shown; gaps between regions are not."""
        return self.share.shape[0] * self.row_bytes

    def ends(self) -> list[tuple[Region, int]]:
        """Each region with its number of rows."""
        edges = [region.row for region in self.regions] + [self.share.shape[0]]
        return [(region, edges[i + 1] - region.row) for i, region in enumerate(self.regions)]


def tag_names(tables: Iterable[Rows]) -> tuple[str, ...]:
    """The tags of all these tables, those of most bytes first; no more than can be told apart."""
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
    """The cells of one policy as an image of about `most_rows` x `columns` at most; None without cells."""
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
    """The sample to show in each column: of those within it that with most live, so that no peak is lost; else the one before."""
    when = numpy.maximum(0, held(samples, last, columns))
    column = (samples * (columns / max(1, last))).astype(numpy.int64).clip(0, columns - 1)
    order = numpy.lexsort((live, column))
    ends = order[numpy.flatnonzero(numpy.diff(column[order], append=columns))]
    when[column[ends]] = ends
    return when


def highest_so_far(cells: Cells) -> NDArray[numpy.bool_]:
    """Where a cell is below the highest address of its region that was used so far."""
    used = numpy.nan_to_num(cells.share) > 0
    below = numpy.zeros(used.shape, bool)
    for region, count in cells.ends():
        part = used[region.row : region.row + count]
        row = numpy.arange(count)[:, None]
        highest = numpy.maximum.accumulate(numpy.where(part, row + 1, 0).max(axis=0))
        below[region.row : region.row + count] = row < highest
    return below & ~numpy.isnan(cells.share)


def _merged(starts: NDArray[Any], heights: NDArray[Any], most_rows: int) -> tuple[NDArray[Any], tuple[Region, ...], int]:
    """The first of the rows that become one, never across a gap; the regions; how many rows become one."""
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
    """The place of each name among the tags; that of the others for one that is not there, -1 for none."""
    place = {tag: at for at, tag in enumerate(tags)}
    others = place.get(OTHERS, -1)
    found = {name: -1 if name is None else place.get(name, others) for name in set(names.tolist())}
    return numpy.array([found[name] for name in names.tolist()], numpy.int64)
