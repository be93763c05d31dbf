"""Plot of address by time, coloured by the age of the blocks. Old blocks among young ones keep holes from joining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from memtrace.drawing.panel import Panel
from memtrace.drawing.scales import class_label
from memtrace.drawing.style import BODY, FAINT, LEFT, SMALL, TITLE_ROOM, Colour
from memtrace.plots.addresses import draw_if_no_occupancy, draw_maps, height, notes, pixels_of_codes
from memtrace.plots.series import Cells

if TYPE_CHECKING:
    from memtrace.drawing.frame import Frame
    from memtrace.results.tables import Results

__all__ = ["NAME", "ORDER", "TITLE", "caption", "draw", "height"]

ORDER = 31
NAME = "occupancy-age"
TITLE = "Addresses over time, by age"

SHADES = 12
Range = tuple[float, float] | None  # log2 of the ages at both ends of the scale of colours
# From young to old. Each colour is darker than the one before, and the palest is darker than a hole, so the order can be seen
# without colour. They go from yellow to blue, which all eyes tell apart (after cividis).
STOPS = ((0.93, 0.72, 0.16), (0.70, 0.60, 0.36), (0.48, 0.48, 0.47), (0.26, 0.31, 0.42), (0.0, 0.13, 0.30))


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "How many events ago the bytes of a cell were allocated, in the mean: the darker, the older (by powers of two; nearly "
        "all cells are within the scale). Grey: holes. Old blocks strewn "
        "among young ones keep the holes between them apart; a policy that keeps ages together can give memory back."
        + notes(results, trace)
    )


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw one image per policy, all with the same scale of ages."""
    if draw_if_no_occupancy(results, trace, frame):
        return
    ranges: list[Range] = []
    draw_maps(
        results,
        trace,
        frame,
        lambda cells, policy: age_pixels(cells, ranges[0]),
        seen=lambda cells: ranges.append(range_of(cells)),
    )
    if ranges[0] is None:
        frame.text(LEFT, 0.1 + TITLE_ROOM / 2, "The results do not say how old blocks are.", BODY, colour=FAINT)
        return
    _scale(frame, *ranges[0])


def range_of(cells: Sequence[Cells | None]) -> Range:
    """Return the ends of the scale of colours, as log2 of ages; None if no age is known.

    They are the 1st and the 99th percentile of all cells, rounded outwards.
    """
    known = [one.age[~numpy.isnan(one.age)] for one in cells if one]
    every = numpy.concatenate([*known, numpy.zeros(0)])
    if not every.size:
        return None
    low, high = numpy.percentile(every, (1, 99))
    return float(numpy.floor(low)), float(max(numpy.ceil(high), numpy.floor(low) + 1))


def palette(shades: int = SHADES) -> list[Colour]:
    """Return so many colours from young to old."""
    at = numpy.linspace(0, len(STOPS) - 1, shades)
    parts = [numpy.interp(at, range(len(STOPS)), [stop[k] for stop in STOPS]) for k in range(3)]
    return [(float(r), float(g), float(b)) for r, g, b in zip(*parts, strict=True)]


def age_pixels(cells: Cells, ends: Range) -> NDArray[numpy.uint8]:
    """Return the ages as pixels; ``ends`` are the ends of the scale of colours."""
    low, high = ends or (0.0, 1.0)
    share = (numpy.nan_to_num(cells.age) - low) / (high - low)
    live = numpy.nan_to_num(cells.share) > 0
    codes = numpy.where(live, numpy.floor(share * SHADES).clip(0, SHADES - 1), -1).astype(numpy.int64)
    return pixels_of_codes(cells, codes, palette())


def _scale(frame: Frame, low: float, high: float) -> None:
    """Draw the colours with their ages at the top right; ``low`` and ``high`` are log2 of ages."""
    bar = Panel(frame, frame.width - 1.75, 0.03, 1.6, 0.09, high, 1, from_across=low)
    bar.image(numpy.round(numpy.array([palette()]) * 255).astype(numpy.uint8), 0, 1)
    bar.ticks_across([(low, age_text(low)), (high, age_text(high))])
    frame.text(bar.left - 0.08, 0.075, "events old", SMALL, colour=FAINT, align="right")


def age_text(log: float) -> str:
    """Return the age of 2^log events as a short text."""
    return class_label(1 << int(log), "lifetime")
