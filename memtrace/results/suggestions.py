"""Suggest the commands that are worth trying next, from the summary rows of one trace."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from memtrace.results.schema import NO_FILES
from memtrace.results.verdict import best, is_oom, is_pool, rank

MOST = 3  # suggestions
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
COARSE = 100  # units that a suggested capacity has at least, so that rounding up adds 1 % at most
MOST_POLICIES = 12  # in a suggested command
Rows = Sequence[dict[str, Any]]


class Suggestion(NamedTuple):
    """A command to try next, and what it shows."""

    command: str
    reason: str


def suggestions(rows: Rows, source: str, files: Mapping[str, str] = NO_FILES) -> list[Suggestion]:
    """Return at most three suggestions, the most useful first; `source` is the trace as one would type it.

    ``files`` is the manifest's entry `policies`: how one would type the policies that are files, by label.
    """
    ranked, trace = rank(rows), shlex.quote(source)
    if not ranked:
        return []
    found = [_check(ranked, trace), _skip(ranked, trace, files), _pool(ranked, trace, files)]
    found += [_capacity(ranked, trace, files), _others(ranked, trace)]
    return [suggestion for suggestion in found if suggestion][:MOST]


def _check(ranked: Rows, trace: str) -> Suggestion | None:
    """Suggest `memtrace check` if the trace had invalid events."""
    if not ranked[0].get("invalid_events"):
        return None
    return Suggestion(f"memtrace check {trace}", "names each event that was skipped")


def _skip(ranked: Rows, trace: str, files: Mapping[str, str]) -> Suggestion | None:
    """Suggest to skip failed requests if a policy ran out of memory, which shows how much memory is missing."""
    failed = [row["policy"] for row in ranked if is_oom(row)]
    if not failed:
        return None
    capacity = f" --capacity {ranked[0]['capacity_bytes']}" if ranked[0].get("capacity_bytes") else ""
    options = f"-p {shlex.quote(files.get(failed[0], failed[0]))}{capacity} --on-oom skip"
    return Suggestion(f"memtrace run {trace} {options}", "goes on after the first failure and counts them all")


def _capacity(ranked: Rows, trace: str, files: Mapping[str, str]) -> Suggestion | None:
    """Suggest to limit all policies to the memory that the best one needs."""
    chosen = best(ranked)
    if (
        not chosen
        or is_pool(chosen[0])
        or ranked[0].get("capacity_bytes")
        or not chosen[0]["peak_reserved_bytes"]
        or len(ranked) < 2
    ):
        return None
    peak = chosen[0]["peak_reserved_bytes"]
    unit, word = next(((unit, word) for unit, word in UNITS if peak >= COARSE * unit), (1, "B"))
    capacity = -(-peak // unit)
    failing = [row for row in ranked if row["peak_reserved_bytes"] > capacity * unit]
    if not failing or len(ranked) > MOST_POLICIES:
        return None
    named = "".join(f" -p {shlex.quote(files.get(row['policy'], row['policy']))}" for row in ranked)
    others = "" if {row["policy"] for row in ranked} <= defaults() else named
    return Suggestion(
        f"memtrace run {trace}{others} --capacity {capacity}{word}",
        f"shows where the others fail in what {chosen[0]['policy']} needs",
    )


def defaults() -> set[str]:
    """Return the names of the policies that are compared if none is named."""
    from memtrace.engine.registry import parse_policies

    return {policy.label for policy in parse_policies(["default"])}


def _pool(ranked: Rows, trace: str, files: Mapping[str, str]) -> Suggestion | None:
    """Suggest to search the smallest memory that works, in place of a pool of fixed size."""
    pools = [row["policy"] for row in ranked if is_pool(row)]
    if not pools:
        return None
    policy = shlex.quote(without_initial(files.get(pools[0], pools[0])))
    return Suggestion(f"memtrace mincap {trace} -p {policy}", "finds the smallest memory in which no request fails")


def without_initial(policy: str) -> str:
    """Return a policy's text without its option `initial`, the bytes reserved at the start; brackets are kept whole."""
    return re.sub(r"(?<=[:,])initial=[^,\]]*,|[:,]initial=[^,\]]*(?=\]|$)", "", policy)


def _others(ranked: Rows, trace: str) -> Suggestion | None:
    """Suggest to compare with other policies if only one was run."""
    if len(ranked) > 1:
        return None
    return Suggestion(f"memtrace run {trace} -p default", "compares with other policies")
