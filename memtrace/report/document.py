"""Gather the report of a run: verdicts, figures, a page for each policy, definitions, and where the results come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from memtrace.drawing.frame import WIDTH
from memtrace.drawing.saving import file_names
from memtrace.plots import builtin_plots, drawn, wanted
from memtrace.report.blocks import Block, Column, Command, Document, Heading, Paragraph, Picture, Table
from memtrace.report.holders import live_section
from memtrace.report.policy_pages import policy_pages
from memtrace.results.holding import tells_apart
from memtrace.results.suggestions import suggestions
from memtrace.results.verdict import (
    above_bound,
    best,
    is_oom,
    is_pool,
    is_served,
    needed,
    oom_event,
    rank,
    ratio_text,
    verdict,
)
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.results.tables import Results


RANKED = (
    Column("policy", 3.1),
    Column("peak reserved", 1.35, numbers=True),
    Column("of bound", 1.0, numbers=True),
    Column("peak allocated", 1.2, numbers=True),
    Column("internal frag.", 1.05, numbers=True),
    Column("external frag.", 1.1, numbers=True),
    Column("most holes", 0.9, numbers=True),
)
AT_END = Column("held at end", 1.0, numbers=True)  # behind the bound, where it tells policies apart
POOLS = (
    Column("policy", 3.1),
    Column("pool", 1.0, numbers=True),
    Column("highest end", 1.1, numbers=True),
    Column("of bound", 1.0, numbers=True),
    Column("least free", 1.0, numbers=True),
    Column("least largest hole", 1.4, numbers=True),
    Column("worst external", 1.2, numbers=True),
)
OVERVIEW = (
    Column("trace", 3.0),
    Column("needs least", 2.6),
    Column("peak reserved", 1.2, numbers=True),
    Column("of bound", 0.9, numbers=True),
    Column("out of memory", 1.2, numbers=True),
)
MEASURES = (
    Column("measure", 2.0),
    Column("unit", 0.7),
    Column("better", 0.8),
    Column("definition", 4.3),
    Column("source", 2.0),
)


def build(results: Results) -> Document:
    """Return the whole report of a run."""
    traces = results.traces()
    names = file_names(traces)
    blocks: list[Block] = list(_overview(results)) if len(traces) != 1 else []
    for trace in traces:
        blocks += _verdict(results, trace)
        blocks += _figures(results, trace, names[trace])
        blocks += policy_pages(results, trace, names[trace])
    blocks += [*_definitions(), *_provenance(results)]
    title = f"memtrace: {traces[0]}" if len(traces) == 1 else f"memtrace: {len(traces)} traces"
    return Document(title, tuple(blocks))


def _rows(results: Results, trace: str) -> list[dict[str, Any]]:
    """Return the summary rows of a trace, the best policy first."""
    return rank(row for row in results.summary if row["trace"] == trace)


def _overview(results: Results) -> Iterator[Block]:
    """Yield the table with one line per trace, for a run of several traces."""
    yield Heading("All traces", 1)
    if not results.traces():
        yield Paragraph("Nothing was replayed.")
        return
    yield Table(OVERVIEW, tuple(_overview_row(trace, _rows(results, trace)) for trace in results.traces()))


def _overview_row(trace: str, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the line of one trace, whose summary rows are ``rows``."""
    winners = best(rows)
    failed = sum(is_oom(row) for row in rows)
    oom = f"{failed} of {len(rows)}" if failed else "-"
    if not winners:
        return trace, "-", "-", "-", oom
    others = f" and {len(winners) - 1} more" if len(winners) > 1 else ""
    peak, ratio = format_size(needed(winners[0])), ratio_text(above_bound(winners[0]))
    return trace, winners[0]["policy"] + others, peak, ratio, oom


def _verdict(results: Results, trace: str) -> Iterator[Block]:
    """Yield the verdict on a trace, the ranked table of policies, and the commands to try next."""
    rows = _rows(results, trace)
    yield Heading(trace, 1)
    first, *others = verdict(rows)
    yield Paragraph(first, strong=True)
    if others:
        yield Paragraph(" ".join(others))
    yield Heading("Policies, best first")
    yield _ranked(rows)
    yield Paragraph(_trace_facts(rows[0]))
    yield from live_section(results, trace, rows[0])
    tried = suggestions(rows, _typed(results.manifest.get("traces", {}).get(trace, trace)), results.manifest.get("policies", {}))
    if tried:
        yield Heading("What to try next")
    for suggestion in tried:
        yield Command(*suggestion)


