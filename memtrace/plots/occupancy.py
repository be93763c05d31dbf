"""Plot of address by time: which addresses are in use, and where the holes are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from memtrace.drawing.frame import key
from memtrace.drawing.style import Colour, policy_colour
from memtrace.plots.addresses import HOLE, UNUSED, draw_if_no_occupancy, draw_maps, height, notes, pixels_of_codes
from memtrace.plots.series import Cells, summary

if TYPE_CHECKING:
    from memtrace.drawing.frame import Frame
    from memtrace.results.tables import Results

__all__ = ["NAME", "ORDER", "TITLE", "caption", "draw", "height"]

ORDER = 30
NAME = "occupancy"
TITLE = "Addresses over time"

SHADES = 12  # few, since few colours keep the image's palette and the file small


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "Time goes right, addresses go up. Full colour: in use; grey: free, below the highest address "
        "used so far (holes), mixed where a cell is used in part; white: never used so far." + notes(results, trace)
    )


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw one image per policy, in the policy's colour."""
    if draw_if_no_occupancy(results, trace, frame):
        return
    draw_maps(results, trace, frame, lambda cells, policy: coloured(cells, policy_colour(policy)))
    colour = policy_colour(summary(results, trace)[0]["policy"])
    key(frame, [("in use", "area", colour), ("hole", "area", HOLE), ("not used so far", "area", UNUSED)])


def coloured(cells: Cells, colour: Colour) -> NDArray[numpy.uint8]:
    """Return the live shares as pixels: from HOLE to the full colour below the highest address used so far, UNUSED above."""
    level = numpy.ceil(numpy.nan_to_num(cells.share) * SHADES).astype(numpy.int64).clip(0, SHADES)
    steps = numpy.linspace(0, 1, SHADES + 1)[1:, None]
    palette = [tuple(row) for row in ((1 - steps) * HOLE + steps * colour).tolist()]
    return pixels_of_codes(cells, level - 1, palette)
