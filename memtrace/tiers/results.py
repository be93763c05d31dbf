"""Turn a replay over tiers into rows, tables and sentences, and read the tables back.

The tables are tiers.parquet, tier_timeline.parquet, tier_evictions.parquet and tier_curve.parquet; docs/tiers.md explains
their columns. The sentences (the model and the verdict) and the rows of text are what the terminal and the report print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import InputError
from memtrace.tiers.replay import TierReplay
from memtrace.trace.tags import shown_as
from memtrace.units import format_seconds, format_size

if TYPE_CHECKING:
    import pyarrow

    from memtrace.engine.registry import Policy
    from memtrace.trace import Trace

FORMAT = "memtrace.tiers/1"  # name and version of the schemas below
NONE = "(none)"  # tag of blocks without one, in the tables
MOST_TAGS = 12  # shown by name; where there are more, by kind
# Columns of tiers.parquet that are columns of Books.tiers, with their names in `books`.
COUNTED = {
    "placed_blocks": "PLACED_BLOCKS",
    "placed_bytes": "PLACED_BYTES",
    "in_bytes": "IN_BYTES",
    "out_bytes": "OUT_BYTES",
    "resident_bytes": "RESIDENT",
    "hits": "HITS",
    "hit_bytes": "HIT_BYTES",
    "down_operations": "DOWN",
    "down_bytes": "DOWN_BYTES",
    "up_operations": "UP",
    "up_bytes": "UP_BYTES",
    "prefetch_operations": "AHEAD_UP",
    "prefetch_bytes": "AHEAD_BYTES",
    "remote_operations": "REMOTE",
    "remote_bytes": "REMOTE_BYTES",
    "copy_operations": "COPIES",
    "copy_bytes": "COPIED_BYTES",
    "evictions": "EVICTIONS",
    "evicted_bytes": "EVICTED_BYTES",
    "written_bytes": "WRITTEN",
    "peak_live_bytes": "PEAK_LIVE",
    "peak_stored_bytes": "PEAK_STORED",
    "peak_allocated_bytes": "PEAK_ALLOCATED",
    "peak_reserved_bytes": "PEAK_RESERVED",
}
# Columns of tiers.parquet that say what was replayed, and how it ended; with their types, as below.
IDENTITY = {
    "trace": "string", "trace_sha256": "string", "evict": "string", "uses": "string", "pinned": "string",
    "prefetch_events": "int64", "overlap": "bool", "tier": "int64", "name": "string", "policy": "string",
    "capacity_bytes": "int64", "bandwidth_bytes_per_s": "float64", "latency_ns": "int64", "status": "string",
    "oom_event": "int64", "events": "int64", "failed_allocs": "int64", "skipped_events": "int64",
}  # fmt: skip
# Columns of tiers.parquet that are worked out; see `measured`.
MEASURED = {
    "write_amplification": "float64", "external_frag_at_peak": "float64", "external_frag_max": "float64",
    "internal_frag_at_peak": "float64", "link_busy_ns": "int64", "codec_ns": "int64", "stall_ns": "int64",
    "run_compute_ns": "int64", "run_stall_ns": "int64",
}  # fmt: skip
SUMMARY = {**IDENTITY, **dict.fromkeys(COUNTED, "int64"), **MEASURED}
TIMELINE = {
    "trace": "string", "tier": "int64", "name": "string", "event": "int64", "time_ns": "int64", "live_bytes": "int64",
    "stored_bytes": "int64", "allocated_bytes": "int64", "reserved_bytes": "int64", "free_bytes": "int64", "holes": "int64",
    "largest_hole_bytes": "int64", "external_frag": "float64", "down_bytes": "int64", "up_bytes": "int64",
    "remote_bytes": "int64", "evictions": "int64", "run_stall_ns": "int64",
}  # fmt: skip
EVICTED = {"trace": "string", "tier": "int64", "name": "string", "tag": "string", "evictions": "int64", "bytes": "int64"}
CURVE = {
    "trace": "string", "capacity_bytes": "int64", "status": "string", "run_stall_ns": "int64", "run_compute_ns": "int64",
    "down_bytes": "int64", "up_bytes": "int64", "remote_bytes": "int64", "hits": "int64", "misses": "int64",
}  # fmt: skip
SCHEMAS = {"tiers": SUMMARY, "tier_timeline": TIMELINE, "tier_evictions": EVICTED, "tier_curve": CURVE}


@dataclass(frozen=True)
class TierResults:
    """The results of one run over tiers: the content of its tables and its manifest."""

    summary: list[dict[str, Any]]  # a row per tier
    timeline: dict[str, list[Any]]  # by column
    evictions: list[dict[str, Any]]  # a row per tier and tag
    curve: list[dict[str, Any]]  # a row per capacity of the top tier, none without --curve
    manifest: dict[str, Any]  # provenance: inputs, versions, seconds


def gather(replayed: TierReplay, curve: list[dict[str, Any]], manifest: dict[str, Any]) -> TierResults:
    """Return the results of a replay, with the rows ``curve`` and the manifest as given."""
    return TierResults(summary_rows(replayed), timeline_columns(replayed), eviction_rows(replayed), curve, manifest)


def summary_rows(replayed: TierReplay) -> list[dict[str, Any]]:
    """Return the rows of tiers.parquet: one per tier, the fastest first."""
    plan, rows = replayed.plan, []
    external = external_frag(replayed)
    for k, tier in enumerate(replayed.tiers):
        row: dict[str, Any] = {
            "trace": replayed.trace.name, "trace_sha256": replayed.trace.sha256, "evict": plan.evict, "uses": replayed.uses.rule,
            "pinned": ",".join(plan.pinned), "prefetch_events": plan.prefetch, "overlap": plan.overlap, "tier": k,
            "name": tier.name, "policy": replayed.policies[k].label, "capacity_bytes": tier.capacity,
            "bandwidth_bytes_per_s": tier.bandwidth, "latency_ns": tier.latency, "status": replayed.status,
            "oom_event": replayed.oom_event, "events": replayed.events, "failed_allocs": replayed.total("FAILED"),
            "skipped_events": replayed.total("SKIPPED"),
        }  # fmt: skip
        row |= {column: int(replayed.count(name)[k]) for column, name in COUNTED.items()}
        row |= measured(replayed, k, external[:, k])
        rows.append(row)
    return rows


def measured(replayed: TierReplay, k: int, external: Any) -> dict[str, Any]:
    """Return the columns MEASURED of tier number ``k``; ``external`` is its external fragmentation by sample. None: undefined."""
    from memtrace.engine.recorder import ROW
    from memtrace.tiers.records import PEAK_RESERVED

    peak = dict(zip(ROW, replayed.books.peaks[k, 2].tolist(), strict=True))
    distinct = int(replayed.count("DISTINCT")[k])
    there = replayed.books.tiers[k, PEAK_RESERVED] > 0
    return {
        "write_amplification": int(replayed.count("WRITTEN")[k]) / distinct if distinct else None,
        "external_frag_at_peak": (1 - peak["largest"] / peak["free"] if peak["free"] else 0.0) if there else None,
        "external_frag_max": float(external.max()) if external.size else None,
        "internal_frag_at_peak": 1 - peak["live"] / peak["allocated"] if peak["allocated"] else None,
        "link_busy_ns": int(replayed.count("BUSY")[k]),
        "codec_ns": int(replayed.count("CODEC")[k]),
        "stall_ns": int(replayed.count("STALLED")[k]),
        "run_compute_ns": replayed.total("COMPUTE"),
        "run_stall_ns": replayed.total("STALL"),
    }


def external_frag(replayed: TierReplay) -> Any:
    """Return the external fragmentation of each sample and tier, `[sample, tier]`: 1 - largest hole / bytes in holes.

    It is 0 where there are no holes.
    """
    from memtrace.tiers.records import SAMPLED

    samples = replayed.books.samples[: replayed.total("SAMPLE")]
    free, largest = (samples[:, :, SAMPLED.index(name)].astype(np.float64) for name in ("free", "largest"))
    return np.where(free > 0, 1 - largest / np.maximum(free, 1), 0.0)


def timeline_columns(replayed: TierReplay) -> dict[str, list[Any]]:
    """Return the columns of tier_timeline.parquet: the rows of all tiers at the first sample, then at the next."""
    from memtrace.tiers.records import SAMPLED

    samples = replayed.books.samples[: replayed.total("SAMPLE")]
    count, tiers = samples.shape[0], len(replayed.tiers)
    events = samples[:, :, 0].ravel()
    named = {
        "live_bytes": "live", "stored_bytes": "stored", "allocated_bytes": "allocated", "reserved_bytes": "reserved",
        "free_bytes": "free", "holes": "holes", "largest_hole_bytes": "largest", "down_bytes": "down_bytes",
        "up_bytes": "up_bytes", "remote_bytes": "remote_bytes", "evictions": "evictions", "run_stall_ns": "stall_ns",
    }  # fmt: skip
    found: dict[str, Any] = {
        "trace": [replayed.trace.name] * (count * tiers),
        "tier": list(range(tiers)) * count,
        "name": [tier.name for tier in replayed.tiers] * count,
        "event": events,
        "time_ns": replayed.trace.times(events),
        "external_frag": external_frag(replayed).ravel(),
    }
    found |= {column: samples[:, :, SAMPLED.index(name)].ravel() for column, name in named.items()}
    return {column: found[column] for column in TIMELINE}


def eviction_rows(replayed: TierReplay) -> list[dict[str, Any]]:
    """Return the rows of tier_evictions.parquet: one for each tier and tag of which blocks were evicted from it."""
    rows = []
    for k, tier in enumerate(replayed.tiers):
        for code, tag in enumerate((*replayed.trace.tags, NONE)):
            evictions, moved = replayed.books.by_tag[k, code].tolist()
            if evictions:
                row = {"trace": replayed.trace.name, "tier": k, "name": tier.name, "tag": tag}
                rows.append({**row, "evictions": evictions, "bytes": moved})
    return rows


def tables(results: TierResults) -> dict[str, pyarrow.Table]:
    """Return the results as Arrow tables, by the names of their files; without tier_curve if there is no curve."""
    import pyarrow as pa

    from memtrace import __version__

    kinds = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
    found = {}
    rows: dict[str, Any] = {
        "tiers": results.summary, "tier_timeline": results.timeline, "tier_evictions": results.evictions,
        "tier_curve": results.curve,
    }  # fmt: skip
    for name, columns in SCHEMAS.items():
        if name == "tier_curve" and not results.curve:
            continue
        fields = [pa.field(column, kinds[kind]) for column, kind in columns.items()]
        schema = pa.schema(fields, {"schema": f"{FORMAT} {name}", "memtrace_version": __version__})
        make = pa.Table.from_pydict if isinstance(rows[name], dict) else pa.Table.from_pylist
        found[name] = make(rows[name], schema=schema)
    return found


def manifest_of(trace: Trace, seconds: float, policies: Sequence[Policy] = ()) -> dict[str, Any]:
    """Return the manifest of a run, as of any results folder; it took ``seconds``, and ``policies`` are those of its tiers."""
    from memtrace.engine.registry import file_texts
    from memtrace.results.schema import manifest

    return {**manifest({trace.name: trace.source}, seconds, file_texts(policies)), "schema": FORMAT}


def read_tiers(folder: Path) -> TierResults:
    """Return the results in a folder. Raises InputError if it has no results of tiers, or those of another version."""
    import json

    import pyarrow.parquet as pq

    from memtrace.results.folder import check_tables

    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest.get("schema") != FORMAT:
            raise InputError(f"{folder} has results of schema {manifest.get('schema')!r}; this version reads {FORMAT}")
        check_tables(folder, SCHEMAS)
        found = {name: pq.read_table(path) for name in SCHEMAS if (path := folder / f"{name}.parquet").exists()}
        rows = {name: table.to_pylist() for name, table in found.items() if name != "tier_timeline"}
        timeline = found["tier_timeline"].to_pydict()
        return TierResults(rows["tiers"], timeline, rows["tier_evictions"], rows.get("tier_curve", []), manifest)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} has no results of memtrace tiers that can be read: {error}") from error


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


def shown_evictions(results: TierResults) -> list[dict[str, Any]]:
    """Return the rows of evictions added up by the name under which tags are shown, in the order of tiers and tags."""
    names = shown_as((row["tag"] for row in results.evictions), MOST_TAGS, results.manifest.get("tags", "auto"))
    sums: dict[tuple[int, str], dict[str, Any]] = {}
    for row in results.evictions:
        had = sums.setdefault((row["tier"], names[row["tag"]]), {**row, "tag": names[row["tag"]], "evictions": 0, "bytes": 0})
        had["evictions"] += row["evictions"]
        had["bytes"] += row["bytes"]
    return list(sums.values())


def eviction_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a tier and tag in the table of evictions, as text under EVICTION_COLUMNS."""
    return row["name"], row["tag"], f"{row['evictions']:,}", format_size(row["bytes"])


EVICTION_COLUMNS = ("from", "tag", "evictions", "bytes")


def curve_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the five text cells of one row of the curve: capacity of the first tier, stall, bytes moved between tiers, misses,
    status.
    """
    stall, moved = format_seconds(row["run_stall_ns"] / 1e9), format_size(row["down_bytes"] + row["up_bytes"])
    return format_size(row["capacity_bytes"]), stall, moved, f"{row['misses']:,}", row["status"]


CURVE_COLUMNS = ("stall", "moved", "misses", "")
