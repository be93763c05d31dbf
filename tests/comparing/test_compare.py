"""`memtrace compare` and `memtrace.compare`, as a user and a CI server meet them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import ROOT, Run

import memtrace as package
from memtrace.comparing.causes import cause
from memtrace.comparing.changes import change_text
from memtrace.comparing.comparison import Comparison, Outcome
from memtrace.comparing.inputs import baseline_text, read_baseline, write_baseline
from memtrace.comparing.outputs import escape, junit, markdown, workflow_commands
from memtrace.comparing.tags import grown
from memtrace.engine.registry import parse_policies
from memtrace.errors import InputError, UsageError
from memtrace.reading import read
from memtrace.results.folder import write_folder
from memtrace.results.running import run
from memtrace.results.settings import Settings
from memtrace.results.tables import Results
from memtrace.trace import from_events

TRACE = ROOT / "traces" / "gpt-6x512-fp32.csv"
GATE = "peak_reserved_bytes>+1%"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and a head in which an option was changed for the worse."""
    folder = tmp_path_factory.mktemp("compare")
    trace = read(TRACE)
    for name, policy in (("base", "best-fit"), ("head", "best-fit:align=1MiB")):
        write_folder(run([trace], parse_policies([policy, "first-fit"]), Settings(), jobs=1), folder / name)
    return folder


