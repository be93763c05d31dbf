"""Results and traces as small HTML tables, which notebooks show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.results.tables import Results

MOST_TRACES = 12  # traces whose tables are shown
COLUMNS = ("policy", "peak reserved", "x bound", "holes", "status")


def tables_of(results: Results) -> str:
    """Return the ranked table of each trace as HTML, the best policy first."""
    from memtrace.results.verdict import above_bound, oom_event, rank, ratio_text

    traces = results.traces()
    parts = []
    for trace in traces[:MOST_TRACES]:
        lines = [
            (
                row["policy"],
                format_size(row["peak_reserved_bytes"]),
                ratio_text(above_bound(row)),
                "-" if row.get("holes_at_peak") is None else f"{row['holes_at_peak']:,}",
                row["status"] if row["status"] == "ok" else f"{row['status']} @{oom_event(row):,}",
            )
            for row in rank([row for row in results.summary if row["trace"] == trace])
        ]
        parts.append(f"<p>{escape(trace)}</p>{table_of(COLUMNS, lines)}")
    if len(traces) > MOST_TRACES:
        parts.append(f"<p>and {len(traces) - MOST_TRACES:,} more traces; to_pandas() has all</p>")
    return "".join(parts)


def table_of(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table of text."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
