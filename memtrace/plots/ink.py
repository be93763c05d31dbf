"""Draw many lines of text as one matplotlib artist, which is much faster than one artist per line.

matplotlib's own text artist lays out its text several times, and a page has hundreds of lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

from memtrace.plots.style import INK
from memtrace.plots.text import width

if TYPE_CHECKING:
    from matplotlib.backend_bases import RendererBase
    from matplotlib.transforms import Transform

CAPITALS = 0.73  # height of a capital letter of this font, as a share of its size
# Alignment -> share of the text's width that lies left of its place.
ALIGNED = {"left": 0.0, "center": 0.5, "right": 1.0}


@dataclass(frozen=True)
class Words:
    """One line of text whose capitals are vertically centred on `middle`; places are in inches from the top left."""

    text: str
    left: float
    middle: float
    size: float  # points
    colour: Any = INK
    align: str = "left"
    bold: bool = False


class Writing(Artist):
    """An artist that draws many Words; `place` transforms inches from the top left to pixels."""

    def __init__(self, words: Sequence[Words], place: Transform) -> None:
        """Keep the words; they are drawn when the canvas is."""
        super().__init__()
        self.words, self.place = tuple(words), place

    def draw(self, renderer: RendererBase) -> None:
        """Draw each line once, aligned by its measured width."""
        if not self.get_visible():
            return
        pixels = float(cast(float, renderer.points_to_pixels(1.0)))
        canvas_height = renderer.get_canvas_width_height()[1]
        context = renderer.new_gc()
        places = self.place.transform([(words.left, words.middle) for words in self.words])
        for words, (x, y) in zip(self.words, places, strict=True):
            wide = width(words.text, words.size, words.bold) if words.align != "left" else 0.0
            x -= ALIGNED[words.align] * wide * pixels
            y -= words.size * CAPITALS / 2 * pixels
            context.set_foreground((*to_rgb(words.colour), 1.0), isRGBA=True)
            if renderer.flipy():
                y = canvas_height - y
            renderer.draw_text(context, x, y, words.text, _font(words.size, words.bold), 0.0, mtext=_features())
        context.restore()


@cache
def _font(size: float, bold: bool) -> FontProperties:
    """Return the font of this size in points."""
    return FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=size)


@cache
def _features() -> Text:
    """Return a text object that switches ligatures off.

    Ligatures would hide `best-fit` from a search in the PDF, and would need a font of their own.
    """
    text = Text()
    if hasattr(text, "set_fontfeatures"):  # before 3.11 matplotlib drew none
        text.set_fontfeatures(("-liga", "-clig"))
    return text
