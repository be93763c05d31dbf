"""Results to figures: each module here with an ORDER is one plot, drawn from what a run has found out."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from memtrace.plots.frame import Frame
    from memtrace.results.tables import Results


class Plot(Protocol):
    """What a plot module has; `height` is in inches, the width is that of a page's text."""

    ORDER: int
    NAME: str
    TITLE: str

    def caption(self, results: Results, trace: str) -> str:
        """What is seen, and how to read it."""

    def height(self, results: Results, trace: str) -> float:
        """The height that this many policies need."""

    def draw(self, results: Results, trace: str, frame: Frame) -> None:
        """Draw everything but the title."""


@cache
def plots() -> tuple[Plot, ...]:
    """Every plot, in the order of the report."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    found = [cast(Plot, module) for module in modules if hasattr(module, "ORDER")]
    return tuple(sorted(found, key=lambda plot: plot.ORDER))


def wanted(results: Results, trace: str) -> list[Plot]:
    """Those that have something to say of this trace: a plot may have a function `wanted` of its own."""
    return [plot for plot in plots() if getattr(plot, "wanted", lambda results, trace: True)(results, trace)]


def draw_into(canvas: Figure | SubFigure, height: float, plot: Plot, results: Results, trace: str) -> None:
    """Draw a plot with its title on a canvas of this height in inches."""
    from memtrace.plots.frame import WIDTH, Frame
    from memtrace.plots.style import TITLE

    frame = Frame(canvas, WIDTH, height)
    frame.text(0, 0.09, plot.TITLE, TITLE, bold=True)
    plot.draw(results, trace, frame)
    frame.finish()


def figure(plot: Plot, results: Results, trace: str) -> Figure:
    """The plot of one trace as a figure of its own."""
    from matplotlib.figure import Figure

    from memtrace.plots.frame import WIDTH
    from memtrace.plots.style import style

    with style():
        height = plot.height(results, trace)
        alone = Figure(figsize=(WIDTH, height))
        draw_into(alone, height, plot, results, trace)
    return alone


def write_all(results: Results, directory: Path) -> list[Path]:
    """Every plot of every trace as `<trace>-<plot>.png`."""
    from memtrace.plots.saving import file_names, write_png
    from memtrace.plots.style import style

    written = []
    for trace, name in file_names(results.traces()).items():
        for plot in wanted(results, trace):
            alone = figure(plot, results, trace)
            with style():
                written.append(write_png(alone, directory / f"{name}-{plot.NAME}.png"))
    return written
