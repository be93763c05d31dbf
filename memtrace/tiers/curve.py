"""Replay with several capacities of the top tier: the curve of stall against capacity shows how much of it is worth having."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from memtrace.tiers.replay import TierReplay, replay_tiers
from memtrace.tiers.tier import Plan, Tier

if TYPE_CHECKING:
    from memtrace.tiers.uses import Uses
    from memtrace.trace import Trace


def capacities(trace: Trace, tiers: Sequence[Tier], points: int) -> list[int]:
    """Return ``points`` evenly spaced capacities of the top tier, in bytes, ascending from one step above 0.

    The last one is the peak of live bytes or the tier's own capacity, whichever is larger.
    """
    most = max(trace.facts.peak_live_bytes, tiers[0].capacity)
    return [most * k // points for k in range(1, points + 1)]


def curve(
    trace: Trace,
    tiers: Sequence[Tier],
    plan: Plan,
    points: int,
    on_oom: Literal["stop", "skip"],
    progress: Callable[[int, int], None],
    known: Uses | None = None,
) -> list[dict[str, Any]]:
    """Replay with each of ``points`` capacities of the top tier, all else being the same; return a row of results for each.

    ``known``: the uses of the trace, if a replay by the same plan worked them out. ``progress`` is called with the number of
    replays done and ``points``.
    """
    rows = []
    for number, capacity in enumerate(capacities(trace, tiers, points), 1):
        changed = [replace(tiers[0], capacity=capacity), *tiers[1:]]
        replayed = replay_tiers(trace, changed, plan, on_oom=on_oom, samples=1, known=known)
        known = replayed.uses
        rows.append(row(replayed))
        progress(number, points)
    return rows


def row(replayed: TierReplay) -> dict[str, Any]:
    """Return a replay as a row of tier_curve.parquet."""
    hits = replayed.count("HITS")
    return {
        "trace": replayed.trace.name,
        "capacity_bytes": replayed.tiers[0].capacity,
        "status": replayed.status,
        "run_stall_ns": replayed.total("STALL"),
        "run_compute_ns": replayed.total("COMPUTE"),
        "down_bytes": int(replayed.count("DOWN_BYTES").sum()),
        "up_bytes": int(replayed.count("UP_BYTES").sum()),
        "remote_bytes": int(replayed.count("REMOTE_BYTES").sum()),
        "hits": int(hits[0]),
        "misses": int(hits[1:].sum()),
    }
