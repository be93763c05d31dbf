"""memtrace.toml: what it may say, and what is answered to what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT

from memtrace.errors import InputError, MemtraceError, UsageError
from memtrace.suite import load, plan
from memtrace.suite.config import Suite

GOOD = 'traces = ["t.csv"]\npolicies = ["best-fit"]\n'


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    for name in ("t.csv", "u.csv"):
        (tmp_path / name).write_text(f"op,id,size\nalloc,1,{len(name)}\n")
    return tmp_path


def written(desk: Path, text: str, name: str = "memtrace.toml") -> Suite:
    (desk / name).write_text(text)
    return load(desk / name)


def test_seeds_are_of_workloads(desk: Path) -> None:
    text = """
traces = ["t.csv", "classic:events=20", "classic:events=20,seed=7", {trace = "classic", seeds = 2, name = "c"}]
policies = ["best-fit"]
seeds = 3
"""
    sown = [(spec.trace, spec.name) for spec in written(desk, text).traces]
    classic = [(f"classic:events=20,seed={seed}", None) for seed in range(3)]
    named = [(f"classic:seed={seed}", f"c,seed={seed}") for seed in range(2)]
    assert sown == [("t.csv", None), *classic, ("classic:events=20,seed=7", None), *named]
    for wrong, said in (
        ('{trace = "t.csv", seeds = 2}', "t.csv is no workload"),
        ('{trace = "classic:seed=1", seeds = 2}', "classic:seed=1 has a seed"),
        ('{trace = "classic", seeds = 0}', "0 is no whole number above 0"),
    ):
        with pytest.raises(UsageError, match=f"seeds: {said}"):
            written(desk, f'traces = [{wrong}]\npolicies = ["best-fit"]\n')


def test_a_suite_in_a_repository_writes_anywhere_in_it_and_policies_may_be_words(desk: Path) -> None:
    (desk / ".git").mkdir()
    (desk / "ci").mkdir()
    suite = written(desk, 'junit = "../junit.xml"\ntraces = ["../t.csv"]\npolicies = ["best-fit", "native:glibc"]\n', "ci/m.toml")
    assert [task.policy for task in plan(suite).tasks] == ["best-fit", "native:glibc"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('polices = ["best-fit"]\n' + GOOD, "unknown key 'polices'; did you mean 'policies'?"),
        ('junit = "../victim.txt"\n' + GOOD, "junit: ../victim.txt lies outside of"),
        ('output = "/tmp/elsewhere"\n' + GOOD, "output: /tmp/elsewhere lies outside of"),
        ("traces = " + "[" * 5000 + "]" * 5000, "its values are nested too deeply"),
        ("gates = []\n" + GOOD, "unknown key 'gates'"),
        ("", "traces is to be a list with at least one entry, such as traces = ["),
        ('traces = ["t.csv"]\n', "policies is to be a list"),
        ('traces = "t.csv"\npolicies = ["best-fit"]', "traces is to be a list"),
        ('traces = [5]\npolicies = ["best-fit"]', "5 is neither a path in quotes nor a table"),
        ('traces = [{trace="t.csv", nmae="x"}]\npolicies = ["best-fit"]', "unknown key 'nmae'; did you mean 'name'?"),
        ('traces = [{name="x"}]\npolicies = ["best-fit"]', "lacks the key trace"),
        ('traces = ["t.csv"]\npolicies = ["best-fti"]', "did you mean 'best-fit'?"),
        ('traces = ["t.csv"]\npolicies = [{policy="best-fit", algin=[1]}]', "did you mean 'align'?"),
        ('traces = ["t.csv"]\npolicies = [{policy="best-fit", align=[]}]', "a value or a list of values"),
        ('traces = ["t.csv"]\npolicies = [{policy="best-fit", align=[1.5]}]', "a value or a list of values"),
        ('traces = ["t.csv"]\npolicies = [{polic="best-fit"}]', "nor a table with the key policy"),
        ('capacity = "80G"\n' + GOOD, "80GiB"),
        ("capacity = true\n" + GOOD, "True is no size"),
        ('capacity = "1KiB"\ntraces = ["t.csv"]\npolicies = ["best-fit:initial=4KiB"]', "above the capacity"),
        ('on_oom = "explode"\n' + GOOD, "'explode' is none of stop, skip"),
        ("samples = 0\n" + GOOD, "neither a number above 0 nor 'all'"),
        ('validate = "yes"\n' + GOOD, "neither true nor false"),
        ('fail_if = "x"\n' + GOOD, "fail_if is to be a list of texts"),
        ('fail_if = ["peak_reserved_byte>1"]\n' + GOOD, "did you mean 'peak_reserved_bytes'?"),
        ('reports = ["pfd"]\n' + GOOD, "did you mean 'pdf'?"),
        ("output = 5\n" + GOOD, "5 is no text"),
        ("traces = [\n", "memtrace.toml: "),
        ('traces = ["nothing-*.csv"]\npolicies = ["best-fit"]', "no file is like 'nothing-*.csv'"),
        ('traces = ["t.csv", "t.csv"]\npolicies = ["best-fit"]', "two traces are called t"),
        ('traces = [{trace="*.csv", name="x"}]\npolicies = ["best-fit"]', "stands for 2 files"),
        ('traces = ["t.cvs"]\npolicies = ["best-fit"]', "t.cvs"),
    ],
)
def test_mistakes_are_answered(desk: Path, text: str, said: str) -> None:
    with pytest.raises(MemtraceError) as caught:
        plan(written(desk, text))
    assert said in str(caught.value)
    assert isinstance(caught.value, InputError if "cvs" in text else UsageError)


def test_files_patterns_options_and_capacities_multiply(desk: Path) -> None:
    suite = written(
        desk,
        """
        capacity = "1MiB"
        traces = ["*.csv", {trace = "t.csv", name = "tight", capacity = ["64KiB", 100]}]
        policies = ["first-fit", {policy = "best-fit", align = [16, "1KiB"], trim = [true, false]}, {policy = "buddy:min_block=32"}]
        """,
    )
    tasks = plan(suite).tasks
    assert list(dict.fromkeys(task.trace for task in tasks)) == ["t", "u", "tight@64KiB", "tight@100"]
    assert [task.label for task in tasks[:6]] == [
        "first-fit",
        "best-fit:align=16,trim=true",
        "best-fit:align=16,trim=false",
        "best-fit:align=1024,trim=true",
        "best-fit:align=1024,trim=false",
        "buddy:min_block=32",
    ]
    assert [task.settings.capacity for task in tasks[::6]] == [1 << 20, 1 << 20, 64 << 10, 100]
    assert len(tasks) == 24 == len({task.key for task in tasks})


def test_what_determines_a_cell_determines_its_key(desk: Path) -> None:
    def key(text: str) -> str:
        return plan(written(desk, text)).tasks[0].key

    first = key(GOOD)
    assert key(GOOD) == first == key('fail_if = ["events > 5"]\n' + GOOD) == key('output = "x"\n' + GOOD)
    others = ["samples = 7\n", 'capacity = "1MiB"\n', 'on_oom = "skip"\n', "validate = true\n", 'invalid = "skip"\n']
    keys = [key(other + GOOD) for other in others] + [key(GOOD.replace("best-fit", "best-fit:align=8"))]
    (desk / "t.csv").write_text("op,id,size\nalloc,1,6\n")
    assert len({first, *keys, key(GOOD)}) == 8, "the trace's content too"


def test_settings_outside_determine_the_cells_of_real_allocators(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> list[str]:
        return [task.key for task in plan(written(desk, 'traces = ["t.csv"]\npolicies = ["native:glibc", "best-fit"]')).tasks]

    first = keys()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert [a == b for a, b in zip(first, keys(), strict=True)] == [False, True]


def test_a_policy_of_ones_own_is_found_beside_the_file(desk: Path) -> None:
    source = ROOT / "docs" / "example_policy.py"
    (desk / "mine.py").write_text(source.read_text())
    (task,) = plan(written(desk, 'traces = ["t.csv"]\npolicies = ["./mine.py"]')).tasks
    assert (task.label, task.policy) == ("mine", str((desk / "mine.py").resolve()))


def test_the_file_is_found(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    with pytest.raises(UsageError, match=r"neither memtrace\.toml nor pyproject\.toml"):
        load()
    (desk / "pyproject.toml").write_text("[tool.other]\n")
    with pytest.raises(UsageError, match=r"has no table \[tool\.memtrace\]"):
        load()
    (desk / "pyproject.toml").write_text(f"[tool.memtrace]\n{GOOD}")
    assert load().file.name == "pyproject.toml"
    (desk / "memtrace.toml").write_text(GOOD)
    assert load().file.name == "memtrace.toml"
    with pytest.raises(UsageError, match=r"did you mean memtrace\.toml\?"):
        load("memtrase.toml")


def test_paths_are_relative_to_the_file(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk / "ci").mkdir()
    monkeypatch.chdir(desk)
    (desk / "ci" / "memtrace.toml").write_text(GOOD)
    with pytest.raises(InputError, match=r"ci/t\.csv: no such file"):
        plan(load("ci/memtrace.toml"))
    (desk / "ci" / "memtrace.toml").write_text(GOOD.replace("t.csv", "../t.csv"))
    assert plan(load("ci/memtrace.toml")).tasks[0].source == str((desk / "t.csv").resolve())
