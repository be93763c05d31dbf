"""A realistic Results without the package's engine: a small heap replays a training loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy
import pyarrow
from sample_heap import HEAPS, Event, Heap, smallest, training_loop

from memtrace.results.tables import Results

CLASSIC = ("first-fit", "next-fit", "best-fit", "worst-fit")
TWELVE = (
    *CLASSIC,
    "buddy",
    "segregated",
    "size-class",
    "tlsf",
    "bump",
    "best-fit:align=256,min_block=512",
    "pytorch:expandable_segments=True,max_split_size_mb=128",
    "pytorch:expandable_segments=True,max_split_size_mb=256",
)
TAGS = ("weights", "a tag with a long name, such as a call site has, in some file of some package", None)
SPREAD = 300  # one event here stands for so many of the trace: real traces are longer
ADDRESS_ROWS, TIME_COLUMNS, HOLE_SAMPLES = 256, 400, 200


@dataclass
class Tables:
    """Columns as they grow, one dict a table."""

    timeline: dict[str, list[Any]] = field(default_factory=dict)
    holes: dict[str, list[Any]] = field(default_factory=dict)
    fits: dict[str, list[Any]] = field(default_factory=dict)
    occupancy: list[dict[str, Any]] = field(default_factory=list)
    requests: dict[str, list[Any]] = field(default_factory=dict)
    failures: dict[str, list[Any]] = field(default_factory=dict)
    pins: dict[str, list[Any]] = field(default_factory=dict)
    last_map: dict[str, list[Any]] = field(default_factory=dict)


def _add(columns: dict[str, list[Any]], **row: Any) -> None:
    for name, value in row.items():
        columns.setdefault(name, []).append(value)


def _replay(trace: str, policy: str, events: Sequence[Event], capacity: int | None, tables: Tables) -> dict[str, Any]:
    heap = Heap(*HEAPS.get(policy.partition(":")[0], (smallest, 512 * len(policy))))
    spans: list[tuple[int, list[tuple[int, int]]]] = []
    states: list[tuple[int, ...]] = []
    oom = None
    served: dict[int, list[tuple[int, int]]] = {}
    for number, (block, size) in enumerate(events):
        if size:
            heap.alloc(block, size)
            served.setdefault(1 << (size.bit_length() - 1), []).append((size, heap.blocks[block][1]))
        else:
            heap.free(block)
        event, sizes, blocks = number * SPREAD, [size for _, size in heap.holes], heap.blocks.values()
        if capacity is not None and heap.top > capacity:
            oom = event
            _add_failure(tables, {"trace": trace, "policy": policy}, heap, event, block, size)
            break
        live, allocated = sum(size for *_, size in blocks), sum(need for _, need, _ in blocks)
        states.append((event, live, allocated, heap.top, len(sizes), max(sizes, default=0)))
        if number % max(1, len(events) // TIME_COLUMNS) == 0:
            spans.append((event, [(address, need) for address, need, _ in blocks]))
        if number % max(1, len(events) // HOLE_SAMPLES) == 0:
            _add_holes(tables, trace, policy, event, sizes)
            _add_fits(tables, trace, policy, event, sizes)
    columns = numpy.array(states, dtype=numpy.int64).reshape(-1, 6).T
    _add_timeline(tables, trace, policy, columns, [size for _, size in events])
    for start, pairs in sorted(served.items()):
        row = {"requests": len(pairs), "requested_bytes": sum(p[0] for p in pairs), "block_bytes": sum(p[1] for p in pairs)}
        _add(tables.requests, trace=trace, policy=policy, size_bytes_from=start, **row)
    _add_occupancy(tables, trace, policy, spans, max(1, int(columns[3].max(initial=0))))
    return {"trace": trace, "policy": policy, **_summary(events, columns), **_ending(events, capacity, oom)}


def _add_fits(tables: Tables, trace: str, policy: str, event: int, sizes: list[int]) -> None:
    for size in (1 << k for k in range(9, 31)):
        fit = sum(hole // size for hole in sizes)
        row = {"size_bytes": size, "blocks_least": fit, "blocks_most": fit, "blocks_ideal": sum(sizes) // size}
        _add(tables.fits, trace=trace, policy=policy, event=event, **row)


def _add_holes(tables: Tables, trace: str, policy: str, event: int, sizes: list[int]) -> None:
    classes: dict[int, list[int]] = {}
    for size in sizes:
        classes.setdefault(1 << (size.bit_length() - 1), []).append(size)
    for start, found in sorted(classes.items()):
        row = {"event": event, "time_ns": event * 1000, "hole_bytes_from": start}
        _add(tables.holes, trace=trace, policy=policy, **row, holes=len(found), free_bytes=sum(found))


def _fragmentation(columns: numpy.ndarray) -> numpy.ndarray:
    _, _, allocated, reserved, _, largest_hole = columns
    free = reserved - allocated
    return numpy.where(free > 0, 1 - largest_hole / numpy.maximum(1, free), 0.0)


def _add_failure(tables: Tables, name: dict[str, str], heap: Heap, event: int, block: int, size: int) -> None:
    """The state before the request that failed; each block pins what is free beside it."""
    del heap.blocks[block]
    blocks, holes = sorted(heap.blocks.values()), [size for _, size in heap.holes]
    live, allocated = sum(size for *_, size in blocks), sum(need for _, need, _ in blocks)
    _add(
        tables.failures,
        **name,
        event=event,
        request_bytes=size,
        request_tag="activation",
        needed_bytes=size,
        live_bytes=live,
        allocated_bytes=allocated,
        reserved_bytes=heap.top,
        free_bytes=sum(holes),
        holes=len(holes),
        largest_hole_bytes=max(holes, default=0),
        live_blocks=len(blocks),
    )
    for address, need, size in blocks[:10]:
        _add(tables.pins, **name, address=address, bytes=size, tag=None, opens_bytes=need + 4096)
    tall = -(-heap.top // 300)
    for start in range(0, heap.top, tall):
        inside = sum(max(0, min(address + need, start + tall) - max(address, start)) for address, need, _ in blocks)
        _add(tables.last_map, **name, address_from_bytes=start, address_bytes=tall, live_bytes=inside)


def _next_requests(sizes: Sequence[int], count: int) -> list[int | None]:
    """The first size above 0 behind each of the first ``count`` events."""
    return [next((size for size in sizes[k + 1 :] if size), None) for k in range(count)]


def _add_timeline(tables: Tables, trace: str, policy: str, columns: numpy.ndarray, sizes: Sequence[int]) -> None:
    event, live, allocated, reserved, holes, largest_hole = columns
    values = {
        "event": event,
        "time_ns": event * 1000,
        "live_bytes": live,
        "allocated_bytes": allocated,
        "reserved_bytes": reserved,
        "free_bytes": reserved - allocated,
        "holes": holes,
        "largest_hole_bytes": largest_hole,
        "external_frag": _fragmentation(columns),
        "squares_frag": 0.8 * _fragmentation(columns),
        "releasable_bytes": numpy.minimum(largest_hole, reserved - allocated) // 2,
    }
    for name, value in values.items():
        tables.timeline.setdefault(name, []).extend(value.tolist())
    tables.timeline.setdefault("next_request_bytes", []).extend(_next_requests(sizes, len(event)))
    for name, text in (("trace", trace), ("policy", policy)):
        tables.timeline.setdefault(name, []).extend([text] * len(event))


def _summary(events: Sequence[Event], columns: numpy.ndarray) -> dict[str, Any]:
    """The measures; those that ask for a state are 0 where memory ran out before there was any."""
    some = columns if columns.size else numpy.zeros((6, 1), dtype=numpy.int64)
    event, live, allocated, reserved, holes, _ = some
    frag, peak = _fragmentation(some), int(reserved.argmax())
    bound = _peak_live(events)
    return {
        "lower_bound_bytes": bound,
        "peak_live_bytes": bound,
        "peak_live_event": int(event[live.argmax()]),
        "peak_allocated_bytes": int(allocated.max()),
        "peak_reserved_bytes": int(reserved.max()),
        "peak_reserved_event": int(event[peak]),
        "internal_frag_at_peak": float(1 - live[peak] / max(1, allocated[peak])) if allocated[peak] else 0.0,
        "external_frag_mean": float(frag.mean()),
        "external_frag_at_peak": float(frag[peak]),
        "external_frag_max": float(frag.max()),
        "utilisation_at_peak": float(live[peak] / max(1, reserved[peak])),
        "holes_mean": float(holes.mean()),
        "holes_max": int(holes.max()),
        "search_mean": float(1 + holes.mean()),
    }


def _ending(events: Sequence[Event], capacity: int | None, oom: int | None) -> dict[str, Any]:
    allocs = sum(1 for _, size in events if size)
    return {
        "trace_sha256": "0123456789abcdef" * 4,
        "options": "{}",
        "capacity_bytes": capacity,
        "events": len(events) * SPREAD,
        "allocs": allocs * SPREAD,
        "frees": (len(events) - allocs) * SPREAD,
        "max_live_blocks": allocs,
        "requested_bytes": sum(size for _, size in events) * SPREAD,
        "failed_allocs": int(oom is not None),
        "skipped_events": 0,
        "oom_event": oom,
        "status": "ok" if oom is None else "oom",
        "invalid_events": 0,
        "never_freed": 2 * allocs - len(events),
    }


def _peak_live(events: Sequence[Event]) -> int:
    sizes: dict[int, int] = {}
    live = peak = 0
    for block, size in events:
        live += size if size else -sizes[block]
        sizes[block] = size
        peak = max(peak, live)
    return peak


def _add_occupancy(tables: Tables, trace: str, policy: str, spans: list[tuple[int, list[tuple[int, int]]]], top: int) -> None:
    tall = -(-top // ADDRESS_ROWS)
    edges = numpy.arange(ADDRESS_ROWS + 1, dtype=numpy.int64) * tall
    for event, blocks in spans:
        below = numpy.zeros(ADDRESS_ROWS + 1)
        if blocks:
            found = numpy.array(blocks)
            below = (edges[:, None] - found[:, 0]).clip(0, found[:, 1]).sum(axis=1)
        tables.occupancy.append(
            {
                "trace": trace,
                "policy": policy,
                "event": event,
                "address_from_bytes": edges[:-1],
                "address_bytes": tall,
                "live_bytes": numpy.diff(below).astype(numpy.int64),
                "tag": numpy.array([TAGS[row * len(TAGS) // ADDRESS_ROWS] for row in range(ADDRESS_ROWS)], object),
                "age_from_events": 1 << (numpy.arange(ADDRESS_ROWS) // 32),
            }
        )


TEXTS = ("trace", "policy", "kind", "request_tag", "tag")
COLUMNS = {
    "timeline": "trace policy event time_ns live_bytes allocated_bytes reserved_bytes free_bytes holes "
    "largest_hole_bytes external_frag squares_frag releasable_bytes next_request_bytes",
    "holes": "trace policy event time_ns hole_bytes_from holes free_bytes",
    "fits": "trace policy event size_bytes blocks_least blocks_most blocks_ideal",
    "occupancy": "trace policy event address_from_bytes address_bytes live_bytes tag age_from_events",
    "distributions": "trace kind class_from lifetime_from count bytes",
    "requests": "trace policy size_bytes_from requests requested_bytes block_bytes",
    "failures": "trace policy event request_bytes request_tag needed_bytes live_bytes allocated_bytes reserved_bytes free_bytes "
    "holes largest_hole_bytes live_blocks",
    "pins": "trace policy address bytes tag opens_bytes",
    "last_map": "trace policy address_from_bytes address_bytes live_bytes",
}


def _table(name: str, columns: dict[str, Any]) -> pyarrow.Table:
    arrays = {}
    for column in COLUMNS[name].split():
        values = columns.get(column, [])
        if column in TEXTS:
            arrays[column] = pyarrow.array(values, pyarrow.string())
        else:
            arrays[column] = pyarrow.array(values, pyarrow.float64() if column.endswith("_frag") else pyarrow.int64())
    return pyarrow.table(arrays)


def _occupancy(parts: list[dict[str, Any]]) -> pyarrow.Table:
    names = COLUMNS["occupancy"].split()
    columns: dict[str, Any] = {}
    if parts:
        cells = len(parts[0]["live_bytes"])
        for name in names:
            columns[name] = numpy.concatenate(
                [part[name] if numpy.ndim(part[name]) else numpy.repeat([part[name]], cells) for part in parts]
            )
    return _table("occupancy", columns)


def _distributions(trace: str, events: Sequence[Event]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    born = {block: (number, size) for number, (block, size) in enumerate(events) if size}
    sizes = [size for _, size in events if size]
    lives = [(number - born[block][0], born[block][1]) for number, (block, size) in enumerate(events) if not size]
    for kind, pairs in (("size", [(size, size) for size in sizes]), ("lifetime", lives)):
        classes: dict[int, list[int]] = {}
        for value, size in pairs:
            classes.setdefault(1 << (value.bit_length() - 1), []).append(size)
        for start, found in sorted(classes.items()):
            row = {"class_from": start, "lifetime_from": None, "count": len(found), "bytes": sum(found)}
            _add(columns, trace=trace, kind=kind, **row)
    both: dict[tuple[int, int], int] = {}
    for life, size in lives:
        place = (1 << (size.bit_length() - 1), 1 << (life.bit_length() - 1))
        both[place] = both.get(place, 0) + 1
    for (start, life), count in sorted(both.items()):
        _add(columns, trace=trace, kind="size x lifetime", class_from=start, lifetime_from=life, count=count, bytes=None)
    return columns


@cache
def sample(
    policies: tuple[str, ...] = CLASSIC,
    traces: tuple[str, ...] = ("training-step",),
    capacity: int | None = None,
    events: tuple[Event, ...] | None = None,
) -> Results:
    """What a run of these policies finds out; `capacity` makes the worse ones run out of memory."""
    tables, summary, distributions = Tables(), [], {}
    for number, trace in enumerate(traces):
        asked = training_loop(seed=7 + number) if events is None else events
        summary += [_replay(trace, policy, asked, capacity, tables) for policy in policies]
        for name, values in _distributions(trace, asked).items():
            distributions.setdefault(name, []).extend(values)
    return Results(
        summary,
        _table("timeline", tables.timeline),
        _table("holes", tables.holes),
        _occupancy(tables.occupancy),
        _table("distributions", distributions),
        {
            "schema": "memtrace.results/1",
            "versions": {"memtrace": "0.1.0", "numpy": "2.4.6", "python": "3.11"},
        },
        **{name: _table(name, getattr(tables, name)) for name in ("requests", "fits", "failures", "pins", "last_map")},
    )
