"""Turn a placement into its rows of every results table.

The rows are plain columns (lists, numpy arrays, single texts), so that they can be sent from one process to another.
Each function that returns `Columns` computes the columns of the table of its name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.engine.known import ALLOCATED, HOLES, SIZES, known_of_policy
from memtrace.measures import measure
from memtrace.measures.declaration import Readings, Rows
from memtrace.measures.fitting import classes_of, least_that_fit, most_that_fit
from memtrace.measures.servable import next_requests
from memtrace.results.failure import failure
from memtrace.results.holders import AtPeak, tables_of

if TYPE_CHECKING:
    from memtrace.engine.replay import Placement
    from memtrace.measures.occupancy import Contents
    from memtrace.trace import Trace

Columns = dict[str, Any]
# Columns of the timeline -> what has to be known of the policy (memtrace.engine.known); else the column is left out.
NEEDS = {
    "allocated_bytes": ALLOCATED,
    "free_bytes": HOLES,
    "holes": HOLES,
    "largest_hole_bytes": HOLES,
    "external_frag": HOLES,
    "squares_frag": SIZES,
}


@dataclass(frozen=True)
class Part:
    """The contribution of one replay to the results: a row of the summary, and columns for the other tables."""

    summary: dict[str, Any]  # by column
    tables: dict[str, Columns]  # by table, then by column
    counters: tuple[str, ...]  # names of the policy's own counters, which are columns of the timeline
    seconds: float  # of the replay itself


def gather(placement: Placement, contents: Contents, keep_placements: bool = False, peak: AtPeak | None = None) -> Part:
    """Return the part of a placement.

    ``contents`` looked at the live blocks during the replay and has the occupancy. The table `placements` is added if
    ``keep_placements``. ``peak`` looked at the blocks at the peak of live bytes.
    """
    from memtrace.contract.policy import constants_of

    readings = Readings(placement)
    counters = constants_of(placement.policy.module).COUNTERS
    tables = {
        "timeline": timeline(placement, readings, counters),
        "holes": holes(placement),
        "fits": fits(readings),
        "occupancy": contents.columns(placement.peak_reserved_bytes),
        "requests": requests(placement),
        **failure(placement),
        **tables_of(placement, peak),
        # The interpreter's time says nothing about the policy.
        "timing": {"replay_seconds": [None if placement.interpreted else placement.seconds]},
    }
    if keep_placements:
        tables["placements"] = placements(placement)
    name = {"trace": placement.trace.name, "policy": placement.policy.label}
    return Part(summary(placement), {key: {**name, **table} for key, table in tables.items()}, counters, placement.seconds)


def summary(placement: Placement) -> dict[str, Any]:
    """Return the placement's row of summary.parquet: what identifies the run, facts of the trace, and all measures."""
    facts = placement.trace.facts
    return {
        "trace": placement.trace.name,
        "trace_sha256": placement.trace.sha256,
        "policy": placement.policy.label,
        "options": json.dumps(placement.policy.options, sort_keys=True),
        "capacity_bytes": placement.capacity,
        "events": facts.events,
        "allocs": facts.allocs,
        "frees": facts.frees,
        "reallocs": facts.reallocs,
        "max_live_blocks": facts.max_live,
        "requested_bytes": facts.total_bytes,
        **measure(placement),
    }


def timeline(placement: Placement, readings: Readings, counters: tuple[str, ...]) -> Columns:
    """Return the columns of timeline.parquet: a row for each sample and for each of the three peaks, by event, no event twice.

    ``counters`` names the policy's own counters. Columns of what is not known of the policy are left out.
    """
    recorder = placement.recorder
    taken = readings.samples.table.shape[0]
    table = np.concatenate((readings.samples.table, recorder.peaks))
    own = np.concatenate((recorder.sample_counters[:taken], recorder.peak_counters))
    event, first = np.unique(table[:, 0], return_index=True)
    if placement.events == 0:
        event, first = event[:0], first[:0]
    rows = Rows(table[first])
    known = {
        "event": event,
        "time_ns": placement.trace.times(event),
        "live_bytes": rows.column("live"),
        "allocated_bytes": rows.column("allocated"),
        "reserved_bytes": rows.column("reserved"),
        "free_bytes": rows.column("free"),
        "holes": rows.column("holes"),
        "largest_hole_bytes": rows.column("largest"),
        "external_frag": rows.external(),
        "squares_frag": rows.squares(),
        "releasable_bytes": known_only(rows.column("releasable")),
        "next_request_bytes": known_only(next_requests(placement.trace, event)),
        **{name: own[first, i] for i, name in enumerate(counters)},
    }
    return {name: column for name, column in known.items() if name not in NEEDS or NEEDS[name] in readings.known}


