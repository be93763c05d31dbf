"""Plot of the modelled stall against the capacity of the first tier, which shows how large that tier should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.drawing.frame import Frame
from memtrace.drawing.panel import HEADROOM, Panel
from memtrace.drawing.scales import Tick, count_ticks, size_ticks
from memtrace.drawing.style import ALARM, BOTTOM, DEEP, LEFT, SMALL, TITLE_ROOM
from memtrace.units import format_seconds

if TYPE_CHECKING:
    from memtrace.tiers.results import TierResults

ORDER = 30
NAME = "stall"
TITLE = "Modelled stall against capacity of the top tier"
CAPTION = (
    "Modelled waiting for transfers if the first tier had another capacity and all else stayed; a cross: "
    "not even all tiers together were enough."
)
STEPS = 4  # of a scale of less than ten seconds
LONG = 300 * 10**9  # ns: a scale that reaches at least as far is in minutes


def height(results: TierResults) -> float:
    """Return the figure's height in inches; 0 if the run has no curve."""
    return 2.8 if results.curve else 0.0


def draw(results: TierResults, frame: Frame) -> None:
    """Draw a point per capacity, and a cross where not even all tiers together were enough."""
    rows = [row for row in results.curve if row["status"] == "ok"]
    across = max(row["capacity_bytes"] for row in results.curve)
    most = max([row["run_stall_ns"] for row in rows] or [0])
    tall = frame.height - TITLE_ROOM - BOTTOM
    panel = Panel(frame, LEFT, TITLE_ROOM, frame.width - LEFT - 0.3, tall, across * 1.02, max(1, most) * HEADROOM)
    panel.ticks_up(times(most))
    panel.ticks_across(size_ticks(across, 8), name=f"capacity of {results.summary[0]['name']}")
    panel.line([row["capacity_bytes"] for row in rows], [row["run_stall_ns"] for row in rows], DEEP, 1.4)
    for row in rows:
        x, y = float(panel.x(row["capacity_bytes"])), float(panel.y(row["run_stall_ns"]))
        frame.box(x - 0.025, y - 0.025, 0.05, 0.05, DEEP)
    for row in results.curve:
        if row["status"] != "ok":
            frame.cross(float(panel.x(row["capacity_bytes"])), panel.low - 0.08, ALARM, 0.05)
    asked = results.summary[0]["capacity_bytes"]
    at = float(panel.x(asked))
    frame.line([(at, panel.top), (at, panel.low)], ALARM, 0.8, (0, (4, 2)))
    side = "right" if at > frame.width / 2 else "left"
    frame.text(at + (-0.05 if side == "right" else 0.05), panel.top + 0.08, "this run", SMALL, colour=ALARM, align=side)


def times(most: int) -> list[Tick]:
    """Return ticks up to ``most`` nanoseconds: round minutes or seconds, or below ten seconds equal parts of ``most``."""
    if most < 10**10:
        return [(most * k / STEPS, format_seconds(most * k / STEPS / 1e9)) for k in range(STEPS + 1)]
    unit, name = (60e9, "min") if most >= LONG else (1e9, "s")
    return [(value * unit, f"{label} {name}") for value, label in count_ticks(most / unit)]
