"""Plot of the live bytes of each tier over time, stacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from memtrace.drawing.frame import Frame, key
from memtrace.drawing.panel import HEADROOM, Panel
from memtrace.drawing.style import BOTTOM, LEFT, TITLE_ROOM, tier_colour
from memtrace.plots.series import curve

if TYPE_CHECKING:
    from memtrace.tiers.results import TierResults

ORDER = 10
NAME = "residency"
TITLE = "Where live bytes are"
CAPTION = (
    "Requested bytes in each tier, stacked from the first up, after each event. The dashed line is the "
    "capacity of the first tier."
)
COLUMNS = 500  # of a curve


def height(results: TierResults) -> float:
    """Return the figure's height in inches."""
    return 3.0


def draw(results: TierResults, frame: Frame) -> None:
    """Draw the tiers' live bytes as stacked areas, the first tier lowest, and the first tier's capacity as a dashed line."""
    rows, count = results.summary, len(results.summary)
    live = numpy.array(results.timeline["live_bytes"], dtype=float).reshape(-1, count)
    events = numpy.array(results.timeline["event"]).reshape(-1, count)[:, 0]
    stacked = numpy.cumsum(live, axis=1)
    up = max(1.0, float(stacked[:, -1].max()) if stacked.size else 1.0) * HEADROOM
    tall = frame.height - TITLE_ROOM - BOTTOM
    panel = Panel(frame, LEFT, TITLE_ROOM, frame.width - LEFT - 0.1, tall, max(1, int(events[-1]) if events.size else 1), up)
    panel.sizes(most=6)
    panel.events()
    for tier in range(count - 1, -1, -1):
        panel.area(*curve(events, stacked[:, tier], COLUMNS), tier_colour(tier, count))
    panel.capacity(rows[0]["capacity_bytes"])
    key(frame, [(row["name"], "area", tier_colour(row["tier"], count)) for row in rows])