def known_only(values: NDArray[np.int64]) -> Any:
    """Return an arrow array in which negative values are null."""
    import pyarrow as pa

    return pa.array(values, mask=values < 0)


def requests(placement: Placement) -> Columns:
    """Return the columns of `requests`: the requests that got a block, by size class floor(log2(bytes)).

    For each class they are the number of requests, their bytes, and, where they are known, the bytes of their blocks. Empty
    classes have no row.
    """
    table = placement.recorder.requests
    filled = np.flatnonzero(table[0])
    found = {
        "size_bytes_from": np.left_shift(np.int64(1), filled),
        "requests": table[0, filled],
        "requested_bytes": table[1, filled],
    }
    return found | ({"block_bytes": table[2, filled]} if ALLOCATED in known_of_policy(placement.policy.module) else {})


def holes(placement: Placement) -> Columns:
    """Return the columns of `holes`: the number and the bytes of holes by floor(log2(size)), at some of the samples.

    Classes without holes have no row, and there are none where the sizes of holes are not known.
    """
    from memtrace.engine.recorder import CLASS_SAMPLE

    taken = int(placement.recorder.totals[CLASS_SAMPLE]) if SIZES in known_of_policy(placement.policy.module) else 0
    classes = placement.recorder.classes[:taken]
    count, size = classes[:, :64], classes[:, 64:]
    sample, size_class = np.nonzero(count)
    event = placement.recorder.class_events[:taken][sample]
    return {
        "event": event,
        "time_ns": placement.trace.times(event),
        "hole_bytes_from": np.left_shift(np.int64(1), size_class),
        "holes": count[sample, size_class],
        "free_bytes": size[sample, size_class],
    }


def fits(readings: Readings) -> Columns:
    """Return the columns of `fits`: how many blocks of 2^k bytes would fit the holes, at the samples of the table `holes`.

    The sizes go from the class of the smallest request to that of the largest. There are no rows where the sizes of holes are
    not known.
    """
    count, size = classes_of(readings)
    taken = count.shape[0] if SIZES in readings.known else 0
    count, size, facts = count[:taken], size[:taken], readings.facts
    sizes = range(max(facts.smallest_request, 1).bit_length() - 1, max(facts.largest_request, 1).bit_length())
    free = size.sum(axis=1)
    return {
        "event": np.repeat(readings.placement.recorder.class_events[:taken], len(sizes)),
        "size_bytes": np.tile(np.left_shift(np.int64(1), np.array(sizes, np.int64)), taken),
        "blocks_least": np.stack([least_that_fit(count, size, k) for k in sizes], axis=1).ravel(),
        "blocks_most": np.stack([most_that_fit(count, size, k) for k in sizes], axis=1).ravel(),
        "blocks_ideal": np.stack([free >> k for k in sizes], axis=1).ravel(),
    }


def placements(placement: Placement) -> Columns:
    """Return the columns of `placements`: event, id and address of every request.

    The address is null where the request failed (-1) or made no block (-2).
    """
    import pyarrow as pa

    from memtrace.trace import Op

    ops = np.concatenate([events.op for events in placement.trace.batches()])[: placement.events]
    event = np.flatnonzero((ops == Op.ALLOC) | (ops == Op.REALLOC)).astype(np.int64)
    assert placement.addresses is not None
    address = placement.addresses[event]
    return {"event": event, "id": placement.trace.ids(event), "address": pa.array(address, mask=address < 0)}


def distributions(trace: Trace) -> Columns:
    """Return the columns of `distributions` for a trace.

    The rows count requests by size, freed blocks by lifetime, and freed blocks by size and lifetime, all in classes of
    powers of two.
    """
    facts = trace.facts
    rows: list[tuple[Any, ...]] = []
    for kind in ("size", "lifetime"):
        count, size = getattr(facts, f"{kind}_counts"), getattr(facts, f"{kind}_bytes")
        rows += [(kind, 1 << k, None, int(count[k]), int(size[k])) for k in np.flatnonzero(count).tolist()]
    both = facts.size_lifetime
    rows += [("size x lifetime", 1 << k, 1 << life, int(both[k, life]), None) for k, life in np.argwhere(both).tolist()]
    names = ("kind", "class_from", "lifetime_from", "count", "bytes")
    return {"trace": trace.name, **{name: [row[i] for row in rows] for i, name in enumerate(names)}}
