"""Figures of a replay over tiers: each module here with an ORDER is one, drawn from `memtrace.tiers.results`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from memtrace.plots.frame import Frame
    from memtrace.tiers.results import TierResults


class TierPlot(Protocol):
    """What a plot module has."""

    ORDER: int
    NAME: str
    TITLE: str

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


def figure(plot: TierPlot, results: TierResults) -> Figure:
    """The plot as a figure of its own."""
    from matplotlib.figure import Figure

    from memtrace.plots.frame import WIDTH, Frame
    from memtrace.plots.style import TITLE, style

    with style():
        alone = Figure(figsize=(WIDTH, plot.height(results)))
        frame = Frame(alone, WIDTH, plot.height(results))
        frame.text(0, 0.09, plot.TITLE, TITLE, bold=True)
        plot.draw(results, frame)
        frame.finish()
    return alone


def write_all(results: TierResults, directory: Path) -> list[Path]:
    """Every plot that has something to show, as `plots/tiers-<plot>.png`."""
    from memtrace.plots.saving import write_png
    from memtrace.plots.style import style

    written = []
    for plot in plots():
        if plot.height(results) > 0:
            alone = figure(plot, results)
            with style():
                written.append(write_png(alone, directory / "plots" / f"tiers-{plot.NAME}.png"))
    return written
