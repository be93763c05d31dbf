"""Draw the results of a replay over tiers as figures. Each module of this package that has an ORDER is one plot."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from memtrace.drawing.frame import Frame
    from memtrace.tiers.results import TierResults


class TierPlot(Protocol):
    """The names that a plot module defines."""

    ORDER: int  # place in the report
    NAME: str  # part of the file's name
    TITLE: str
    CAPTION: str  # the text below the figure

    def height(self, results: TierResults) -> float:
        """Return the figure's height in inches; 0 if there is nothing to draw."""

    def draw(self, results: TierResults, frame: Frame) -> None:
        """Draw everything but the title into the frame."""


@cache
def plots() -> tuple[TierPlot, ...]:
    """Return every plot module, in the order of the report."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    found = [cast(TierPlot, module) for module in modules if hasattr(module, "ORDER")]
    return tuple(sorted(found, key=lambda plot: plot.ORDER))


def drawn(height: float, plot: TierPlot, results: TierResults) -> Frame:
    """Return a frame of this height in inches with a plot and its title."""
    from memtrace.drawing.frame import titled

    frame = titled(plot.TITLE, height)
    plot.draw(results, frame)
    return frame
