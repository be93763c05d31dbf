"""Small multiples: one panel per policy in rows and columns, each titled with the policy's name and peak."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from memtrace.plots.frame import POINTS, TALLEST, WIDTH, Frame
from memtrace.plots.panel import HEADROOM, Panel
from memtrace.plots.scales import Tick
from memtrace.plots.style import ALARM, BODY, BOTTOM, FAINT, LEFT, SMALL, TITLE_ROOM
from memtrace.plots.text import short_labels, width
from memtrace.report.verdict import is_oom, oom_event
from memtrace.units import format_size

RIGHT = 0.1  # inches right of the panels
GAP = 0.2  # inches between panels
PANEL_TITLE = 0.24  # inches for a panel's title
MOST_PANELS = 24  # of a figure
OWN_SCALE = " *"  # marks the number of a panel with a scale of its own
SCALES = " A * marks a panel with a scale of its own."


@dataclass(frozen=True)
class Layout:
    """The arrangement of equal panels below the figure's title."""

    count: int  # panels
    columns: int
    panel_height: float  # inches

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return ceil(self.count / self.columns)

    @property
    def height(self) -> float:
        """Return the figure's height in inches that the panels need, at most that of a page."""
        return min(TALLEST, TITLE_ROOM + self.rows * (PANEL_TITLE + self.panel_height) + BOTTOM)

    @property
    def panel_width(self) -> float:
        """Return a panel's width in inches."""
        return (WIDTH - LEFT - RIGHT - GAP * (self.columns - 1)) / self.columns


@dataclass(frozen=True)
class Place:
    """A policy's panel, and its position among the others, which decides about its labels."""

    row: dict[str, Any]  # the policy's row of the summary
    panel: Panel
    own_scale: bool  # its vertical scale is not that of the others
    leftmost: bool  # no panel is left of it
    lowest: bool  # no panel is below it


@dataclass(frozen=True)
class Across:
    """A horizontal scale other than events."""

    start: float
    end: float
    ticks: list[Tick]
    name: str


def layout(count: int, panel_height: float) -> Layout:
    """Return the layout of so many panels, at most MOST_PANELS: few panels are large, many are small."""
    count = max(1, min(count, MOST_PANELS))
    columns = 1 if count == 1 else 2 if count <= 4 else 3 if count <= 15 else 4
    return Layout(count, columns, panel_height * (1.5 if count == 1 else 1.0))


def left_out(count: int) -> str:
    """Return the caption's last sentence if there are more policies than panels, else an empty text."""
    return f" The best {MOST_PANELS} of {count} policies are shown." if count > MOST_PANELS else ""


def places(
    frame: Frame,
    panel_height: float,
    rows: Sequence[dict[str, Any]],
    last: int,
    tops: Sequence[float],
    limit: float,
    numbers: Sequence[str] | None = None,
    across: Across | None = None,
) -> Iterator[Place]:
    """Draw a title and scale for each row's panel, and yield the panels one after the other.

    ``rows`` are rows of the summary, ``last`` is the event at the right end, ``tops`` are the highest values of the
    panels, and ``limit`` is the common end of the vertical scales. A panel whose top is above the limit gets a scale of
    its own. ``numbers`` replace the peaks in the titles, ``across`` replaces the scale of events.
    """
    plan = layout(len(rows), panel_height)
    tall = (frame.height - TITLE_ROOM - BOTTOM) / plan.rows - PANEL_TITLE
    own = [top > limit for top in tops]
    numbers = numbers or [_number(row, apart) for row, apart in zip(rows, own, strict=True)]
    room = plan.panel_width * POINTS - max(width(number, SMALL) for number in numbers) - 8
    names = short_labels([row["policy"] for row in rows], BODY, room)
    for at, row in enumerate(rows):
        line, column = divmod(at, plan.columns)
        left = LEFT + column * (plan.panel_width + GAP)
        down = TITLE_ROOM + line * (tall + PANEL_TITLE) + PANEL_TITLE
        up = max(1.0, tops[at] if own[at] else limit) * HEADROOM
        panel = Panel(frame, left, down, plan.panel_width, tall, max(1, last), up)
        if across is not None:
            panel = replace(panel, from_across=across.start, across=across.end)
        panel.title(names[row["policy"]], numbers[at], BODY, ALARM if is_oom(row) else FAINT)
        place = Place(row, panel, own[at], column == 0, at + plan.columns >= plan.count)
        if across is None:
            panel.events(labelled=place.lowest, most=4)
        else:
            panel.ticks_across(across.ticks, labelled=place.lowest, name=across.name)
        yield place


def _number(row: dict[str, Any], own_scale: bool) -> str:
    """Return the number in a panel's title: the peak of reserved bytes, or the event at which memory ran out."""
    if is_oom(row):
        return f"OOM at {oom_event(row):,}"
    return format_size(row["peak_reserved_bytes"]) + (OWN_SCALE if own_scale else "")
