"""The part of a report that explains why a policy ran out of memory.

It has the request, the free bytes, whether memory was fragmented or really full, and the blocks that pin most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from memtrace.plots import failure_map
from memtrace.plots.frame import WIDTH
from memtrace.report.blocks import Column, Heading, Paragraph, Picture, Table
from memtrace.report.verdict import is_oom
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.results.tables import Results

Failure = Mapping[str, Any]  # the row of the table `failures`
Cause = Literal["fragmentation", "rounding", "full"]
FACTS = (Column("at that event", 3.0), Column("bytes", 1.0, numbers=True))
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
    pins = results.rows("pins", trace, row["policy"])
    yield Picture(
        f"{name}-last-map",
        "Memory at that event",
        failure_map.caption(len(pins["address"])),
        WIDTH,
        failure_map.height(results, trace, row["policy"]),
        partial(failure_map.draw_into, results=results, trace=trace, policy=row["policy"]),
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
    "fragmentation".
    """
    if failure["live_bytes"] + failure["request_bytes"] > limit:
        return "full"
    if failure["allocated_bytes"] + failure["needed_bytes"] > limit:
        return "rounding"
    return "fragmentation"


def sentence(failure: Failure, limit: int) -> str:
    """Return the verdict on a failure, in one or two sentences."""
    asked, live = format_size(failure["request_bytes"]), format_size(failure["live_bytes"])
    lost = failure["allocated_bytes"] - failure["live_bytes"]
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
    free = format_size(limit - failure["allocated_bytes"])
    largest = failure["largest_hole_bytes"]
    if largest is None:
        return f"Fragmentation, by the sums: {asked} were asked for and {free} were in no block."
    if largest >= failure["needed_bytes"]:
        return (
            f"Out of reach: {asked} were asked for, and a range of {format_size(largest)} was free, but not for this request: it "
            "is of another pool or stream, not aligned as asked, or of a class that the policy does not search."
        )
    return f"Fragmentation: {asked} were asked for and {free} were free, but the largest free range was {format_size(largest)}."


def facts(failure: Failure, limit: int) -> Iterator[tuple[str, str]]:
    """Yield the rows of the table of sizes, exact to the byte."""
    tag = f" ({failure['request_tag']})" if failure["request_tag"] else ""
    yield f"event {failure['event']:,} asked for{tag}", f"{failure['request_bytes']:,}"
    yield "which the policy rounded to", f"{failure['needed_bytes']:,}"
    yield f"live, in {failure['live_blocks']:,} blocks", f"{failure['live_bytes']:,}"
    yield "rounding, headers and padding", f"{failure['allocated_bytes'] - failure['live_bytes']:,}"
    if failure["free_bytes"] is not None:
        yield f"free, in {failure['holes']:,} holes", f"{failure['free_bytes']:,}"
        yield "largest hole", f"{failure['largest_hole_bytes']:,}"
    yield "reserved", f"{failure['reserved_bytes']:,}"
    yield "limit", f"{limit:,}"


def pin_rows(pins: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of blocks that pin most, numbered from 1."""
    for number, (address, size, opens, tag) in enumerate(
        zip(*(pins[name].tolist() for name in ("address", "bytes", "opens_bytes", "tag")), strict=True), start=1
    ):
        beside = format_size(opens - size)
        yield str(number), f"{address:,}", format_size(size), beside, format_size(opens), "", tag or "-"
