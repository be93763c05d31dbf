"""Lay out the blocks of a report on pages before anything is drawn.

Blocks are cut into pieces, which are never split between pages. A table has a piece for each row and a text one for
each line, so that both can run on over several pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from memtrace.drawing.frame import POINTS, WIDTH
from memtrace.drawing.text import printable, wrap
from memtrace.report.blocks import Block, Column, Command, Heading, Paragraph, Picture, Section, Table

PAGE_WIDTH, PAGE_HEIGHT = 8.27, 11.69  # A4 in inches
LEFT = (PAGE_WIDTH - WIDTH) / 2
TOP, END = 0.5, PAGE_HEIGHT - 0.7  # inches: where the content of a page begins and ends
ROOM = WIDTH * POINTS  # points: width of a line
LEADING = 1.4  # distance of lines, as a multiple of the size of their letters
SPACE = 0.1  # inches above a picture
CELL = 6.0  # points between columns
SHRINKS = 0.15  # share of their height that a page's pictures may lose so that one more piece fits


@dataclass(frozen=True)
class Line:
    """A line of text. `left` is where it begins, in inches from the margin; for a number it is where it ends."""

    text: str
    size: float
    left: float = 0.0
    bold: bool = False
    number: bool = False


@dataclass(frozen=True)
class Piece:
    """A part of a page that is never split between pages.

    It has lines, each with its distance in inches from the piece's top, or a picture with its caption.
    """

    height: float
    lines: tuple[tuple[float, Line], ...] = ()
    picture: Picture | None = None
    rule: bool = False  # a line below it
    starts_page: bool = False
    title: str = ""  # of a heading, for the bookmarks
    level: int = 0  # of a heading
    keeps_next: bool = False  # stays on one page with the next piece
    head: Piece | None = None  # the head of the table, which is repeated above this row if the row begins a page


Page = list[tuple[float, Piece]]  # pieces with their distances in inches from the page's top


def pages(blocks: Iterable[Block]) -> list[Page]:
    """Return the pages of a report.

    If a group of pieces does not fit on the rest of a page, the page's pictures are made a little lower, or the group
    begins the next page.
    """
    found: list[Page] = [[]]
    place = TOP
    groups = list(_groups(piece for block in blocks for piece in pieces_of(block)))
    for group in groups:
        over = place + sum(piece.height for piece in group) - END
        if over > 0 and not group[0].starts_page:
            pieces = _squeezed([*(piece for _, piece in found[-1]), *group], over)
            if pieces:
                found[-1], group, place = [], pieces, TOP
                over = 0.0
        if found[-1] and (group[0].starts_page or over > 0):
            found.append([])
            place = TOP
            if group[0].head:
                group = [group[0].head, *group]
        for piece in group:
            found[-1].append((place, piece))
            place += piece.height
    return found


def _squeezed(pieces: Sequence[Piece], over: float) -> list[Piece]:
    """Return the pieces with their pictures lower by ``over`` inches in all, each by the same share.

    Return an empty list if the last piece is no picture, or if the pictures would lose more than SHRINKS of their
    height.
    """
    heights = sum(piece.picture.height for piece in pieces if piece.picture and piece.picture.yields)
    if not pieces[-1].picture or over > SHRINKS * heights:
        return []
    return [_lower(piece, over / heights) for piece in pieces]


def _lower(piece: Piece, share: float) -> Piece:
    """Return the piece with its picture lower by this share of its height, if the picture yields."""
    if not piece.picture or not piece.picture.yields:
        return piece
    by = share * piece.picture.height
    picture = replace(piece.picture, height=piece.picture.height - by)
    return replace(piece, picture=picture, height=piece.height - by, lines=tuple((top - by, line) for top, line in piece.lines))


def _groups(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield groups of pieces that stay on one page, such as a heading and what follows it."""
    group: list[Piece] = []
    for piece in pieces:
        if group and (piece.starts_page or not group[-1].keeps_next):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def pieces_of(block: Block) -> list[Piece]:
    """Return a block's pieces; those of a section begin with its title on a new page."""
    if isinstance(block, Section):
        return [piece for inner in (Heading(block.title, 1), *block.blocks) for piece in _pieces(inner)]
    return _pieces(block)