@pytest.fixture
def two(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_regression_made_on_purpose(memtrace: Run, memtrace_process: Run, two: Path) -> None:
    same = memtrace("compare", "base", "base", "--fail-if", GATE, "--junit", "same.xml")
    assert same.returncode == 0 and "Of 2 rows, 0 worse, 2 the same. 0 of 1 gate failed (2 checks)." in same.stdout
    done = memtrace_process("compare", "base", "head", "--fail-if", GATE, "--junit", "out/junit.xml", "--markdown", "out/it.md")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    rule = done.stdout.partition("FAIL ")[2]
    assert rule.startswith(f"{GATE}: 1 of 2 failed\n")
    assert "gpt-6x512-fp32, best-fit:align=1048576: measured 4,516,216,832 B (4.2 GiB), limit 4,213,584,773.12 B" in rule
    table = done.stdout.partition("why:")[0]
    assert "1.08x larger" in table and max(map(len, table.splitlines())) <= 80
    assert "gpt-6x512-fp32, best-fit:align=1048576\n" in table and "\npeak_reserved_bytes " in table, "no name is cut"
    suites = ElementTree.parse(two / "out" / "junit.xml").getroot()
    assert (suites.get("tests"), suites.get("failures"), suites.get("errors")) == ("2", "1", "0")
    (failure,) = suites.iter("failure")
    assert "limit 4,213,584,773.12 B" in str(failure.get("message"))
    assert "| `peak_reserved_bytes>+1%` | gpt-6x512-fp32 | best-fit:align=1048576 |" in (two / "out" / "it.md").read_text()


@pytest.mark.parametrize(
    ("unit", "old", "new", "words"),
    [
        ("ratio", 0.4874, 3_145_727.0, "+3,145,727"),  # the factor says nothing where one of them is next to 0
        ("ratio", 2.0, 0.01, "-1.99"),
        ("ratio", 2.0, 3.0, "1.50x larger"),
        ("ratio", 0.1, 0.3, "+20.0 points"),
        ("bytes", 64, 100_000_000, "1562500.00x larger"),
        ("count", 0, 12, "+12"),
    ],
)
def test_a_change_in_words(unit: str, old: float, new: float, words: str) -> None:
    assert change_text(unit, old, new) == words


@pytest.mark.parametrize(
    ("base", "head", "said"),
    [
        ((100, 80, "a"), (100, 70, "b"), None),
        ((100, None, "a"), (200, 70, "b"), None),
        ((100, 80, "a"), (130, 80, "a"), "the allocator, since the trace is the same: 20 B over the live bytes before, 50 B now"),
        ((100, 80, "a"), (130, 80, "b"), "not how much the program needs: the most live bytes are 80 B on both sides"),
        ((100, 80, "a"), (130, 110, "b"), "the program: the most live bytes were 80 B, now 110 B"),
        (
            (100, 80, "a"),
            (130, 90, "b"),
            "the program, for +10 B of +30 B: the most live bytes were 80 B, now 90 B; the allocator: 20 B",
        ),
        (
            (100, 80, "a"),
            (130, 70, "b"),
            "the allocator: 20 B over the live bytes before, 60 B now; the most live bytes were 80 B",
        ),
        ((130, 90, "a"), (100, 80, "b"), "the program, for -10 B of -30 B: "),
        ((100, 80, None), (130, 80, None), "not how much the program needs"),
    ],
)
def test_is_it_the_program_or_the_allocator(base: tuple[Any, ...], head: tuple[Any, ...], said: str | None) -> None:
    rows = [dict(zip(("peak_reserved_bytes", "peak_live_bytes", "trace_sha256"), each, strict=True)) for each in (base, head)]
    found = cause(*rows)
    assert found is None if said is None else found is not None and found.startswith(said), found


def test_the_tags_that_grew(tmp_path: Path) -> None:
    def results(sizes: dict[str | None, int]) -> Results:
        """One trace, in which a block of each tag is live at once."""
        rows = [("alloc", i, size, None, None, None, None, tag) for i, (tag, size) in enumerate(sizes.items())]
        return run([replace(from_events(rows), name="t")], parse_policies(["bump"]), Settings(), jobs=1)

    base, head = results({"weight": 1000, "activation": 500, None: 10}), results({"weight": 1000, "activation": 900, "new": 50})
    said = {
        (
            "t",
            "bump",
        ): "at the peak: activation +400 B (500 B, now 900 B), new +50 B (0 B, now 50 B), no tag -10 B (10 B, now 0 B)"
    }
    assert grown(base, head) == said and grown(base, base) == {}
    assert package.compare(base, head).causes["t", "bump"].endswith(f"; {said['t', 'bump']}")
    write_folder(base, tmp_path / "base")
    assert grown(tmp_path / "base", head) == said and grown(tmp_path / "none", head) == {}


def test_what_the_reviewer_reads(two: Path) -> None:
    found = package.compare(two / "base", two / "head", [GATE])
    key = ("gpt-6x512-fp32", "best-fit:align=1048576")
    assert found.causes[key].startswith("the allocator, since the trace is the same: ") and found.to_json()["causes"]
    assert "**Why the footprint changed**" in markdown(found)
    line = workflow_commands(found.outcomes, found.causes, {GATE: ("ci/memtrace.toml", 7)})[0]
    assert line.startswith("::error file=ci/memtrace.toml,line=7,title=gate ") and "%0Afootprint: the allocator" in line
    assert b"footprint: the allocator, since the trace is the same" in junit(found)


def test_pools_are_compared_with_the_one_that_was_used_least() -> None:
    """A block is freed between others: next fit goes on behind them, and reaches higher than best fit."""
    rows = [("alloc", i, 100) for i in range(4)] + [("free", 1), ("free", 2), ("alloc", 9, 150), ("alloc", 10, 50)]
    labels = ["next-fit:initial=4096", "best-fit:initial=4096"]
    found = run([from_events(rows)], parse_policies(labels), Settings(), jobs=1)
    compared = package.compare(found)
    assert list(compared.reference.values()) == [labels[1]]
    by_name = {change.measure: change for change in compared.changes}
    assert by_name["highest_end_bytes"].worse and "peak_reserved_bytes" not in by_name
    assert [change.measure for change in compared.worse][0] == "highest_end_bytes", "footprints come first"


def test_a_parser_of_junit_accepts_the_file(memtrace: Run, two: Path) -> None:
    junitparser = pytest.importorskip("junitparser")
    memtrace("compare", "base", "head", "--fail-if", GATE, "--junit", "junit.xml")
    xml = junitparser.JUnitXml.fromfile(str(two / "junit.xml"))
    cases = [case for suite in xml for case in suite]
    assert (xml.tests, xml.failures, len(cases)) == (2, 1, 2)
    assert sum(not case.is_passed for case in cases) == 1


def test_in_github_actions(memtrace: Run, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (two / "summary.md").write_text("what an earlier step said\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(two / "summary.md"))
    done = memtrace("compare", "base", "head", "--fail-if", GATE, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["schema"] == "memtrace.compare/1" and not document["ok"]
    assert [gate["state"] for gate in document["gates"]] == ["failed", "passed"]
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("::")]
    assert line.startswith("::error title=gate peak_reserved_bytes>+1%25::gpt-6x512-fp32, best-fit:align=1048576: measured")
    said = (two / "summary.md").read_text()
    assert said.startswith("what an earlier step said\n### base to head: a gate failed")


def test_within_one_folder(memtrace: Run, two: Path) -> None:
    done = memtrace("compare", "head")
    assert done.returncode == 0
    assert done.stdout.startswith("gpt-6x512-fp32: against first-fit\n") and re.search(r"1\.0\dx larger", done.stdout)
    named = memtrace("compare", "head", "--reference", "best-fit:align=1048576", "--json")
    changes = {change["measure"]: change for change in json.loads(named.stdout)["changes"]}
    assert changes["peak_reserved_bytes"]["words"].endswith("x smaller") and not changes["peak_reserved_bytes"]["worse"]
    gate = 'peak_reserved_bytes > 1.05 * policy("first-fit")'
    assert memtrace("compare", "head", "--fail-if", gate).returncode == 1
    assert memtrace("compare", "base", "--fail-if", gate).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("bass",), 2, "did you mean base?"),
        (("base", "nowhere/at/all"), 2, "`memtrace run TRACE -o DIR` writes one"),
        (("base", "--fail-if", GATE), 2, "compares with a base, and there is none"),
        (("base", "head", "--fail-if", "peak_reserved_byte>1"), 2, "did you mean 'peak_reserved_bytes'?"),
        (("base", "head", "--fail-if", '__import__("os")'), 2, "unknown measure '__import__'"),
        (("base", "--reference", "first-fti"), 2, "did you mean 'first-fit'?"),
        (("base", "head", "--reference", "first-fit"), 2, "for one folder"),
        (("base", "empty"), 3, "no results folder that can be read"),
        (("base/timeline.parquet",), 3, "has the schema 'memtrace.results/1 timeline'"),
        (("base", "bad.csv"), 3, "bad.csv is no baseline"),
    ],
)
def test_mistakes_are_answered(memtrace: Run, two: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    (two / "empty").mkdir()
    (two / "bad.csv").write_text("a,b\n1,2\n")
    done = memtrace("compare", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ") and said in done.stderr and "Traceback" not in done.stderr


def test_from_python(two: Path) -> None:
    found = package.compare(two / "base", two / "head" / "summary.parquet", [GATE])
    assert not found.ok and found.failed[0].policy == "best-fit:align=1048576"
    assert [change.measure for change in found.worse][0] == "peak_reserved_bytes"
    from memtrace.results.folder import read_folder

    assert package.compare(read_folder(two / "base"), two / "base").changes == ()


# Baselines


def test_a_baseline_is_exact_small_and_readable(memtrace: Run, two: Path) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(two / "head" / "summary.parquet").to_pylist()
    write_baseline(rows, two / "sub" / "baseline.csv", ["search_mean"])
    back = read_baseline(two / "sub" / "baseline.csv")
    assert len(baseline_text(rows * 20)) < 8000
    for old, new in zip(sorted(rows, key=lambda row: row["policy"]), back, strict=True):
        assert all(new[name] == old[name] for name in new if name != "trace_sha256")
        assert old["trace_sha256"].startswith(new["trace_sha256"])
    done = memtrace("compare", "sub/baseline.csv", "head", "--fail-if", "peak_reserved_bytes>+0%", "--fail-if", "search_mean>+0%")
    assert done.returncode == 0 and "0 worse, 2 the same" in done.stdout and "note" not in done.stdout
    lacking = memtrace("compare", "sub/baseline.csv", "head", "--fail-if", "splits>+0%")
    assert lacking.returncode == 3 and "no column splits" in lacking.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column trace"),
        ("trace,policy,peak_reserved_byte\na,b,1\n", "did you mean 'peak_reserved_bytes'?"),
        ("trace,policy,peak_reserved_bytes\na,b,much\n", "b.csv:2: peak_reserved_bytes is 'much', no number"),
        ("trace,policy,external_frag_at_peak\na,b,nan\n", "b.csv:2: external_frag_at_peak is 'nan', no finite number"),
        ("trace,policy,peak_reserved_bytes\na,b\n", "b.csv:2: 2 fields, but the header has 3"),
    ],
)
def test_a_damaged_baseline_is_not_taken_for_one(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        read_baseline(tmp_path / "b.csv")
    assert said in str(caught.value)


# Documents of hostile names


NASTY = 'a<b>&"c"|d`e\x00\x1b[31m\n@here #1 ﷐￾'


def test_names_cannot_break_a_document() -> None:
    outcome = Outcome('x > 1 where trace = "%|`"', NASTY, NASTY, "failed", "1,000 %", "9", "")
    found = Comparison((), ((NASTY, NASTY),), (), 0, (), (outcome,), {})
    root = ElementTree.fromstring(junit(found, [Outcome("replay", NASTY, "p", "failed", reason=NASTY)]))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "1", "1")
    lines = markdown(found, NASTY).splitlines()
    (row,) = [line for line in lines if line.startswith("| `x > 1")]
    assert row.replace("\\|", "").count("|") == 6 and "@here" not in row and "<b>" not in row
    (command,) = workflow_commands([outcome])
    assert "\n" not in command and command.count("::") == 2 and "%25" in command
    assert escape("a_b*c") == "a\\_b\\*c"


def test_many_failures_are_counted_not_listed() -> None:
    many = [Outcome("r", f"t{i}", "p", "failed", "2", "1") for i in range(250)]
    lines = workflow_commands(many)
    assert len(lines) == 10 and lines[-1] == "::error title=gates::241 more checks failed"
    assert "and 150 more" in markdown(Comparison((), (), (), 0, (), tuple(many), {}))


def test_a_place_that_cannot_be_written_is_said(memtrace: Run, two: Path) -> None:
    (two / "file").write_text("")
    done = memtrace("compare", "base", "--junit", "file/junit.xml")
    assert done.returncode == UsageError.exit_code and "file/junit.xml: cannot be written" in done.stderr
