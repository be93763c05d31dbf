"""Plot of how many blocks of one size would fit, against what one hole of all free bytes would hold: for each policy a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from memtrace.drawing.frame import Frame, key
from memtrace.drawing.panel import MOST_PANELS, Across, Scales, layout, left_out, places
from memtrace.drawing.scales import class_label, class_of, class_ticks
from memtrace.drawing.style import BODY, FAINT, LEFT, TITLE_ROOM, light, policy_colour
from memtrace.plots.series import Floats, Rows, showing_sizes

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 49
NAME = "blocks-that-fit"
TITLE = "Blocks that would fit, against the ideal"

PANEL = 1.05  # inches: a panel's height
MARGIN = 1.0  # classes left and right of the curves, for the labels of the ends
BAND = (10, 50, 90)  # percentiles over the samples: the band's lower edge, the line, the band's upper edge
HALF = 0.5


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "How many blocks of the size below are sure to fit the holes, over how many would fit if all free bytes were one hole: "
        "the line is the median of the samples at which one would fit so, the band goes from the 10th to the 90th percentile. A "
        "curve ends where the free bytes never were enough for a block. The numbers are the largest sizes of which half the "
        "ideal fits, in the median."
    ) + left_out(len(showing_sizes(results, trace)))


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for a panel per policy."""
    if not results.rows("fits", trace).size():
        return TITLE_ROOM + 0.3
    return layout(len(showing_sizes(results, trace)), PANEL).height


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw a curve with its band for each policy, all with the same scale of sizes."""
    found = results.rows("fits", trace)
    if not found.size():
        frame.text(LEFT, TITLE_ROOM + 0.1, "The results do not say how many blocks would fit.", BODY, colour=FAINT)
        return
    rows = showing_sizes(results, trace)[:MOST_PANELS]
    classes = range(class_of(found["size_bytes"].min()), class_of(found["size_bytes"].max()) + 1)
    curves = [shares(results.rows("fits", trace, row["policy"]), classes) for row in rows]
    across = Across(classes[0] - MARGIN, classes[-1] + MARGIN, class_ticks(classes, 4), "bytes of a block")
    scales = Scales(last=1, tops=[1.0] * len(rows), limit=1.0, across=across)
    for place, band in zip(places(frame, PANEL, rows, scales, [number(one, classes) for one in curves]), curves, strict=True):
        colour = policy_colour(place.row["policy"])
        place.panel.ticks_up([(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")], labelled=place.leftmost)
        known = ~numpy.isnan(band[1])
        x, (low, middle, high) = numpy.array(classes, dtype=float)[known], band[:, known]
        if x.size:
            place.panel.band(x, low, high, light(colour))
            place.panel.line(x, middle, colour)
    colour = policy_colour(rows[0]["policy"])
    key(frame, [("median", "line", colour), ("10 to 90 %", "area", light(colour))])


def shares(rows: Rows, classes: range) -> Floats:
    """Return [percentile of BAND, class]: blocks that are sure to fit / ideal; NaN where none would fit at any sample.

    ``rows`` are a policy's rows of the table `fits`.
    """
    found = numpy.full((len(BAND), len(classes)), numpy.nan)
    for place, size_class in enumerate(classes):
        chosen = (rows["size_bytes"] == 1 << size_class) & (rows["blocks_ideal"] > 0)
        if chosen.any():
            found[:, place] = numpy.percentile(rows["blocks_least"][chosen] / rows["blocks_ideal"][chosen], BAND)
    return found


def number(band: Floats, classes: range) -> str:
    """Return the largest size of which half the ideal fits in the median, as a text; `-` if there is none."""
    served = numpy.flatnonzero(numpy.nan_to_num(band[1]) >= HALF)
    return class_label(1 << classes[int(served[-1])], "size") if served.size else "-"
