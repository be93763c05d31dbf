"""Write an explorer of blocks: one HTML file in which every block of a replay is a rectangle of address by time.

Several layouts of the same trace are in one file, and the reader switches between them. Of a trace with more than MOST blocks the
largest are in the file one by one, by bytes times events; of all others an image says how much of each cell is in use. The file
stays below 5 MB.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.drawing.saving import write_whole
from memtrace.trace.model import Op

if TYPE_CHECKING:
    from memtrace.trace import Trace

MOST = 250_000  # blocks of a layout that are drawn one by one; fewer, if the page would be larger than MOST_BYTES
MOST_BYTES = 4_500_000  # of all layouts
GRANULE = 512  # bytes: unit of addresses and sizes in the file
CELLS = (512, 256)  # columns and rows of the image of all blocks
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True, eq=False)
class Lives:
    """Hold the blocks of a trace as columns: from which event to before which they live, bytes, and tag."""

    start: Any
    end: Any
    size: Any
    tag: Any  # index into the trace's tags, -1 for none


def lives_of(trace: Trace) -> Lives:
    """Return the blocks of a trace that has no reallocs, in the order of their allocs; a block never freed lives to the end."""
    parts = list(trace.batches())
    op, slot, size = (np.concatenate([getattr(part, name) for part in parts]) for name in ("op", "block", "size"))
    tag = np.concatenate([np.broadcast_to(part.tag, part.op.size) for part in parts])
    which = np.flatnonzero((op == Op.ALLOC) | (op == Op.FREE))
    order = which[np.argsort(slot[which], kind="stable")]
    after = np.append(order[1:], -1)
    freed = (np.append(slot[order][1:], -1) == slot[order]) & (op[after] == Op.FREE)
    end = np.full(op.size, op.size, np.int64)
    end[order] = np.where(freed, after, op.size)
    born = np.flatnonzero(op == Op.ALLOC)
    return Lives(born, end[born], size[born], tag[born])


@dataclass(frozen=True, eq=False)
class Layout:
    """Hold the blocks of one layout as columns, in granules, with address ranges that no block ever uses cut out."""

    block: Any  # index into Lives
    low: Any  # where it begins in the page
    size: Any
    order: Any  # indices into these columns, from the largest area to the smallest
    cuts: list[list[int]]  # where each kept range begins, in the page and in memory
    height: int  # of all kept ranges
    cells: str  # the packed image of all blocks


def layout_of(lives: Lives, addresses: Any) -> Layout:
    """Return the layout of the blocks at ``addresses``, which are those of every event, below 0 where nothing was placed."""
    address = addresses[lives.start]
    there = np.flatnonzero((address >= 0) & (lives.size > 0))
    low = address[there] // GRANULE
    high = -(-(address[there] + lives.size[there]) // GRANULE)
    order = np.argsort(low, kind="stable")
    reach = np.maximum.accumulate(high[order])
    begins = np.append(True, low[order][1:] > reach[:-1]) if order.size else np.zeros(0, np.bool_)
    starts = low[order][begins]
    ends = reach[np.append(np.flatnonzero(begins)[1:] - 1, order.size - 1)] if order.size else starts
    placed = np.concatenate(([0], np.cumsum(ends - starts)))[:-1] if order.size else starts
    shift = placed - starts
    at = low + shift[np.searchsorted(starts, low, side="right") - 1] if order.size else low
    area = (high - low) * (lives.end[there] - lives.start[there])
    height = int((ends - starts).sum()) if order.size else 1
    return Layout(
        block=there,
        low=at,
        size=high - low,
        order=np.argsort(-area, kind="stable"),
        cuts=[[int(page), int(start)] for page, start in zip(placed.tolist(), starts.tolist(), strict=True)],
        height=height,
        cells=packed(cells_of(lives.start[there], lives.end[there], at, high - low, addresses.size, height)),
    )


def document(lives: Lives, one: Layout, most: int) -> dict[str, Any]:
    """Return a layout with its ``most`` largest blocks as data for the page."""
    chosen = np.sort(one.order[:most])
    block = one.block[chosen]
    columns = (
        np.diff(lives.start[block], prepend=0),
        lives.end[block] - lives.start[block],
        one.low[chosen],
        one.size[chosen],
        lives.tag[block] + 1,
    )
    return {
        "count": int(chosen.size),
        "data": packed(planes(np.concatenate(columns))),
        "cuts": one.cuts,
        "height": one.height,
        "rest": int(one.order.size - chosen.size),
        "cells": one.cells,
    }


def cells_of(start: Any, end: Any, low: Any, size: Any, events: int, height: int) -> Any:
    """Return uint8[rows, columns]: how much of each cell of the map blocks fill, 255 for all; sizes are in granules."""
    columns, rows = CELLS
    found = np.zeros(rows * (columns + 1))
    left, right = (np.minimum(x * columns // max(events, 1), columns) for x in (start, end))
    scale = rows / max(height, 1)
    bottom, top = low * scale, (low + size) * scale
    row = np.minimum(bottom.astype(np.int64), rows - 1)
    there = np.arange(row.size)
    while there.size:  # once for each row that a block reaches
        at = row[there]
        share = np.minimum(top[there], at + 1) - np.maximum(bottom[there], at)
        for edge, sign in ((left, 1), (right, -1)):
            found += np.bincount(at * (columns + 1) + edge[there], sign * share, found.size)
        row[there] += 1
        there = there[(row[there] < rows) & (top[there] > row[there])]
    filled = np.cumsum(found.reshape(rows, columns + 1), axis=1)[:, :columns]
    return np.clip(np.round(255 * filled), 0, 255).astype(np.uint8)


def planes(numbers: Any) -> Any:
    """Return the lowest bytes of all numbers below 2^32, then their second bytes, and so on, which compresses better."""
    return np.ascontiguousarray(numbers.astype("<u4").view(np.uint8).reshape(-1, 4).T)


def packed(array: Any) -> str:
    """Return the bytes of an array compressed and in base64."""
    return base64.b64encode(zlib.compress(array.tobytes(), 6)).decode()


def write(trace: Trace, layouts: dict[str, Any], path: Path) -> Path:
    """Write the page for a trace; ``layouts``: name of each -> the address of every event. Return the path."""
    lives = lives_of(trace)
    placed = {name: layout_of(lives, addresses) for name, addresses in layouts.items()}
    most = MOST
    while True:
        found = {name: document(lives, one, most) for name, one in placed.items()}
        size = sum(len(one["data"]) for one in found.values())
        if size <= MOST_BYTES or most == 1:
            break
        most = max(min(most, max(one["count"] for one in found.values()) * MOST_BYTES // size), 1)
    data = {
        "title": trace.name,
        "events": trace.facts.events,
        "granule": GRANULE,
        "tags": ["", *trace.tags],
        "cells": CELLS,
        "layouts": found,
    }
    text = json.dumps(data).replace("<", "\\u003c")
    script = files(__name__.rpartition(".")[0]).joinpath("block_map.js").read_text()
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>memtrace: blocks</title>
<style>body{{margin:0;font:14px system-ui,sans-serif;color:#222}}header{{padding:6px 10px}}
canvas{{display:block;cursor:crosshair}}
#info{{min-height:2.6em;padding:6px 10px;white-space:pre-wrap}}button.on{{font-weight:bold}}</style></head>
<body><header id="head"></header><canvas id="map"></canvas><div id="info"></div>
<script type="application/json" id="data">{text}</script><script>
{script}</script></body></html>
"""
    return write_whole(path, page.encode())
