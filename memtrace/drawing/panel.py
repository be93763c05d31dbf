"""A panel: a rectangle of a frame with a horizontal and a vertical scale, mostly events across and bytes or shares up.

`places` draws small multiples: one panel per policy in rows and columns, each titled with the policy's name and peak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy
from numpy.typing import NDArray

from memtrace.drawing.frame import POINTS, TALLEST, WIDTH, Dashes, Frame
from memtrace.drawing.scales import Tick, count_ticks, size_ticks
from memtrace.drawing.style import ALARM, BODY, BOTTOM, FAINT, FAINTEST, INK, LEFT, SMALL, TITLE_ROOM, Colour
from memtrace.drawing.text import short_labels
from memtrace.drawing.text import width as text_width
from memtrace.results.verdict import is_oom, oom_event
from memtrace.units import format_size

TICK = 0.035  # inches: length of a tick
CROSS = 0.05  # inches: half the width of a cross
HAIR = 0.004  # inches: two curves closer than this count as one
HEADROOM = 1.05  # the end of a scale, as a multiple of the highest value
RIGHT = 0.1  # inches right of the panels
GAP = 0.2  # inches between panels
PANEL_TITLE = 0.24  # inches for a panel's title
MOST_PANELS = 24  # of a figure
OWN_SCALE = " *"  # marks the number of a panel with a scale of its own
OWN_SCALE_NOTE = " A * marks a panel with a scale of its own."


@dataclass(frozen=True)
class Panel:
    """A rectangle with scales, in inches from the frame's top left.

    The horizontal scale goes from `from_across` to `across`, the vertical one from `from_up` to `up`.
    """

    frame: Frame
    left: float
    top: float
    width: float
    height: float
    across: float
    up: float
    from_across: float = 0.0
    from_up: float = 0.0

    @property
    def low(self) -> float:
        """Return the lower edge, in inches from the frame's top."""
        return self.top + self.height

    @property
    def right(self) -> float:
        """Return the right edge, in inches from the frame's left."""
        return self.left + self.width

    def x(self, value: Any) -> Any:
        """Return the places of values on the horizontal scale, in inches from the frame's left.

        Values beyond the scale are placed at its end.
        """
        share = (numpy.asarray(value, dtype=float) - self.from_across) / (self.across - self.from_across)
        return self.left + numpy.clip(share, 0, 1) * self.width

    def y(self, value: Any) -> Any:
        """Return the places of values on the vertical scale, in inches from the frame's top.

        Values beyond the scale are placed at its end.
        """
        share = (numpy.asarray(value, dtype=float) - self.from_up) / (self.up - self.from_up)
        return self.low - numpy.clip(share, 0, 1) * self.height

    def line(self, x: Any, y: Any, colour: Any, width: float = 1.1, dashes: Dashes = "-") -> None:
        """Draw a curve; nothing is drawn for less than two points."""
        if len(x) > 1:
            self.frame.line(numpy.column_stack([self.x(x), self.y(y)]), colour, width, dashes)

    def area(self, x: Any, y: Any, colour: Any, base: float = 0.0) -> None:
        """Fill the area between a curve and a level."""
        if len(x) > 1:
            ends = [(self.x(x[-1]), self.y(base)), (self.x(x[0]), self.y(base))]
            self.frame.area(numpy.vstack([numpy.column_stack([self.x(x), self.y(y)]), ends]), colour)

    def band(self, x: Any, low: Any, high: Any, colour: Any) -> None:
        """Fill the area between two curves over the same places.

        Nothing is drawn where the curves coincide, since a PDF would show a hairline there.
        """
        seen = numpy.flatnonzero(self.y(low) - self.y(high) > HAIR)
        for part in numpy.split(seen, numpy.flatnonzero(numpy.diff(seen) > 1) + 1):
            if part.size > 1:
                there = slice(int(part[0]), int(part[-1]) + 1)
                across = self.x(numpy.concatenate([x[there], x[there][::-1]]))
                self.frame.area(numpy.column_stack([across, self.y(numpy.concatenate([high[there], low[there][::-1]]))]), colour)

    def image(self, pixels: NDArray[numpy.uint8], bottom: float, top: float) -> None:
        """Draw pixels over the whole width, between two levels of the vertical scale."""
        high = float(self.y(top))
        self.frame.image(pixels, self.left, high, self.width, float(self.y(bottom)) - high)

    def ticks_across(self, ticks: Sequence[Tick], *, labelled: bool = True, name: str = "") -> None:
        """Draw the lower edge with its ticks and, if ``labelled``, the ticks' labels and the scale's name."""
        self.frame.line([(self.left, self.low), (self.right, self.low)], FAINT, 0.5)
        for value, label in ticks:
            at = float(self.x(value))
            self.frame.line([(at, self.low), (at, self.low + TICK)], FAINT, 0.5)
            if labelled:
                half = text_width(label, SMALL) / 144
                kept = min(max(at, half), self.frame.width - half)
                self.frame.text(kept, self.low + 0.1, label, SMALL, align="center")
        if labelled:
            self.frame.text(self.left + self.width / 2, self.low + 0.24, name, SMALL, align="center")

    def ticks_up(self, ticks: Sequence[Tick], *, labelled: bool = True, inside: bool = False) -> None:
        """Draw grid lines and, if ``labelled``, their labels: left of the panel, or inside it if a neighbour is in the way."""
        for value, label in ticks:
            at = float(self.y(value))
            self.frame.grid([(self.left, at), (self.right, at)], FAINTEST)
            if labelled and inside and value:
                above = at - 0.12 >= self.top  # below the line where the panel's title is in the way
                self.frame.plate(self.left + 0.03, at - 0.055 if above else at + 0.06, label, SMALL)
            elif labelled and not inside:
                self.frame.text(self.left - 0.05, at, label, SMALL, align="right")

    def events(self, *, labelled: bool = True, most: int = 6) -> None:
        """Draw the horizontal scale as numbers of events, with about ``most`` ticks."""
        self.ticks_across(count_ticks(self.across, most), labelled=labelled, name="events")

    def sizes(self, *, labelled: bool = True, inside: bool = False, most: int = 4) -> None:
        """Draw the vertical scale as bytes, with about ``most`` ticks."""
        self.ticks_up(size_ticks(self.up, most), labelled=labelled, inside=inside)

    def capacity(self, capacity: int | None, *, labelled: bool = True, at_left: bool = False) -> list[tuple[float, float]]:
        """Draw a dashed line at the capacity if it lies on the scale.

        Return places (left, top) along its label, a tenth of an inch apart, so that the caller draws nothing over it.
        """
        if not capacity or capacity > self.up:
            return []
        at = float(self.y(capacity))
        self.frame.line([(self.left, at), (self.right, at)], ALARM, 0.8, (0, (4, 2)))
        if not labelled:
            return []
        text, middle = f"capacity {format_size(capacity)}", at - 0.065
        wide = text_width(text, SMALL) / POINTS
        left = self.left + CROSS if at_left else self.right - CROSS - wide
        self.frame.plate(left, middle, text, SMALL, colour=ALARM)
        return [(float(x), middle) for x in numpy.arange(left, left + wide + 0.1, 0.1)]

    def out_of_memory(self, row: Mapping[str, Any], level: float, colour: Colour, *, named: bool = False) -> None:
        """Draw a cross where the policy ran out of memory, at this level of the vertical scale.

        ``row`` is the policy's row of the summary; ``named`` writes OOM beside it.
        """
        at = min(max(float(self.x(oom_event(row))), self.left + CROSS), self.right)
        up = min(max(float(self.y(level)), self.top), self.low - CROSS)
        self.frame.cross(at, up, colour, CROSS)
        if named and at + 0.45 <= self.right:
            self.frame.text(at + 0.1, up, "OOM", SMALL, colour=ALARM)

    def title(self, name: str, value: str, size: float, value_colour: str = FAINT) -> None:
        """Draw a name above the panel at its left, and a number at its right."""
        self.frame.text(self.left, self.top - 0.085, name, size, colour=INK)
        self.frame.text(self.right, self.top - 0.085, value, SMALL, colour=value_colour, align="right")


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


