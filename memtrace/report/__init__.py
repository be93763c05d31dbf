"""Turn results into a report: gather a Document, then write it as PDF, HTML or Markdown."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.drawing.frame import Frame
    from memtrace.report.blocks import Document, Picture
    from memtrace.results.tables import Results
    from memtrace.tiers.results import TierResults

# The endings of a report's file, each for one kind of report.
ENDINGS = (".pdf", ".html", ".md")
WAITING = 8  # images that wait in memory to be compressed


def render(results: Results | TierResults, folder: Path, kinds: Collection[str] = ("pdf", "html")) -> list[Path]:
    """Write the reports of these kinds into the folder, and each figure as PNG into its folder plots/. Return the paths.

    The reports are called report.pdf, report.html and report.md. Every figure is drawn once, at the height that it has in the
    PDF, for all kinds.
    """
    return render_document(*document_of(results), folder, kinds)


def render_document(document: Document, explored: Results | None, folder: Path, kinds: Collection[str]) -> list[Path]:
    """Do what `render` does for a document; ``explored`` are the results for the explorer of the HTML report, if it has one."""
    from concurrent.futures import Future, ThreadPoolExecutor

    from memtrace.drawing import raster
    from memtrace.drawing.saving import write_whole
    from memtrace.report import flow, html, markdown, pdf

    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    laid_out = flow.pages(document.blocks)
    written: list[Path] = []
    images: list[Future[Path]] = []

    def write_png(name: str, image: raster.Pixels) -> Path:
        """Write an image into the folder of plots."""
        return write_whole(plots / f"{name}.png", raster.with_palette(image))

    # Images are compressed by other threads while this one draws: numpy and zlib let go of the interpreter's lock.
    with ThreadPoolExecutor() as pool:

        def frame_of(picture: Picture) -> Frame:
            """Draw a picture, and have its PNG written; wait if too many images are in memory."""
            frame = picture.frame()
            if not picture.pages_only:
                images.append(pool.submit(write_png, picture.file_name, raster.pixels(frame)))
                images[max(0, len(images) - WAITING)].result()
            return frame

        if "pdf" in kinds:
            written.append(write_whole(folder / "report.pdf", pdf.content(document.title, laid_out, frame_of)))
        else:
            for picture in (piece.picture for page in laid_out for _, piece in page):
                if picture is not None and not picture.pages_only:
                    frame_of(picture)
        figures = [image.result() for image in images]
    if "html" in kinds:
        written.append(html.write(document, explored, folder / "report.html", plots))
    if "md" in kinds:
        written.append(markdown.write(document, folder / "report.md", plots))
    return [*written, *figures]


def write(results: Results | TierResults, path: Path, plots: Path | None = None) -> Path:
    """Write one report, of the kind that the file's ending names, and return its path.

    Figures that are in the folder ``plots`` are taken from there. Raise UsageError for another ending.
    """
    return write_document(*document_of(results), path, plots)


def write_document(document: Document, explored: Results | None, path: Path, plots: Path | None) -> Path:
    """Do what `write` does for a document; ``explored`` are the results for the explorer of the HTML report, if it has one."""
    from memtrace.errors import UsageError
    from memtrace.report import html, markdown, pdf

    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"{path}: a report is written as {', '.join(ENDINGS)}")
    if ending == ".pdf":
        return pdf.write(document, path)
    return html.write(document, explored, path, plots) if ending == ".html" else markdown.write(document, path, plots)


def document_of(results: Results | TierResults) -> tuple[Document, Results | None]:
    """Return the report's document, and the results for the explorer of the HTML report; None for a replay over tiers."""
    from memtrace.report import document, tiers
    from memtrace.tiers.results import TierResults

    if isinstance(results, TierResults):
        return tiers.build(results), None
    return document.build(results), results
