"""Gather the report of a suite: the policies over all traces, how they compare, and every trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from memtrace.drawing.frame import POINTS, WIDTH, Frame, titled
from memtrace.drawing.style import ALARM, FAINT, INK, SMALL, TITLE_ROOM, Colour, mixed
from memtrace.drawing.text import shorten, width
from memtrace.report.blocks import Block, Column, Document, Heading, Paragraph, Picture, Table
from memtrace.report.suite_traces import boxes, capacities, pages
from memtrace.results.standings import EXTRA, conclusion, over_bound, paired, standings, tells_ends_apart
from memtrace.results.verdict import above_bound, best, is_oom, is_served, rank, ratio_text
from memtrace.units import format_size

Row = dict[str, Any]

STANDINGS = (
    Column("policy", 2.6),
    Column("worst on", 2.4),
    Column("worst", 0.8, numbers=True),
    Column("of bound, mean", 1.2, numbers=True),
    Column("95 % interval", 1.5, numbers=True),
    Column("at end", 0.8, numbers=True),
    Column("best on", 0.9, numbers=True),
    Column("rank", 0.7, numbers=True),
    Column("failed", 1.0, numbers=True),
)
PAIRS = (
    Column("beside the first", 3.0),
    Column("needs", 1.0, numbers=True),
    Column("95 % interval", 1.6, numbers=True),
    Column("more on", 0.9, numbers=True),
    Column("less on", 0.9, numbers=True),
    Column("of", 0.6, numbers=True),
    Column("p", 0.8, numbers=True),
)
TRACES = (
    Column("trace", 3.2),
    Column("needs least", 2.6),
    Column("peak reserved", 1.2, numbers=True),
    Column("of bound", 0.9, numbers=True),
    Column("failed", 0.9, numbers=True),
)
HOW = (
    "Mean: of peak reserved bytes over the lower bound (peak live), the geometric mean over the traces that a policy served; a "
    "trace on which it ran out of memory or refused requests counts as failed. Traces that differ in their seed alone count as "
    "one, with their mean, and give the interval (Student's t on logarithms). At end: reserved bytes at the end over the lower "
    "bound, the mean. Best on: traces on which no other needs less. Rank: mean place. Both of these count each trace."
)
HOW_PAIRED = (
    "What each policy needs beside the first one, on the traces that both served: the geometric mean of the ratios, its interval "
    "from Student's t on their logarithms, and the two-sided p of Wilcoxon's signed-rank test. The {count} comparisons are not "
    "corrected for their number."
)
HOW_HEAT = (
    "{what} over the lower bound: the darker, the more, up to {most:.0f} times. A red cross: it ran out of memory "
    "or refused requests. Policies, the best over all traces first: {names}.{left}"
)
ROW, LABELS, NAMES = 0.17, 1.7, 0.25  # inches: a trace's line, the room for its name, the room for policies' numbers
MOST_COLUMNS, MOST_LINES = 16, 46  # of a heat map: policies across, traces down
DARK: Colour = (0.03, 0.19, 0.42)


@dataclass(frozen=True, kw_only=True)
class Heat:
    """What a heat map shows of each trace and policy: a ratio to the lower bound."""

    file_name: str  # of its pictures, without a number
    title: str
    what: str  # begins the caption
    value: Callable[[Row], float | None]  # None where it is not known
    bottom: float  # the ratio that is white, and
    top: float  # the one that is darkest


NEEDED = Heat(
    file_name="suite-traces",
    title="What each policy needs on each trace",
    what="Peak reserved bytes",
    value=above_bound,
    bottom=1.0,
    top=2.0,
)
HELD = Heat(
    file_name="suite-held",
    title="What each policy still holds at the end of each trace",
    what="Reserved bytes at the end",
    value=lambda row: over_bound(row, "reserved_end_bytes"),
    bottom=0.0,
    top=2.0,
)


def build(rows: Sequence[Row], title: str) -> Document:
    """Return the report of a suite with these summary rows."""
    ranked = standings(rows)
    blocks: list[Block] = [Heading(title, 1)]
    said = conclusion(rows)
    blocks += [Paragraph(sentence, strong=not place) for place, sentence in enumerate(said)]
    blocks += [Heading("Policies over all traces, best first"), Table(STANDINGS, tuple(_standing(each) for each in ranked))]
    blocks.append(Paragraph(HOW))
    pairs = [found for each in ranked[1:] if (found := paired(rows, ranked[0].policy, each.policy)) is not None]
    if pairs:
        blocks += [Heading(f"Beside {ranked[0].policy}"), Table(PAIRS, tuple(_pair(each) for each in pairs))]
        blocks.append(Paragraph(HOW_PAIRED.format(count=len(pairs))))
        if all(each.p is None and each.low is None for each in pairs):
            blocks.append(Paragraph(f"Intervals and tests need an extra: {EXTRA}."))
    traces = list(dict.fromkeys(row["trace"] for row in rows))
    policies = [each.policy for each in ranked]
    blocks += [*boxes(rows, policies), *capacities(rows, policies)]
    for heat in (NEEDED, HELD) if tells_ends_apart(rows) else (NEEDED,):
        blocks += _heat_maps(rows, policies, traces, heat)
    lines = [_trace(trace, [row for row in rows if row["trace"] == trace]) for trace in traces]
    blocks += [Heading("Traces"), Table(TRACES, tuple(lines)), *pages(rows, traces)]
    return Document(f"memtrace: {title}", tuple(blocks))


def _standing(each: Any) -> tuple[str, ...]:
    """Return a policy's line in the table of standings."""
    return (
        each.policy,
        each.worst_trace or "-",
        ratio_text(each.worst),
        ratio_text(each.ratio),
        "-" if each.low is None else f"{each.low:.3f} to {each.high:.3f}",
        ratio_text(each.held),
        f"{each.best_on:,}",
        "-" if each.rank is None else f"{each.rank:.1f}",
        f"{each.failed:,} of {each.traces:,}" if each.failed else "-",
    )


