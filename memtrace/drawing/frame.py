"""The rectangle that a plot draws into, in inches from its top left corner.

What is drawn is only gathered here. `memtrace.drawing.raster` makes a PNG of a frame, `memtrace.drawing.pages` a part of a PDF,
so that a figure is drawn once for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
from numpy.typing import NDArray

from memtrace.drawing.style import ALIGNED, FAINT, INK, SMALL, TITLE
from memtrace.drawing.text import width
from memtrace.drawing.text import width as text_width

WIDTH = 7.27  # inches: A4 less half an inch on either side
TALLEST = 9.0  # inches: a figure of this height fits on a page with its heading and a caption
POINTS = 72  # in an inch
PLATE = 0.012  # inches of white beside a text on a plate
Points = NDArray[numpy.float64]  # [point, (left, top)] in inches
Dashes = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Stroke:
    """A line through points."""

    points: Points
    colour: Any
    width: float  # points
    dashes: Dashes


@dataclass(frozen=True)
class TextLine:
    """One line of text whose capitals are vertically centred on `middle`; places are in inches from the top left."""

    text: str
    left: float
    middle: float
    size: float  # points
    colour: Any = INK
    align: str = "left"
    bold: bool = False


@dataclass(frozen=True)
class Frame:
    """A rectangle to draw into. The drawing methods gather what is to be drawn.

    From back to front these are drawn: the grid, areas, images, lines, text; within a kind in the order of the calls.
    All places are in inches from the left and the top; sizes of text and widths of lines are in points.
    """

    width: float
    height: float
    behind: list[Stroke] = field(default_factory=list)
    areas: list[tuple[Points, Any]] = field(default_factory=list)
    images: list[tuple[NDArray[numpy.uint8], tuple[float, float, float, float]]] = field(default_factory=list)
    lines: list[Stroke] = field(default_factory=list)
    words: list[TextLine] = field(default_factory=list)

    def grid(self, points: Any, colour: Any, width: float = 0.5) -> None:
        """Add a thin line behind everything else."""
        self.behind.append(Stroke(numpy.asarray(points, dtype=float), colour, width, "-"))

    def line(self, points: Any, colour: Any, width: float = 1.1, dashes: Dashes = "-") -> None:
        """Add a line through points (left, top)."""
        self.lines.append(Stroke(numpy.asarray(points, dtype=float), colour, width, dashes))

    def area(self, points: Any, colour: Any) -> None:
        """Add a filled outline through points (left, top)."""
        self.areas.append((numpy.asarray(points, dtype=float), colour))

    def box(self, left: float, top: float, width: float, height: float, colour: Any) -> None:
        """Add a filled rectangle."""
        right, low = left + width, top + height
        self.area([(left, top), (right, top), (right, low), (left, low)], colour)

    def image(self, pixels: NDArray[numpy.uint8], left: float, top: float, width: float, height: float) -> None:
        """Add an image of pixels `[row, column, RGB]`, the first row lowest, that fills a rectangle."""
        self.images.append((pixels, (left, left + width, top + height, top)))

    def text(self, left: float, middle: float, text: str, size: float, **options: Any) -> None:
        """Add one line of text, vertically centred on ``middle``; the options are the further fields of TextLine."""
        if text:
            self.words.append(TextLine(text, left, middle, size, **options))

    def plate(self, left: float, middle: float, text: str, size: float, **options: Any) -> None:
        """Add one line of text on a white ground, so that it can be read on whatever was drawn before."""
        wide = text_width(text, size) / POINTS
        start = left - ALIGNED[options.get("align", "left")] * wide
        self.line([(start - PLATE, middle), (start + wide + PLATE, middle)], "white", size * 1.25)
        self.text(left, middle, text, size, **options)

    def cross(self, left: float, middle: float, colour: Any, size: float) -> None:
        """Add a cross, which marks where something ended; ``size`` is half its width in inches."""
        for lean in (-size, size):
            self.line([(left - size, middle - lean), (left + size, middle + lean)], colour, 1.8)


def titled(title: str, height: float) -> Frame:
    """Return a frame as wide as a page's text, of a height in inches, with a title at its top."""
    frame = Frame(WIDTH, height)
    frame.text(0, 0.09, title, TITLE, bold=True)
    return frame


SWATCH = 0.2  # inches: width of the sample of a colour
MIDDLE = 0.1  # inches below the figure's top


def key(frame: Frame, entries: Sequence[tuple[str, str, Any]], dashes: Mapping[str, Dashes] | None = None) -> None:
    """Draw the key at the top right of the frame.

    An entry is (text, "area" or "line", colour); ``dashes`` are the styles of lines that are not solid, by text.
    """
    right = frame.width - 0.1
    for text, kind, colour in reversed(entries):
        frame.text(right, MIDDLE, text, SMALL, colour=FAINT, align="right")
        right -= width(text, SMALL) / POINTS + 0.06
        if kind == "line":
            frame.line([(right - SWATCH, MIDDLE), (right, MIDDLE)], colour, 1.4, (dashes or {}).get(text, "-"))
        else:
            corners = [(right - SWATCH, 0.055), (right, 0.055), (right, 0.145), (right - SWATCH, 0.145)]
            frame.area(corners, colour)
            frame.line([*corners, corners[0]], FAINT, 0.3)
        right -= SWATCH + 0.18
