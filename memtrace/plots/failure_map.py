"""Memory at the event at which it ran out: all addresses, line by line like text, with the blocks that pin most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from memtrace.plots.addresses import HOLE
from memtrace.plots.colours import policy_colour
from memtrace.plots.frame import WIDTH, Frame
from memtrace.plots.key import key
from memtrace.plots.occupancy import SHADES
from memtrace.plots.style import BODY, FAINT, LEFT, SMALL, TITLE, TITLE_ROOM
from memtrace.plots.text import width
from memtrace.units import format_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from memtrace.results.tables import Results

ACROSS = 64
LINE, STEP = 0.17, 0.23
NUMBERED = 6.0  # points


def caption(pins: int) -> str:
    """How to read the lines."""
    marks = " Numbers: the blocks of the table below, at their addresses." if pins else ""
    return "Addresses go on from line to line; at the left where each begins. Full colour: live; grey: not." + marks


def height(results: Results, trace: str, policy: str) -> float:
    """A line for every 64 cells."""
    cells = len(results.rows("last_map", trace, policy)["live_bytes"])
    return TITLE_ROOM + max(1, -(-cells // ACROSS)) * STEP + 0.05


def draw_into(canvas: Figure | SubFigure, tall: float, results: Results, trace: str, policy: str) -> None:
    """The map, with its title, on a canvas of this height in inches."""
    frame = Frame(canvas, WIDTH, tall)
    frame.text(0, 0.09, "Memory at that event", TITLE, bold=True)
    draw(results, trace, policy, frame)
    frame.finish()


def draw(results: Results, trace: str, policy: str, frame: Frame) -> None:
    """The cells as images, a line each."""
    rows, colour = results.rows("last_map", trace, policy), policy_colour(policy)
    if not len(rows["live_bytes"]):
        frame.text(LEFT, TITLE_ROOM + 0.1, "Nothing was live.", BODY, colour=FAINT)
        return
    share = rows["live_bytes"] / numpy.maximum(1, rows["address_bytes"])
    steps = (numpy.ceil(numpy.clip(share, 0, 1) * SHADES) / SHADES)[:, None]
    pixels = numpy.round(((1 - steps) * HOLE + steps * numpy.array(colour)) * 255).astype(numpy.uint8)
    wide = frame.width - LEFT - 0.1
    for line, start in enumerate(range(0, len(pixels), ACROSS)):
        part, top = pixels[start : start + ACROSS], TITLE_ROOM + line * STEP
        frame.image(part[None], LEFT, top, wide * len(part) / ACROSS, LINE)
        frame.text(LEFT - 0.06, top + LINE / 2, format_size(int(rows["address_from_bytes"][start])), SMALL, align="right")
    _numbers(frame, rows, results.rows("pins", trace, policy)["address"], wide)
    key(frame, [("live", "area", colour), ("not live", "area", HOLE)])


def _numbers(frame: Frame, rows: dict[str, Any], addresses: Any, wide: float) -> None:
    taken: list[tuple[float, float]] = []
    for number, address in enumerate(addresses.tolist(), start=1):
        cell = (address - int(rows["address_from_bytes"][0])) / int(rows["address_bytes"][0])
        if not 0 <= cell < len(rows["live_bytes"]):
            continue
        line, column = divmod(cell, ACROSS)
        left, middle = LEFT + wide * column / ACROSS, TITLE_ROOM + line * STEP + LINE / 2
        half = width(str(number), NUMBERED) / 144 + 0.015
        left = min(max(left, LEFT + half), LEFT + wide - half)
        if all(abs(left - other) > 2.4 * half or middle != at for other, at in taken):
            taken.append((left, middle))
            frame.image(numpy.full((1, 1, 3), 255, numpy.uint8), left - half, middle - 0.055, 2 * half, 0.11)
            frame.text(left, middle, str(number), NUMBERED, align="center")
