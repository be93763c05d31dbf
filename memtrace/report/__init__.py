"""Results to a report: gather a Document, then write it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.report.blocks import Document
    from memtrace.results.tables import Results
    from memtrace.tiers.results import TierResults

ENDINGS = (".pdf", ".html", ".md")


def render(results: Results | TierResults, folder: Path, kinds: Collection[str] = ("pdf", "html")) -> list[Path]:
    """report.pdf, report.html, report.md: those asked for; and each figure as PNG in plots/. Every figure is drawn once."""
    from memtrace.report import html, markdown, pdf

    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    document, explored = document_of(results)
    path, *figures = pdf.write(document, folder / "report.pdf", plots)
    written = [path] if "pdf" in kinds else []
    if not written:
        path.unlink()  # it was the way to the figures
    if "html" in kinds:
        written.append(html.write(document, explored, folder / "report.html", plots))
    if "md" in kinds:
        written.append(markdown.write(document, folder / "report.md", plots))
    return [*written, *figures]


def write(results: Results | TierResults, path: Path, plots: Path | None = None) -> Path:
    """One report, of the kind that the file's ending names; figures are taken from ``plots`` where they are there.

    Raises UsageError for another ending.
    """
    from memtrace.errors import UsageError
    from memtrace.report import html, markdown, pdf

    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"{path}: a report is written as {', '.join(ENDINGS)}")
    document, explored = document_of(results)
    if ending == ".pdf":
        return pdf.write(document, path)[0]
    return html.write(document, explored, path, plots) if ending == ".html" else markdown.write(document, path, plots)


def document_of(results: Results | TierResults) -> tuple[Document, Results | None]:
    """The report's parts, and the results to explore where there are such."""
    from memtrace.report import document, tiers
    from memtrace.tiers.results import TierResults

    if isinstance(results, TierResults):
        return tiers.build(results), None
    return document.build(results), results
