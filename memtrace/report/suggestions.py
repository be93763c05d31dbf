"""Summary rows of one trace to the commands worth trying next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from memtrace.report.verdict import above_bound, best, is_oom, rank

MOST = 3
CLEARLY = 1.02  # times the lower bound: above it, knowing what is possible pays

Rows = Sequence[dict[str, Any]]


class Suggestion(NamedTuple):
    """A command to try next, and what it tells."""

    command: str
    reason: str


def suggestions(rows: Rows, source: str) -> list[Suggestion]:
    """At most three commands, the most useful first; `source` is the trace as one would type it."""
    ranked, trace = rank(rows), shlex.quote(source)
    if not ranked:
        return []
    found = [
        _check(ranked, trace),
        _settings(ranked, trace),
        _capacity(ranked, trace),
        _others(ranked, trace),
        _bound(ranked, trace),
    ]
    return [suggestion for suggestion in found if suggestion][:MOST]


def _check(ranked: Rows, trace: str) -> Suggestion | None:
    if not ranked[0].get("invalid_events"):
        return None
    return Suggestion(f"memtrace check {trace}", "names each event that was skipped")


def _settings(ranked: Rows, trace: str) -> Suggestion | None:
    """PyTorch's expandable segments, unless this run has tried them."""
    labels = [row["policy"] for row in ranked if row["policy"].partition(":")[0] == "pytorch"]
    if not labels or any("expandable_segments" in label for label in labels):
        return None
    return Suggestion(
        f"memtrace whatif {trace} --conf 'expandable_segments:True'",
        "shows what this PyTorch setting would change",
    )


def _capacity(ranked: Rows, trace: str) -> Suggestion | None:
    failed = [row["policy"] for row in ranked if is_oom(row)]
    if not ranked[0]["lower_bound_bytes"] or (ranked[0].get("capacity_bytes") and not failed):
        return None
    chosen = [row["policy"] for row in best(ranked)[:1]] + failed[:1]
    options = " ".join(f"-p {shlex.quote(policy)}" for policy in chosen)
    return Suggestion(f"memtrace mincap {trace} {options}", "finds the smallest capacity that is enough")


def _others(ranked: Rows, trace: str) -> Suggestion | None:
    if len(ranked) > 1:
        return None
    group = "gpu" if ranked[0]["policy"].startswith("pytorch") else "default"
    return Suggestion(f"memtrace run {trace} -p {group}", "compares with other policies")


def _bound(ranked: Rows, trace: str) -> Suggestion | None:
    ratio = above_bound(best(ranked)[0]) if best(ranked) else None
    if ratio is None or ratio < CLEARLY:
        return None
    return Suggestion(f"memtrace bound {trace}", "tells how low any placement could get")
