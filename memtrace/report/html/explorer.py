"""Pack the data that the explorer of a trace draws: samples of each policy, and address maps.

Samples are stored as differences from one to the next, maps as one byte per cell; both are compressed with zlib and
written in base64.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from html import escape
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.drawing.style import Colour, policy_colour, policy_dashes
from memtrace.plots.addresses import all_tags
from memtrace.plots.occupancy_age import palette, range_of
from memtrace.plots.occupancy_tag import COLOURS as TAG_COLOURS
from memtrace.plots.occupancy_tag import NONE as NO_TAG
from memtrace.plots.series import Cells, capacity_of, cells_of, last_event, summary
from memtrace.results.verdict import is_oom, oom_event

if TYPE_CHECKING:
    from memtrace.results.tables import Results

# Name in the explorer's data -> column of the timeline.
COLUMNS = {
    "event": "event",
    "live": "live_bytes",
    "allocated": "allocated_bytes",
    "reserved": "reserved_bytes",
    "free": "free_bytes",
    "holes": "holes",
    "largest": "largest_hole_bytes",
}
MOST_POLICIES = 24  # in an explorer, the best ones; the tables have all
FINE, COARSE = (1000, 400, 200), (600, 200, 140)  # at most: samples of a policy, columns of its map, rows of its map
MANY = 6  # with more policies than this their data is coarse, to keep the page small
LEVELS = 25  # steps of a cell's share, of 4 % each
AGES = 12  # colours for ages
BEYOND = 255  # the byte of a cell after the policy's last event; other cells have their share times 254


def packed(content: bytes) -> str:
    """Return the bytes compressed and in base64."""
    return base64.b64encode(zlib.compress(content, 9)).decode()


def trace_data(results: Results, trace: str) -> tuple[dict[str, Any], dict[str, Cells]]:
    """Return the data of a trace's explorer, and the cells of each policy that has an address map, by label.

    The policies are in order, the best first.
    """
    rows = summary(results, trace)[:MOST_POLICIES]
    last, tags = last_event(results, trace), all_tags(results, trace)
    most, columns, most_rows = FINE if len(rows) <= MANY else COARSE
    maps, policies = {}, []
    for row in rows:
        label = row["policy"]
        cells = cells_of(results.rows("occupancy", trace, label), last, columns, most_rows, tags)
        if cells is not None:
            maps[label] = cells
        policies.append({**_look(label), **_samples(results.rows("timeline", trace, label), most), **_end(row), **_grid(cells)})
    data: dict[str, Any] = {
        "last": last,
        "capacity": capacity_of(rows),
        "columns": list(COLUMNS),
        "policies": policies,
        "tags": tags,
    }
    data |= {"tagColours": [hexed(colour) for colour in (*TAG_COLOURS[: len(tags)], NO_TAG)]}
    data |= {"ages": range_of(list(maps.values())) or (0, 1)}
    data |= {"ageColours": [hexed(colour) for colour in palette(AGES)]}
    return data, maps


def text_of(data: Mapping[str, Any]) -> str:
    """Return the data as packed JSON."""
    return packed(json.dumps(data, separators=(",", ":"), sort_keys=True).encode())


def map_texts(cells: Cells) -> dict[str, str]:
    """Return the packed images of an address map by kind: share, and if known tag and age.

    They have one byte per cell, in rows from the lowest address up.
    """
    level = np.round(np.nan_to_num(cells.share).clip(0, 1) * LEVELS) * ((BEYOND - 1) / LEVELS)
    texts = {"share": np.where(np.isnan(cells.share), BEYOND, np.round(level))}
    if len(np.unique(cells.tag[cells.share > 0])) > 1:
        texts["tag"] = cells.tag + 1
    if not np.isnan(cells.age).all():
        texts["age"] = np.where(np.isnan(cells.age), 0, np.round(np.nan_to_num(cells.age)) + 1)
    return {name: packed(values.astype(np.uint8).tobytes()) for name, values in texts.items()}


def hexed(colour: Colour) -> str:
    """Return a colour as a text such as "#0072b2"."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def _look(label: str) -> dict[str, Any]:
    """Return the label, colour and line style of a policy."""
    dashes = policy_dashes(label)
    return {
        "label": label,
        "colour": hexed(policy_colour(label)),
        "dashes": [] if isinstance(dashes, str) else [2 * part for part in dashes[1]],
    }


