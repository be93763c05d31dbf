"""Blocks to pages: what stands where, cut between pages, before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from memtrace.plots.frame import POINTS, WIDTH
from memtrace.plots.text import printable, wrap
from memtrace.report.blocks import Block, Column, Command, Heading, Paragraph, Picture, Section, Table

PAGE_WIDTH, PAGE_HEIGHT = 8.27, 11.69  # A4 in inches
LEFT = (PAGE_WIDTH - WIDTH) / 2
TOP, END = 0.5, PAGE_HEIGHT - 0.7
ROOM = WIDTH * POINTS
LEADING = 1.4  # times the size of the letters
SPACE = 0.1  # inches above a picture
CELL = 6.0  # points between columns
SHRINKS = 0.15  # of the height of a page's pictures, so that one more fits


@dataclass(frozen=True)
class Line:
    """A line of text; `left` in inches from the margin, the end of the line if it is a number."""

    text: str
    size: float
    left: float = 0.0
    bold: bool = False
    number: bool = False


@dataclass(frozen=True)
class Piece:
    """What is never cut between pages: lines, each so far below the piece's top, a rule or a picture."""

    height: float
    lines: tuple[tuple[float, Line], ...] = ()
    picture: Picture | None = None
    rule: bool = False
    starts_page: bool = False
    title: str = ""  # of a heading, for the bookmarks
    level: int = 0
    keeps_next: bool = False
    head: Piece | None = None  # stands above it again where it begins a page


Page = list[tuple[float, Piece]]


def pages(blocks: Iterable[Block]) -> list[Page]:
    """Pieces on pages, each with its distance from the page's top."""
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
    """The pieces with pictures lower by ``over`` inches in all, the same share of each; empty if that is too much of them."""
    heights = sum(piece.picture.height for piece in pieces if piece.picture and piece.picture.yields)
    if not pieces[-1].picture or over > SHRINKS * heights:
        return []
    return [_lower(piece, over / heights) for piece in pieces]


def _lower(piece: Piece, share: float) -> Piece:
    if not piece.picture or not piece.picture.yields:
        return piece
    by = share * piece.picture.height
    picture = replace(piece.picture, height=piece.picture.height - by)
    return replace(piece, picture=picture, height=piece.height - by, lines=tuple((top - by, line) for top, line in piece.lines))


def _groups(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """A heading stays with what follows it."""
    group: list[Piece] = []
    for piece in pieces:
        if group and (piece.starts_page or not group[-1].keeps_next):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def pieces_of(block: Block) -> list[Piece]:
    """A block's pieces; a section's begin with its title, on a new page."""
    if isinstance(block, Section):
        return [piece for inner in (Heading(block.title, 1), *block.blocks) for piece in _pieces(inner)]
    return _pieces(block)


def _pieces(block: Block) -> list[Piece]:
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
    """Each line is a piece, so that long text runs on over pages."""
    pieces = []
    for line in wrap(printable(text), size, ROOM, bold):
        tall = size * LEADING / POINTS
        pieces.append(Piece(tall, ((0.0, Line(line, size, bold=bold)),), keeps_next=keeps_next))
    pieces[-1] = replace(pieces[-1], height=pieces[-1].height + after)
    return pieces


def _lines(texts: Sequence[str], size: float, bold: bool, left: float = 0.0, number: bool = False) -> list[tuple[float, Line]]:
    step = size * LEADING / POINTS
    return [(at * step, Line(text, size, left, bold, number)) for at, text in enumerate(texts)]


def _height(lines: Sequence[tuple[float, Line]]) -> float:
    return max(top + line.size * LEADING / POINTS for top, line in lines)


def _table(table: Table) -> Iterator[Piece]:
    head = replace(_row(table.columns, [column.title for column in table.columns], True), keeps_next=True)
    yield head
    for row in table.rows:
        yield replace(_row(table.columns, row, False), head=head)
    yield Piece(0.1)


def _row(columns: Sequence[Column], cells: Sequence[str], bold: bool, size: float = 8.0) -> Piece:
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
    size = 8.0
    texts = wrap(printable(block.caption), size, ROOM)
    lines = _lines(texts, size, False)
    below = SPACE + block.height + 0.04
    return Piece(below + _height(lines) + 0.25, tuple((below + top, line) for top, line in lines), picture=block)
