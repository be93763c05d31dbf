"""Add bookmarks for traces and policies to a PDF, in the order of the pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from memtrace.plots.text import printable
from memtrace.report.flow import Page

if TYPE_CHECKING:
    from matplotlib.backends.backend_pdf import PdfPages

DEEPEST = 2  # level of the headings that still get a bookmark


class Mark(NamedTuple):
    """A bookmark: a heading's text, its level, and the index of its page from 0."""

    title: str
    level: int
    page: int


def marks(pages: Sequence[Page]) -> list[Mark]:
    """Return a bookmark for each heading of the first two levels."""
    found = [(piece, number) for number, page in enumerate(pages) for _, piece in page]
    return [Mark(printable(piece.title), piece.level, number) for piece, number in found if 1 <= piece.level <= DEEPEST]


def bookmark(pdf: PdfPages, pages: Sequence[Page]) -> None:
    """Write the bookmarks into a PDF that is not closed yet.

    The document's catalog, which is the first object of the file, is written a second time so that it refers to the
    bookmarks.
    """
    from matplotlib.backends.backend_pdf import Name

    file: Any = pdf._ensure_file()
    found = marks(pages)
    if not found:
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
