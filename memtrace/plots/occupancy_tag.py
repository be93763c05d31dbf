"""Plot of address by time, coloured by the tag of the blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from memtrace.drawing.frame import POINTS, Frame
from memtrace.drawing.style import BODY, FAINT, LEFT, SMALL, TITLE_ROOM, Colour
from memtrace.drawing.text import printable, short_labels
from memtrace.plots import addresses
from memtrace.plots.addresses import all_tags, draw_if_no_occupancy, draw_maps, notes, pixels_of_codes
from memtrace.plots.series import Cells

if TYPE_CHECKING:
    from memtrace.results.tables import Results

ORDER = 32
NAME = "occupancy-tag"
TITLE = "Addresses over time, by tag"

# Colours that all eyes tell apart (simulated), the first ones most clearly. Each has a lightness of its own and all are darker
# than a hole, so that they differ in grey too. Letters name the tags without colour.
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
NONE: Colour = (0.58, 0.58, 0.58)  # of blocks without a tag
LETTERS = "abcdefgh"
ACROSS, UP = 14, 12  # columns and rows of places for letters in a panel
ENOUGH = 0.25  # share of a place's cells that have to be of a tag for its letter to stand there
KEY, IN_LINE = 0.17, 3  # inches: height of a line of the key; entries in a line


def caption(results: Results, trace: str) -> str:
    """Return the text below the figure."""
    return (
        "The tag of most of the bytes that live in a cell; a letter stands where much of the tag lies. Light grey: holes. "
        "The tags with the most bytes have a colour each." + notes(results, trace)
    )


def wanted(results: Results, trace: str) -> bool:
    """Return whether live blocks have at least two different tags."""
    kinds: set[str | None] = set()
    for policy in results.policies(trace):
        rows = results.rows("occupancy", trace, policy)
        if "tag" in rows:
            names, codes = rows.codes("tag")
            kinds |= {None if code < 0 else names[code] for code in numpy.unique(codes[rows["live_bytes"] > 0]).tolist()}
    return len(kinds) > 1


def height(results: Results, trace: str) -> float:
    """Return the figure's height in inches, for a panel per policy and the key."""
    tags = all_tags(results, trace)
    return addresses.height(results, trace) + _lines(len(tags)) * KEY if tags else TITLE_ROOM + 0.3


def draw(results: Results, trace: str, frame: Frame) -> None:
    """Draw one image per policy with letters in it, and the key below."""
    tags = all_tags(results, trace)
    if not tags:
        if not draw_if_no_occupancy(results, trace, frame):
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
    """Return the tags as pixels."""
    live = numpy.nan_to_num(cells.share) > 0
    codes = numpy.where(live, numpy.where(cells.tag < 0, len(COLOURS), cells.tag), -1)
    return pixels_of_codes(cells, codes, [*COLOURS, NONE])


def letters(cells: Cells) -> Iterator[tuple[int, float, float]]:
    """Yield for each tag where its letter stands: code, place across, place up, both as shares of the panel.

    It is the middle of the place that the tag fills most; tags that fill no place well enough get no letter.
    """
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
    """Return the number of lines of the key for so many tags."""
    return -(-(tags + 1) // IN_LINE)


def _key(frame: Frame, tags: tuple[str, ...], untagged: bool, top: float) -> None:
    """Draw the key, with IN_LINE entries in a line; ``untagged`` adds an entry for blocks without a tag, ``top`` is in inches."""
    wide = (frame.width - LEFT) / IN_LINE
    names = short_labels(tags, SMALL, (wide - 0.55) * POINTS)
    entries = [(COLOURS[at], LETTERS[at], names[tag]) for at, tag in enumerate(tags)]
    for at, (colour, letter, name) in enumerate([*entries, (NONE, "", "no tag")][: len(tags) + untagged]):
        line, column = divmod(at, IN_LINE)
        left, middle = LEFT + column * wide, top + line * KEY + KEY / 2
        frame.box(left, middle - 0.045, 0.2, 0.09, colour)
        frame.text(left + 0.28, middle, letter, SMALL, bold=True)
        frame.text(left + 0.4, middle, printable(name), SMALL)
