"""Plot of waste over time: the reserved bytes of a policy that are not live, by the way in which they are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from memtrace.drawing.frame import key
from memtrace.drawing.panel import MOST_PANELS, OWN_SCALE_NOTE, Place, Scales, layout, left_out, places
from memtrace.drawing.scales import common_limit
from memtrace.drawing.style import INK, policy_colour
from memtrace.plots.series import Floats, Rows, curve, highest_samples, is_null, last_event, means, summary
from memtrace.results.verdict import is_oom
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.drawing.frame import Frame
    from memtrace.results.tables import Results

ORDER = 25
NAME = "waste"
TITLE = "Waste over time"

# The colours differ in lightness too, so that they can be told apart in grey.
INTERNAL, EXTERNAL, CACHED = "#332288", "#dd7f3b", "#f3e3b0"
COLUMNS = 120  # of a curve
PANEL = 1.15  # inches: a panel's height


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "Reserved bytes that are not live. Internal: rounding, headers and padding inside blocks. External: free, "
        "between blocks. Cached: free and could go back to the system as it lies, which is the free top of a heap, or whole "
        "free segments; of a policy that does not tell, it counts as external, as internal waste does where it is not known. "
        "Where there are more samples than room the layers are means, and a thin line is the highest of all three. The numbers "
        "are the highest waste." + OWN_SCALE_NOTE + left_out(len(results.policies(trace)))
    )


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for a panel per policy."""
    return layout(len(results.policies(trace)), PANEL).height


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw a panel per policy. All have the same scale, except that a policy far above the others has its own."""
    rows = summary(results, trace)[:MOST_PANELS]
    found = [results.rows("timeline", trace, row["policy"]) for row in rows]
    tops = [float(layers(one)[-1].max(initial=0)) for one in found]
    limit = common_limit(tops)
    numbers = [format_size(int(top)) + (" *" if top > limit else "") for top in tops]
    scales = Scales(last=last_event(results, trace), tops=tops, limit=limit)
    for place, one in zip(places(frame, PANEL, rows, scales, numbers), found, strict=True):
        place.panel.sizes(labelled=place.own_scale or place.leftmost, inside=not place.leftmost, most=4)
        _stack(place, one)
    key(frame, [("cached", "area", CACHED), ("external", "area", EXTERNAL), ("internal", "area", INTERNAL)])


def layers(rows: Rows) -> tuple[Floats, Floats, Floats]:
    """Return the upper ends of internal, external and cached waste, stacked from 0, for each sample.

    ``rows`` are the columns of a timeline. A policy that does not count its releasable bytes has no cached waste,
    and one whose allocated bytes are not known no internal waste.
    """
    live, reserved = (rows[f"{of}_bytes"].astype(float) for of in ("live", "reserved"))
    allocated = live if is_null(rows["allocated_bytes"]) else rows["allocated_bytes"].astype(float)
    top = numpy.maximum(reserved - live, 0)
    internal = numpy.clip(allocated - live, 0, top)
    told = rows.get("releasable_bytes")
    cached = numpy.zeros(top.size) if told is None or told.dtype.kind == "O" else numpy.nan_to_num(told.astype(float))
    return internal, numpy.maximum(top - cached, internal), top


def _stack(place: Place, rows: Rows) -> None:
    """Draw the three layers into a policy's panel, and a thin line at the highest waste if layers are means."""
    below = numpy.zeros(rows["event"].size)
    for top, colour in zip(layers(rows), (INTERNAL, EXTERNAL, CACHED), strict=True):
        x, low = means(rows["event"], below, COLUMNS)
        place.panel.band(x, low, means(rows["event"], top, COLUMNS)[1], colour)
        below = top
    if rows["event"].size > COLUMNS:
        kept = highest_samples(rows["event"], below, COLUMNS)
        place.panel.line(*curve(rows["event"][kept], below[kept], 2 * COLUMNS), INK, 0.4)
    if is_oom(place.row):
        place.panel.out_of_memory(place.row, place.panel.up / 2, policy_colour(place.row["policy"]))
