"""The part of a report that explains why a policy ran out of memory.

It has the request, the free bytes, whether memory was fragmented or really full, and the blocks that pin most.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from memtrace.drawing.frame import WIDTH
from memtrace.drawing.style import base_name
from memtrace.plots import drawn, failure_map, plots
from memtrace.report.blocks import Block, Column, Heading, Paragraph, Picture, Section, Table
from memtrace.report.holders import pinned_section
from memtrace.results.holders import OOM, pins_at
from memtrace.results.verdict import above_bound, is_oom, is_pool, needed, oom_event, rank, ratio_text
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.results.tables import Results

Failure = Mapping[str, Any]  # the row of the table `failures`
Cause = Literal["fragmentation", "rounding", "full"]
FACTS = (Column("at that event", 3.0), Column("bytes", 1.0, numbers=True))
PARTS = (
    Column("part at", 1.6, numbers=True),
    Column("its bytes", 1.2, numbers=True),
    Column("blocks", 0.8, numbers=True),
    Column("free", 1.2, numbers=True),
    Column("largest hole", 1.2, numbers=True),
    Column("", 3.0),
)
PINS = (
    Column("block", 0.5, numbers=True),
    Column("address", 1.6, numbers=True),
    Column("its size", 1.0, numbers=True),
    Column("free beside it", 1.2, numbers=True),
    Column("opens if freed", 1.2, numbers=True),
    Column("", 0.15),
    Column("tag", 3.0),
)


def autopsy(results: Results, trace: str, row: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield the blocks of the report that explain why a policy ran out of memory.

    Yield none for other policies, nor if the results lack the state. ``row`` is the policy's row of the summary,
    ``name`` begins the name of the figure's file.
    """
    failure = failure_of(results, trace, row["policy"])
    if not is_oom(row) or failure is None:
        return
    limit = int(row["capacity_bytes"] or failure["reserved_bytes"])
    yield Heading("Why it ran out of memory", 3)
    yield Paragraph(sentence(failure, limit), strong=True)
    yield Table(FACTS, tuple(facts(failure, limit)))
    parts = results.rows("parts", trace, row["policy"])
    if len(parts["address"]):
        yield Heading("The parts of the memory, none of which could serve it", 3)
        yield Table(PARTS, tuple(part_rows(parts)))
    pins = pins_at(results, trace, row["policy"], OOM)
    yield Picture(
        f"{name}-last-map",
        "Memory at that event",
        failure_map.caption(len(pins["address"])),
        WIDTH,
        failure_map.height(results, trace, row["policy"]),
        partial(failure_map.drawn, results=results, trace=trace, policy=row["policy"]),
    )
    if len(pins["address"]):
        yield Heading("Blocks that pin most", 3)
        yield Table(PINS, tuple(pin_rows(pins)))


def failure_of(results: Results, trace: str, policy: str) -> dict[str, Any] | None:
    """Return the policy's row of the table `failures`, or None if there is none."""
    rows = results.rows("failures", trace, policy)
    return {name: _plain(values[0]) for name, values in rows.items()} if len(rows["event"]) else None


def _plain(value: Any) -> Any:
    """Return the value, or None for NaN, which stands for null in a column of numbers."""
    return None if value is None or value != value else value


def cause(failure: Failure, limit: int) -> Cause:
    """Return why the request failed within ``limit`` bytes.

    It is "full" if the live bytes and the request exceed the limit, "rounding" if only their blocks do, else
    "fragmentation". Where the bytes of the blocks are not known, those requested stand for them.
    """
    if failure["live_bytes"] + failure["request_bytes"] > limit:
        return "full"
    if in_blocks(failure) + least_bytes(failure) > limit:
        return "rounding"
    return "fragmentation"


def in_blocks(failure: Failure) -> int:
    """Return the bytes of the live blocks with rounding and headers; the requested bytes where those are not known."""
    known = failure["allocated_bytes"]
    return int(failure["live_bytes"] if known is None else known)


def least_bytes(failure: Failure) -> int:
    """Return the bytes that the request needs at least: as the policy rounded it if that is known, else its own."""
    return int(failure["request_bytes"] if failure["needed_bytes"] is None else failure["needed_bytes"])


def sentence(failure: Failure, limit: int) -> str:
    """Return the verdict on a failure, in one or two sentences."""
    asked, live = format_size(failure["request_bytes"]), format_size(failure["live_bytes"])
    lost = in_blocks(failure) - failure["live_bytes"]
    found = cause(failure, limit)
    if found == "full":
        more = failure["live_bytes"] + failure["request_bytes"] - limit
        above = format_size(more)
        return f"Really full: {live} were live, and with the {asked} asked for that is {above} above the limit. No policy fits."
    if found == "rounding":
        return (
            f"Rounding: the live {live} and the {asked} asked for would fit, but rounding, headers and padding take another "
            f"{format_size(lost)}."
        )
    free = format_size(limit - in_blocks(failure))
    largest = failure["largest_hole_bytes"]
    if largest is None:
        return f"Fragmentation, by the sums: {asked} were asked for and {free} were in no block."
    if largest >= least_bytes(failure):
        return (
            f"Out of reach: {asked} were asked for, and a range of {format_size(largest)} was free, but not for this request: it "
            "is of another pool or stream, not aligned as asked, or of a class that the policy does not search."
        )
    return f"Fragmentation: {asked} were asked for and {free} were free, but the largest free range was {format_size(largest)}."


