"""Describe the model and the results of a replay over tiers in sentences and in rows of text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memtrace.units import format_seconds, format_size

Rows = Sequence[Mapping[str, Any]]  # rows of the summary, a tier each

# What each rule for uses means (`uses.RULES`).
USES = {
    "access": "blocks are used at their access events",
    "lifetimes": "no access events: blocks are taken to be used at their alloc and before their free",
    "training": "no access events: uses are derived from the training step's lifetimes (docs/tiers.md)",
}


def model(rows: Rows) -> str:
    """Return a sentence that says what modelled times are made of; ``rows`` are those of the summary, a tier each."""
    links = ", ".join(f"{row['name']} {rate(row['bandwidth_bytes_per_s'])} + {latency(row)}" for row in rows[1:])
    how = (
        "with overlap: a queue each way per link, only those wait that need the transfer"
        if rows[0]["overlap"]
        else "no overlap: all wait for each transfer"
    )
    return f"times are modelled, not measured: bytes / bandwidth + latency of each link ({links or 'none'}); {how}"


def latency(row: Mapping[str, Any]) -> str:
    """Return the latency of the link of a tier as text; ``row`` is one of the summary."""
    return format_seconds(row["latency_ns"] / 1e9)


def verdict(rows: Rows) -> str:
    """Return the outcome as a sentence: out of memory, or all fits the first tier, or the stall beside the program's own time.

    ``rows`` are those of the summary, a tier each.
    """
    top, stall, compute = rows[0], rows[0]["run_stall_ns"] / 1e9, rows[0]["run_compute_ns"] / 1e9
    if top["oom_event"] is not None:
        return f"out of memory in all tiers at event {top['oom_event']:,}; give the last tier more"
    if not top["evictions"] and not any(row["remote_bytes"] for row in rows):
        return f"everything fits {top['name']}: nothing moves, nothing waits"
    text = f"modelled stall {format_seconds(stall)}"
    if compute:
        return f"{text}, beside {format_seconds(compute)} of the program's own time ({100 * stall / compute:.0f} %)"
    return text


def rate(bandwidth: float) -> str:
    """Return bytes per second as text, such as `60 GB/s`."""
    for unit, scale in (("TB/s", 1e12), ("GB/s", 1e9), ("MB/s", 1e6)):
        if bandwidth >= scale:
            return f"{bandwidth / scale:.3g} {unit}"
    return f"{bandwidth:.0f} B/s"


def share(value: float | None) -> str:
    """Return a fraction as a percentage, "-" for None."""
    return "-" if value is None else f"{100 * value:.1f} %"


def table_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a tier in the table of tiers, as text under COLUMNS; ``row`` is one of the summary."""
    return (
        row["name"],
        format_size(row["capacity_bytes"]),
        format_size(row["peak_live_bytes"]),
        format_size(row["peak_reserved_bytes"]),
        share(row["external_frag_at_peak"]),
        f"{row['hits']:,}",
        f"{row['evictions']:,}",
    )


COLUMNS = ("tier", "size", "peak live", "reserved", "external", "hits", "evicted")


def link_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of the link above a tier in the table of links, under LINK_COLUMNS; ``row`` is one of the summary."""
    amplified = row["write_amplification"]
    return (
        row["name"],
        *(format_size(row[name]) for name in ("down_bytes", "up_bytes", "remote_bytes")),
        f"{row['down_operations'] + row['up_operations'] + row['remote_operations']:,}",
        "-" if amplified is None else f"{amplified:.1f}x",
        format_seconds(row["stall_ns"] / 1e9),
    )


LINK_COLUMNS = ("link to", "down", "up", "in place", "transfers", "written", "stall")


def eviction_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a tier and tag in the table of evictions, as text under EVICTION_COLUMNS."""
    return row["name"], row["tag"], f"{row['evictions']:,}", format_size(row["bytes"])


EVICTION_COLUMNS = ("from", "tag", "evictions", "bytes")


def curve_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a capacity of the first tier: that capacity as text, then those under CURVE_COLUMNS."""
    stall, moved = format_seconds(row["run_stall_ns"] / 1e9), format_size(row["down_bytes"] + row["up_bytes"])
    return format_size(row["capacity_bytes"]), stall, moved, f"{row['misses']:,}", row["status"]


CURVE_COLUMNS = ("stall", "moved", "misses", "")
