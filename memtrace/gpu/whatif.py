"""Replay a recorded trace once per setting of PyTorch's allocator, and find the smallest capacity of each.

A setting is text as in PYTORCH_CUDA_ALLOC_CONF. ``grid`` has the settings that are tried if the user names none; each setting is
checked before it is tried.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import UsageError
from memtrace.gpu.autopsy import Autopsy, autopsy

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Trace

MIB = 1 << 20
DEFAULTS = ""  # the setting in which every option has its default
GRID = (
    DEFAULTS,
    "expandable_segments:True",
    "max_split_size_mb:64",
    "max_split_size_mb:128",
    "max_split_size_mb:256",
    "max_split_size_mb:512",
    "roundup_power2_divisions:4",
    "roundup_power2_divisions:8",
    "roundup_power2_divisions:16",
    "max_split_size_mb:256,roundup_power2_divisions:8",
    "expandable_segments:True,roundup_power2_divisions:8",
    "large_segment_size_mb:64",
)
# Option -> the first version of PyTorch that has it.
NEWER = {"large_segment_size_mb": "2.10", "per_process_memory_fraction": "2.10", "throw_on_cudamalloc_oom": "2.12"}
# Options that do not affect addresses in device memory.
NO_PLACEMENT = ("release_lock_on_cudamalloc", "graph_capture_record_stream_reuse")


def grid(recorded: str | None) -> list[str]:
    """Return the allocator settings to try if the user names none, as texts in PyTorch's syntax.

    They are a fixed list; ``recorded``, the setting in force during the recording (None: not known), comes first if it is not
    in it.
    """
    return [*([recorded] if recorded and recorded not in GRID else []), *GRID]


def options_of(conf: str) -> dict[str, str]:
    """Return the options of a setting as key -> value; commas inside brackets do not separate options."""
    found, depth, part = {}, 0, ""
    for character in conf.replace(" ", "") + ",":
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            key, _, value = part.partition(":")
            if key:
                found[key] = value
            part = ""
        else:
            part += character
    return found


def refusal_reason(conf: str) -> str | None:
    """Return why a setting is not replayed, because PyTorch itself fails under it; None if it can be replayed."""
    options = options_of(conf)
    if "max_split_size_mb" in options and options.get("expandable_segments") == "True":
        return "PyTorch itself goes wrong with max_split_size_mb and expandable_segments together (pytorch#123548, #119452)"
    return None


def warnings(conf: str, largest_request: int) -> list[str]:
    """Return remarks on odd options of a setting, as sentences that begin with the option's name.

    ``largest_request``: bytes of the trace's largest request.
    """
    options = options_of(conf)
    said = []
    fraction = options.get("per_process_memory_fraction")
    if "garbage_collection_threshold" in options and (fraction is None or _number(fraction) >= 1):
        said.append("garbage_collection_threshold does nothing without per_process_memory_fraction below 1")
    if "garbage_collection_threshold" in options and options.get("expandable_segments") == "True":
        said.append("garbage_collection_threshold does nothing with expandable_segments: those are never collected")
    if _number(options.get("max_split_size_mb", "")) * MIB > largest_request:
        said.append(f"max_split_size_mb is above the largest request ({largest_request / MIB:,.0f} MiB)")
    if "max_non_split_rounding_mb" in options and "max_split_size_mb" not in options:
        said.append("max_non_split_rounding_mb does nothing without max_split_size_mb")
    for name in options:
        if name in NEWER:
            said.append(f"{name} needs a newer PyTorch ({NEWER[name]} or later)")
        if name.startswith("pinned_") or name in NO_PLACEMENT:
            said.append(f"{name} does not change where device memory goes")
    return said


def _number(text: str) -> float:
    """Return the number that a text holds; 0 if it holds none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


STEP = 2 << 20  # bytes: bisection ends at this precision, which is the granularity of the device's memory


@dataclass
class Row:
    """Hold the results of one setting. Sizes are in bytes."""

    conf: str  # the setting
    status: str  # ok, oom, refused
    peak_reserved: int | None = None
    retries: int | None = None  # requests for which the whole cache was emptied
    segments: int | None = None  # peak number; like PyTorch, this does not count expandable ones
    oom_event: int | None = None  # number of the event that failed
    oom_tag: str | None = None  # tag of that event
    autopsy: Autopsy | None = None  # the state at the failure
    smallest_capacity: int | None = None  # None if no device is large enough
    notes: list[str] = field(default_factory=list)  # remarks, in sentences


