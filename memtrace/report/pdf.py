"""Write a Document as PDF: A4 pages of searchable text and vector figures. Equal documents give equal bytes.

The PDF has bookmarks for traces and policies, in the order of the pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from memtrace.drawing.frame import POINTS, Frame
from memtrace.drawing.saving import write_png, write_whole
from memtrace.drawing.style import FAINT, RULE, SMALL, style
from memtrace.drawing.text import printable, shorten
from memtrace.report.blocks import Document, Picture
from memtrace.report.flow import LEFT, PAGE_HEIGHT, PAGE_WIDTH, SPACE, Page, pages

if TYPE_CHECKING:
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure, SubFigure

DEEPEST = 2  # level of the headings that still get a bookmark
FOOTER = PAGE_HEIGHT - 0.5  # inches from the page's top


class Mark(NamedTuple):
    """A bookmark: a heading's text, its level, and the index of its page from 0."""

    title: str
    level: int
    page: int


def marks(pages: Sequence[Page]) -> list[Mark]:
    """Return a bookmark for each heading of the first two levels."""
    found = [(piece, number) for number, page in enumerate(pages) for _, piece in page]
    return [Mark(printable(piece.title), piece.level, number) for piece, number in found if 1 <= piece.level <= DEEPEST]


# What `bookmark` uses of matplotlib's PDF writer, which has no public way to add bookmarks.
WRITER = ("pageList", "pagesObject", "reserveObject", "rootObject", "writeObject")


def writer_of(pdf: PdfPages) -> Any:
    """Return matplotlib's writer of a PDF, or None where this matplotlib's differs from the one that `bookmark` knows."""
    try:
        file = pdf._ensure_file()
    except AttributeError:
        return None
    return file if all(hasattr(file, name) for name in WRITER) else None


def bookmark(pdf: PdfPages, pages: Sequence[Page]) -> None:
    """Write the bookmarks into a PDF that is not closed yet; write none where matplotlib's writer is not known.

    The document's catalog, which is the first object of the file, is written a second time so that it refers to the
    bookmarks.
    """
    from matplotlib.backends.backend_pdf import Name

    file, found = writer_of(pdf), marks(pages)
    if file is None or not found:
        return
    root = file.reserveObject("outlines")
    places = [file.reserveObject("bookmark") for _ in found]
    parents = [_parent(found, i) for i in range(len(found))]
    for i, mark in enumerate(found):
        siblings = [k for k, parent in enumerate(parents) if parent == parents[i]]
        at, children = siblings.index(i), [k for k, parent in enumerate(parents) if parent == i]
        item = {
            "Title": b"\xfe\xff" + mark.title.encode("utf-16-be"),
            "Parent": root if parents[i] is None else places[parents[i]],
            "Dest": [file.pageList[mark.page], Name("Fit")],
        }
        if at:
            item["Prev"] = places[siblings[at - 1]]
        if at + 1 < len(siblings):
            item["Next"] = places[siblings[at + 1]]
        if children:
            item |= {"First": places[children[0]], "Last": places[children[-1]], "Count": -len(children)}
        file.writeObject(places[i], item)
    top = [place for place, parent in zip(places, parents, strict=True) if parent is None]
    file.writeObject(root, {"Type": Name("Outlines"), "First": top[0], "Last": top[-1], "Count": len(top)})
    catalog = {"Type": Name("Catalog"), "Pages": file.pagesObject, "Outlines": root, "PageMode": Name("UseOutlines")}
    file.writeObject(file.rootObject, catalog)


def _parent(found: Sequence[Mark], i: int) -> Any:
    """Return the index of the last heading before ``i`` with a smaller level number, None if there is none."""
    return next((k for k in range(i - 1, -1, -1) if found[k].level < found[i].level), None)


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