def _pieces(block: Block) -> list[Piece]:
    """Return the pieces of a block that is no section."""
    if isinstance(block, Heading):
        return [_heading(block)]
    if isinstance(block, Paragraph):
        return _text(block.text, 11.5 if block.strong else 9, block.strong, 0.08)
    if isinstance(block, Command):
        return [*_text(block.text, 8.5, True, 0.0, keeps_next=True), *_text(block.reason, 8.5, False, 0.07)]
    if isinstance(block, Table):
        return list(_table(block))
    assert isinstance(block, Picture)
    return [_picture(block)]


def _heading(block: Heading) -> Piece:
    """Return the piece of a heading."""
    size, before = (17.0, 0.0) if block.level == 1 else (11.0, 0.16)
    lines = _lines(wrap(printable(block.text), size, ROOM, True), size, True)
    return Piece(
        before + _height(lines) + 0.08,
        tuple((before + top, line) for top, line in lines),
        starts_page=block.level == 1,
        title=block.text,
        level=block.level,
        keeps_next=True,
    )


def _text(text: str, size: float, bold: bool, after: float, keeps_next: bool = False) -> list[Piece]:
    """Return the pieces of a text: each line is one, so that a long text runs on over pages. ``after`` are inches below it."""
    pieces = []
    for line in wrap(printable(text), size, ROOM, bold):
        tall = size * LEADING / POINTS
        pieces.append(Piece(tall, ((0.0, Line(line, size, bold=bold)),), keeps_next=keeps_next))
    pieces[-1] = replace(pieces[-1], height=pieces[-1].height + after)
    return pieces


def _lines(texts: Sequence[str], size: float, bold: bool, left: float = 0.0, number: bool = False) -> list[tuple[float, Line]]:
    """Return the lines with their distances in inches from the top. ``left`` is in inches; for numbers it is where they end."""
    step = size * LEADING / POINTS
    return [(at * step, Line(text, size, left, bold, number)) for at, text in enumerate(texts)]


def _height(lines: Sequence[tuple[float, Line]]) -> float:
    """Return the height of lines in inches."""
    return max(top + line.size * LEADING / POINTS for top, line in lines)


def _table(table: Table) -> Iterator[Piece]:
    """Yield the pieces of a table: its head, its rows, and a space below."""
    head = replace(_row(table.columns, [column.title for column in table.columns], True), keeps_next=True)
    yield head
    for row in table.rows:
        yield replace(_row(table.columns, row, False), head=head)
    yield Piece(0.1)


def _row(columns: Sequence[Column], cells: Sequence[str], bold: bool, size: float = 8.0) -> Piece:
    """Return the piece of a row, whose cells are wrapped in the widths of their columns."""
    shares = sum(column.share for column in columns)
    lines: list[tuple[float, Line]] = []
    left = 0.0
    for column, cell in zip(columns, cells, strict=True):
        wide = WIDTH * column.share / shares
        texts = wrap(printable(cell), size, wide * POINTS - CELL, bold)
        lines += _lines(texts, size, bold, left + wide if column.numbers else left, column.numbers)
        left += wide
    padded = tuple((top + 0.035, line) for top, line in lines)
    return Piece(_height(lines) + 0.05, padded, rule=True)


def _picture(block: Picture) -> Piece:
    """Return the piece of a picture with its caption."""
    size = 8.0
    texts = wrap(printable(block.caption), size, ROOM)
    lines = _lines(texts, size, False)
    below = SPACE + block.height + 0.04
    return Piece(below + _height(lines) + 0.25, tuple((below + top, line) for top, line in lines), picture=block)
