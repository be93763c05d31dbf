"""The table of policies on one trace, the best first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from memtrace.results.tables import Results

MOST_ROWS = 12  # of the table; summary.parquet has all


def print_ranked(results: Results, trace: str) -> None:
    """Print the ranked table of a trace, and the first sentence of the verdict."""
    from memtrace.cli.output import print_policies
    from memtrace.results.verdict import rank, verdict

    ranked = rank([row for row in results.summary if row["trace"] == trace])
    shown = ranked[:MOST_ROWS]
    columns = ("policy", "reserved", "x bound", "external", "internal", "holes", "search", "status")
    print_policies(columns, [table_row(row) for row in shown], words=(0, 7), title=headline(ranked[0]))
    if len(ranked) > len(shown):
        click.echo(f"and {len(ranked) - len(shown)} more in summary.parquet")
    click.echo(verdict(ranked)[0])


def headline(row: dict[str, Any]) -> str:
    """Return the table's title: the trace, its events, the lower bound, the capacity."""
    from memtrace.units import format_count, format_size

    text = f"{row['trace']}: {format_count(row['events'])} events, lower bound {format_size(row['lower_bound_bytes'])}"
    if row["capacity_bytes"] is not None:
        text += f", capacity {format_size(row['capacity_bytes'])}"
    if row["invalid_events"]:
        text += f", {row['invalid_events']:,} invalid events skipped"
    return text


def table_row(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a policy's line in the table."""
    from memtrace.results.verdict import above_bound, is_oom, ratio_text
    from memtrace.units import format_size

    status = row["status"]
    if is_oom(row):
        status = f"oom @{row['oom_event']:,}"
    elif row["failed_allocs"]:
        status = f"{row['failed_allocs']:,} failed"
    return (
        row["policy"],
        format_size(row["peak_reserved_bytes"]),
        ratio_text(above_bound(row)),
        percent(row["external_frag_at_peak"]),
        percent(row["internal_frag_at_peak"]),
        "-" if row["holes_max"] is None else f"{row['holes_max']:,}",
        "-" if row["search_mean"] is None else f"{row['search_mean']:.1f}",
        status,
    )


def percent(share: float | None) -> str:
    """Return a share as a percentage, or a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"
