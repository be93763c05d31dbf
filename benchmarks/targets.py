"""What the policies must reach, as ratios within one run, and whether they did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from benchmarks import native
from benchmarks.columns import BARE, CLASSIC, FULL, POOL, SEARCH, TITLES, column_name
from benchmarks.measure import Results

GLIBC, MAP = TITLES[native.GLIBC], TITLES[native.BEST_FIT_MAP]
MANY_HOLES = ("holes-1e5", "holes-1e6")
FEW_HOLES = ("holes-1e3", "holes-1e4", "uniform", "small", "skewed", "stack")
SPREAD = ("holes-1e5", "uniform")  # many holes all over a large heap
CLOSE = ("holes-1e3", "holes-1e4", "holes-1e6", "small", "skewed", "stack")
BY_ADDRESS = ("first-fit", "next-fit", "worst-fit")
CELLS = ("size-class", "slab", POOL)  # and segregated, which has no target


@dataclass(frozen=True)
class Target:
    """One column's cost over another's, trace by trace: at most `limit`."""

    above: str
    below: str
    limit: float
    traces: tuple[str, ...] = ()  # none named: all


@dataclass(frozen=True)
class Growth:
    """A column's steady cost on one trace over that on another: at most `limit`."""

    column: str
    above: str
    below: str
    limit: float


@dataclass(frozen=True)
class Verdict:
    """A target with what was measured; no ratios where the run did not have both sides."""

    title: str
    limit: float
    ratios: dict[str, float]

    @property
    def met(self) -> bool:
        """No trace is beyond the limit."""
        return all(ratio <= self.limit for ratio in self.ratios.values())


TARGETS: tuple[Target, ...] = (
    Target("best-fit", MAP, 0.5),
    *(Target(policy, MAP, 1.0, SPREAD) for policy in BY_ADDRESS),
    *(Target(policy, MAP, 1.3, CLOSE) for policy in BY_ADDRESS),
    Target("buddy", GLIBC, 1.0),
    *(Target(policy, GLIBC, 1.0) for policy in CELLS),
    Target("tlsf", GLIBC, 1.0, MANY_HOLES),
    Target("tlsf", GLIBC, 3.5, FEW_HOLES),
    Target("stack", GLIBC, 1.0),
    *(Target(column_name(policy, SEARCH), column_name(policy, BARE), 1.4) for policy in CLASSIC),
    *(Target(column_name(policy, FULL), column_name(policy, SEARCH), 1.1) for policy in CLASSIC),
)
GROWTHS: tuple[Growth, ...] = (
    *(Growth(policy, "skewed", "small", 3.0) for policy in CLASSIC),
    *(Growth(policy, "holes-1e6", "holes-1e3", limit) for policy, limit in zip(CLASSIC, (5.0, 5.0, 8.0, 8.0), strict=True)),
    Growth("tlsf", "holes-1e6", "holes-1e3", 5.0),
    Growth("stack", "holes-1e6", "holes-1e3", 5.0),
    *(Growth(policy, "holes-1e6", "holes-1e3", 5.0) for policy in CELLS),
)


def verdicts(results: Results) -> list[Verdict]:
    """Every target that this run can judge."""
    judged = [_judge(target, results) for target in TARGETS] + [_judge_growth(growth, results) for growth in GROWTHS]
    return [one for one in judged if one.ratios]


def _judge(target: Target, results: Results) -> Verdict:
    traces = [trace for trace in results.traces if not target.traces or trace in target.traces]
    pairs = ((trace, results.ns(target.above, trace), results.ns(target.below, trace)) for trace in traces)
    return Verdict(f"{target.above} / {target.below}", target.limit, _ratios(pairs))


def _judge_growth(growth: Growth, results: Results) -> Verdict:
    above, below = (results.steady_ns(growth.column, trace) for trace in (growth.above, growth.below))
    title = f"{growth.column}, steady: {growth.above} / {growth.below}"
    return Verdict(title, growth.limit, _ratios([(growth.above, above, below)]))


def _ratios(pairs: Iterable[tuple[str, float | None, float | None]]) -> dict[str, float]:
    """The ratios of the traces on which both sides were timed."""
    return {trace: above / below for trace, above, below in pairs if above and below and isfinite(above / below)}


def disagreements(results: Results) -> list[str]:
    """Where columns that follow the same rule came to different placements."""
    twins = (
        (MAP, TITLES[native.BEST_FIT_SET], "best-fit"),
        (TITLES[native.FIRST_FIT_TREAP], "first-fit"),
    )
    found = []
    for trace in results.traces:
        for group in twins:
            samples = {name: sample for name in group if (sample := results.first(name, trace))}
            peaks = {name: sample.peak_reserved_bytes for name, sample in samples.items()}
            sums = {name: sample.address_sum for name, sample in samples.items() if sample.address_sum is not None}
            if len(set(peaks.values())) > 1:
                found.append(f"{trace}: peak reserved bytes differ: {peaks}")
            if len(set(sums.values())) > 1:
                found.append(f"{trace}: sums of addresses differ: {sums}")
    return found
