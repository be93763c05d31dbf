"""The parameters of a sweep as columns of the summary: what differs between the policies, and between the traces, of one run.

- `policy.name` is the policy without its options, and `policy.OPTION` the value of each option that has several values for one
  policy; null for policies without that option.
- `trace.name` is the trace without its capacity, of a workload the workload's name; `trace.OPTION` is the value of each option in
  which its traces differ, such as `trace.seed`; null where an option was not written, but 0 for the seed.

The capacity is in the column `capacity_bytes`. A run in which nothing differs has none of these columns.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from memtrace.names import split_spec

Row = Mapping[str, Any]
Values = dict[str, Any]  # parameter -> value


def parameters(rows: Sequence[Row], sources: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the values of each parameter, one for each summary row, by the column's name.

    ``sources`` maps the name of a trace to its path, URL or recipe. The values of a column are all whole numbers, all truth
    values, or all texts, or None.
    """
    policies = {(row["policy"], row["options"]): _policy(row) for row in rows}
    capacities: dict[str, set[Any]] = defaultdict(set)
    for row in rows:
        capacities[row["trace_sha256"]].add(row["capacity_bytes"])
    swept = {row["trace"] for row in rows if len(capacities[row["trace_sha256"]]) > 1}
    traces = {row["trace"]: _trace(row["trace"], sources.get(row["trace"], ""), row["trace"] in swept) for row in rows}
    found = _columns("policy", [policies[row["policy"], row["options"]] for row in rows], False)
    return found | _columns("trace", [traces[row["trace"]] for row in rows], bool(swept))


def _policy(row: Row) -> tuple[str, Values]:
    """Return the name of a row's policy, and the values of all its options."""
    return row["policy"].partition(":")[0], json.loads(row["options"])


def _trace(trace: str, source: str, swept: bool) -> tuple[str, Values]:
    """Return a trace's name without its capacity, and the options that it was written with if it is a workload."""
    from memtrace.workloads.recipe import is_workload

    if not is_workload(source):
        return (trace.rpartition("@")[0] or trace) if swept else trace, {}
    name, given = split_spec(source)
    return name, {"seed": 0, **{key.replace("-", "_"): _value(text) for key, text in given.items()}}


def _value(text: str) -> int | str:
    """Return the text of an option as a whole number if it is one."""
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text


def _columns(kind: str, each: Sequence[tuple[str, Values]], named: bool) -> dict[str, list[Any]]:
    """Return the columns of the parameters that differ among those of one name; none if nothing does and not ``named``."""
    different = {(name, tuple(sorted(options.items()))) for name, options in each}
    sets: dict[str, list[Values]] = defaultdict(list)
    for name, options in different:
        sets[name].append(dict(options))
    several = {
        key
        for own in sets.values()
        for key in {key for options in own for key in options}
        if len({(key in options, options.get(key)) for options in own}) > 1
    }
    if not several and not named:
        return {}
    columns = {f"{kind}.{key}": [options.get(key) for _, options in each] for key in sorted(several)}
    return {f"{kind}.name": [name for name, _ in each], **{name: _alike(values) for name, values in columns.items()}}


def _alike(values: list[Any]) -> list[Any]:
    """Return the values as they are if all are of one type, else as texts; None stays None."""
    if len({type(value) for value in values if value is not None}) < 2:
        return values
    return [None if value is None else str(value).lower() if isinstance(value, bool) else str(value) for value in values]
