"""The explorer of a trace: the part of the HTML report that can be zoomed and moved, and shows values under the pointer."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from string import ascii_lowercase
from typing import TYPE_CHECKING

from memtrace.plots.colours import policy_colour
from memtrace.report.html.data import hexed, map_texts, text_of, trace_data

if TYPE_CHECKING:
    from memtrace.results.tables import Results

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
