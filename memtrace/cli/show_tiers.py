"""Print the results of `memtrace tiers` at the terminal: tables, and charts of what each tier held and each link carried."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.tiers.results import TierResults

STEPS = 50  # characters of a chart, each for an equal part of the events
MOST_EVICTIONS = 40  # rows of a tier and a tag
NAME, NUMBER = 12, 11  # columns for the name and the number before a chart
# Name of a flow over a link -> its column.
FLOWS = {"down": "down_bytes", "up": "up_bytes", "in place": "remote_bytes"}


def show(results: TierResults) -> None:
    """Print the results of a folder: tables and charts."""
    first = results.summary[0]
    print_tables(results, f"{first['trace']}: {first['events']:,} events, evict {first['evict']}")
    for line in drawn(results):
        echo(line)


def print_tables(results: TierResults, title: str) -> None:
    """Print tables of the tiers, links, evictions by tag and the curve, and sentences on the verdict and the model of times."""
    from memtrace.cli.output import print_table
    from memtrace.tiers import results as saying

    rows = results.summary
    print_table(saying.COLUMNS, [saying.table_row(row) for row in rows], title=title)
    if len(rows) > 1:
        print_table(saying.LINK_COLUMNS, [saying.link_row(row) for row in rows[1:]])
    evictions = saying.shown_evictions(results)
    if evictions:
        print_table(saying.EVICTION_COLUMNS, [saying.eviction_row(row) for row in evictions[:MOST_EVICTIONS]], words=(0, 1))
        if len(evictions) > MOST_EVICTIONS:
            echo(f"and {len(evictions) - MOST_EVICTIONS:,} tags more; tier_evictions.parquet has all, --tags kind adds them up")
    if results.curve:
        columns = (f"{rows[0]['name']} of", *saying.CURVE_COLUMNS)
        print_table(columns, [saying.curve_row(row) for row in results.curve], words=(4,))
    for text in (saying.verdict(rows), saying.USES[rows[0]["uses"]], saying.model(rows)):
        echo(textwrap.fill(text, 80, break_long_words=False))


def drawn(results: TierResults) -> Iterator[str]:
    """Yield the lines of the charts.

    Live bytes of each tier are scaled to the tier's own peak; bytes over a link and evictions are counted per step, and
    scaled to the largest step.
    """
    from memtrace.units import format_size

    rows = results.summary
    ends, timeline = step_ends(results), samples(results)
    if not ends:
        return
    yield ""
    yield f"live bytes over {rows[0]['events']:,} events, full height the peak of the tier"
    for row, own in zip(rows, timeline, strict=True):
        most = row["peak_live_bytes"]
        yield line(row["name"], format_size(most), [own["live_bytes"][at] for at in ends], most)
    for k in range(1, len(rows)):
        moved = {flow: steps(timeline[k][column], ends) for flow, column in FLOWS.items()}
        most = max(max(values) for values in moved.values())
        if most:
            yield ""
            link = f"{short(rows[k - 1]['name'])} - {short(rows[k]['name'])}"
            yield f"bytes over the link {link}, full height {format_size(most)} a step"
        for flow, values in moved.items():
            if any(values):
                yield line(flow, format_size(rows[k][FLOWS[flow]]), values, most)
    evicted = [steps(own["evictions"], ends) for own in timeline]
    most = max(max(values) for values in evicted)
    if most:
        yield ""
        yield f"evictions, full height {most:,} a step"
    for row, values in zip(rows, evicted, strict=True):
        if any(values):
            yield line(row["name"], f"{row['evictions']:,}", values, most)


def samples(results: TierResults) -> list[dict[str, list[Any]]]:
    """Return the timeline of each tier, by column. In the results, the rows of all tiers at one sample follow each other."""
    tiers = len(results.summary)
    return [{name: values[k::tiers] for name, values in results.timeline.items()} for k in range(tiers)]


def step_ends(results: TierResults) -> list[int]:
    """Return for each step of the events the index of the last sample in it or before it; an empty list without samples."""
    from bisect import bisect_right

    events = samples(results)[0]["event"]
    count = min(STEPS, len(events))
    return [bisect_right(events, events[-1] * (k + 1) // count) - 1 for k in range(count)]


def steps(counted: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Return by how much a running sum rose in each step; ``ends`` are indexes of samples."""
    return [after - before for before, after in pairwise([0, *(counted[at] for at in ends)])]


def line(name: str, number: str, values: Sequence[int], most: int) -> str:
    """Return one line of a chart: name, number, and a bar for each value; ``most`` is the value of a full bar."""
    from memtrace.cli.output import BARS

    bars = "".join(BARS[min(8, -(-value * 8 // most)) if most else 0] for value in values)
    return f"{short(name):{NAME}} {number:>{NUMBER}} {bars}".rstrip()


def short(name: str) -> str:
    """Return the name, cut to its column."""
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"
