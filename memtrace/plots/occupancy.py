"""Address by time: which addresses are in use, and where the holes are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from memtrace.plots.colours import Colour, policy_colour
from memtrace.plots.key import key
from memtrace.plots.panels import MOST_PANELS, SCALES, layout, left_out, places
from memtrace.plots.scales import common_limit
from memtrace.plots.series import Floats, last_event, occupancy, summary
from memtrace.plots.style import BODY, FAINT, LEFT, TITLE_ROOM
from memtrace.report.verdict import is_oom

if TYPE_CHECKING:
    from memtrace.plots.frame import Frame
    from memtrace.results.tables import Results

ORDER = 30
NAME = "occupancy"
TITLE = "Addresses over time"

HOLE: Colour = (0.86, 0.86, 0.86)  # a grey, which no policy has
UNUSED: Colour = (1.0, 1.0, 1.0)
SHADES = 12  # few colours keep the image's palette, and the file, small
COLUMNS = 400
PANEL = 1.4


def caption(results: Results, trace: str) -> str:
    """What the colours are."""
    return (
        "Time goes right, addresses go up. Full colour: in use; grey: free, below the highest address "
        "used so far (holes), mixed where a cell is used in part; white: never used so far."
        + SCALES
        + left_out(len(results.policies(trace)))
    )


def height(results: Results, trace: str) -> float:
    """A panel for each policy."""
    if not len(results.rows("occupancy", trace)["event"]):
        return TITLE_ROOM + 0.3
    return layout(len(results.policies(trace)), PANEL).height


def draw(results: Results, trace: str, frame: Frame) -> None:
    """One image a policy; equal scales, but a policy far above the others has its own."""
    rows, last = summary(results, trace)[:MOST_PANELS], last_event(results, trace)
    most_rows = 320 if len(rows) == 1 else 200
    cells = [occupancy(results.rows("occupancy", trace, row["policy"]), last, COLUMNS, most_rows) for row in rows]
    tops = [cell.top if cell else 0 for cell in cells]
    if not any(cells):
        frame.text(LEFT, TITLE_ROOM + 0.1, "The results hold no occupancy.", BODY, colour=FAINT)
        return
    for place, cell in zip(places(frame, PANEL, rows, last, tops, common_limit(tops)), cells, strict=True):
        panel, colour = place.panel, policy_colour(place.row["policy"])
        panel.sizes(labelled=place.own_scale or place.leftmost, inside=not place.leftmost, most=4)
        if cell:
            panel.image(coloured(cell.share, colour), cell.low, cell.top)
        if is_oom(place.row):
            panel.out_of_memory(place.row, panel.up / 2, colour)
    colour = policy_colour(rows[0]["policy"])
    key(frame, [("in use", "area", colour), ("hole", "area", HOLE), ("not used so far", "area", UNUSED)])


def coloured(share: Floats, colour: Colour) -> NDArray[numpy.uint8]:
    """Shares as pixels: white above the highest address used so far, HOLE to full colour below."""
    level = numpy.ceil(numpy.nan_to_num(share) * SHADES).astype(numpy.int64).clip(0, SHADES)
    row = numpy.arange(level.shape[0])[:, None]
    highest = numpy.maximum.accumulate(numpy.where(level > 0, row + 1, 0).max(axis=0))
    level[(row >= highest) | numpy.isnan(share)] = SHADES + 1
    steps = numpy.linspace(0, 1, SHADES + 1)[:, None]
    palette = numpy.vstack([(1 - steps) * HOLE + steps * colour, UNUSED])
    pixels: NDArray[numpy.uint8] = numpy.round(palette * 255).astype(numpy.uint8)[level]
    return pixels
