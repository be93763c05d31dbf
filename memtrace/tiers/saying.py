"""The model and the results in sentences."""

from __future__ import annotations

from typing import Any

from memtrace.tiers.replaying import TierReplay
from memtrace.units import format_seconds, format_size

USES = {
    "access": "blocks are used at their access events",
    "lifetimes": "no access events: blocks are taken to be used at their alloc and before their free",
    "training": "no access events: uses are derived from the training step's lifetimes (docs/tiers.md)",
}


def model(replayed: TierReplay) -> str:
    """What modelled times are made of."""
    links = ", ".join(f"{tier.name} {rate(tier.bandwidth)} + {format_seconds(tier.latency / 1e9)}" for tier in replayed.tiers[1:])
    how = (
        "with overlap: a queue each way per link, only those wait that need the transfer"
        if replayed.plan.overlap
        else "no overlap: all wait for each transfer"
    )
    return f"times are modelled, not measured: bytes / bandwidth + latency of each link ({links or 'none'}); {how}"


def verdict(replayed: TierReplay) -> str:
    """The stall beside the program's own time."""
    stall, compute = replayed.total("STALL") / 1e9, replayed.total("COMPUTE") / 1e9
    if replayed.oom_event is not None:
        return f"out of memory in all tiers at event {replayed.oom_event:,}; give the last tier more"
    if not replayed.count("EVICTIONS")[0] and not replayed.count("REMOTE").sum():
        return f"everything fits {replayed.tiers[0].name}: nothing moves, nothing waits"
    text = f"modelled stall {format_seconds(stall)}"
    if compute:
        return f"{text}, beside {format_seconds(compute)} of the program's own time ({100 * stall / compute:.0f} %)"
    return text


def rate(bandwidth: float) -> str:
    for unit, scale in (("TB/s", 1e12), ("GB/s", 1e9), ("MB/s", 1e6)):
        if bandwidth >= scale:
            return f"{bandwidth / scale:.3g} {unit}"
    return f"{bandwidth:.0f} B/s"


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def table_row(row: dict[str, Any]) -> tuple[str, ...]:
    """A tier in the table of the terminal; the columns are COLUMNS."""
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


def link_row(row: dict[str, Any]) -> tuple[str, ...]:
    """The link above a tier; the columns are LINK_COLUMNS."""
    amplified = row["write_amplification"]
    return (
        row["name"],
        *(format_size(row[name]) for name in ("down_bytes", "up_bytes", "remote_bytes")),
        f"{row['down_operations'] + row['up_operations'] + row['remote_operations']:,}",
        "-" if amplified is None else f"{amplified:.1f}x",
        format_seconds(row["stall_ns"] / 1e9),
    )


LINK_COLUMNS = ("link to", "down", "up", "in place", "transfers", "written", "stall")
