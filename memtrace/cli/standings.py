"""The table of policies over all traces of a suite, and its conclusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memtrace.cli.terminal import echo

MOST_ROWS = 15  # policies in the table


def print_standings(rows: Sequence[dict[str, Any]]) -> None:
    """Print the policies over all traces, the best first, and what follows; nothing for a single trace or policy."""
    from memtrace.cli.output import print_policies
    from memtrace.results.standings import EXTRA, conclusion, standings, tells_ends_apart
    from memtrace.results.verdict import ratio_text

    said = conclusion(rows)
    if not said:
        return
    ranked = standings(rows)
    columns = ("policy", "x bound", "interval", "worst", "at end", "best on", "rank", "failed")
    seeded = any(each.low is not None for each in ranked)
    lines = [
        (
            each.policy,
            ratio_text(each.ratio),
            "-" if each.low is None else f"{each.low:.3f}-{each.high:.3f}",
            ratio_text(each.worst),
            ratio_text(each.held),
            f"{each.best_on:,}",
            "-" if each.rank is None else f"{each.rank:.1f}",
            f"{each.failed:,} of {each.traces:,}" if each.failed else "-",
        )
        for each in ranked[:MOST_ROWS]
    ]
    left_out = {*(() if seeded else ("interval",)), *(() if tells_ends_apart(rows) else ("at end",))}
    kept = [i for i in range(len(columns)) if columns[i] not in left_out]
    traces = len({row["trace"] for row in rows})
    echo(f"{traces:,} traces: peak reserved bytes over the lower bound, in the geometric mean")
    if "at end" not in left_out:
        echo("at end: reserved bytes at the end over the lower bound (peak live), in the mean")
    print_policies([columns[i] for i in kept], [[line[i] for i in kept] for line in lines])
    if len(ranked) > MOST_ROWS:
        echo(f"and {len(ranked) - MOST_ROWS:,} more; --json has all")
    for sentence in said:
        echo(sentence)
    if not has_statistics():
        echo(f"intervals and tests need an extra: {EXTRA}", err=True)


def has_statistics() -> bool:
    """Return whether scipy is installed."""
    from importlib.util import find_spec

    return find_spec("scipy") is not None


def standings_json(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the standings, the comparisons with the first policy, and the conclusion, as values for JSON."""
    from dataclasses import asdict

    from memtrace.results.standings import conclusion, paired, standings

    ranked = standings(rows)
    pairs = [paired(rows, ranked[0].policy, each.policy) for each in ranked[1:]]
    return {
        "standings": [asdict(each) for each in ranked],
        "comparisons": [asdict(each) for each in pairs if each is not None],
        "conclusion": conclusion(rows),
    }