@dataclass(frozen=True, kw_only=True)
class Scales:
    """The scales of all panels. A panel whose top is above the limit gets a vertical scale of its own."""

    last: int  # event at the right end
    tops: Sequence[float]  # [panel] highest value
    limit: float  # common end of the vertical scales
    across: Across | None = None  # in place of the events


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
    scales: Scales,
    numbers: Sequence[str] | None = None,
) -> Iterator[Place]:
    """Draw a title and scale for each row's panel, and yield the panels one after the other.

    ``rows`` are rows of the summary. ``numbers`` replace the peaks in the titles.
    """
    plan = layout(len(rows), panel_height)
    tall = (frame.height - TITLE_ROOM - BOTTOM) / plan.rows - PANEL_TITLE
    across, own = scales.across, [top > scales.limit for top in scales.tops]
    numbers = numbers or [_number(row, apart) for row, apart in zip(rows, own, strict=True)]
    room = plan.panel_width * POINTS - max(text_width(number, SMALL) for number in numbers) - 8
    names = short_labels([row["policy"] for row in rows], BODY, room)
    for at, row in enumerate(rows):
        line, column = divmod(at, plan.columns)
        left = LEFT + column * (plan.panel_width + GAP)
        down = TITLE_ROOM + line * (tall + PANEL_TITLE) + PANEL_TITLE
        up = max(1.0, scales.tops[at] if own[at] else scales.limit) * HEADROOM
        panel = Panel(
            frame=frame,
            left=left,
            top=down,
            width=plan.panel_width,
            height=tall,
            across=max(1, scales.last) if across is None else across.end,
            up=up,
            from_across=0.0 if across is None else across.start,
        )
        panel.title(names[row["policy"]], numbers[at], BODY, ALARM if is_oom(row) else FAINT)
        lowest = at + plan.columns >= plan.count
        place = Place(row=row, panel=panel, own_scale=own[at], leftmost=column == 0, lowest=lowest)
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
