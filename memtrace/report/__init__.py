"""Results to a report: gather a Document, then write it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.results.tables import Results


def render(results: Results, plots_dir: Path | None, pdf_path: Path) -> list[Path]:
    """The PDF and, where a folder is given, each of its figures as PNG: every figure is drawn once."""
    from memtrace.report.document import build
    from memtrace.report.pdf import write

    return write(build(results), pdf_path, plots_dir)
