"""Write a Document as PDF: A4 pages of searchable text and vector figures. Equal documents give equal bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.plots.frame import POINTS, Frame
from memtrace.plots.saving import write_png, write_whole
from memtrace.plots.style import FAINT, RULE, SMALL, style
from memtrace.plots.text import printable, shorten
from memtrace.report.blocks import Document, Picture
from memtrace.report.bookmarks import bookmark
from memtrace.report.flow import LEFT, PAGE_HEIGHT, PAGE_WIDTH, SPACE, Page, pages

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

FOOTER = PAGE_HEIGHT - 0.5  # inches from the page's top


def write(document: Document, path: Path, plots_dir: Path | None = None) -> list[Path]:
    """Write the PDF and, if a folder is given, each figure as PNG; return the paths, the PDF's first.

    The PNGs are made of the figures on the pages, so each figure is drawn once.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    content, written = BytesIO(), []
    metadata = {"Title": document.title, "Creator": "memtrace", "Producer": "memtrace", "CreationDate": None}
    laid_out = pages(document.blocks)
    with style(), PdfPages(content, metadata=metadata) as pdf:
        for number, page in enumerate(laid_out, start=1):
            sheet, pictures = _sheet(page, document.title, f"page {number} of {len(laid_out)}")
            pdf.savefig(sheet)
            if plots_dir is not None:
                written += _pngs(sheet, pictures, plots_dir)
        bookmark(pdf, laid_out)
    return [write_whole(path, content.getvalue()), *written]


def _sheet(page: Page, title: str, number: str) -> tuple[Figure, list[tuple[Picture, SubFigure, float]]]:
    """Draw one page, and return it with its pictures.

    Each picture comes with the subfigure that it is drawn in and its distance from the page's top in inches.
    """
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(PAGE_WIDTH, PAGE_HEIGHT))
    frame = Frame(sheet, PAGE_WIDTH, PAGE_HEIGHT)
    right, pictures = PAGE_WIDTH - LEFT, []
    for top, piece in page:
        for below, line in piece.lines:
            middle = top + below + line.size * 0.65 / POINTS
            align = "right" if line.number else "left"
            frame.text(LEFT + line.left, middle, line.text, line.size, align=align, bold=line.bold)
        if piece.rule:
            frame.line([(LEFT, top + piece.height), (right, top + piece.height)], RULE, 0.4)
        if piece.picture:
            part = _part(sheet, piece.picture, top + SPACE)
            piece.picture.draw(part, piece.picture.height)
            pictures.append((piece.picture, part, top + SPACE))
    frame.text(LEFT, FOOTER, shorten(printable(title), SMALL, 400), SMALL, colour=FAINT)
    frame.text(right, FOOTER, number, SMALL, colour=FAINT, align="right")
    frame.finish()
    return sheet, pictures


def _part(sheet: Figure, picture: Picture, top: float) -> SubFigure:
    """Return the rectangle of the page that a picture is drawn into, whose top is ``top`` inches from the page's."""
    widths = [LEFT, picture.width, PAGE_WIDTH - LEFT - picture.width]
    heights = [top, picture.height, PAGE_HEIGHT - top - picture.height]
    cells = sheet.add_gridspec(3, 3, width_ratios=widths, height_ratios=heights)
    return sheet.add_subfigure(cells[1, 1])


def _pngs(sheet: Figure, pictures: list[tuple[Picture, SubFigure, float]], folder: Path) -> list[Path]:
    """Write each picture of a page as PNG, and return the paths. Everything else on the page is invisible meanwhile."""
    from matplotlib.transforms import Bbox

    written = []
    for artist in sheet.get_children():
        artist.set_visible(False)
    sheet.patch.set_visible(True)
    for picture, part, top in pictures:
        if picture.pages_only:
            continue
        part.set_visible(True)
        low = PAGE_HEIGHT - top - picture.height
        box = Bbox.from_bounds(LEFT, low, picture.width, picture.height)
        written.append(write_png(sheet, folder / f"{picture.file_name}.png", box))
        part.set_visible(False)
    return written
