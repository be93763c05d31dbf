"""The columns of summary.parquet from the states after each event, by the definitions of docs/measures.md alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
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


def state_at_peak(steps: Sequence[Step]) -> Step:
    """Return the state at the first peak of R; if R was 0 before it, that at the first peak of A where R is as high."""
    first, fullest = first_peak([step.reserved for step in steps]), first_peak([step.allocated for step in steps])
    never_grew = not any(step.reserved for step in steps[:first])
    return steps[fullest if never_grew and steps[fullest].reserved == steps[first].reserved else first]


def is_fixed_pool(run: Run) -> bool:
    """Return whether the heap never took memory from the system nor gave some back."""
    return not run.counts.reserve_calls and not run.counts.release_calls and run.steps[0].reserved > 0


def mean_by_clock(times: Sequence[int], values: Sequence[int]) -> float | None:
    """Return the mean of values that each hold from one time to the next; None if no time passes."""
    spans = [later - earlier for earlier, later in pairwise(times)]
    return sum(span * value for span, value in zip(spans, values, strict=False)) / sum(spans) if sum(spans) else None


def empty_pages(run: Run, rows: Sequence[Mapping[str, Any]], page: int) -> int:
    """Return the bytes of the whole pages below R at the end that no live block has a requested byte in."""
    places: dict[Any, tuple[int, int]] = {}
    for row, address in zip(rows, run.addresses, strict=False):
        if address is not None and row["size"]:
            places[row["id"]] = (address, row["size"])
        elif row["op"] in ("alloc", "free") or (row["op"] == "realloc" and not row["size"]):
            places.pop(row["id"], None)
    taken = {at // page for start, size in places.values() for at in {*range(start, start + size, page), start + size - 1}}
    return sum(page for at in range(run.steps[-1].reserved // page) if at not in taken)


def before_requests(steps: Sequence[Step], rows: Sequence[Mapping[str, Any]]) -> list[tuple[Step, int]]:
    """Return each state that a request follows, with the size of the first request after it."""
    asks = [row["op"] == "alloc" or (row["op"] == "realloc" and bool(row["size"])) for row in rows]
    after = [next((at for at in range(k + 1, len(rows)) if asks[at]), None) for k in range(len(steps))]
    return [(step, rows[at]["size"] or 0) for step, at in zip(steps, after, strict=True) if at is not None]


def fit_share(steps: Sequence[Step], size: int, events: int) -> float | None:
    """Return the mean of the blocks that are sure to fit, by the classes of the holes, over floor(F / S), at 200 even samples of the trace."""
    at = range(events) if events <= 200 else [k * (events - 1) // 199 for k in range(200)]
    whole, shares = 1, []
    while whole < size:
        whole *= 2
    for step in (steps[k] for k in at if k < len(steps)):
        ideal, sure = sum(step.holes) // whole, 0
        for low in (whole << k for k in range(60)):
            among = [h for h in step.holes if low <= h < 2 * low]
            each = len(among) * (low // whole)
            sure += max(each, ceil((sum(among) - len(among) * (whole - 1)) / whole)) if low > whole else each
        assert sure <= sum(h // whole for h in step.holes) <= ideal
        if ideal:
            shares.append(sure / ideal)
    return mean(shares)


def quantile(sizes: Sequence[int], share: float) -> int:
    """Return the smallest size that at least this share of the requests do not exceed."""
    return sorted(sizes)[max(0, ceil(share * len(sizes)) - 1)] if sizes else 0


def summary(run: Run, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return every measure, and the facts of the trace, by the name of the column; all events are samples."""
    steps, counts = run.steps, run.counts
    live, allocated, reserved = ([getattr(step, name) for step in steps] for name in ("live", "allocated", "reserved"))
    at_live, at_peak = steps[first_peak(live)], state_at_peak(steps)
    sizes, facts = trace_facts(rows)
    fixed = is_fixed_pool(run)
    times = [row["time"] for row in rows[: len(steps)]] if "time" in rows[0] else [0]
    unused = [step.reserved - step.live for step in steps]
    ends = [at + (row["size"] or 0) for row, at in zip(rows, run.addresses, strict=False) if at is not None]
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
        "squares_frag_max": max(squares(step) for step in steps),
        "squares_frag_at_peak": squares(at_peak),
        "unusable_median_at_peak": unusable(at_peak, quantile(sizes, 0.5)),
        "unusable_p99_at_peak": unusable(at_peak, quantile(sizes, 0.99)),
        "utilisation_at_peak": at_peak.live / at_peak.reserved,
        "holes_mean": mean([len(step.holes) for step in steps]),
        "holes_max": max(len(step.holes) for step in steps),
        "highest_end_bytes": max(ends, default=0),
        "least_free_bytes": min(sum(step.holes) for step in steps) if fixed else None,
        "least_largest_hole_bytes": min(max(step.holes, default=0) for step in steps) if fixed else None,
        "lost_to_fragmentation": mean([max(s.holes, default=0) < size <= sum(s.holes) for s, size in before_requests(steps, rows)]),
        "fit_share_p99_mean": fit_share(steps, quantile(sizes, 0.99), len(rows)),
        "servable_p99_bytes": sorted(max(step.holes, default=0) for step in steps)[len(steps) // 100],
        "live_end_bytes": live[-1], "reserved_end_bytes": reserved[-1],
        "reserved_least_after_peak_bytes": min(reserved[first_peak(live) :]),
        "reserved_bytes_mean": mean(reserved), "unused_bytes_mean": mean(unused),
        "reserved_bytes_clock_mean": mean_by_clock(times, reserved), "unused_bytes_clock_mean": mean_by_clock(times, unused),
        "empty_pages_4k_bytes": empty_pages(run, rows, 4096), "empty_pages_2m_bytes": empty_pages(run, rows, 2 << 20),
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