def facts(failure: Failure, limit: int) -> Iterator[tuple[str, str]]:
    """Yield the rows of the table of sizes, exact to the byte."""
    tag = f" ({failure['request_tag']})" if failure["request_tag"] else ""
    yield f"event {failure['event']:,} asked for{tag}", f"{failure['request_bytes']:,}"
    if failure["needed_bytes"] is not None:
        yield "which the policy rounded to", f"{failure['needed_bytes']:,}"
    yield f"live, in {failure['live_blocks']:,} blocks", f"{failure['live_bytes']:,}"
    if failure["allocated_bytes"] is not None:
        yield "rounding, headers and padding", f"{failure['allocated_bytes'] - failure['live_bytes']:,}"
    if failure["free_bytes"] is not None:
        yield f"free, in {failure['holes']:,} holes", f"{failure['free_bytes']:,}"
        yield "largest hole", f"{failure['largest_hole_bytes']:,}"
    yield "reserved", f"{failure['reserved_bytes']:,}"
    yield "limit", f"{limit:,}"


def part_rows(parts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of parts, exact to the byte, in the order of addresses."""
    names = ("address", "bytes", "live_blocks", "free_bytes", "largest_hole_bytes")
    for values in zip(*(parts[name].tolist() for name in names), strict=True):
        yield *(f"{value:,}" for value in values), ""


def pin_rows(pins: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of blocks that pin most, numbered from 1."""
    for number, (address, size, opens, tag) in enumerate(
        zip(*(pins[name].tolist() for name in ("address", "bytes", "opens_bytes", "tag")), strict=True), start=1
    ):
        beside = format_size(opens - size)
        yield str(number), f"{address:,}", format_size(size), beside, format_size(opens), "", tag or "-"


MANY = 12  # options of which only those that are not at their defaults are listed
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
    text = options_text(row["policy"], json.loads(row.get("options") or "{}"))
    if text:
        yield Paragraph(text)
    yield from autopsy(results, trace, row, name)
    yield from pinned_section(results, trace, row)
    yield Heading("Measures", 3)
    yield measures(rows, row)
    yield from pictures(results, trace, row["policy"], name)


def options_text(label: str, options: dict[str, Any]) -> str:
    """Return a sentence with a policy's options; of a policy with MANY or more, only those that are not at their defaults.

    ``label`` is the policy's name in results. The defaults are known of policies of the package.
    """
    from memtrace.engine.options import options_of
    from memtrace.engine.registry import builtin_policies, load_named

    name = base_name(label)
    kept, left = options, ""
    if len(options) >= MANY and name in builtin_policies():
        defaults = {key: option.default for key, option in options_of(load_named(name)).items()}
        kept = {key: value for key, value in options.items() if key not in defaults or value != defaults[key]}
        left = f"{len(options) - len(kept)} others at their defaults, which memtrace policies {name} lists"
    given = [f"{key}={value}" for key, value in kept.items()]
    return f"Options: {', '.join([*given, *([left] if left else [])])}." if options else ""


def standing(rows: Sequence[Row], place: int) -> str:
    """Return a sentence with the policy's place among the others and its peak."""
    row = rows[place]
    where = f"Number {place + 1} of {len(rows)}: " if len(rows) > 1 else ""
    if is_oom(row):
        return f"{where}ran out of memory at event {oom_event(row):,} of {row['events']:,}."
    peak = f"{format_size(row['peak_reserved_bytes'])} reserved"
    if is_pool(row):
        peak = f"{format_size(needed(row))} used of a pool of {format_size(row['peak_reserved_bytes'])}"
    bound = above_bound(row)
    above = f", {ratio_text(bound)} the lower bound" if bound is not None else ""
    failed = f"; {row['failed_allocs']:,} requests failed" if row.get("failed_allocs") else ""
    return f"{where}{peak} at most{above}{failed}."


def measures(rows: Sequence[Row], row: Row) -> Table:
    """Return the table of measures: name, value, and the best value of all policies that did not run out of memory.

    It has two halves side by side; a * marks a best value that is this policy's own. Measures that are the same for all
    policies are left out, and those that repeat another. If none differs, those are shown of which one direction is better.
    """
    from memtrace.measures import declared

    telling = [metric for metric in declared() if not _says_nothing(rows, row, metric.name)]
    known = [metric for metric in telling if _differs(rows, metric.name)] or [metric for metric in telling if metric.direction]
    cells = [(metric.name, *_value(metric, rows, row)) for metric in known]
    half = -(-len(cells) // 2)
    right = [*cells[half:], *[("", "", "")] * (2 * half - len(cells))]
    return Table((*HALF, GAP, *HALF), tuple((*one, "", *other) for one, other in zip(cells[:half], right, strict=True)))


def _says_nothing(rows: Sequence[Row], row: Row, name: str) -> bool:
    """Return whether a measure has no value for the policy of ``row``, or repeats another of the table for all policies."""
    value = row.get(name)
    if name == "highest_end_bytes":
        return value is None or not is_pool(row)
    repeated = {"reserved_end_bytes": "peak_reserved_bytes", "reserved_least_after_peak_bytes": "reserved_end_bytes"}.get(name)
    return value is None or (repeated is not None and all(each.get(name) == each.get(repeated) for each in rows))


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
    alone = results_of_policy(results, trace, policy)
    for plot in plots():
        if plot.NAME in DRAWN:
            yield Picture(
                f"{name}-{plot.NAME}",
                plot.TITLE,
                "",
                WIDTH,
                TALL,
                partial(drawn, plot=plot, results=alone, trace=trace),
                pages_only=True,
            )


def results_of_policy(results: Results, trace: str, policy: str) -> Results:
    """Return the results as if this policy alone had replayed the trace."""
    return replace(results, summary=[row for row in results.summary if (row["trace"], row["policy"]) == (trace, policy)])
