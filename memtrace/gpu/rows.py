"""Replay a trace once per setting of PyTorch's allocator, find the smallest capacity of each, and rank the settings."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from memtrace.errors import UsageError
from memtrace.gpu.autopsy import Autopsy, autopsy
from memtrace.gpu.fidelity import policy_of
from memtrace.gpu.private_pools import MakeHooks, made
from memtrace.gpu.settings import DEFAULTS, changes, refused_by, splits_nothing, warnings
from memtrace.structures.caching.versions import LATEST, Version

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Trace

STEP = 2 << 20  # bytes: bisection ends at this precision, which is the granularity of the device's memory
TIE = 0.01  # share: settings whose peaks differ by less are equally good
LONG = 200_000  # events from which on only the best settings are bisected for the smallest device
BISECTED = 3  # how many of a long trace


@dataclass
class Row:
    """Hold the results of one setting. Sizes are in bytes."""

    conf: str  # the setting
    status: str  # ok, oom, refused
    peak_reserved: int | None = None
    flushes: int | None = None  # requests for which the whole cache was emptied; PyTorch's num_alloc_retries
    ooms: int | None = None  # requests that failed
    segments: int | None = None  # peak number; like PyTorch, this does not count expandable ones
    oom_event: int | None = None  # number of the first event that failed
    oom_tag: str | None = None  # tag of that event
    autopsy: Autopsy | None = None  # the state at that failure
    smallest_capacity: int | None = None  # None: not searched, or no device is large enough
    notes: list[str] = field(default_factory=list)  # remarks, in sentences
    same_as: str | None = None  # the earlier setting whose figures are the same


def rows_of(
    trace: Trace, confs: list[str], capacity: int | None, version: Version = LATEST, hooks: MakeHooks | None = None
) -> list[Row]:
    """Return a row for each setting, in the order of ``confs``; ``capacity`` in bytes, None for as much memory as needed.

    ``hooks``: of a recording with private pools (`private_pools.hooks_of`).

    The replays run in parallel threads, because compiled code does not hold the interpreter's lock.
    """
    idle = [conf for conf in confs if DEFAULTS in confs and splits_nothing(conf, trace.facts.largest_request)]
    tried = [conf for conf in confs if conf not in idle]
    pool = ThreadPoolExecutor(min(len(tried), os.cpu_count() or 1), "memtrace-whatif")
    try:
        found = dict(zip(tried, pool.map(lambda conf: row_of(trace, conf, capacity, version, hooks=hooks), tried), strict=True))
        for conf in idle:
            reason = refused_by(conf, version)
            notes = warnings(conf, trace.facts.largest_request)
            found[conf] = (
                Row(conf, "refused", notes=[reason])
                if reason
                else replace(found[DEFAULTS], conf=conf, notes=notes, same_as=DEFAULTS)
            )
        rows = [found[conf] for conf in confs]
        mark_equal(rows)
        sought = [row for row in ranked(rows, "") if row.status != "refused" and row.same_as is None]
        sought = sought if trace.facts.events < LONG else sought[:BISECTED]
        least = dict(
            zip(
                [row.conf for row in sought], pool.map(lambda row: smallest(trace, row.conf, version, hooks), sought), strict=True
            )
        )
    finally:
        pool.shutdown(cancel_futures=True)
    for row in rows:
        row.smallest_capacity = least.get(row.conf if row.same_as is None else row.same_as)
    return rows


def row_of(
    trace: Trace,
    conf: str,
    capacity: int | None,
    version: Version = LATEST,
    explain: bool = True,
    hooks: MakeHooks | None = None,
) -> Row:
    """Replay a setting within ``capacity`` bytes (None: as much as needed) and return its row, without a smallest capacity.

    With ``explain``, the row of a setting that fails has an autopsy. A setting that PyTorch or memtrace does not accept gives a
    row with status refused.
    """
    from memtrace.engine.registry import parse_policy
    from memtrace.engine.replay import replay
    from memtrace.structures.caching.statistics import ALLOC_RETRIES, OOM_REJECTIONS, OOMS, PEAK, SEGMENT

    notes = warnings(conf, trace.facts.largest_request)
    if reason := refused_by(conf, version):
        return Row(conf, "refused", notes=[reason, *notes])
    try:
        policy = parse_policy(policy_of(conf, version))
        placed = replay(trace, policy, capacity, on_oom="skip", detail="bare", hooks=made(hooks))
    except UsageError as error:
        return Row(conf, "refused", notes=[*notes, str(error)])
    stats = placed.state.stats
    row = Row(conf, "ok", placed.peak_reserved_bytes, notes=notes)
    row.flushes, row.segments = int(stats[ALLOC_RETRIES]), int(stats[SEGMENT + PEAK])
    row.ooms = int(stats[OOMS] + stats[OOM_REJECTIONS])
    if row.ooms:
        row.status = "oom"
    if row.ooms and explain:
        row.autopsy = autopsy(replay(trace, policy, capacity, detail="bare", hooks=made(hooks)))
        row.oom_event, row.oom_tag = row.autopsy.event, row.autopsy.tag
    return row


def smallest(trace: Trace, conf: str, version: Version = LATEST, hooks: MakeHooks | None = None) -> int | None:
    """Return the smallest capacity found by bisection down to STEP; None if the setting fails on any device."""
    from memtrace.engine.registry import parse_policy

    return smallest_of(trace, parse_policy(policy_of(conf, version)), hooks)


def smallest_of(trace: Trace, policy: Policy, hooks: MakeHooks | None = None) -> int | None:
    """Do the same as ``smallest`` for a policy."""
    from memtrace.questions.mincap import bisect, runs

    run = runs(trace, policy, hooks)
    bound = trace.facts.peak_live_bytes
    try:
        top = run(None)
    except UsageError:  # a fraction of the device's memory requires a capacity
        top = run(8 * bound)
    return bisect(bound, top, run, STEP) if top.works else None


def mark_equal(rows: list[Row]) -> None:
    """Note in each row the first row with the same figures, in place."""
    first: dict[Any, str] = {}
    for row in rows:
        if row.status == "refused":
            continue
        figures = (row.status, row.peak_reserved, row.flushes, row.ooms, row.segments, row.oom_event)
        before = first.setdefault(figures, row.conf)
        row.same_as = before if before != row.conf else None


def ranked(rows: list[Row], recorded: str) -> list[Row]:
    """Return the rows from the best to the worst, those that are refused last.

    A setting is better if fewer requests fail, then if it flushes less, then if it reserves less. Peaks that differ by less than
    TIE are equal, and of such settings the one with the fewest changes from ``recorded`` is better.
    """
    left = [row for row in rows if row.status != "refused"]
    found: list[Row] = []
    while left:
        ooms, flushes = min((row.ooms or 0, row.flushes or 0) for row in left)
        group = [row for row in left if (row.ooms or 0, row.flushes or 0) == (ooms, flushes)]
        least = min(row.peak_reserved or 0 for row in group)
        close = [row for row in group if (row.peak_reserved or 0) <= least * (1 + TIE)]
        best = min(close, key=lambda row: (changes(row.conf, recorded), row.peak_reserved or 0, rows.index(row)))
        found.append(best)
        left.remove(best)
    return found + [row for row in rows if row.status == "refused"]
