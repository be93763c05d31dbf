"""Draw maps of address by time, one image per policy, side by side.

The maps show what a colour function makes of the cells of each policy. Large ranges of addresses that nothing ever
lived in are left out; a dotted line marks such a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray

from memtrace.drawing.frame import Frame
from memtrace.drawing.panel import MOST_PANELS, OWN_SCALE_NOTE, Panel, Scales, layout, left_out, places
from memtrace.drawing.scales import common_limit, size_ticks
from memtrace.drawing.style import BODY, FAINT, LEFT, SMALL, TITLE_ROOM, Colour, policy_colour
from memtrace.plots.series import Cells, Rows, cells_of, highest_so_far, last_event, summary, tag_names
from memtrace.results.verdict import is_oom
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.results.tables import Results

HOLE: Colour = (0.86, 0.86, 0.86)  # a grey that is no policy's colour
UNUSED: Colour = (1.0, 1.0, 1.0)
COLUMNS, ROWS = 400, 320  # pixels of the image if there is a single panel
PANEL = 1.4  # inches: a panel's height
MOMENTS = " A column is the fullest of the recorded moments within it; what came and went between two of those is not seen."
GAPS = " A dotted line is a gap: addresses that were only reserved, and that nothing ever lived in, are left out."
LABEL_DISTANCE = 0.13  # inches: the least distance between two labels

Paint = Callable[[Cells, str], NDArray[numpy.uint8]]  # cells and policy -> pixels [row, column, RGB]
Palette = Sequence[Colour]


def height(results: Results, trace: str) -> float:
    """Return the height in inches of a figure with a panel for each policy, or of one line of text if there is no occupancy."""
    if not results.rows("occupancy", trace).size():
        return TITLE_ROOM + 0.3
    return layout(len(results.policies(trace)), PANEL).height


def notes(results: Results, trace: str) -> str:
    """Return the last sentences of the caption of an address map."""
    cut = any(has_gaps(results.rows("occupancy", trace, policy)) for policy in results.policies(trace))
    return MOMENTS + OWN_SCALE_NOTE + (GAPS if cut else "") + left_out(len(results.policies(trace)))


def has_gaps(rows: Rows) -> bool:
    """Return whether a range of addresses is left out of a policy's rows of the table `occupancy`."""
    first = rows["event"] == rows["event"][0] if rows["event"].size else numpy.zeros(0, bool)
    address, height = rows["address_from_bytes"][first], rows["address_bytes"][first]
    return bool((address[1:] != address[:-1] + height[:-1]).any()) or bool(address.size and address[0] > 0)


def draw_maps(
    results: Results,
    trace: str,
    frame: Frame,
    paint: Paint,
    tags: Sequence[str] = (),
    seen: Callable[[Sequence[Cells | None]], None] = lambda cells: None,
) -> list[tuple[Panel, Cells]]:
    """Draw one image per policy, and return each drawn panel with its cells.

    All panels have the same scale, except that a policy far above the others has its own. ``paint`` turns cells and a
    policy into pixels. ``tags`` are the tags that get codes. ``seen`` is called with the cells of all policies before
    the first image is painted.
    """
    rows, last = summary(results, trace)[:MOST_PANELS], last_event(results, trace)
    side_by_side = layout(len(rows), PANEL).columns
    columns, most_rows = COLUMNS // max(1, side_by_side - 1), ROWS * 2 // (side_by_side + 1)
    cells = [cells_of(results.rows("occupancy", trace, row["policy"]), last, columns, most_rows, tags) for row in rows]
    seen(cells)
    tops = [cell.span if cell else 0 for cell in cells]
    drawn = []
    scales = Scales(last=last, tops=tops, limit=common_limit(tops))
    for place, cell in zip(places(frame, PANEL, rows, scales), cells, strict=True):
        panel = place.panel
        labelled = place.own_scale or place.leftmost
        if cell is None or (len(cell.regions) == 1 and not cell.regions[0].address):
            panel.sizes(labelled=labelled, inside=not place.leftmost, most=4)
        else:
            _gaps(panel, cell, labelled=labelled, inside=not place.leftmost)
        if cell:
            panel.image(paint(cell, place.row["policy"]), 0, cell.span)
            drawn.append((panel, cell))
        if is_oom(place.row):
            panel.out_of_memory(place.row, panel.up / 2, policy_colour(place.row["policy"]))
    return drawn


def draw_if_no_occupancy(results: Results, trace: str, frame: Frame) -> bool:
    """Return whether the results have no occupancy of this trace; if so, draw a sentence that says so."""
    if results.rows("occupancy", trace).size():
        return False
    frame.text(LEFT, TITLE_ROOM + 0.1, "The results hold no occupancy.", BODY, colour=FAINT)
    return True


def all_tags(results: Results, trace: str) -> tuple[str, ...]:
    """Return the tags of a trace's blocks in one order for all policies, the tag with the most bytes first."""
    return tag_names(results.rows("occupancy", trace, policy) for policy in results.policies(trace))


def pixels_of_codes(cells: Cells, codes: NDArray[Any], palette: Palette) -> NDArray[numpy.uint8]:
    """Return pixels for colour codes.

    A code is an index into the palette or -1 for HOLE. Cells above the highest address used so far, and cells after the
    policy's last event, get UNUSED.
    """
    below = highest_so_far(cells)
    level = numpy.where(below, codes + 1, len(palette) + 1)
    colours = numpy.array([HOLE, *palette, UNUSED])
    pixels: NDArray[numpy.uint8] = numpy.round(colours * 255).astype(numpy.uint8)[level]
    return pixels


def _gaps(panel: Panel, cells: Cells, *, labelled: bool, inside: bool) -> None:
    """Draw the vertical scale of a panel with left-out addresses: a dotted line at each gap, and the address above it.

    ``labelled`` draws the other ticks' labels; ``inside`` draws labels inside the panel.
    """
    taken: list[float] = []
    starts = [(float(panel.y(region.row * cells.row_bytes)), region) for region, _ in cells.ends()]
    for at, region in starts:
        if region.row:
            panel.frame.line([(panel.left, at), (panel.right, at)], FAINT, 0.8, (0, (1, 1.5)))
    for at, region in starts:
        if region.address and all(abs(at - other) > LABEL_DISTANCE for other in taken):
            taken.append(at)
            if inside:
                panel.frame.plate(panel.left + 0.03, at - 0.07, format_size(region.address), SMALL, colour=FAINT)
            else:
                panel.frame.text(panel.left - 0.05, at, format_size(region.address), SMALL, colour=FAINT, align="right")
    first, rows = cells.ends()[0]
    if first.address == 0:
        end = rows * cells.row_bytes
        ticks = [tick for tick in size_ticks(panel.up, 4) if tick[0] < end]
        free = [tick for tick in ticks if all(abs(float(panel.y(tick[0])) - other) > LABEL_DISTANCE for other in taken)]
        panel.ticks_up(free, labelled=labelled, inside=inside)
