"""The part of a figure that a plot draws into, in inches from its top left corner.

Everything that is drawn is gathered first, and becomes one matplotlib artist of each kind, since artists are slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.image import AxesImage
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from memtrace.drawing.style import ALIGNED, FAINT, SMALL, TextArtist, TextLine
from memtrace.drawing.text import width
from memtrace.drawing.text import width as text_width

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.transforms import Transform

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
class Frame:
    """A rectangle to draw into. The drawing methods gather what is to be drawn; `finish` puts it on the canvas.

    From back to front these are drawn: the grid, areas, images, lines, text; within a kind in the order of the calls.
    All places are in inches from the left and the top; sizes of text and widths of lines are in points.
    """

    canvas: Figure | SubFigure
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
        """Add one line of text, vertically centred on ``middle``; the options are the further fields of Words."""
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

    def finish(self) -> None:
        """Put everything on the canvas. Call this once, at the end."""
        place = Affine2D().scale(1 / self.width, -1 / self.height).translate(0, 1) + self.canvas.transSubfigure
        if self.behind:
            self._add(_strokes(self.behind), place, 1)
        if self.areas:
            outlines, colours = [points for points, _ in self.areas], [colour for _, colour in self.areas]
            areas = PolyCollection(outlines, facecolors=colours, edgecolors="none", linewidths=0)
            self._add(areas, place, 2)
        if self.images:
            self._place_images()
        if self.lines:
            self._add(_strokes(self.lines), place, 4)
        self._add(TextArtist(self.words, place), place, 5)

    def _add(self, artist: Artist, place: Transform, order: int) -> None:
        """Add an artist to the canvas; ``place`` transforms inches to the figure, ``order`` is its place from back to front."""
        artist.set(transform=place, zorder=order)
        self.canvas.add_artist(artist, clip=False)

    def _place_images(self) -> None:
        """Put all images on one pair of axes without decoration: matplotlib places images on axes only."""
        axes = self.canvas.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[], zorder=3)
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.set_axis_off()
        for pixels, extent in self.images:
            image = AxesImage(axes, extent=extent, origin="lower")
            image.set_data(pixels)
            axes.add_image(image)


def _strokes(strokes: list[Stroke]) -> LineCollection:
    """Return all strokes as one artist."""
    return LineCollection(
        [stroke.points for stroke in strokes],
        colors=[stroke.colour for stroke in strokes],
        linewidths=[stroke.width for stroke in strokes],
        linestyles=[stroke.dashes for stroke in strokes],
    )


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
