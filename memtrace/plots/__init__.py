"""Draw the results of a run as figures.

Each module of this package that has an ORDER is one plot of one trace, and so is each module that another installed package
names by an entry point of the group `memtrace.plots`. Those are drawn behind the package's own.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast

from memtrace import plugins
from memtrace.errors import UsageError

if TYPE_CHECKING:
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
def builtin_plots() -> tuple[Plot, ...]:
    """Return the package's plot modules, in the order of the report."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    found = [cast(Plot, module) for module in modules if hasattr(module, "ORDER")]
    return tuple(sorted(found, key=lambda plot: plot.ORDER))


@cache
def added_plots() -> dict[str, plugins.Plugin]:
    """Return the plots that other installed packages add, by name, without importing them."""
    return plugins.added("plots", [plot.NAME for plot in builtin_plots()])


def plots() -> tuple[Plot, ...]:
    """Return every plot module in the order of the report: the package's, then those of other installed packages."""
    found = [cast(Plot, module) for module in plugins.usable(added_plots(), check_plugin).values()]
    return (*builtin_plots(), *sorted(found, key=lambda plot: (plot.ORDER, plot.NAME)))


def check_plugin(module: ModuleType) -> None:
    """Raise UsageError if the module of a plug-in is no plot."""
    plugins.check_functions(module, ("caption", "height", "draw"))
    for name, kind, word in (("ORDER", int, "whole number"), ("TITLE", str, "text")):
        if not isinstance(getattr(module, name, None), kind):
            raise UsageError(f"{name} of {module.__name__} is no {word}")


def wanted(results: Results, trace: str) -> list[Plot]:
    """Return the plots that have something to show of this trace.

    A plot module may define a function `wanted(results, trace)` that says so. A plug-in that cannot draw this trace is left
    out: it is tried here, since the report is laid out before anything is drawn.
    """
    own = [plot for plot in builtin_plots() if _is_wanted(plot, results, trace)]
    return [*own, *(plot for plot in plots()[len(builtin_plots()) :] if _can_draw(plot, results, trace))]


def _is_wanted(plot: Plot, results: Results, trace: str) -> bool:
    """Return whether a plot has something to show of this trace."""
    return bool(getattr(plot, "wanted", lambda results, trace: True)(results, trace))


def _can_draw(plot: Plot, results: Results, trace: str) -> bool:
    """Return whether a plug-in's plot has something to show and draws it; say why if it fails."""
    from memtrace.drawing.frame import TALLEST
    from memtrace.drawing.raster import png

    try:
        if not _is_wanted(plot, results, trace):
            return False
        height, caption = plot.height(results, trace), plot.caption(results, trace)
        if not 0 < height <= TALLEST or not isinstance(caption, str):
            raise ValueError(f"a height of {height} inches (up to {TALLEST} fit on a page), or a caption that is no text")
        png(drawn(height, plot, results, trace))
    except Exception as error:
        plugins.leave_out(added_plots()[plot.NAME], f"{trace}: {plugins.reason_of(error)}")
        return False
    return True


def drawn(height: float, plot: Plot, results: Results, trace: str) -> Frame:
    """Return a frame of this height in inches with a plot and its title."""
    from memtrace.drawing.frame import titled

    frame = titled(plot.TITLE, height)
    plot.draw(results, trace, frame)
    return frame


def write_all(results: Results, directory: Path) -> list[Path]:
    """Write every plot of every trace into the directory as `<trace>-<plot>.png`, and return the paths."""
    from memtrace.drawing.raster import png
    from memtrace.drawing.saving import file_names, write_whole

    written = []
    for trace, name in file_names(results.traces()).items():
        for plot in wanted(results, trace):
            content = png(drawn(plot.height(results, trace), plot, results, trace))
            written.append(write_whole(directory / f"{name}-{plot.NAME}.png", content))
    return written
