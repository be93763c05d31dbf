"""Draw the results of a run as figures. Each module of this package that has an ORDER is one plot of one trace."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from memtrace.drawing.frame import Frame
    from memtrace.results.tables import Results


class Plot(Protocol):
    """The names that a plot module defines."""

    ORDER: int  # place in the report
    NAME: str  # part of the file's name
    TITLE: str

    def caption(self, results: Results, trace: str) -> str:
        """Return the text below the figure: what it shows, and how to read it."""

    def height(self, results: Results, trace: str) -> float:
        """Return the figure's height in inches; its width is that of a page's text."""

    def draw(self, results: Results, trace: str, frame: Frame) -> None:
        """Draw everything but the title into the frame."""


@cache
def plots() -> tuple[Plot, ...]:
    """Return every plot module, in the order of the report."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    found = [cast(Plot, module) for module in modules if hasattr(module, "ORDER")]
    return tuple(sorted(found, key=lambda plot: plot.ORDER))


def wanted(results: Results, trace: str) -> list[Plot]:
    """Return the plots that have something to show of this trace.

    A plot module may define a function `wanted(results, trace)` that says so.
    """
    return [plot for plot in plots() if getattr(plot, "wanted", lambda results, trace: True)(results, trace)]


def draw_into(canvas: Figure | SubFigure, height: float, plot: Plot, results: Results, trace: str) -> None:
    """Draw a plot with its title on a canvas of this height in inches."""
    from memtrace.drawing.frame import WIDTH, Frame
    from memtrace.drawing.style import TITLE

    frame = Frame(canvas, WIDTH, height)
    frame.text(0, 0.09, plot.TITLE, TITLE, bold=True)
    plot.draw(results, trace, frame)
    frame.finish()


def figure(plot: Plot, results: Results, trace: str) -> Figure:
    """Return the plot of one trace as a figure of its own."""
    from matplotlib.figure import Figure

    from memtrace.drawing.frame import WIDTH
    from memtrace.drawing.style import style

    with style():
        height = plot.height(results, trace)
        alone = Figure(figsize=(WIDTH, height))
        draw_into(alone, height, plot, results, trace)
    return alone


def write_all(results: Results, directory: Path) -> list[Path]:
    """Write every plot of every trace into the directory as `<trace>-<plot>.png`, and return the paths."""
    from memtrace.drawing.saving import file_names, write_png
    from memtrace.drawing.style import style

    written = []
    for trace, name in file_names(results.traces()).items():
        for plot in wanted(results, trace):
            alone = figure(plot, results, trace)
            with style():
                written.append(write_png(alone, directory / f"{name}-{plot.NAME}.png"))
    return written
