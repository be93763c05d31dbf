"""What the explorer of a trace draws, packed: samples as steps from one to the next, address maps as bytes."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.plots.colours import policy_colour, policy_dashes
from memtrace.plots.series import Cells, capacity_of, last_event, occupancy, summary
from memtrace.report.verdict import is_oom, oom_event

if TYPE_CHECKING:
    from memtrace.results.tables import Results

COLUMNS = {
    "event": "event",
    "live": "live_bytes",
    "allocated": "allocated_bytes",
    "reserved": "reserved_bytes",
    "free": "free_bytes",
    "holes": "holes",
    "largest": "largest_hole_bytes",
}
MOST_SAMPLES = 1000  # of a policy
MOST_POLICIES = 24  # best first; the tables have all
MAP_COLUMNS, MAP_ROWS = 400, 200
LEVELS = 50  # of a cell: steps of 2 %
BEYOND = 255  # a cell after the policy's last event; others are shares of 254


def packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def trace_data(results: Results, trace: str) -> tuple[dict[str, Any], dict[str, Cells]]:
    """The samples of each policy, best first, and the address maps that there are."""
    rows = summary(results, trace)[:MOST_POLICIES]
    last = last_event(results, trace)
    maps, policies = {}, []
    for row in rows:
        label = row["policy"]
        cells = occupancy(results.rows("occupancy", trace, label), last, MAP_COLUMNS, MAP_ROWS)
        if cells is not None:
            maps[label] = cells
        policies.append({**_look(label), **_samples(results.rows("timeline", trace, label)), **_end(row), **_grid(cells)})
    data = {"last": last, "capacity": capacity_of(rows), "columns": list(COLUMNS), "policies": policies}
    return data, maps


def text_of(data: Mapping[str, Any]) -> str:
    return packed(json.dumps(data, separators=(",", ":"), sort_keys=True).encode())


def map_text(cells: Cells) -> str:
    """Rows from the lowest address up, a byte a cell."""
    level = np.round(np.nan_to_num(cells.share).clip(0, 1) * LEVELS) * ((BEYOND - 1) / LEVELS)
    return packed(np.where(np.isnan(cells.share), BEYOND, np.round(level)).astype(np.uint8).tobytes())


def hexed(label: str) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in policy_colour(label))


def _look(label: str) -> dict[str, Any]:
    dashes = policy_dashes(label)
    return {"label": label, "colour": hexed(label), "dashes": [] if isinstance(dashes, str) else [2 * part for part in dashes[1]]}


def _end(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"oom": oom_event(row) if is_oom(row) else None}


def _grid(cells: Cells | None) -> dict[str, Any]:
    if cells is None:
        return {"grid": None}
    rows, columns = cells.share.shape
    return {"grid": {"rows": rows, "columns": columns, "low": cells.low, "top": cells.top}}


def _samples(rows: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """At most MOST_SAMPLES of them, evenly, and always those of the peaks.

    Each column as steps from the value before; empty where it is not known.
    """
    kept = _kept(rows)
    found = {name: rows[column][kept] for name, column in COLUMNS.items()}
    return {
        name: [] if unknown(values) else np.diff(values.astype(np.int64), prepend=0).tolist() for name, values in found.items()
    }


def unknown(values: np.ndarray) -> bool:
    """Whether a column is null: a real allocator shows no holes."""
    return values.dtype.kind == "f" and bool(np.isnan(values).any())


def _kept(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    count = rows["event"].size
    if count <= MOST_SAMPLES:
        return np.arange(count)
    even = np.arange(MOST_SAMPLES) * (count - 1) // (MOST_SAMPLES - 1)
    peaks = [int(np.argmax(rows[column])) for column in ("live_bytes", "allocated_bytes", "reserved_bytes")]
    return np.unique(np.concatenate((even, peaks)))
