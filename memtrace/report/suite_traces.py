"""The parts of a suite's report that look at traces: boxes over all of them, who fails within which capacity, a page for each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy

from memtrace.drawing.frame import POINTS, WIDTH, Frame, titled
from memtrace.drawing.style import FAINT, FAINTEST, INK, SMALL, TITLE_ROOM, light, policy_colour
from memtrace.drawing.text import shorten
from memtrace.report.blocks import Block, Column, Heading, Paragraph, Picture, Table
from memtrace.results.verdict import above_bound, is_served, oom_event, rank, ratio_text
from memtrace.units import format_size

Row = dict[str, Any]

BOXES = "What each policy needs, over all traces"
HOW_BOXES = (
    "Peak reserved bytes over the lower bound, on a logarithmic scale. Box: the middle half of the traces that were served, "
    "with the median; line: from the least to the most. Behind the line: on how many traces it failed, which are in no box."
)
HOW_CAPACITIES = (
    "Traces that each policy serves within each capacity, of those replayed within it. One that serves fewer within a larger "
    "capacity depends on where the capacity lies."
)
PAGE = (
    Column("policy", 3.0),
    Column("status", 1.6),
    Column("peak reserved", 1.2, numbers=True),
    Column("of bound", 0.9, numbers=True),
    Column("external", 0.9, numbers=True),
    Column("internal", 0.9, numbers=True),
)
LINE, LABELS, RIGHT, BELOW = 0.19, 1.9, 0.9, 0.3  # inches: a policy's line, its name, the room behind, that of the scale
MOST_LINES = 40  # of the figure of boxes
MOST_CAPACITIES = 8  # columns of a table
MOST_PAGES = 60  # traces with a page
TICKS = (1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def boxes(rows: Sequence[Row], policies: Sequence[str]) -> Iterator[Picture]:
    """Yield the figure of a box over all traces for each policy, if there are three traces or more."""
    values = {policy: ratios_of(rows, policy) for policy in policies[:MOST_LINES]}
    if len({row["trace"] for row in rows}) >= 3 and any(found for found, _, _ in values.values()):
        height = TITLE_ROOM + LINE * len(values) + BELOW
        draw = partial(_boxes, values=values)
        yield Picture(file_name="suite-boxes", title=BOXES, caption=HOW_BOXES, width=WIDTH, height=height, draw=draw)


def ratios_of(rows: Sequence[Row], policy: str) -> tuple[list[float], int, int]:
    """Return a policy's ratios to the lower bound on the traces that it served, on how many it failed, and how many there are."""
    own = [row for row in rows if row["policy"] == policy]
    found = [ratio for row in own if is_served(row) and (ratio := above_bound(row)) is not None]
    return sorted(found), sum(not is_served(row) for row in own), len(own)


def _boxes(height: float, *, values: Mapping[str, tuple[list[float], int, int]]) -> Frame:
    """Return the figure: a line for each policy, the scale below."""
    frame = titled(BOXES, height)
    most = max(max(found) for found, _, _ in values.values() if found)
    span = math.log(max(most, 1.05) * 1.02)
    wide, low = WIDTH - LABELS - RIGHT, TITLE_ROOM + LINE * len(values)

    def across(ratio: float) -> float:
        """Return the place of a ratio, in inches from the left."""
        return LABELS + wide * min(1.0, math.log(max(ratio, 1.0)) / span)

    last = -1.0
    for tick in (each for each in TICKS if math.log(each) <= span):
        if across(tick) - last > 0.4:
            last = across(tick)
            frame.grid([(last, TITLE_ROOM), (last, low)], FAINTEST)
            frame.text(last, low + 0.1, f"{tick:g}x", SMALL, colour=FAINT, align="center")
    for line, (policy, (found, failed, count)) in enumerate(values.items()):
        middle = TITLE_ROOM + (line + 0.5) * LINE
        frame.text(LABELS - 0.08, middle, shorten(policy, SMALL, (LABELS - 0.1) * POINTS), SMALL, align="right")
        if failed:
            frame.text(WIDTH - RIGHT + 0.08, middle, f"{failed:,} of {count:,} failed", SMALL, colour=FAINT)
        if found:
            least, first, median, third, top = (across(float(each)) for each in numpy.percentile(found, (0, 25, 50, 75, 100)))
            colour = policy_colour(policy)
            frame.box(first, middle - 0.06, max(third - first, 0.01), 0.12, light(colour))
            frame.line([(least, middle), (top, middle)], colour, 0.9)
            frame.line([(median, middle - 0.06), (median, middle + 0.06)], INK, 1.4)
    return frame


def capacities(rows: Sequence[Row], policies: Sequence[str]) -> list[Block]:
    """Return the table of who serves how many traces within which capacity; nothing with fewer than two capacities."""
    sizes = sorted({row["capacity_bytes"] for row in rows if row["capacity_bytes"] is not None})
    if len(sizes) < 2:
        return []
    cells: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for row in rows:
        if row["capacity_bytes"] is not None:
            cells[row["policy"], row["capacity_bytes"]].append(is_served(row))
    found: list[Block] = [Heading("Who fails within which capacity")]
    for start in range(0, len(sizes), MOST_CAPACITIES):
        part = sizes[start : start + MOST_CAPACITIES]
        columns = (Column("policy", 2.6), *(Column(format_size(size), 1.0, numbers=True) for size in part))
        lines = [(policy, *(_served(cells[policy, size]) for size in part)) for policy in policies]
        found.append(Table(columns, tuple(lines)))
    return [*found, Paragraph(HOW_CAPACITIES)]


def _served(outcomes: Sequence[bool]) -> str:
    """Return how many of these outcomes are served requests throughout, such as "3 of 4", or a dash for none at all."""
    return f"{sum(outcomes):,} of {len(outcomes):,}" if outcomes else "-"


def pages(rows: Sequence[Row], traces: Sequence[str]) -> Iterator[Block]:
    """Yield a page for each trace, up to MOST_PAGES: its facts, and all policies, the best first."""
    for trace in traces[:MOST_PAGES]:
        own = rank([row for row in rows if row["trace"] == trace])
        capacity = own[0]["capacity_bytes"]
        limit = "the heap grows as needed" if capacity is None else f"capacity {format_size(capacity)}"
        yield Heading(trace, 1)
        yield Paragraph(f"{own[0]['events']:,} events, lower bound {format_size(own[0]['lower_bound_bytes'])}, {limit}.")
        yield Table(PAGE, tuple(map(_line, own)))
    if len(traces) > MOST_PAGES:
        yield Paragraph(f"The other {len(traces) - MOST_PAGES:,} traces have no page here; each has a folder beside the summary.")


def _line(row: Row) -> tuple[str, ...]:
    """Return a policy's line on a trace's page."""
    failed = row.get("failed_allocs")
    status = f"oom @{oom_event(row):,}" if row["status"] == "oom" else f"{failed:,} requests failed" if failed else row["status"]
    waste = (row.get("external_frag_at_peak"), row.get("internal_frag_at_peak"))
    shares = ("-" if share is None else f"{share:.1%}" for share in waste)
    return row["policy"], status, format_size(row["peak_reserved_bytes"]), ratio_text(above_bound(row)), *shares
