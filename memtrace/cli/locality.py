"""What `memtrace run --locality` reads and prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from memtrace.locality.model import Model
    from memtrace.results.tables import Results
    from memtrace.running import Settings
    from memtrace.trace import Trace


def locality_model(text: str | None) -> Model | None:
    from memtrace.locality.model import parse_model

    return None if text is None else parse_model(text)


def check_locality(traces: Sequence[Trace], settings: Settings) -> None:
    """Raise InputError for a trace without the accesses that are asked for, before anything is replayed."""
    if settings.locality is not None:
        from memtrace.locality.counting import derives

        for trace in traces:
            derives(trace, settings.locality)


def locality_rows(results: Results) -> dict[str, Any]:
    return {} if results.locality is None else {"locality": results.locality.to_pylist()}


def print_locality(results: Results, trace: str) -> None:
    """Misses of every level, a row per policy; the fewest misses of the last cache first."""
    if results.locality is None:
        return
    from memtrace.cli.tables import print_policies
    from memtrace.units import format_count

    rows = [row for row in results.locality.to_pylist() if row["trace"] == trace]
    levels = list(dict.fromkeys(row["level"] for row in rows))
    misses: dict[str, dict[str, int]] = {}
    for row in rows:
        misses.setdefault(row["policy"], {})[row["level"]] = row["misses"]
    last = [level for level in levels if level.startswith("L")] or levels
    ranked = sorted(misses, key=lambda policy: (misses[policy][last[-1]], policy))
    lines = [(policy, *(format_count(misses[policy][level]) for level in levels)) for policy in ranked]
    title = (
        f"{trace}: misses, by a model with LRU of touches {'derived from lifetimes' if rows[0]['derived'] else 'in the trace'}"
    )
    print_policies(("policy", *(short(level) for level in levels)), lines, title=title)
    click.echo("misses: lines of caches, pages of TLBs; locality.parquet has the lookups too")


def short(level: str) -> str:
    """`4 KiB TLB1` -> `4K TLB1`: a table has eight of them."""
    return level.replace(" KiB", "K").replace(" MiB", "M").replace("TLB", "T")
