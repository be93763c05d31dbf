"""The columns of every file of a results folder, declared once, and the provenance of a run.

From the columns come arrow schemas, which carry the name and the version of the format in their metadata. The columns of
summary.parquet are IDENTITY, COUNTS, and a column for each declared metric. The manifest has versions, command, machine and
times; it is the only results file that may differ between two runs of the same command.
"""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from memtrace import plugins
from memtrace.measures import COUNTS, IDENTITY, declared

if TYPE_CHECKING:
    import pyarrow

FORMAT = "memtrace.results/1"
# Unit of a metric -> arrow type of its column.
ARROW_TYPE = {
    "bytes": "int64",
    "count": "int64",
    "event": "int64",
    "ratio": "float64",
    "holes": "int64",
    "word": "string",
}
# Tables with rows for each trace and policy that every replay may write.
BY_POLICY = ("timeline", "holes", "fits", "occupancy", "timing", "requests", "failures", "parts", "holders", "pins", "last_map")
# Table -> column -> arrow type, for all tables but the summary.
TABLES: dict[str, dict[str, str]] = {
    "timeline": {
        "trace": "string",
        "policy": "string",
        "event": "int64",
        "time_ns": "int64",
        "live_bytes": "int64",
        "allocated_bytes": "int64",
        "reserved_bytes": "int64",
        "free_bytes": "int64",
        "holes": "int64",
        "largest_hole_bytes": "int64",
        "external_frag": "float64",
        "squares_frag": "float64",
        "releasable_bytes": "int64",
        "next_request_bytes": "int64",
    },
    "holes": {
        "trace": "string",
        "policy": "string",
        "event": "int64",
        "time_ns": "int64",
        "hole_bytes_from": "int64",
        "holes": "int64",
        "free_bytes": "int64",
    },
    "fits": {
        "trace": "string",
        "policy": "string",
        "event": "int64",
        "size_bytes": "int64",
        "blocks_least": "int64",
        "blocks_most": "int64",
        "blocks_ideal": "int64",
    },
    "occupancy": {
        "trace": "string",
        "policy": "string",
        "event": "int64",
        "address_from_bytes": "int64",
        "address_bytes": "int64",
        "live_bytes": "int64",
        "tag": "string",
        "age_from_events": "int64",
    },
    "distributions": {
        "trace": "string",
        "kind": "string",
        "class_from": "int64",
        "lifetime_from": "int64",
        "count": "int64",
        "bytes": "int64",
    },
    "requests": {
        "trace": "string",
        "policy": "string",
        "size_bytes_from": "int64",
        "requests": "int64",
        "requested_bytes": "int64",
        "block_bytes": "int64",
    },
    "failures": {
        "trace": "string",
        "policy": "string",
        "event": "int64",
        "request_bytes": "int64",
        "request_tag": "string",
        "needed_bytes": "int64",
        "live_bytes": "int64",
        "allocated_bytes": "int64",
        "reserved_bytes": "int64",
        "free_bytes": "int64",
        "holes": "int64",
        "largest_hole_bytes": "int64",
        "live_blocks": "int64",
    },
    "parts": {
        "trace": "string",
        "policy": "string",
        "event": "int64",
        "address": "int64",
        "bytes": "int64",
        "live_blocks": "int64",
        "free_bytes": "int64",
        "largest_hole_bytes": "int64",
    },
    "holders": {
        "trace": "string",
        "policy": "string",
        "moment": "string",
        "event": "int64",
        "tag": "string",
        "blocks": "int64",
        "live_bytes": "int64",
        "pinned_bytes": "int64",
    },
    "pins": {
        "trace": "string",
        "policy": "string",
        "moment": "string",
        "event": "int64",
        "address": "int64",
        "bytes": "int64",
        "tag": "string",
        "opens_bytes": "int64",
    },
    "last_map": {
        "trace": "string",
        "policy": "string",
        "address_from_bytes": "int64",
        "address_bytes": "int64",
        "live_bytes": "int64",
    },
    "timing": {"trace": "string", "policy": "string", "replay_seconds": "float64"},
    "locality": {
        "trace": "string",
        "policy": "string",
        "level": "string",
        "lookups": "int64",
        "misses": "int64",
        "touches": "int64",
        "touched_bytes": "int64",
        "derived": "int64",
    },
    "placements": {"trace": "string", "policy": "string", "event": "int64", "id": "int64", "address": "int64"},
}
NO_FILES: Mapping[str, str] = MappingProxyType({})
LIBRARIES = ("numpy", "numba", "pyarrow", "matplotlib")


def summary_columns() -> dict[str, str]:
    """Return the arrow type of each column of summary.parquet, in order. Means are float64 whatever their unit."""
    metrics = {m.name: "float64" if m.name.endswith("_mean") else ARROW_TYPE[m.unit] for m in declared()}
    return {**IDENTITY, **COUNTS, **metrics}


def columns_of(table: str) -> dict[str, str]:
    """Return the arrow type of each column of a table, in order."""
    return summary_columns() if table == "summary" else TABLES[table]


@cache
def schema(table: str, counters: tuple[str, ...] = ()) -> pyarrow.Schema:
    """Return the arrow schema of a table. ``counters`` names further columns, of nullable int64."""
    import pyarrow as pa

    from memtrace import __version__

    columns = {**columns_of(table), **dict.fromkeys(counters, "int64")}
    fields = [pa.field(name, _arrow(pa, kind)) for name, kind in columns.items()]
    return pa.schema(fields, {"schema": f"{FORMAT} {table}", "memtrace_version": __version__})


def _arrow(pa: Any, kind: str) -> Any:
    """Return the arrow type of this name."""
    return {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}[kind]


def versions() -> dict[str, str]:
    """Return the versions of memtrace, Python, and the libraries and plug-ins that results may depend on, by name."""
    from memtrace import __version__

    return {
        "memtrace": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        **plugins.versions(),
    }


def manifest(sources: dict[str, str], wall_seconds: float, policies: Mapping[str, str] = NO_FILES) -> dict[str, Any]:
    """Return the content of manifest.json.

    ``sources`` maps each trace's name to its path, URL or recipe; ``wall_seconds`` is the duration of the run. ``policies`` maps
    the label of each policy that is a file of the user's own to the text that names it, with its path; where there is no such
    policy, the manifest has no such entry. ``allocator_settings`` are the variables of the environment that real allocators read.
    """
    from memtrace.native.settings import settings_outside

    outside = settings_outside()
    return {
        "schema": FORMAT,
        "versions": versions(),
        "command": ["memtrace", *sys.argv[1:]],
        "traces": sources,
        **({"policies": dict(policies)} if policies else {}),
        **({"allocator_settings": outside} if outside else {}),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(wall_seconds, 3),
    }