def _end(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event at which the policy ran out of memory, None if it did not."""
    return {"oom": oom_event(row) if is_oom(row) else None}


def _grid(cells: Cells | None) -> dict[str, Any]:
    """Return the shape of a policy's address map and its ranges of addresses, None if there is no map."""
    if cells is None:
        return {"grid": None}
    rows, columns = cells.share.shape
    regions = [list(region) for region in cells.regions]
    return {"grid": {"rows": rows, "columns": columns, "rowBytes": cells.row_bytes, "regions": regions}}


def _samples(rows: Mapping[str, np.ndarray], most: int) -> dict[str, list[int]]:
    """Return the columns of at most about ``most`` samples of a timeline, evenly chosen, and always those of the peaks.

    Each column is a list of differences from the value before; it is empty if the column is null.
    """
    kept = _kept(rows, most)
    found = {name: rows[column][kept] for name, column in COLUMNS.items()}
    return {
        name: [] if has_nulls(values) else np.diff(values.astype(np.int64), prepend=0).tolist() for name, values in found.items()
    }


def has_nulls(values: np.ndarray) -> bool:
    """Return whether a column has nulls, as those of what is not known of a policy have."""
    return values.dtype.kind == "O" or (values.dtype.kind == "f" and bool(np.isnan(values).any()))


def _kept(rows: Mapping[str, np.ndarray], most: int) -> np.ndarray:
    """Return the indexes of the samples that are kept."""
    count = rows["event"].size
    if count <= most:
        return np.arange(count)
    even = np.arange(most) * (count - 1) // (most - 1)
    columns = [rows[name] for name in ("live_bytes", "allocated_bytes", "reserved_bytes") if not has_nulls(rows[name])]
    peaks = [int(np.argmax(column)) for column in columns]
    return np.unique(np.concatenate((even, peaks)))


# Measure in the explorer's data -> its name in the menu.
MEASURES = {
    "reserved": "reserved",
    "allocated": "allocated",
    "live": "live (requested)",
    "free": "free, in holes",
    "largest": "largest hole",
    "holes": "holes",
    "external": "external fragmentation",
}
CURVES = "the measure over events, a curve for each policy, with its letter"
# Kind of an address map -> its name in the menu.
PAINTS = {"share": "use", "tag": "tag", "age": "age"}
VIEWS = (
    '<span class="views"><button type="button">closer</button> <button type="button">wider</button> '
    '<button type="button">all of it</button></span>'
)
HINT = (
    "Wheel or + and - to zoom, drag to move, double click or Home for all of it; Shift and wheel zooms upwards too. "
    "With the focus on a figure the arrow keys read values."
)


def explorer(results: Results, trace: str) -> str:
    """Return the HTML of a trace's explorer: memory over time and, if the results have any, the address map of each policy."""
    data, maps = trace_data(results, trace)
    labels = [policy["label"] for policy in data["policies"]]
    parts = [
        f'<section class="explorer" data-trace="{escape(trace)}">',
        "<h2>Explore</h2>",
        f'<p class="hint">{HINT}</p>',
        f'<div class="bar" role="group" aria-label="policies shown">{"".join(map(_toggle, ascii_lowercase, labels))}</div>',
        f'<div class="bar"><label>measure {_select("measure", MEASURES.items())}</label>{VIEWS}</div>',
        f'<canvas class="chart" tabindex="0" role="img" aria-label="{CURVES}"></canvas>',
        '<div class="reading chart-values" aria-live="polite"></div>',
    ]
    grids = {label: map_texts(cells) for label, cells in maps.items()}
    if maps:
        found = {name for texts in grids.values() for name in texts}
        paints = [(name, text) for name, text in PAINTS.items() if name in found]
        parts += [
            f'<div class="bar"><label>addresses of {_select("mapped", ((label, label) for label in maps))}</label>'
            f"<label>coloured by {_select('painted', paints)}</label>{VIEWS}</div>",
            '<canvas class="map" tabindex="0" role="img" aria-label="addresses over events: in use, and holes in grey"></canvas>',
            '<div class="bar legend"></div>',
            '<div class="reading map-values" aria-live="polite"></div>',
        ]
    parts += [f'<script type="text/plain" class="data">{text_of(data)}</script>']
    parts += [
        f'<script type="text/plain" class="grid" data-policy="{escape(label)}" data-kind="{kind}">{text}</script>'
        for label, texts in grids.items()
        for kind, text in texts.items()
    ]
    return "\n".join([*parts, "</section>"])


def _toggle(letter: str, label: str) -> str:
    """Return the checkbox that shows or hides a policy's curve, with its letter and colour."""
    swatch = f'<span class="swatch" style="--colour:{hexed(policy_colour(label))}"></span><b>{letter}</b>'
    return f'<label><input type="checkbox" class="shown" value="{escape(label)}" checked>{swatch}{escape(label)}</label>'


def _select(name: str, options: Iterable[tuple[str, str]]) -> str:
    """Return a menu of options (value, text)."""
    return (
        f'<select class="{name}">'
        + "".join(f'<option value="{escape(v)}">{escape(t)}</option>' for v, t in options)
        + "</select>"
    )
