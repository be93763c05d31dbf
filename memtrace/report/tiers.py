"""Turn the results of a replay over tiers into a Document: verdict, tables, the model in words, figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from memtrace.drawing.frame import WIDTH
from memtrace.plots.tiers import drawn, plots
from memtrace.report.blocks import Block, Column, Document, Heading, Paragraph, Picture, Table
from memtrace.tiers import results as saying
from memtrace.units import format_seconds, format_size

if TYPE_CHECKING:
    from memtrace.tiers.results import TierResults

# Eviction rule -> the block that leaves a full tier under it, in words.
VICTIM_TEXTS = {
    "lru": "the block whose last use is longest ago",
    "fifo": "the block that came first",
    "clock": "the block that came first, with another round if it was used",
    "largest": "the largest block",
    "cost": "the block with the least size / (events until its next use), which knows the future",
    "belady": "the block whose next use is farthest, which knows the future",
}


def build(results: TierResults) -> Document:
    """Return the whole report of `memtrace tiers`."""
    trace, names = results.summary[0]["trace"], ", ".join(row["name"] for row in results.summary)
    blocks = [*_verdict(results), *_model(results), *_figures(results), *_more(results), *_provenance(results)]
    return Document(f"memtrace: {trace} over {names}", tuple(blocks))


def _verdict(results: TierResults) -> Iterator[Block]:
    """Yield the verdict and the tables of tiers and links."""
    rows = results.summary
    yield Heading(rows[0]["trace"], 1)
    yield Paragraph(sentence(saying.verdict(rows)), strong=True)
    yield Paragraph(_how(rows[0]))
    yield Heading("Tiers, the fastest first")
    yield table(("tier", "policy", *saying.COLUMNS[1:]), [_tier_row(row) for row in rows], words=2)
    if len(rows) > 1:
        yield Heading("What crossed the link above each")
        yield table(saying.LINK_COLUMNS, [saying.link_row(row) for row in rows[1:]])
        yield Paragraph(
            "In place: read or written over the link, where the block did not come up. Written: bytes written to the tier over "
            "those of the different blocks that were ever there."
        )


def _tier_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the line of one tier."""
    name, *rest = saying.table_row(row)
    return name, row["policy"], *rest


def _how(row: Mapping[str, Any]) -> str:
    """Return sentences on what was replayed, and by which rules."""
    told = [f"{row['events']:,} events were replayed. What leaves a full tier is {VICTIM_TEXTS[row['evict']]} ({row['evict']})."]
    told.append(sentence(saying.USES[row["uses"]]))
    if row["pinned"]:
        told.append(f"Blocks tagged {row['pinned']} never leave the tier that they are in.")
    if row["prefetch_events"]:
        told.append(f"Blocks come up {row['prefetch_events']:,} events before their use.")
    if row["failed_allocs"]:
        told.append(f"{row['failed_allocs']:,} requests fitted no tier.")
    return " ".join(told)


def _model(results: TierResults) -> Iterator[Block]:
    """Yield how times are modelled; no time in the report was measured on a machine."""
    rows = results.summary
    yield Heading("How times are modelled")
    yield Paragraph(sentence(saying.model(rows)))
    told = (
        "A transfer between two tiers crosses every link between them: the latencies of all, and its bytes at the pace of the "
        "slowest. Reading from the first tier is the program's own time."
    )
    packing = sum(row["codec_ns"] for row in rows)
    if packing:
        told += f" Packing and unpacking took {format_seconds(packing / 1e9)} of the stall or of the links' time."
    if not rows[0]["run_compute_ns"]:
        told += " The trace has no times and no time per event was given, so the program's own time counts as none."
    yield Paragraph(told)


def _figures(results: TierResults) -> Iterator[Block]:
    """Yield the figures that have something to show."""
    for plot in plots():
        if (tall := plot.height(results)) > 0:
            draw = partial(drawn, plot=plot, results=results)
            yield Picture(f"tiers-{plot.NAME}", plot.TITLE, plot.CAPTION, WIDTH, tall, draw)


def _more(results: TierResults) -> Iterator[Block]:
    """Yield the table of the curve of capacities, if there is one.

    Evictions need no table, since their figure has the numbers.
    """
    if results.curve:
        yield Heading(f"Capacities of {results.summary[0]['name']}")
        columns = ("capacity", *saying.CURVE_COLUMNS[:-1], "ended")
        yield table(columns, [saying.curve_row(row) for row in results.curve])


def _provenance(results: TierResults) -> Iterator[Block]:
    """Yield the origin of the numbers: the tiers, the trace's SHA-256, versions.

    There is no time and no machine in it, so equal results give equal reports.
    """
    yield Heading("Where the numbers come from")
    first = results.summary[0]
    given = [
        f"{row['name']}: {format_size(row['capacity_bytes'])}, {saying.rate(row['bandwidth_bytes_per_s'])}, {saying.latency(row)}"
        for row in results.summary
    ]
    yield Paragraph(f"Tiers as given (capacity, rate, latency): {'; '.join(given)}.")
    yield Table((Column("trace", 2.5), Column("SHA-256", 5)), ((first["trace"], first["trace_sha256"]),))
    versions = sorted((results.manifest.get("versions") or {}).items())
    if versions:
        yield Paragraph(f"Made with {', '.join(f'{name} {version}' for name, version in versions)}.")


def table(titles: tuple[str, ...], rows: list[tuple[str, ...]], words: int = 1) -> Table:
    """Return a table whose first ``words`` columns hold text and the others numbers."""
    columns = (Column(title, 1.0 if at else 1.1, numbers=at >= words) for at, title in enumerate(titles))
    return Table(tuple(columns), tuple(rows))


def sentence(text: str) -> str:
    """Return the text with a capital letter at its start and a full stop at its end."""
    return f"{text[0].upper()}{text[1:]}."
