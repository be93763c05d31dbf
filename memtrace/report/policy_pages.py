"""The report's page for each policy: its place, its measures beside the best of each, its memory, and why it failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from memtrace.plots import draw_into, plots
from memtrace.plots.frame import WIDTH
from memtrace.report.autopsy import autopsy
from memtrace.report.blocks import Block, Column, Heading, Paragraph, Picture, Section, Table
from memtrace.report.verdict import above_bound, is_oom, oom_event, rank, ratio_text
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.results.tables import Results

MOST = 30  # policies with a page, the best ones; those that ran out of memory have one in any case
DRAWN = ("memory-by-policy", "occupancy")  # the plots on a policy's page
TALL = 2.0  # inches: height of a plot, so that a policy that served everything needs one page
HALF = (Column("measure", 2.0), Column("value", 1.0, numbers=True), Column("best of all", 1.0, numbers=True))
GAP = Column("", 0.12)
Row = Mapping[str, Any]


def policy_pages(results: Results, trace: str, name: str) -> Iterator[Block]:
    """Yield a section for each policy, the best first; ``name`` begins the names of the figures' files."""
    rows = rank(row for row in results.summary if row["trace"] == trace)
    for place, row in enumerate(rows):
        if place < MOST or is_oom(row):
            yield Section(row["policy"], tuple(page(results, trace, rows, place, f"{name}-{place + 1}")))


def page(results: Results, trace: str, rows: Sequence[dict[str, Any]], place: int, name: str) -> Iterator[Any]:
    """Yield the blocks of the page of ``rows[place]``; ``rows`` are the trace's summary rows, the best first."""
    row = rows[place]
    yield Paragraph(standing(rows, place), strong=True)
    options = json.loads(row.get("options") or "{}")
    if options:
        yield Paragraph("Options: " + ", ".join(f"{key}={value}" for key, value in options.items()) + ".")
    yield from autopsy(results, trace, row, name)
    yield Heading("Measures", 3)
    yield measures(rows, row)
    yield from pictures(results, trace, row["policy"], name)


def standing(rows: Sequence[Row], place: int) -> str:
    """Return a sentence with the policy's place among the others and its peak."""
    row = rows[place]
    where = f"Number {place + 1} of {len(rows)}: " if len(rows) > 1 else ""
    if is_oom(row):
        return f"{where}ran out of memory at event {oom_event(row):,} of {row['events']:,}."
    peak = format_size(row["peak_reserved_bytes"])
    bound = above_bound(row)
    above = f", {ratio_text(bound)} the lower bound" if bound is not None else ""
    failed = f"; {row['failed_allocs']:,} requests failed" if row.get("failed_allocs") else ""
    return f"{where}{peak} reserved at most{above}{failed}."


def measures(rows: Sequence[Row], row: Row) -> Table:
    """Return the table of measures: name, value, and the best value of all policies that did not run out of memory.

    It has two halves side by side; a * marks a best value that is this policy's own. Measures that are the same for all
    policies are left out.
    """
    from memtrace.metrics import declared

    known = [metric for metric in declared() if row.get(metric.name) is not None and _differs(rows, metric.name)]
    cells = [(metric.name, *_value(metric, rows, row)) for metric in known]
    half = -(-len(cells) // 2)
    right = [*cells[half:], *[("", "", "")] * (2 * half - len(cells))]
    return Table((*HALF, GAP, *HALF), tuple((*one, "", *other) for one, other in zip(cells[:half], right, strict=True)))


def _differs(rows: Sequence[Row], name: str) -> bool:
    """Return whether a measure differs between policies that did not run out of memory.

    One that does not is a fact of the trace.
    """
    served = [row for row in rows if not is_oom(row)]
    return len(served) < 2 or len({row.get(name) for row in served}) > 1


def _value(metric: Any, rows: Sequence[Row], row: Row) -> tuple[str, str]:
    """Return the texts of the policy's value and of the best value of a metric. The second is empty if no direction is better."""
    text = shown(row[metric.name], metric.unit)
    values = [other[metric.name] for other in rows if other.get(metric.name) is not None and not is_oom(other)]
    if metric.direction not in ("lower", "higher") or not values or len(rows) == 1:
        return text, ""
    best = min(values) if metric.direction == "lower" else max(values)
    return text, shown(best, metric.unit) + (" *" if best == row[metric.name] else "")


def shown(value: Any, unit: str) -> str:
    """Return a measure's value as text."""
    if isinstance(value, str):
        return value
    if unit == "bytes":
        return format_size(round(value))
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3f}"
    return f"{value:,}"


def pictures(results: Results, trace: str, policy: str, name: str) -> Iterator[Picture]:
    """Yield the plots of this policy alone."""
    alone = only(results, trace, policy)
    for plot in plots():
        if plot.NAME in DRAWN:
            yield Picture(
                f"{name}-{plot.NAME}",
                plot.TITLE,
                "",
                WIDTH,
                TALL,
                partial(draw_into, plot=plot, results=alone, trace=trace),
                pages_only=True,
            )


def only(results: Results, trace: str, policy: str) -> Results:
    """Return the results as if this policy alone had replayed the trace."""
    return replace(results, summary=[row for row in results.summary if (row["trace"], row["policy"]) == (trace, policy)])
