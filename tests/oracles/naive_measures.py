"""The columns of summary.parquet from the states after each event, by the definitions of docs/measures.md alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import Any

from naive_heap import Run, Step


def mean(values: Sequence[float]) -> float | None:
    """Return the mean; None of no values."""
    return sum(values) / len(values) if values else None


def internal(step: Step) -> float:
    return 1 - step.live / step.allocated if step.allocated else 0.0


def external(step: Step) -> float:
    return 1 - max(step.holes) / sum(step.holes) if step.holes else 0.0


def squares(step: Step) -> float:
    return 1 - sqrt(sum(h * h for h in step.holes)) / sum(step.holes) if step.holes else 0.0


def unusable(step: Step, limit: int) -> float:
    return sum(h for h in step.holes if h < limit) / sum(step.holes) if step.holes else 0.0


def first_peak(values: Sequence[int]) -> int:
    """Return the first event at which the values are as large as they ever are; 0 if they are never above 0."""
    return values.index(max(values)) if max(values) > 0 else 0


def quantile(sizes: Sequence[int], share: float) -> int:
    """Return the smallest size that at least this share of the requests do not exceed."""
    return sorted(sizes)[max(0, ceil(share * len(sizes)) - 1)] if sizes else 0


def summary(run: Run, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return every measure, and the facts of the trace, by the name of the column; all events are samples."""
    steps, counts = run.steps, run.counts
    live, allocated, reserved = ([getattr(step, name) for step in steps] for name in ("live", "allocated", "reserved"))
    at_live, at_peak = steps[first_peak(live)], steps[first_peak(reserved)]
    sizes, facts = trace_facts(rows)
    ratios = [step.reserved / step.live for step in steps if step.live]
    return facts | {
        "peak_live_bytes": max(live), "peak_live_event": first_peak(live),
        "peak_allocated_bytes": max(allocated), "peak_allocated_event": first_peak(allocated),
        "peak_reserved_bytes": max(reserved), "peak_reserved_event": first_peak(reserved),
        "jw1": sum(ratios) / len(ratios) - 1,
        "jw2": at_live.reserved / at_live.live - 1,
        "jw3": at_peak.reserved / at_peak.live - 1 if at_peak.live else None,
        "jw4": max(reserved) / max(live) - 1,
        "internal_frag_mean": mean([internal(step) for step in steps]),
        "internal_frag_at_peak": internal(at_peak),
        "external_frag_mean": mean([external(step) for step in steps]),
        "external_frag_at_peak": external(at_peak),
        "external_frag_max": max(external(step) for step in steps),
        "squares_frag_mean": mean([squares(step) for step in steps]),
        "squares_frag_at_peak": squares(at_peak),
        "unusable_median_at_peak": unusable(at_peak, quantile(sizes, 0.5)),
        "unusable_p99_at_peak": unusable(at_peak, quantile(sizes, 0.99)),
        "utilisation_at_peak": at_peak.live / at_peak.reserved,
        "holes_mean": mean([len(step.holes) for step in steps]),
        "holes_max": max(len(step.holes) for step in steps),
        "search_mean": mean(counts.searches),
        "search_max": max(counts.searches, default=0),
        "fit_ratio_mean": mean(counts.fits),
        "splits": counts.splits, "merges": counts.merges, "moved_bytes": counts.moved,
        "reserve_calls": counts.reserve_calls, "release_calls": counts.release_calls,
        "status": "ok" if run.oom is None else "oom", "oom_event": run.oom,
        "failed_allocs": counts.failed, "skipped_events": counts.skipped, "invalid_events": 0,
    }  # fmt: skip


def trace_facts(rows: Sequence[Mapping[str, Any]]) -> tuple[list[int], dict[str, int]]:
    """Return the sizes of all requests, and the columns that depend on the trace alone."""
    sizes: list[int] = []
    live: dict[Any, int] = {}
    peak = most = frees = reallocs = 0
    for row in rows:
        if row["op"] == "alloc" or (row["op"] == "realloc" and row["size"]):
            sizes.append(row["size"] or 0)
            live[row["id"]] = row["size"] or 0
            reallocs += row["op"] == "realloc"
        elif row["op"] in ("free", "realloc"):
            live.pop(row["id"], None)
            frees += row["id"] is not None
        peak, most = max(peak, sum(live.values())), max(most, len(live))
    return sizes, {
        "events": len(rows), "allocs": len(sizes) - reallocs, "frees": frees, "reallocs": reallocs, "max_live_blocks": most,
        "requested_bytes": sum(sizes), "lower_bound_bytes": peak, "never_freed": len(live),
    }  # fmt: skip
