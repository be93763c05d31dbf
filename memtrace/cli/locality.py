"""Helpers for the option --locality of `memtrace run`: check the traces, print the misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.results.settings import Settings
    from memtrace.results.tables import Results
    from memtrace.trace import Trace


def check_locality(traces: Sequence[Trace], settings: Settings) -> None:
    """Raise InputError, before anything is replayed, if the model needs access events that a trace does not have."""
    if settings.locality is not None:
        from memtrace.measures.locality.counting import uses_lifetimes

        for trace in traces:
            uses_lifetimes(trace, settings.locality)


def locality_rows(results: Results) -> dict[str, Any]:
    """Return the entry for the JSON document, empty if no locality was counted."""
    return {} if results.locality is None else {"locality": results.locality.to_pylist()}


def print_locality(results: Results, trace: str) -> None:
    """Print the misses of every level in a row per policy, ordered by the misses of the last cache, the fewest first."""
    if results.locality is None:
        return
    from memtrace.cli.output import print_policies
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
    echo("misses: lines of caches, pages of TLBs; locality.parquet has the lookups too")


def short(level: str) -> str:
    """Return a short name of a level, such as `4K T1` for `4 KiB TLB1`, since a table has up to eight of them."""
    return level.replace(" KiB", "K").replace(" MiB", "M").replace("TLB", "T")
