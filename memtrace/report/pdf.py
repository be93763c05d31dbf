"""Write a Document as PDF: A4 pages of searchable text and vector figures. Equal documents give equal bytes.

The PDF has bookmarks for traces and policies, in the order of the pages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from memtrace.drawing.frame import POINTS, Frame
from memtrace.drawing.pdf import Mark, Pdf, Placed
from memtrace.drawing.saving import write_whole
from memtrace.drawing.style import FAINT, RULE, SMALL
from memtrace.drawing.text import printable, shorten
from memtrace.report.blocks import Document, Picture
from memtrace.report.flow import LEFT, PAGE_HEIGHT, PAGE_WIDTH, SPACE, Page, pages

DEEPEST = 2  # level of the headings that still get a bookmark
FOOTER = PAGE_HEIGHT - 0.5  # inches from the page's top


def marks(pages: Sequence[Page]) -> list[Mark]:
    """Return a bookmark for each heading of the first two levels."""
    found = [(piece, number) for number, page in enumerate(pages) for _, piece in page]
    return [Mark(printable(piece.title), piece.level, number) for piece, number in found if 1 <= piece.level <= DEEPEST]


def write(document: Document, path: Path) -> Path:
    """Draw the pictures, write the PDF, and return its path."""
    return write_whole(path, content(document.title, pages(document.blocks), Picture.frame))


def content(title: str, laid_out: Sequence[Page], frame_of: Callable[[Picture], Frame]) -> bytes:
    """Return the PDF of pages that are laid out; ``frame_of`` returns what a picture draws."""
    pdf = Pdf(PAGE_WIDTH, PAGE_HEIGHT)
    for number, page in enumerate(laid_out, start=1):
        placed = [Placed(frame_of(piece.picture), LEFT, top + SPACE) for top, piece in page if piece.picture is not None]
        pdf.page([Placed(_sheet(page, title, f"page {number} of {len(laid_out)}"), 0.0, 0.0), *placed])
    return pdf.content(title, marks(laid_out))


def _sheet(page: Page, title: str, number: str) -> Frame:
    """Return a page without its pictures."""
    frame = Frame(PAGE_WIDTH, PAGE_HEIGHT)
    right = PAGE_WIDTH - LEFT
    for top, piece in page:
        for below, line in piece.lines:
            middle = top + below + line.size * 0.65 / POINTS
            align = "right" if line.number else "left"
            frame.text(LEFT + line.left, middle, line.text, line.size, align=align, bold=line.bold)
        if piece.rule:
            frame.line([(LEFT, top + piece.height), (right, top + piece.height)], RULE, 0.4)
    frame.text(LEFT, FOOTER, shorten(printable(title), SMALL, 400), SMALL, colour=FAINT)
    frame.text(right, FOOTER, number, SMALL, colour=FAINT, align="right")
    return frame
