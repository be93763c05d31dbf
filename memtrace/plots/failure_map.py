"""A map of all addresses at the event at which memory ran out, with the blocks that pin most.

Addresses go on from line to line like text; each line shows 64 cells.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy

from memtrace.drawing.frame import Frame, key, titled
from memtrace.drawing.style import BODY, FAINT, LEFT, SMALL, TITLE_ROOM, policy_colour
from memtrace.drawing.text import width
from memtrace.plots.addresses import HOLE
from memtrace.plots.occupancy import SHADES
from memtrace.plots.series import Rows
from memtrace.results.holders import OOM, pins_at
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ACROSS = 64  # cells in a line
LINE, STEP = 0.17, 0.23  # inches: height of a line, and distance from one line to the next
NUMBERED = 6.0  # points: size of the blocks' numbers


def caption(pins: int) -> str:
    """Return the text below the map; ``pins`` is the number of blocks that have a number in it."""
    marks = " Numbers: the blocks of the table below, at their addresses." if pins else ""
    return "Addresses go on from line to line; at the left where each begins. Full colour: live; grey: not." + marks


def height(results: Results, trace: str, policy: str) -> float:
    """Return the height in inches that the lines of the map need."""
    return TITLE_ROOM + max(1, len(lines(results.rows("last_map", trace, policy)))) * STEP + 0.05


def lines(rows: Rows) -> list[tuple[int, int]]:
    """Return for each line its first cell and the cell behind its last.

    A line has 64 cells, or fewer before a gap in the addresses. ``rows`` are the rows of the table `last_map`.
    """
    start, tall = rows["address_from_bytes"], rows["address_bytes"]
    regions = [0, *(numpy.flatnonzero(start[1:] != start[:-1] + tall[:-1]) + 1).tolist(), len(start)]
    return [(first, min(first + ACROSS, end)) for begin, end in pairwise(regions) for first in range(begin, end, ACROSS)]


def drawn(height: float, results: Results, trace: str, policy: str) -> Frame:
    """Return a frame of this height in inches with the map and its title."""
    frame = titled("Memory at that event", height)
    draw(results, trace, policy, frame)
    return frame


def draw(results: Results, trace: str, policy: str, frame: Frame) -> None:
    """Draw each line of cells as an image, the first address of the line at its left, and the numbers of the blocks."""
    rows, colour = results.rows("last_map", trace, policy), policy_colour(policy)
    if not len(rows["live_bytes"]):
        frame.text(LEFT, TITLE_ROOM + 0.1, "Nothing was live.", BODY, colour=FAINT)
        return
    share = rows["live_bytes"] / numpy.maximum(1, rows["address_bytes"])
    steps = (numpy.ceil(numpy.clip(share, 0, 1) * SHADES) / SHADES)[:, None]
    pixels = numpy.round(((1 - steps) * HOLE + steps * numpy.array(colour)) * 255).astype(numpy.uint8)
    wide = frame.width - LEFT - 0.1
    for line, (start, end) in enumerate(lines(rows)):
        part, top = pixels[start:end], TITLE_ROOM + line * STEP
        frame.image(part[None], LEFT, top, wide * len(part) / ACROSS, LINE)
        frame.text(LEFT - 0.06, top + LINE / 2, format_size(int(rows["address_from_bytes"][start])), SMALL, align="right")
    _numbers(frame, rows, pins_at(results, trace, policy, OOM)["address"], wide)
    key(frame, [("live", "area", colour), ("not live", "area", HOLE)])


def _numbers(frame: Frame, rows: Rows, addresses: Any, wide: float) -> None:
    """Draw the number of each block at its address, unless it would cover another number.

    ``wide`` is the width of a full line in inches.
    """

    taken: list[tuple[float, float]] = []
    begins = [start for start, _ in lines(rows)]
    for number, address in enumerate(addresses.tolist(), start=1):
        cell = int(numpy.searchsorted(rows["address_from_bytes"], address, "right")) - 1
        inside = (address - int(rows["address_from_bytes"][cell])) / int(rows["address_bytes"][cell])
        if cell < 0 or inside >= 1:
            continue
        line = int(numpy.searchsorted(begins, cell, "right")) - 1
        column = cell - begins[line] + inside
        left, middle = LEFT + wide * column / ACROSS, TITLE_ROOM + line * STEP + LINE / 2
        half = width(str(number), NUMBERED) / 144 + 0.015
        left = min(max(left, LEFT + half), LEFT + wide - half)
        if all(abs(left - other) > 2.4 * half or middle != at for other, at in taken):
            taken.append((left, middle))
            frame.image(numpy.full((1, 1, 3), 255, numpy.uint8), left - half, middle - 0.055, 2 * half, 0.11)
            frame.text(left, middle, str(number), NUMBERED, align="center")
