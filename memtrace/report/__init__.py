"""Results to a report: gather a Document, then write it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.results.tables import Results


ENDINGS = (".pdf", ".html", ".md")


def render(results: Results, folder: Path) -> list[Path]:
    """report.pdf and report.html, and each figure as PNG in plots/: every figure is drawn once."""
    from memtrace.report import html, pdf
    from memtrace.report.document import build

    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    document = build(results)
    files = pdf.write(document, folder / "report.pdf", plots)
    return [files[0], html.write(document, results, folder / "report.html", plots), *files[1:]]


def write(results: Results, path: Path, plots: Path | None = None) -> Path:
    """One report, of the kind that the file's ending names; figures are taken from ``plots`` where they are there.

    Raises UsageError for another ending.
    """
    from memtrace.errors import UsageError
    from memtrace.report import html, markdown, pdf
    from memtrace.report.document import build

    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"{path}: a report is written as {', '.join(ENDINGS)}")
    document = build(results)
    if ending == ".pdf":
        return pdf.write(document, path)[0]
    return html.write(document, results, path, plots) if ending == ".html" else markdown.write(document, path, plots)