def _typed(source: str) -> str:
    """Return the trace as one would type it in a command.

    A workload or URL is returned whole; a file loses its folder, which exists only on the machine that wrote the
    report.
    """
    return source if ":" in source else PurePath(source).name


def _ranked(rows: list[dict[str, Any]]) -> Table:
    """Return the ranked table, the best policy first: of fixed pools with their high-water marks."""
    if all(is_pool(row) for row in rows):
        return Table(POOLS, tuple(_pool_row(row) for row in rows))
    if not tells_apart([row for row in rows if is_served(row)]):
        return Table(RANKED, tuple(_ranked_row(row) for row in rows))
    cells = [(*_ranked_row(row)[:3], _size(row.get("reserved_end_bytes")), *_ranked_row(row)[3:]) for row in rows]
    return Table((*RANKED[:3], AT_END, *RANKED[3:]), tuple(cells))


def _pool_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the line of a policy with a fixed pool in the ranked table."""
    return (
        row["policy"],
        format_size(row["peak_reserved_bytes"]),
        "out of memory" if is_oom(row) else format_size(needed(row)),
        f"at {oom_event(row):,}" if is_oom(row) else ratio_text(above_bound(row)),
        _size(row.get("least_free_bytes")),
        _size(row.get("least_largest_hole_bytes")),
        _percent(row.get("external_frag_max")),
    )


def _size(bytes: int | None) -> str:
    """Return a number of bytes as text, or a dash."""
    return "-" if bytes is None else format_size(bytes)


def _ranked_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a policy's line in the ranked table."""
    if is_oom(row):
        peak, ratio = "out of memory", f"at {oom_event(row):,}"
    else:
        peak, ratio = format_size(row["peak_reserved_bytes"]), ratio_text(above_bound(row))
    return (
        row["policy"],
        peak,
        ratio,
        _size(row["peak_allocated_bytes"]),
        _percent(row["internal_frag_at_peak"]),
        _percent(row["external_frag_at_peak"]),
        "-" if row["holes_max"] is None else f"{row['holes_max']:,}",
    )


def _percent(share: float | None) -> str:
    """Return a share as a percentage, or a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"


def _trace_facts(row: Mapping[str, Any]) -> str:
    """Return the sentences below the table on the trace that was replayed."""
    return (
        f"{'' if is_pool(row) else 'Fragmentation is that at the peak of reserved bytes. '}The trace: {row['events']:,} events, "
        f"{row['allocs']:,} allocations and {row['frees']:,} frees, "
        f"at most {row['max_live_blocks']:,} blocks and {format_size(row['peak_live_bytes'])} live at once, "
        f"{format_size(row['requested_bytes'])} requested in all."
    )


def _figures(results: Results, trace: str, name: str) -> Iterator[Block]:
    """Yield the figures of a trace; ``name`` begins the names of their files."""
    for plot in wanted(results, trace):
        yield Picture(
            f"{name}-{plot.NAME}",
            plot.TITLE,
            plot.caption(results, trace),
            WIDTH,
            plot.height(results, trace),
            partial(drawn, plot=plot, results=results, trace=trace),
            yields=plot in builtin_plots(),  # a plug-in was tried at the height that it asked for
        )


def _definitions() -> Iterator[Block]:
    """Yield the definitions of all measures."""
    from memtrace.measures import declared

    yield Heading("What the measures mean", 1)
    yield Paragraph(
        "Live: requested bytes of the blocks in use. Allocated: the same with rounding, headers and "
        "padding. Reserved: bytes held from the system. Hole: a free range inside what is reserved. Events "
        "are counted from 0."
    )
    yield Table(MEASURES, tuple((m.name, m.unit, m.direction, m.formula, m.source) for m in declared()))


def _provenance(results: Results) -> Iterator[Block]:
    """Yield the origin of the numbers:

    SHA-256 of the traces, and versions. There is no time and no machine in it, so equal results give equal reports.
    """
    yield Heading("Where the numbers come from")
    hashes = {row["trace"]: row["trace_sha256"] for row in results.summary}
    yield Table((Column("trace", 2.5), Column("SHA-256", 5)), tuple(hashes.items()))
    versions = sorted((results.manifest.get("versions") or {}).items())
    if versions:
        yield Paragraph(f"Made with {', '.join(f'{name} {version}' for name, version in versions)}.")
