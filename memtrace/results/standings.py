"""Rank policies over many traces: what each needs beside the lower bound, how often it is best, where it fails.

What a policy needs is `verdict.needed`: its peak of reserved bytes, or of a pool of fixed size the high-water mark. Functions
take summary rows, a row for each trace and policy. A trace on which a policy ran out of memory, or refused requests, counts as
failed, and is in no mean. Traces whose names differ only in an option ``seed`` are replicates of one workload: they form a group,
and a policy's value on the group is the mean over its seeds. A trace without a seed is a group of its own.

Means of what is needed are geometric, since they are of ratios: twice as much on one trace and half as much on another are
together equal. Intervals and tests take the logarithms of the ratios, and come from scipy; without it they are None.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memtrace.results.holding import tells_apart
from memtrace.results.verdict import CLEARLY, REFERENCE, above_bound, is_served, needed, ratio_text

Row = Mapping[str, Any]

EXTRA = "pip install 'memtrace-replay[stats]'"
CONFIDENCE = 0.95  # of intervals
FEWEST = 2  # values from which there is an interval
EQUAL = 1e-12  # logarithms of ratios up to which two policies need the same
_SEED = re.compile(r"([,:-])seed[=-]\d+(?![\w.])([,-]?)")  # in a workload's text, and in the name that its trace gets


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How one policy does over all traces."""

    policy: str
    traces: int  # that it was replayed on
    failed: int  # of these: it ran out of memory, or refused requests
    ratio: float | None  # mean over the groups it served, of the bytes needed over the lower bound; None without any
    low: float | None  # lower end of the interval of ``ratio`` over the seeds; None without seeds or without scipy
    high: float | None
    worst: float | None  # the largest such ratio
    worst_trace: str | None
    best_on: int  # traces on which no other needs less
    held: float | None  # mean over the groups it served, of the bytes reserved at the end over the lower bound; None if unknown
    rank: float | None  # mean place among the policies over the traces, the best is 1; equal ones share the mean of their places


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two policies on the groups that both served."""

    policy: str
    other: str
    groups: int  # values compared: groups, or the seeds of the only group
    more: int  # of these on which ``other`` needs more
    less: int
    ratio: float  # mean of what ``other`` needs over what ``policy`` needs
    low: float | None  # ends of the interval of ``ratio``, from Student's t
    high: float | None
    p: float | None  # two-sided, of Wilcoxon's signed-rank test; None if fewer than two values differ, or without scipy


def group_of(trace: str) -> str:
    """Return the name of a trace's group: the trace's without the option ``seed``."""
    return _SEED.sub(lambda found: found[1] if found[2] else "", trace)


def standings(rows: Iterable[Row]) -> list[Standing]:
    """Return a standing for each policy, the best first: by failed traces, mean ratio, and name."""
    by_policy: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_policy[row["policy"]][row["trace"]] = row
    places = _places(by_policy)
    found = [_standing(policy, own, places[policy], best_on(by_policy, policy)) for policy, own in by_policy.items()]
    return sorted(found, key=lambda each: (each.failed, math.inf if each.ratio is None else each.ratio, each.policy))


def served(rows: Mapping[str, Row]) -> dict[str, float]:
    """Return the logarithm of the bytes needed over the lower bound, by trace, where a policy served every request."""
    found = {}
    for trace, row in rows.items():
        ratio = None if row.get("failed_allocs") else above_bound(row)
        if ratio is not None and ratio > 0:
            found[trace] = math.log(ratio)
    return found


def held(rows: Mapping[str, Row]) -> dict[str, float]:
    """Return the bytes reserved at the end over the lower bound, by trace, where a policy served every request."""
    ends = {trace: over_bound(row, "reserved_end_bytes") for trace, row in rows.items() if is_served(row)}
    return {trace: value for trace, value in ends.items() if value is not None}


def over_bound(row: Row, measure: str) -> float | None:
    """Return a measure in bytes over the lower bound; None if either is not known or nothing is ever live."""
    value, bound = row.get(measure), row["lower_bound_bytes"]
    return None if value is None or not bound else value / bound


def tells_ends_apart(rows: Iterable[Row]) -> bool:
    """Return whether what policies hold at the end tells them apart on a trace at least."""
    by_trace: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if is_served(row):
            by_trace[row["trace"]].append(row)
    return any(map(tells_apart, by_trace.values()))


def by_group(values: Mapping[str, float]) -> dict[str, list[float]]:
    """Return values by trace as lists by group."""
    found: dict[str, list[float]] = defaultdict(list)
    for trace, value in values.items():
        found[group_of(trace)].append(value)
    return found


def best_on(by_policy: Mapping[str, Mapping[str, Row]], policy: str) -> int:
    """Return on how many traces a policy serves every request and no other that does needs less."""
    count = 0
    for trace, row in by_policy[policy].items():
        rivals = [own[trace] for own in by_policy.values() if trace in own and is_served(own[trace])]
        count += is_served(row) and needed(row) == min(map(needed, rivals))
    return count


def paired(rows: Sequence[Row], policy: str, other: str) -> Paired | None:
    """Return what ``other`` needs beside ``policy``, on the traces that both served; None if there are none."""
    mine, theirs = (served({row["trace"]: row for row in rows if row["policy"] == name}) for name in (policy, other))
    differences = {trace: theirs[trace] - mine[trace] for trace in mine if trace in theirs}
    groups = by_group(differences)
    if not groups:
        return None
    values = [sum(group) / len(group) for group in groups.values()] if len(groups) > 1 else next(iter(groups.values()))
    mean = sum(values) / len(values)
    interval = _interval([values])
    return Paired(
        policy=policy,
        other=other,
        groups=len(values),
        more=sum(value > EQUAL for value in values),
        less=sum(value < -EQUAL for value in values),
        ratio=math.exp(mean),
        low=None if interval is None else math.exp(mean - interval),
        high=None if interval is None else math.exp(mean + interval),
        p=_signed_rank(values),
    )


def conclusion(rows: Sequence[Row]) -> list[str]:
    """Return sentences on which policy does best over all traces and how the next one compares, the most important first."""
    ranked = [each for each in standings(rows) if each.policy.partition(":")[0] != REFERENCE]  # which nobody can choose
    groups = {group_of(row["trace"]) for row in rows}
    if len(ranked) < 2 or len({row["trace"] for row in rows}) < 2:
        return []
    first, second = ranked[0], ranked[1]
    if first.ratio is None:
        return ["No policy served every request of any trace."]
    failed = "" if not first.failed else f", and fails on {first.failed} of {first.traces}"
    worst = f"at worst {ratio_text(first.worst)} on {first.worst_trace}"
    least = "is first" if first.failed else "needs least"
    said = [
        f"{first.policy} {least} over {_counted(first.traces, groups)}: {ratio_text(first.ratio)} the lower bound in the "
        f"geometric mean, {worst}{failed}. No other needs less on {first.best_on} of them."
    ]
    found = paired(rows, first.policy, second.policy)
    if found is not None:
        said.append(_beside(found, second, len(ranked) - 1))
    lost = [each for each in ranked if each.failed]
    if lost and len(lost) < len(ranked):
        said.append(f"{len(lost)} of {len(ranked)} policies fail on a trace at least; those traces are in no mean.")
    return said


def _counted(traces: int, groups: set[str]) -> str:
    """Return the number of traces in words, with that of the workloads that they are seeds of."""
    if len(groups) == traces:
        return f"{traces:,} traces"
    return f"{traces:,} traces ({len(groups):,} workload{'s' if len(groups) > 1 else ''} and their seeds)"


def _beside(found: Paired, second: Standing, comparisons: int) -> str:
    """Return the sentence that compares the second policy with the first; ``comparisons`` could have been made with the first."""
    if second.failed:
        start = f"{second.policy}, the next one, fails on {second.failed} of {second.traces}; elsewhere it needs"
    else:
        start = f"{second.policy}, the next one, needs"
    change = f"{abs(found.ratio - 1):.1%} {'more' if found.ratio >= 1 else 'less'}"
    if found.low is not None and found.high is not None:
        change += f" (95 % interval {found.low - 1:+.1%} to {found.high - 1:+.1%}, Student's t)"
    counts = f"more on {found.more} of {found.groups}, less on {found.less}"
    test = ""
    if found.p is not None:
        others = f", one of {comparisons} such comparisons" if comparisons > 1 else ""
        test = f"; Wilcoxon's signed-rank test p = {found.p:.2g}{others}"
    near = "" if not 1 / CLEARLY < found.ratio < CLEARLY else " That is less than 1 %: they are equal in practice."
    return f"{start} {change}: {counts}{test}.{near}"


def _standing(policy: str, own: Mapping[str, Row], places: Sequence[float], best: int) -> Standing:
    """Return the standing of a policy with these rows by trace, and these places among the others."""
    logs = served(own)
    groups = by_group(logs)
    means = [sum(values) / len(values) for values in groups.values()]
    mean = sum(means) / len(means) if means else None
    interval = _interval(list(groups.values())) if any(len(values) > 1 for values in groups.values()) else None
    worst = max(logs, key=lambda trace: (logs[trace], trace), default=None)
    return Standing(
        policy=policy,
        traces=len(own),
        failed=sum(not is_served(row) for row in own.values()),
        ratio=None if mean is None else math.exp(mean),
        low=None if mean is None or interval is None else math.exp(mean - interval),
        high=None if mean is None or interval is None else math.exp(mean + interval),
        worst=None if worst is None else math.exp(logs[worst]),
        worst_trace=worst,
        best_on=best,
        held=_mean_of_groups(held(own)),
        rank=sum(places) / len(places) if places else None,
    )


def _mean_of_groups(values: Mapping[str, float]) -> float | None:
    """Return the mean over groups of the means over their traces; it may be of zeros, so it is arithmetic. None of no values."""
    means = [sum(each) / len(each) for each in by_group(values).values()]
    return sum(means) / len(means) if means else None


def _places(by_policy: Mapping[str, Mapping[str, Row]]) -> dict[str, list[float]]:
    """Return each policy's places on the traces that all policies were replayed on; a failed one comes after all that serve."""
    common = set.intersection(*(set(own) for own in by_policy.values())) if by_policy else set()
    found: dict[str, list[float]] = {policy: [] for policy in by_policy}
    for trace in sorted(common):
        peaks = {policy: needed(own[trace]) if is_served(own[trace]) else math.inf for policy, own in by_policy.items()}
        for policy, peak in peaks.items():
            below, same = sum(other < peak for other in peaks.values()), sum(other == peak for other in peaks.values())
            found[policy].append(below + (same + 1) / 2)
    return found


def _interval(groups: Sequence[Sequence[float]]) -> float | None:
    """Return half the width of the interval of the mean of the groups' means, each with an error of its own, from Student's t.

    None if a group has fewer than FEWEST values, or without scipy. The degrees of freedom are Welch's and Satterthwaite's.
    """
    if not groups or any(len(values) < FEWEST for values in groups):
        return None
    try:
        from scipy.stats import t
    except ImportError:
        return None
    parts, weights = [], []
    for values in groups:
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
        parts.append(variance / len(values) / len(groups) ** 2)
        weights.append(len(values) - 1)
    total = sum(parts)
    if not total:
        return 0.0
    freedom = total**2 / sum(part**2 / weight for part, weight in zip(parts, weights, strict=True))
    return float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(total)


def _signed_rank(values: Sequence[float]) -> float | None:
    """Return the p of Wilcoxon's signed-rank test of differences; zeros are left out. None if fewer than FEWEST are left."""
    left = [value for value in values if abs(value) > EQUAL]
    if len(left) < FEWEST:
        return None
    try:
        from scipy.stats import wilcoxon
    except ImportError:
        return None
    return float(wilcoxon(left).pvalue)
