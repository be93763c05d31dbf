"""Plot of address by time, coloured by the length of the free range that an address is in: the map of usable free space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from memtrace.drawing.frame import key
from memtrace.drawing.style import Colour
from memtrace.plots.addresses import draw_if_no_occupancy, draw_maps, height, notes, pixels_of_codes
from memtrace.plots.series import Cells

if TYPE_CHECKING:
    from memtrace.drawing.frame import Frame
    from memtrace.results.tables import Results

__all__ = ["NAME", "ORDER", "TITLE", "caption", "draw", "height"]

ORDER = 33
NAME = "free-ranges"
TITLE = "Free ranges over time, by length"

LIVE: Colour = (0.17, 0.17, 0.17)
# From short to long; each is lighter than the one before, so that the order can be seen without colour.
STEPS: tuple[Colour, ...] = ((0.40, 0.33, 0.55), (0.24, 0.55, 0.60), (0.45, 0.76, 0.44), (0.97, 0.90, 0.33))
LENGTHS = (2, 8, 32)  # rows of the map from which the next colour holds


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "Dark: addresses with live bytes. In colour: rows of addresses without any, by how many such rows lie together, so that "
        "a request up to their length would fit there; a row is a fraction of the map's height. What is free within a row is not "
        "seen, nor are the borders of segments and chunks, which no block crosses. Many short ranges between live ones are "
        "fragmentation, and one long range is free memory that any request can use." + notes(results, trace)
    )


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw one image per policy, and the key of the colours."""
    if draw_if_no_occupancy(results, trace, frame):
        return
    draw_maps(results, trace, frame, lambda cells, policy: range_pixels(cells))
    two, eight, many = LENGTHS
    names = ["1 row", f"{two} to {eight - 1}", f"{eight} to {many - 1}", f"{many} or more"]
    key(frame, [("live", "area", LIVE), *((name, "area", colour) for name, colour in zip(names, STEPS, strict=True))])


def range_pixels(cells: Cells) -> NDArray[numpy.uint8]:
    """Return the pixels of a policy's map: the live cells, and the others by the length of their range."""
    live = numpy.nan_to_num(cells.share) > 0
    lengths = run_lengths(~live, [region.row for region, _ in cells.ends()])
    codes = numpy.where(live, 0, 1 + numpy.searchsorted(LENGTHS, lengths, side="right"))
    return pixels_of_codes(cells, codes, (LIVE, *STEPS))


def run_lengths(free: NDArray[numpy.bool_], starts: list[int]) -> NDArray[numpy.int64]:
    """Return for each cell [row, column] the number of free cells of its column that lie together with it; 0 for one not free.

    No range goes on across the rows ``starts``, at which addresses are left out.
    """
    rows = free.shape[0]
    broken = numpy.zeros(rows, bool)
    broken[starts] = True
    below = numpy.zeros(free.shape, numpy.int64)  # free cells up to each row, itself too
    for row in range(rows):
        before = below[row - 1] if row and not broken[row] else 0
        below[row] = numpy.where(free[row], before + 1, 0)
    found = below.copy()
    for row in range(rows - 2, -1, -1):
        if not broken[row + 1]:
            found[row] = numpy.where(free[row] & free[row + 1], found[row + 1], below[row])
    return found
