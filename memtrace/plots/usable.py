"""Plot of how much of the free memory could serve a request of some size: for each policy a curve over the size, with a band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from memtrace.drawing.frame import Frame, key
from memtrace.drawing.panel import MOST_PANELS, Across, Scales, layout, left_out, places
from memtrace.drawing.scales import class_label, class_of, class_ticks
from memtrace.drawing.style import BODY, FAINT, LEFT, TITLE_ROOM, light, policy_colour
from memtrace.plots.series import Floats, Rows, showing_sizes

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 48
NAME = "usable-by-size"
TITLE = "Free memory by what it could serve"

PANEL = 1.05  # inches: a panel's height
MARGIN = 1.0  # classes left and right of the curves, for the labels of the ends
BAND = (10, 50, 90)  # percentiles of the samples: the band's lower edge, the line, the band's upper edge


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "How much of the free bytes lies in holes that are at least as large as a request of the size below: the line is the "
        "median of the samples with holes, the band goes from the 10th to the 90th percentile. One hole alone would be a line at "
        "100 % up to its size. The numbers are the largest sizes that half of the free memory could serve, in the median."
    ) + left_out(len(showing_sizes(results, trace)))


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for a panel per policy."""
    if not results.rows("holes", trace).size():
        return TITLE_ROOM + 0.3
    return layout(len(showing_sizes(results, trace)), PANEL).height


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw a curve with its band for each policy, all with the same scale of sizes."""
    found = results.rows("holes", trace)
    if not len(found["event"]):
        frame.text(LEFT, TITLE_ROOM + 0.1, "No policy had a hole at any of the samples.", BODY, colour=FAINT)
        return
    rows = showing_sizes(results, trace)[:MOST_PANELS]
    classes = range(class_of(found["hole_bytes_from"].min()), class_of(found["hole_bytes_from"].max()) + 2)
    curves = [usable(results.rows("holes", trace, row["policy"]), classes) for row in rows]
    across = Across(classes[0] - MARGIN, classes[-1] + MARGIN, class_ticks(classes, 4), "bytes requested")
    scales = Scales(last=1, tops=[1.0] * len(rows), limit=1.0, across=across)
    x = numpy.array(classes, dtype=float)
    for place, (low, middle, high) in zip(places(frame, PANEL, rows, scales, numbers(curves, classes)), curves, strict=True):
        colour = policy_colour(place.row["policy"])
        place.panel.ticks_up([(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")], labelled=place.leftmost)
        place.panel.band(x, low, high, light(colour))
        place.panel.line(x, middle, colour)
    colour = policy_colour(rows[0]["policy"])
    key(frame, [("median", "line", colour), ("10 to 90 %", "area", light(colour))])


def usable(rows: Rows, classes: range) -> Floats:
    """Return [percentile of BAND, class]: the share of the free bytes in holes of at least 2^class bytes; 0 without any sample.

    ``rows`` are a policy's rows of the table `holes`, whose classes begin at powers of two: the shares are exact there.
    """
    events, at = numpy.unique(rows["event"], return_inverse=True)
    if not events.size:
        return numpy.zeros((len(BAND), len(classes)))
    table = numpy.zeros((events.size, len(classes)))
    column = numpy.array([class_of(size) for size in rows["hole_bytes_from"].tolist()]) - classes[0]
    numpy.add.at(table, (at, column), rows["free_bytes"])
    above = table[:, ::-1].cumsum(axis=1)[:, ::-1]
    found: Floats = numpy.percentile(above / numpy.maximum(1, above[:, :1]), BAND, axis=0)
    return found


def numbers(curves: list[Floats], classes: range) -> list[str]:
    """Return for each policy the largest size that half of its free memory could serve in the median."""
    found: list[Any] = []
    for _, middle, _ in curves:
        served = numpy.flatnonzero(middle >= 0.5)
        found.append(class_label(1 << classes[int(served[-1])], "size") if served.size else "-")
    return found
