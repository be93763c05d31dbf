"""Figures of a replay over tiers: each module here with an ORDER is one, drawn from `memtrace.tiers.results`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from memtrace.plots.frame import Frame
    from memtrace.tiers.results import TierResults


class TierPlot(Protocol):
    """What a plot module has."""

    ORDER: int
    NAME: str
    TITLE: str
    CAPTION: str

    def height(self, results: TierResults) -> float:
        """In inches; 0 where there is nothing to draw."""

    def draw(self, results: TierResults, frame: Frame) -> None:
        """Draw everything but the title."""


@cache
def plots() -> tuple[TierPlot, ...]:
    """Every plot, in order."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    found = [cast(TierPlot, module) for module in modules if hasattr(module, "ORDER")]
    return tuple(sorted(found, key=lambda plot: plot.ORDER))


def draw_into(canvas: Figure | SubFigure, height: float, plot: TierPlot, results: TierResults) -> None:
    """Draw a plot with its title on a canvas of this height in inches."""
    from memtrace.plots.frame import WIDTH, Frame
    from memtrace.plots.style import TITLE

    frame = Frame(canvas, WIDTH, height)
    frame.text(0, 0.09, plot.TITLE, TITLE, bold=True)
    plot.draw(results, frame)
    frame.finish()
