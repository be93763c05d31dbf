"""Plot of each policy's memory over time: how much of its reserved bytes is live, rounding or holes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.drawing.frame import key
from memtrace.drawing.panel import MOST_PANELS, OWN_SCALE_NOTE, Place, Scales, layout, left_out, places
from memtrace.drawing.scales import common_limit
from memtrace.drawing.style import LIVE, light, policy_colour
from memtrace.plots.series import Rows, curve, highest_samples, is_null, last_event, summary
from memtrace.results.verdict import is_oom

if TYPE_CHECKING:
    from memtrace.drawing.frame import Frame
    from memtrace.results.tables import Results

ORDER = 20
NAME = "memory-by-policy"
TITLE = "Memory by policy"

COLUMNS = 240  # of a curve
PANEL = 1.15  # inches: a panel's height


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "Grey is live. The tint above it is rounding, headers and padding (allocated, not live), where they are known; the "
        "white gap below the line is holes (reserved, not allocated). Best policy first; the numbers are peaks "
        "of reserved bytes." + OWN_SCALE_NOTE + left_out(len(results.policies(trace)))
    )


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for a panel per policy."""
    return layout(len(results.policies(trace)), PANEL).height


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw a panel per policy. All have the same scale, except that a policy far above the others has its own."""
    rows = summary(results, trace)[:MOST_PANELS]
    peaks = [row["peak_reserved_bytes"] for row in rows]
    limit = common_limit([*peaks, rows[0]["peak_live_bytes"]])
    scales = Scales(last=last_event(results, trace), tops=peaks, limit=limit)
    for place in places(frame, PANEL, rows, scales):
        place.panel.sizes(labelled=place.own_scale or place.leftmost, inside=not place.leftmost, most=4)
        _layers(place, results.rows("timeline", trace, place.row["policy"]))
    colour = policy_colour(rows[0]["policy"])
    key(frame, [("reserved", "line", colour), ("allocated", "area", light(colour)), ("live", "area", LIVE)])


def _layers(place: Place, found: Rows) -> None:
    """Draw live, allocated and reserved bytes into a policy's panel; ``found`` are the columns of its timeline."""
    row, panel, colour = place.row, place.panel, policy_colour(place.row["policy"])
    blocks = found["live_bytes"] if is_null(found["allocated_bytes"]) else found["allocated_bytes"]
    kept = highest_samples(found["event"], blocks, COLUMNS)
    x, live = curve(found["event"][kept], found["live_bytes"][kept], 2 * COLUMNS)
    _, allocated = curve(found["event"][kept], blocks[kept], 2 * COLUMNS)
    panel.area(x, live, LIVE)
    panel.band(x, live, allocated, light(colour))
    panel.line(*curve(found["event"], found["reserved_bytes"], COLUMNS), colour)
    panel.capacity(row.get("capacity_bytes"), labelled=False)
    if is_oom(row):
        panel.out_of_memory(row, row["peak_reserved_bytes"], colour)
