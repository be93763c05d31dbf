"""The part of a figure that a plot draws into, in inches from its top left corner, as few artists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.image import AxesImage
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from memtrace.plots.ink import ALIGNED, Words, Writing
from memtrace.plots.text import width as text_width

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.transforms import Transform

WIDTH = 7.27  # A4 less half an inch on either side
TALLEST = 9.0  # with its heading and a caption it still stands on one page
POINTS = 72  # an inch
PLATE = 0.012  # inches of ground beside a text

Points = NDArray[numpy.float64]
Dashes = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Stroke:
    """A line, or the edge of nothing."""

    points: Points
    colour: Any
    width: float
    dashes: Dashes


@dataclass(frozen=True)
class Frame:
    """What is to be drawn is gathered first; `finish` makes one artist of all of a kind.

    Order from the back: the grid, areas, images, lines, text; within a kind the order of the calls.
    """

    canvas: Figure | SubFigure
    width: float
    height: float
    behind: list[Stroke] = field(default_factory=list)
    areas: list[tuple[Points, Any]] = field(default_factory=list)
    images: list[tuple[NDArray[numpy.uint8], tuple[float, float, float, float]]] = field(default_factory=list)
    lines: list[Stroke] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)

    def grid(self, points: Any, colour: Any, width: float = 0.5) -> None:
        """A line behind everything."""
        self.behind.append(Stroke(numpy.asarray(points, dtype=float), colour, width, "-"))

    def line(self, points: Any, colour: Any, width: float = 1.1, dashes: Dashes = "-") -> None:
        """A line through points (left, top)."""
        self.lines.append(Stroke(numpy.asarray(points, dtype=float), colour, width, dashes))

    def area(self, points: Any, colour: Any) -> None:
        """A filled outline."""
        self.areas.append((numpy.asarray(points, dtype=float), colour))

    def box(self, left: float, top: float, width: float, height: float, colour: Any) -> None:
        """A filled rectangle."""
        right, low = left + width, top + height
        self.area([(left, top), (right, top), (right, low), (left, low)], colour)

    def image(self, pixels: NDArray[numpy.uint8], left: float, top: float, width: float, height: float) -> None:
        """Pixels, the first row lowest."""
        self.images.append((pixels, (left, left + width, top + height, top)))

    def text(self, left: float, middle: float, text: str, size: float, **options: Any) -> None:
        """A line of text; the options are those of Words."""
        if text:
            self.words.append(Words(text, left, middle, size, **options))

    def plate(self, left: float, middle: float, text: str, size: float, **options: Any) -> None:
        """A line of text on a white ground, legible on whatever was drawn before."""
        wide = text_width(text, size) / POINTS
        start = left - ALIGNED[options.get("align", "left")] * wide
        self.line([(start - PLATE, middle), (start + wide + PLATE, middle)], "white", size * 1.25)
        self.text(left, middle, text, size, **options)

    def cross(self, left: float, middle: float, colour: Any, size: float) -> None:
        """Where something ended."""
        for lean in (-size, size):
            self.line([(left - size, middle - lean), (left + size, middle + lean)], colour, 1.8)

    def finish(self) -> None:
        """Put everything on the canvas."""
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
        self._add(Writing(self.words, place), place, 5)

    def _add(self, artist: Artist, place: Transform, order: int) -> None:
        artist.set(transform=place, zorder=order)
        self.canvas.add_artist(artist, clip=False)

    def _place_images(self) -> None:
        """Only images need axes: one without any decoration carries all."""
        axes = self.canvas.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[], zorder=3)
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.set_axis_off()
        for pixels, extent in self.images:
            image = AxesImage(axes, extent=extent, origin="lower")
            image.set_data(pixels)
            axes.add_image(image)


def _strokes(strokes: list[Stroke]) -> LineCollection:
    return LineCollection(
        [stroke.points for stroke in strokes],
        colors=[stroke.colour for stroke in strokes],
        linewidths=[stroke.width for stroke in strokes],
        linestyles=[stroke.dashes for stroke in strokes],
    )