def rows_of(trace: Trace, confs: list[str], capacity: int | None) -> list[Row]:
    """Return a row for each setting; ``capacity`` in bytes, None for a device that has as much memory as needed.

    The replays run in parallel threads, because compiled code does not hold the interpreter's lock.
    """
    from memtrace.engine.registry import parse_policy
    from memtrace.engine.replay import warm

    warm(parse_policy("pytorch"))  # so that no two threads compile it
    pool = ThreadPoolExecutor(min(len(confs), os.cpu_count() or 1), "memtrace-whatif")
    try:
        return list(pool.map(lambda conf: row_of(trace, conf, capacity), confs))
    finally:
        pool.shutdown(cancel_futures=True)


def row_of(trace: Trace, conf: str, capacity: int | None) -> Row:
    """Replay a setting within ``capacity`` bytes (None: as much as needed) and return its row.

    A setting that PyTorch or memtrace does not accept gives a row with status refused.
    """
    from memtrace.engine.registry import parse_policy
    from memtrace.engine.replay import replay
    from memtrace.structures.caching.statistics import ALLOC_RETRIES, PEAK, SEGMENT

    notes = warnings(conf, trace.facts.largest_request)
    if reason := refusal_reason(conf):
        return Row(conf, "refused", notes=[reason, *notes])
    try:
        policy = parse_policy(f"pytorch:{conf}" if conf else "pytorch")
        placed = replay(trace, policy, capacity, detail="bare")
    except UsageError as error:
        return Row(conf, "refused", notes=[*notes, str(error)])
    row = Row(conf, placed.status, placed.peak_reserved_bytes, notes=notes)
    row.retries, row.segments = int(placed.state.stats[ALLOC_RETRIES]), int(placed.state.stats[SEGMENT + PEAK])
    if placed.oom_event is not None:
        row.oom_event, row.autopsy = placed.oom_event, autopsy(placed)
        row.oom_tag = tag_at(trace, placed.oom_event)
    row.smallest_capacity = smallest(trace, policy)
    return row


def smallest(trace: Trace, policy: Policy) -> int | None:
    """Return the smallest capacity found by bisection down to STEP; None if the setting fails on any device."""
    from memtrace.questions.mincap import bisect, runs

    run = runs(trace, policy)
    bound = trace.facts.peak_live_bytes
    try:
        top = run(None)
    except UsageError:  # a fraction of the device's memory requires a capacity
        top = run(8 * bound)
    return bisect(bound, top, run, STEP) if top.works else None


def tag_at(trace: Trace, event: int) -> str | None:
    """Return the tag of an event; None if it has none."""
    at = 0
    for events in trace.batches():
        if event < at + events.op.size:
            code = int(events.tag[event - at]) if events.tag.size > 1 else -1
            return trace.tags[code] if code >= 0 else None
        at += events.op.size
    raise IndexError(event)


def mark_no_effect(rows: list[Row]) -> None:
    """Add a note, in place, to each row whose figures equal those of the default settings."""
    base = next((row for row in rows if row.conf == DEFAULTS and row.status != "refused"), None)
    for row in rows:
        if base and row is not base and _figures(row) == _figures(base):
            row.notes.append("the same as with the defaults")


def _figures(row: Row) -> tuple[Any, ...]:
    """Return the results of a row that are compared with those of the defaults."""
    return row.status, row.peak_reserved, row.retries, row.segments, row.oom_event, row.smallest_capacity


def best_of(rows: list[Row]) -> Row | None:
    """Return the best row: without a failure, on the smallest device, then with the fewest retries and the lowest peak.

    Of equal rows it is the first; None if all failed or were refused.
    """
    works = [row for row in rows if row.status == "ok" and row.smallest_capacity is not None]
    far = np.iinfo(np.int64).max
    return min(works, key=lambda row: (row.smallest_capacity or far, row.retries, row.peak_reserved), default=None)
