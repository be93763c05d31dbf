"""Plot of hole sizes over time: for each policy the number of holes of each size class."""

from __future__ import annotations

from dataclasses import replace
from math import log, log10
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from memtrace.drawing.frame import Frame
from memtrace.drawing.panel import MOST_PANELS, Panel, Scales, layout, left_out, places
from memtrace.drawing.scales import class_of, class_ticks
from memtrace.drawing.style import BODY, FAINT, LEFT, SMALL, TITLE_ROOM, policy_colour
from memtrace.plots.series import Floats, hole_counts, last_event, showing_sizes
from memtrace.results.verdict import is_oom

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 50
NAME = "hole-sizes"
TITLE = "Hole sizes over time"

COLUMNS = 200  # of an image
SHADES = 24  # colours, the white of no hole not counted
PANEL = 1.05  # inches: a panel's height
PALE, DARK = (0.68, 0.80, 0.91), (0.03, 0.19, 0.42)


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "Number of holes by size (classes of powers of two) over time: the darker, the more. Dark low down "
        "is dust that few requests fit into; one pale line high up is a single large free range."
    ) + left_out(len(showing_sizes(results, trace)))


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for a panel per policy."""
    if not len(results.rows("holes", trace)["event"]):
        return TITLE_ROOM + 0.3
    return layout(len(showing_sizes(results, trace)), PANEL).height


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw one image per policy, all with the same scale of sizes and of counts."""
    found = results.rows("holes", trace)
    if not len(found["event"]):
        frame.text(LEFT, TITLE_ROOM + 0.1, "No policy had a hole at any of the samples.", BODY, colour=FAINT)
        return
    rows, last = showing_sizes(results, trace)[:MOST_PANELS], last_event(results, trace)
    samples, most = numpy.unique(found["event"]), int(found["holes"].max())
    classes = range(class_of(found["hole_bytes_from"].min()), class_of(found["hole_bytes_from"].max()) + 1)
    ticks = class_ticks(classes)
    scales = Scales(last=last, tops=[0] * len(rows), limit=1)
    for place in places(frame, PANEL, rows, scales):
        panel = replace(place.panel, from_up=classes[0], up=classes[-1] + 1)
        panel.ticks_up(ticks, labelled=place.leftmost)
        holes, timeline = (results.rows(name, trace, place.row["policy"]) for name in ("holes", "timeline"))
        counts = hole_counts(holes, timeline, samples, last, COLUMNS)
        none = numpy.zeros(COLUMNS)
        image = numpy.stack([counts.get(k, none) for k in classes])
        panel.image(shaded(image, most), classes[0], classes[-1] + 1)
        if is_oom(place.row):
            panel.out_of_memory(place.row, (panel.from_up + panel.up) / 2, policy_colour(place.row["policy"]))
    if most > 1:
        scale(frame, most, "holes")


def shaded(counts: Floats, most: int) -> NDArray[numpy.uint8]:
    """Return counts as pixels: white for 0, from PALE for 1 to DARK for ``most``, by the logarithm of the count."""
    share = numpy.log(numpy.maximum(1, counts)) / log(max(2, most))
    level = numpy.where(counts > 0, 1 + numpy.round(share * (SHADES - 1)), 0).astype(numpy.int64).clip(0, SHADES)
    steps = numpy.linspace(0, 1, SHADES)[:, None]
    palette = numpy.vstack([[1.0, 1.0, 1.0], (1 - steps) * PALE + steps * DARK])
    pixels: NDArray[numpy.uint8] = numpy.round(palette * 255).astype(numpy.uint8)[level]
    return pixels


def scale(frame: Frame, most: int, name: str) -> None:
    """Draw the colours with their counts at the top right of the frame; ``name`` says what is counted."""
    end = log10(max(2, most))
    bar = Panel(frame, frame.width - 1.75, 0.03, 1.6, 0.09, end, 1)
    bar.image(shaded(numpy.geomspace(1, max(2, most), 64)[None, :], most), 0, 1)
    bar.ticks_across([(0, "1"), (end, f"{most:,}")])
    frame.text(bar.left - 0.08, 0.075, name, SMALL, colour=FAINT, align="right")
