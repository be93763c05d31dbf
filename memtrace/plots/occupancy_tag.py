"""Address by time, coloured by the tag of what lives there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from memtrace.plots import addresses
from memtrace.plots.addresses import all_tags, draw_maps, none_there, notes, painted
from memtrace.plots.cells import Cells
from memtrace.plots.colours import Colour
from memtrace.plots.frame import POINTS, Frame
from memtrace.plots.style import BODY, FAINT, LEFT, SMALL, TITLE_ROOM
from memtrace.plots.text import printable, short_labels

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 32
NAME = "occupancy-tag"
TITLE = "Addresses over time, by tag"

# Far apart to all eyes (simulated), each of a lightness of its own, and all darker than a hole: in grey they would else be
# one. The first differ most. A letter says it without colour.
COLOURS: tuple[Colour, ...] = (
    (0.18, 0.00, 0.71),
    (0.94, 0.53, 0.41),
    (0.53, 0.29, 0.59),
    (0.41, 0.47, 1.00),
    (0.88, 0.59, 0.94),
    (0.59, 0.18, 0.18),
    (0.94, 0.06, 0.00),
    (0.29, 0.06, 0.18),
)
NONE: Colour = (0.58, 0.58, 0.58)
LETTERS = "abcdefgh"
ACROSS, UP = 14, 12  # places for letters in a panel
ENOUGH = 0.25  # of a place has to be of the tag
KEY, IN_LINE = 0.17, 3


def caption(results: Results, trace: str) -> str:
    """What the colours are."""
    return (
        "The tag of most of the bytes that live in a cell; a letter stands where much of the tag lies. Light grey: holes. "
        "The tags with the most bytes have a colour each." + notes(results, trace)
    )


def wanted(results: Results, trace: str) -> bool:
    """Whether there is anything to tell apart."""
    rows = results.rows("occupancy", trace)
    return "tag" in rows and len(set(rows["tag"][rows["live_bytes"] > 0].tolist())) > 1


def height(results: Results, trace: str) -> float:
    """A panel for each policy, and the key."""
    tags = all_tags(results, trace)
    return addresses.height(results, trace) + _lines(len(tags)) * KEY if tags else TITLE_ROOM + 0.3


def draw(results: Results, trace: str, frame: Frame) -> None:
    """One image a policy; letters in it, and the key below."""
    tags = all_tags(results, trace)
    if not tags:
        if not none_there(results, trace, frame):
            frame.text(LEFT, TITLE_ROOM + 0.1, "The blocks of this trace have no tags.", BODY, colour=FAINT)
        return
    untagged = False
    above = replace(frame, height=frame.height - _lines(len(tags)) * KEY)
    for panel, cells in draw_maps(results, trace, above, lambda cells, policy: tagged(cells), tags):
        untagged |= bool(((cells.tag < 0) & (cells.share > 0)).any())
        for code, x, y in letters(cells):
            left, middle = panel.left + x * panel.width, float(panel.y(y * cells.span))
            frame.plate(left, middle, LETTERS[code], SMALL, align="center")
    _key(frame, tags, untagged, above.height)


def tagged(cells: Cells) -> NDArray[numpy.uint8]:
    """Tags as pixels."""
    live = numpy.nan_to_num(cells.share) > 0
    codes = numpy.where(live, numpy.where(cells.tag < 0, len(COLOURS), cells.tag), -1)
    return painted(cells, codes, [*COLOURS, NONE])


def letters(cells: Cells) -> Iterator[tuple[int, float, float]]:
    """For each tag the middle of the place that it fills most, if it fills one: code, share across, share up."""
    rows, columns = cells.tag.shape
    row_edges = numpy.linspace(0, rows, min(UP, rows) + 1).astype(int)
    column_edges = numpy.linspace(0, columns, min(ACROSS, columns) + 1).astype(int)
    area = numpy.outer(numpy.diff(row_edges), numpy.diff(column_edges))
    taken = numpy.zeros(area.shape, bool)
    for code in range(len(COLOURS)):
        mask = (cells.tag == code).astype(numpy.int64)
        if not mask.any():
            continue
        filled = numpy.add.reduceat(numpy.add.reduceat(mask, row_edges[:-1], axis=0), column_edges[:-1], axis=1) / area
        filled[taken] = 0
        row, column = numpy.unravel_index(int(filled.argmax()), filled.shape)
        if filled[row, column] >= ENOUGH:
            taken[row, max(0, column - 1) : column + 2] = True
            yield code, float(column_edges[column : column + 2].mean()) / columns, float(row_edges[row : row + 2].mean()) / rows


def _lines(tags: int) -> int:
    return -(-(tags + 1) // IN_LINE)


def _key(frame: Frame, tags: tuple[str, ...], untagged: bool, top: float) -> None:
    """Swatch, letter and name, three in a line."""
    wide = (frame.width - LEFT) / IN_LINE
    names = short_labels(tags, SMALL, (wide - 0.55) * POINTS)
    entries = [(COLOURS[at], LETTERS[at], names[tag]) for at, tag in enumerate(tags)]
    for at, (colour, letter, name) in enumerate([*entries, (NONE, "", "no tag")][: len(tags) + untagged]):
        line, column = divmod(at, IN_LINE)
        left, middle = LEFT + column * wide, top + line * KEY + KEY / 2
        frame.box(left, middle - 0.045, 0.2, 0.09, colour)
        frame.text(left + 0.28, middle, letter, SMALL, bold=True)
        frame.text(left + 0.4, middle, printable(name), SMALL)
