"""Policies over many traces: every number beside pandas and scipy."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from memtrace.results.standings import Standing, conclusion, group_of, paired, standings, tells_ends_apart

Row = dict[str, Any]


def row(trace: str, policy: str, peak: int, bound: int = 1000, status: str = "ok", failed: int = 0) -> Row:
    return {
        "trace": trace,
        "policy": policy,
        "peak_reserved_bytes": peak,
        "lower_bound_bytes": bound,
        "status": status,
        "failed_allocs": failed,
    }


def random_rows(traces: list[str], seed: int, policies: int = 6) -> list[Row]:
    dice = random.Random(seed)
    factors = [1.01 + 0.03 * place for place in range(policies)]
    found = []
    for trace in traces:
        bound = dice.randrange(10_000, 10_000_000)
        for place, factor in enumerate(factors):
            status = "oom" if dice.random() < 0.05 * place else "ok"
            found.append(row(trace, f"p{place}", int(bound * factor * dice.uniform(1, 1.2)), bound, status))
    return found


def frame_of(rows: list[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame["log"] = np.log(frame["peak_reserved_bytes"] / frame["lower_bound_bytes"])
    frame["serves"] = (frame["status"] == "ok") & (frame["failed_allocs"] == 0)
    return frame


@pytest.mark.parametrize("seed", range(3))
def test_every_number_of_the_ranking(seed: int) -> None:
    rows = random_rows([f"t{number}" for number in range(15)], seed)
    frame = frame_of(rows)
    ranked = standings(rows)
    peaks = frame["peak_reserved_bytes"].where(frame["serves"], np.inf)
    places = peaks.groupby(frame["trace"]).rank(method="average")
    least = peaks.groupby(frame["trace"]).transform("min")
    for each in ranked:
        own = frame["policy"] == each.policy
        good = frame[own & frame["serves"]]
        assert each.traces == 15 and each.failed == 15 - len(good)
        assert each.ratio == pytest.approx(stats.gmean(good["peak_reserved_bytes"] / good["lower_bound_bytes"]), rel=1e-12)
        assert each.worst == pytest.approx(math.exp(good["log"].max())) and each.low is None
        assert each.worst_trace == good["trace"][good["log"].idxmax()]
        assert each.rank == pytest.approx(places[own].mean())
        assert each.best_on == int((frame["serves"] & (peaks == least))[own].sum())
    order = [(each.failed, each.ratio) for each in ranked]
    assert order == sorted(order)


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_student_s_and_wilcoxon_s(seed: int) -> None:
    rows = random_rows([f"t{number}" for number in range(12)], seed)
    table = frame_of(rows)
    table = table[table["serves"]].pivot(index="trace", columns="policy", values="log").dropna(subset=["p0", "p4"])
    found = paired(rows, "p0", "p4")
    assert found is not None
    differences = table["p4"] - table["p0"]
    interval = stats.ttest_rel(table["p4"], table["p0"]).confidence_interval(0.95)
    assert (found.groups, found.more, found.less) == (len(table), int((differences > 0).sum()), int((differences < 0).sum()))
    assert found.ratio == pytest.approx(math.exp(differences.mean()))
    assert (found.low, found.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert found.p == pytest.approx(stats.wilcoxon(table["p4"], table["p0"]).pvalue)


def test_seeds_are_replicates() -> None:
    rows = [row(f"classic-seed-{s}" if s else "classic", "a", 1100 + 10 * s) for s in range(6)]
    rows += [row(f"classic-seed-{s}" if s else "classic", "b", 1200 + 25 * s) for s in range(6)]
    (first, _), logs = standings(rows), np.log([1.1 + 0.01 * s for s in range(6)])
    interval = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert first.ratio == pytest.approx(math.exp(logs.mean()))
    assert (first.low, first.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    found = paired(rows, "a", "b")
    assert found is not None and found.groups == 6 and found.less == 0
    assert "over 6 traces (1 workload and their seeds)" in conclusion(rows)[0]
    two = rows + [{**each, "trace": f"other,seed={n % 6}"} for n, each in enumerate(rows)]
    pair = paired(two, "a", "b")
    assert pair is not None and pair.groups == 2, "the seeds of a workload are no independent evidence on workloads"
    wider = next(each for each in standings(two) if each.policy == "a")
    parts = logs.var(ddof=1) / 6 / 4 * 2
    assert wider.high is not None and wider.ratio is not None
    assert math.log(wider.high / wider.ratio) == pytest.approx(stats.t.ppf(0.975, 10) * math.sqrt(parts))


@pytest.mark.parametrize(
    ("trace", "group"),
    [
        ("classic-events-9-seed-3", "classic-events-9"),
        ("classic:seed=3,events=9", "classic:events=9"),
        ("classic:events=9,seed=3", "classic:events=9"),
        ("classic:seed=3", "classic"),
        ("gpt,seed=11@2GiB", "gpt@2GiB"),
        ("seed-bank", "seed-bank"),
        ("my-seed-3d", "my-seed-3d"),
    ],
)
def test_groups(trace: str, group: str) -> None:
    assert group_of(trace) == group


def test_what_is_said() -> None:
    rows = [row("s", "a", 1100), row("t", "a", 1200), row("s", "b", 1101), row("t", "b", 1204)]
    first, second = conclusion(rows)
    assert first == (
        "a needs least over 2 traces: 1.15x the lower bound in the geometric mean, at worst 1.20x on t. "
        "No other needs less on 2 of them."
    )
    assert second.startswith("b, the next one, needs 0.2% more") and second.endswith("they are equal in practice.")
    assert conclusion(rows[:1]) == conclusion(rows[::2]) == []
    failing = [*rows, row("s", "c", 1000, status="oom"), row("t", "c", 1001, failed=3)]
    assert conclusion(failing)[-1] == "1 of 3 policies fail on a trace at least; those traces are in no mean."
    assert standings(failing)[-1] == Standing(
        policy="c",
        traces=2,
        failed=2,
        ratio=None,
        low=None,
        high=None,
        worst=None,
        worst_trace=None,
        best_on=0,
        held=None,
        rank=3.0,
    )
    assert conclusion([row("s", "a", 1, status="oom"), row("t", "a", 1, status="oom"), row("s", "b", 1, status="oom")]) == [
        "No policy served every request of any trace."
    ]


def test_without_scipy_there_are_no_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows([f"t{number}" for number in range(5)], 1)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    found = paired(rows, "p0", "p1")
    assert found is not None and (found.low, found.high, found.p) == (None, None, None)
    assert found.ratio > 0 and len(conclusion(rows)) >= 2


def test_what_is_held_at_the_end_is_a_mean_over_the_traces_that_were_served() -> None:
    ends = {("s", "a"): 0, ("t-seed=0", "a"): 500, ("t-seed=1", "a"): 700, ("s", "b"): 900, ("t-seed=0", "b"): 1000}
    rows: list[Row] = [row(trace, policy, 1000) | {"reserved_end_bytes": end} for (trace, policy), end in ends.items()]
    rows.append(row("t-seed=1", "b", 1000, status="oom") | {"reserved_end_bytes": 9000})
    found = {each.policy: each.held for each in standings(rows)}
    assert found == {"a": pytest.approx((0 + (0.5 + 0.7) / 2) / 2), "b": pytest.approx((0.9 + 1.0) / 2)}
    assert tells_ends_apart(rows)
    assert not tells_ends_apart([{**each, "reserved_end_bytes": 300} for each in rows])
    assert standings([row("s", "a", 1000)])[0].held is None  # results of an older version, which lack the measure
