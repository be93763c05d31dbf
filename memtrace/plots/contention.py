"""Draw lock conflicts and memory against the number of arenas, for `memtrace contention -o`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from memtrace.questions.contention import Row


def write(rows: list[Row], trace: str, path: Path) -> Path:
    """Write a PNG with two panels over one scale of arenas: the share of conflicts, and the peak of reserved bytes."""
    import numpy
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from memtrace.drawing.raster import DOTS_PER_INCH, with_palette
    from memtrace.drawing.saving import write_whole
    from memtrace.drawing.style import BODY, TITLE, style

    with style():
        figure = Figure(figsize=(6.5, 4.4), dpi=DOTS_PER_INCH, layout="constrained")
        figure.suptitle(f"{trace}: arenas against lock conflicts and memory", x=0.01, ha="left", fontsize=TITLE, weight="bold")
        above, below = figure.subplots(2, 1, sharex=True)
        arenas = [row.contention.arenas for row in rows]
        shares = [100 * row.contention.conflicts / max(row.contention.lock_operations, 1) for row in rows]
        draw(above, arenas, shares, "% of lock operations\nthat conflict (modelled)", "#D55E00", "{:.2g}")
        draw(below, arenas, [row.blow_up for row in rows], "peak reserved,\nx one arena", "#0072B2", "{:.2f}")
        below.set_xlabel("arenas", fontsize=BODY)
        below.set_xticks(arenas, [str(count) for count in arenas])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return write_whole(path, with_palette(numpy.array(canvas.buffer_rgba())))


def draw(axes: Any, arenas: list[int], values: list[float], label: str, colour: str, form: str) -> None:
    """Draw one panel: a curve of values over numbers of arenas. ``form`` is the format of the value beside each point."""
    from memtrace.drawing.style import BODY, FAINTEST, SMALL

    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    axes.plot(arenas, values, "-o", color=colour, markersize=4, linewidth=1.4)
    for count, value in zip(arenas, values, strict=True):
        axes.annotate(form.format(value), (count, value), (0, 5), textcoords="offset points", ha="center", fontsize=SMALL)
    axes.set_ylim(0, max(values) * 1.25 or 1)
    axes.set_ylabel(label, fontsize=BODY)
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis="y", color=FAINTEST)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
