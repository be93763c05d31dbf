"""Plot of the bytes that crossed each link so far: evicted down, brought up, and read or written in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from memtrace.drawing.frame import Dashes, Frame, key
from memtrace.drawing.panel import HEADROOM, Panel
from memtrace.drawing.style import BODY, BOTTOM, FAINT, LEFT, TITLE_ROOM
from memtrace.plots.series import curve
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.tiers.results import TierResults

ORDER = 20
NAME = "traffic"
TITLE = "Bytes over each link, so far"
CAPTION = "Bytes that have crossed each link since the start: evicted down, brought up, and read or written where they are."
# Name, column of the timeline, colour and line style of each way.
WAYS: tuple[tuple[str, str, str, Dashes], ...] = (
    ("down", "down_bytes", "#D55E00", "-"),
    ("up", "up_bytes", "#0072B2", (0, (5, 1.5))),
    ("in place", "remote_bytes", "#009E73", (0, (1.5, 1.2))),
)
COLUMNS = 300  # of a curve
PANEL, HEAD = 1.5, 0.24  # inches: height of a panel, and room for its title


def height(results: TierResults) -> float:
    """Return the figure's height in inches, for a panel per link; 0 for a single tier."""
    links = len(results.summary) - 1
    return TITLE_ROOM + links * (PANEL + HEAD) + BOTTOM if links else 0.0


def draw(results: TierResults, frame: Frame) -> None:
    """Draw a panel per link, all on one scale."""
    rows, count = results.summary, len(results.summary)
    found = {name: numpy.array(results.timeline[name], dtype=float).reshape(-1, count) for _, name, _, _ in WAYS}
    events = numpy.array(results.timeline["event"]).reshape(-1, count)[:, 0]
    up = max(1.0, *(float(values.max()) if values.size else 1.0 for values in found.values())) * HEADROOM
    across = max(1, int(events[-1]) if events.size else 1)
    for link in range(1, count):
        top = TITLE_ROOM + (link - 1) * (PANEL + HEAD) + HEAD
        panel = Panel(frame, LEFT, top, frame.width - LEFT - 0.1, PANEL - 0.1, across, up)
        row = rows[link]
        total = format_size(row["down_bytes"] + row["up_bytes"] + row["remote_bytes"])
        panel.title(f"{rows[link - 1]['name']} - {row['name']}", f"{total} in all", BODY, FAINT)
        panel.sizes(most=3)
        panel.events(labelled=link == count - 1)
        for _, name, colour, dashes in WAYS:
            panel.line(*curve(events, found[name][:, link], COLUMNS), colour, dashes=dashes)
    key(frame, [(text, "line", colour) for text, _, colour, _ in WAYS], {text: dashes for text, _, _, dashes in WAYS})
