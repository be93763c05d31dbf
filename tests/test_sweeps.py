"""Texts that stand for several values, and the columns that they become."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run

from memtrace.engine.registry import parse_policies
from memtrace.errors import UsageError
from memtrace.results.parameters import parameters
from memtrace.suite import load, plan
from memtrace.sweeps import size_text, spellings, values
from memtrace.units import parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16", ["16"]),
        ("16|64 | 256|64", ["16", "64", "256"]),
        ("0..3", ["0", "1", "2", "3"]),
        ("1|4..6", ["1", "4", "5", "6"]),
        ("2GiB..8GiB/3", ["2GiB", "5GiB", "8GiB"]),
        ("1..100/4", ["1", "34", "67", "100"]),
        ("16..100*2", ["16", "32", "64"]),
        ("1KiB..8KiB*2", ["1KiB", "2KiB", "4KiB", "8KiB"]),
        ("1.5GiB..2GiB/2", ["1536MiB", "2GiB"]),
        ("1GiB..2GiB/4", ["1GiB", "1365MiB", "1706MiB", "2GiB"]),  # 1365.3 and 1706.7 MiB
        ("5..5", ["5"]),
        ("[a|b]", ["[a|b]"]),
        ("../mine", ["../mine"]),
    ],
)
def test_values(text: str, expected: list[str]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2GiB..8GiB", "does not say how many sizes; write 2GiB..8GiB/12"),
        ("8..2", "8 is more than 2"),
        ("0..1000000", "1,000,001 values"),
        ("1..9/1", "2 values or more"),
        ("0..9*2", "begins at 1 or more"),
        ("1Gi..2GiB/3", "unknown unit"),
    ],
)
def test_ranges_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        values(text)


def test_sizes_are_exact() -> None:
    assert [size_text(size) for size in (0, 1, 1024, 1536, 5 << 30)] == ["0", "1", "1KiB", "1536", "5GiB"]
    assert all(parse_size(size_text(size)) == size for size in (7, 4096, 3 << 41, (1 << 30) + 1))


def test_all_combinations() -> None:
    both = ["a:x=1,y=3", "a:x=1,y=4", "a:x=2,y=3", "a:x=2,y=4"]
    assert spellings("a:x=1|2,y=3..4") == both
    assert spellings("./m.py:x=1|2") == ["./m.py:x=1", "./m.py:x=2"]
    assert spellings("../m.py") == ["../m.py"] and spellings("bump") == ["bump"]
    assert spellings("arenas:policy=[best-fit:align=1|2]") == ["arenas:policy=[best-fit:align=1|2]"]
    with pytest.raises(UsageError, match="1,000,000 combinations"):
        spellings("a:x=1..1000,y=1..1000")


def test_policies() -> None:
    assert [policy.label for policy in parse_policies(["best-fit:align=16|64", "bump"])] == [
        "best-fit:align=16",
        "best-fit:align=64",
        "bump",
    ]


def row(trace: str, policy: str, options: dict[str, object], capacity: int | None = None, sha256: str = "a") -> dict[str, object]:
    return {"trace": trace, "trace_sha256": sha256, "policy": policy, "options": json.dumps(options), "capacity_bytes": capacity}


def test_what_does_not_differ_has_no_column() -> None:
    rows = [row("t", "bump", {"align": 16}), row("u", "bump", {"align": 16}), row("t", "tlsf", {"fit": "good"})]
    assert parameters(rows, {"t": "t.csv", "u": "u.csv"}) == {}


def test_what_differs_is_a_column() -> None:
    rows = [row(f"t@{size}", f"b:align={align}", {"align": align, "x": True}, size) for size in (8, 9) for align in (16, 64)]
    rows += [row("t@8", "bump", {}, 8)]
    assert parameters(rows, {"t@8": "t.csv", "t@9": "t.csv"}) == {
        "policy.name": ["b"] * 4 + ["bump"],
        "policy.align": [16, 64, 16, 64, None],
        "trace.name": ["t"] * 5,
    }


def test_options_of_workloads_are_columns() -> None:
    sources = {"c": "classic:events=20", "c-1": "classic:events=20,seed=1", "t": "t.csv"}
    rows = [row(name, "bump", {}, sha256=name) for name in sources]
    assert parameters(rows, sources) == {"trace.name": ["classic", "classic", "t"], "trace.seed": [0, 1, None]}


def test_a_sweep_is_run(memtrace: Run, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    given = ("classic:events=40,seed=0..1", "-p", "bump:align=16|64", "--capacity", "1KiB..1MiB/2", "--no-report", "-o", "r")
    done = memtrace("run", *given)
    assert done.returncode == 0 and "8 cells: 2 traces x 2 policies x 2 capacities" in done.stderr
    found = pq.read_table(tmp_path / "r" / "summary.parquet").to_pydict()
    assert found["trace"][::2] == [f"classic-events-40{seed}@{size}" for seed in ("", "-seed-1") for size in ("1KiB", "1MiB")]
    assert found["policy.align"] == [16, 64] * 4 and found["trace.seed"] == [0] * 4 + [1] * 4
    assert found["capacity_bytes"] == [1024, 1024, 1 << 20, 1 << 20] * 2
    assert found["policy.name"] == ["bump"] * 8 and found["trace.name"] == ["classic"] * 8
    assert memtrace("show", "r").returncode == 0 and memtrace("compare", "r", "r").returncode == 0


def test_a_suite_has_sweeps(tmp_path: Path) -> None:
    file = tmp_path / "memtrace.toml"
    file.write_text(
        'traces = ["classic:events=20,seed=0..1"]\ncapacity = "1MiB..4MiB*2"\n'
        'policies = ["bump:align=16|64", {policy = "best-fit", align = "16..64*2"}]\n'
    )
    tasks = plan(load(file)).tasks
    assert len(tasks) == 2 * 3 * 5 and {task.settings.capacity for task in tasks} == {1 << 20, 2 << 20, 4 << 20}
    assert {task.trace for task in tasks} == {f"classic-events-20{s}@{c}MiB" for s in ("", "-seed-1") for c in (1, 2, 4)}
    file.write_text('traces = [{trace = "classic:seed=0..1", name = "c"}]\npolicies = ["bump"]\n')
    with pytest.raises(UsageError, match="stands for 2 traces, which cannot all be called 'c'"):
        load(file)
    file.write_text('traces = ["classic"]\npolicies = ["bump"]\ncapacity = "1GiB..2GiB"\n')
    with pytest.raises(UsageError, match=r"capacity: .*does not say how many"):
        load(file)