def _pair(each: Any) -> tuple[str, ...]:
    """Return the line of a policy beside the first one."""
    return (
        each.other,
        f"{each.ratio - 1:+.1%}",
        "-" if each.low is None else f"{each.low - 1:+.1%} to {each.high - 1:+.1%}",
        f"{each.more:,}",
        f"{each.less:,}",
        f"{each.groups:,}",
        "-" if each.p is None else f"{each.p:.2g}",
    )


def _trace(trace: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the line of a trace."""
    winners, failed = best(rank(rows)), sum(is_oom(row) or bool(row["failed_allocs"]) for row in rows)
    lost = f"{failed} of {len(rows)}" if failed else "-"
    if not winners:
        return trace, "-", "-", "-", lost
    others = f" and {len(winners) - 1} more" if len(winners) > 1 else ""
    peak = format_size(winners[0]["peak_reserved_bytes"])
    return trace, f"{winners[0]['policy']}{others}", peak, ratio_text(above_bound(winners[0])), lost


def _heat_maps(rows: Sequence[Row], policies: Sequence[str], traces: Sequence[str], heat: Heat) -> Iterator[Block]:
    """Yield figures of a ratio of each policy on each trace, as many lines in each as fit on a page."""
    cells = {(row["trace"], row["policy"]): row for row in rows}
    shown = policies[:MOST_COLUMNS]
    left = f" The {len(policies) - len(shown)} policies that do worst are left out." if len(shown) < len(policies) else ""
    names = "; ".join(f"{number} {policy}" for number, policy in enumerate(shown, 1))
    for start in range(0, len(traces), MOST_LINES):
        part = traces[start : start + MOST_LINES]
        yield Picture(
            file_name=f"{heat.file_name}-{start // MOST_LINES + 1}",
            title=heat.title,
            caption=HOW_HEAT.format(what=heat.what, most=heat.top, names=names, left=left),
            width=WIDTH,
            height=TITLE_ROOM + NAMES + ROW * len(part),
            draw=partial(_heat_map, cells=cells, policies=shown, traces=part, heat=heat),
        )


def _heat_map(
    height: float, *, cells: Mapping[tuple[str, str], Row], policies: Sequence[str], traces: Sequence[str], heat: Heat
) -> Frame:
    """Return the figure of a box for each trace and policy, with the ratio in it."""
    frame = titled(heat.title, height)
    wide = (WIDTH - LABELS) / max(len(policies), 4)
    for column, _ in enumerate(policies):
        frame.text(LABELS + (column + 0.5) * wide, TITLE_ROOM + NAMES / 2, str(column + 1), SMALL, colour=FAINT, align="center")
    for line, trace in enumerate(traces):
        top = TITLE_ROOM + NAMES + line * ROW
        frame.text(LABELS - 0.08, top + ROW / 2, shorten(trace, SMALL, (LABELS - 0.1) * POINTS), SMALL, align="right")
        for column, policy in enumerate(policies):
            row = cells.get((trace, policy))
            left, middle = LABELS + column * wide, top + ROW / 2
            if row is None:
                continue
            if not is_served(row):
                frame.cross(left + wide / 2, middle, ALARM, 0.04)
                continue
            ratio = heat.value(row)
            if ratio is None:
                continue
            share = min(1.0, math.log(1 + max(ratio - heat.bottom, 0.0)) / math.log(1 + heat.top - heat.bottom))
            frame.box(left + 0.01, top + 0.01, wide - 0.02, ROW - 0.02, mixed(DARK, 1 - 0.06 - 0.94 * share))
            text = f"{ratio:.2f}"
            if width(text, SMALL) < (wide - 0.04) * POINTS:
                frame.text(left + wide / 2, middle, text, SMALL, colour="white" if share > 0.6 else INK, align="center")
    return frame
