"""Other installed packages add policies, formats, workloads, plots and measures; broken ones are left out with a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from sample_plugins import install_acme, install_wobbly

from memtrace.measures import builtin_metrics

Python = Callable[..., "subprocess.CompletedProcess[str]"]
LOG = "acme\n+1 100\n+2 5000\n-1\n+3 20\n"


def python(folder: Path, *arguments: str, installed: bool = True) -> subprocess.CompletedProcess[str]:
    """Python in a folder, with what is installed in its site-packages."""
    path = [str(ROOT), str(folder / "site-packages")] if installed else [str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def memtrace(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "memtrace", *arguments)


def new_desk(folder: Path, wobbly: bool) -> Path:
    install_acme(folder / "site-packages")
    if wobbly:
        install_wobbly(folder / "site-packages")
    (folder / "log.acme").write_text(LOG)
    return folder


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of acme, where acme is installed."""
    return new_desk(tmp_path_factory.mktemp("acme"), wobbly=False)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, where wobbly is installed too."""
    return new_desk(tmp_path_factory.mktemp("mixed"), wobbly=True)


@pytest.fixture(scope="module")
def ran(mixed: Path) -> subprocess.CompletedProcess[str]:
    """One run with everything, where the broken plug-ins are installed too."""
    done = memtrace(mixed, "run", "log.acme", "-p", "acme-above", "-o", "out", "-j", "1")
    assert done.returncode == 0, done.stderr
    return done


def faults(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], str]:
    """What was said of plug-ins: (name, kind) -> the fault. Each is one line, and said once."""
    found = {}
    for line in done.stderr.splitlines():
        if line.startswith("plug-in "):
            who, _, fault = line.partition(") ")
            assert " of wobbly 0.1 (" in who, line
            name, _, kind = who.removeprefix("plug-in ").partition(" of wobbly 0.1 (")
            assert (name, kind) not in found
            found[name, kind] = fault
    return found


@pytest.mark.parametrize(
    ("command", "name", "texts"),
    [
        ("policies", "acme-above", ("A policy of two arrays", "step", "32")),
        ("formats", "acme-log", ("`+ID SIZE` or `-ID`",)),
        ("workloads", "acme-stairs", ("all live at once", "of the stairs", "1 to 1,000")),
        ("metrics", "acme_pages", ("pages of 4 KiB at the peak", "source:     acme-memtrace", "direction:  lower")),
    ],
)
def test_what_a_package_adds_is_listed_and_explained(desk: Path, command: str, name: str, texts: tuple[str, ...]) -> None:
    listed, explained, document = (memtrace(desk, command, *more) for more in ((), (name,), ("--json",)))
    for done in (listed, explained, document):
        assert (done.returncode, done.stderr) == (0, "")
    assert any(line.startswith(name) for line in listed.stdout.splitlines())
    assert all(text in explained.stdout for text in texts), explained.stdout
    assert name in json.dumps(json.loads(document.stdout))


def test_what_is_broken_is_left_out_with_one_line_that_says_why(mixed: Path) -> None:
    listed = memtrace(mixed, "policies")
    assert listed.returncode == 0 and "acme-above" in listed.stdout and "\nhalf " not in listed.stdout
    assert faults(listed) == {
        (
            "half",
            "policies",
        ): "is left out: wobbly.half has no function free; a policy whose State has no ledger needs init, alloc, free, reserved",
        ("gone", "policies"): "is left out: ModuleNotFoundError: No module named 'wobbly.nowhere'",
        ("object", "policies"): "is left out: its entry point names 'wobbly.half:init', which is no module",
        ("best-fit", "policies"): "is left out: memtrace has a policy of this name",
        ("acme-above", "policies"): "is left out: acme-memtrace has a policy of this name",
        ("no.good", "policies"): "is left out: its name has other characters than letters, digits, - and _",
    }
    listed = memtrace(mixed, "formats")
    assert listed.returncode == 0 and "acme-log" in listed.stdout and "jumpy" in listed.stdout
    assert faults(listed) == {
        ("nameless", "formats"): "is left out: NAME of wobbly.half is not 'nameless', as the entry point is called"
    }
    listed = memtrace(mixed, "workloads")
    assert listed.returncode == 0 and "acme-stairs" in listed.stdout and "idle" not in listed.stdout
    assert faults(listed) == {
        ("idle", "workloads"): "is left out: wobbly.half has no function generate",
        ("late", "workloads"): "is left out: RuntimeError: it was never finished",
    }
    listed = memtrace(mixed, "metrics")
    assert listed.returncode == 0 and "acme_pages" in listed.stdout and "wobbly_count" in listed.stdout
    assert faults(listed) == {("taken", "measures"): "is left out: there is a column events already"}


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("run", "log.acme", "-p", "half"), 4, "plug-in half of wobbly 0.1 cannot be used: wobbly.half has no function free"),
        (("policies", "gone"), 4, "plug-in gone of wobbly 0.1 cannot be used: ModuleNotFoundError: No module named"),
        (("info", "log.acme", "--format", "nameless"), 2, "plug-in nameless of wobbly 0.1 cannot be used: NAME of wobbly.half"),
        (("formats", "nameless"), 2, "plug-in nameless of wobbly 0.1 cannot be used"),
        (("info", "idle:steps=3"), 2, "plug-in idle of wobbly 0.1 cannot be used: wobbly.half has no function generate"),
        (
            ("generate", "late", "-o", "late.csv"),
            2,
            "plug-in late of wobbly 0.1 cannot be used: RuntimeError: it was never finished",
        ),
        (("run", "log.acme", "-p", "acme-abvoe"), 2, "unknown policy 'acme-abvoe'; did you mean 'acme-above'?"),
    ],
)
def test_a_broken_plug_in_that_is_asked_for_is_an_error(mixed: Path, arguments: tuple[str, ...], code: int, reason: str) -> None:
    done = memtrace(mixed, *arguments)
    assert done.returncode == code
    assert f"error: {reason}" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_uses_all_of_them(mixed: Path, ran: subprocess.CompletedProcess[str]) -> None:
    assert set(faults(ran)) == {
        ("acme-above", "policies"),
        ("best-fit", "policies"),
        ("no.good", "policies"),
        ("nameless", "formats"),
        ("torn", "plots"),
        ("count", "measures"),
        ("taken", "measures"),
    }
    assert faults(ran)["torn", "plots"] == "is left out: log: ZeroDivisionError: division by zero"
    assert faults(ran)["count", "measures"].startswith("has no value for wobbly_count: AttributeError: 'Readings' object has no")
    table = pq.read_table(mixed / "out" / "summary.parquet")
    assert table.column_names[-4:] == [builtin_metrics()[-1].name, "acme_pages", "acme_fits", "wobbly_count"]
    (row,) = table.to_pylist()
    assert (row["policy"], row["events"], row["peak_reserved_bytes"]) == ("acme-above", 4, 128 + 5024 + 32)
    assert (row["acme_pages"], row["acme_fits"], row["wobbly_count"]) == (2, "no", None)
    drawn = {path.name for path in (mixed / "out" / "plots").glob("*.png")}
    assert "log-acme-bars.png" in drawn and "log-memory.png" in drawn and "log-torn.png" not in drawn
    page = (mixed / "out" / "report.html").read_text()
    assert "A box, which means nothing." in page and "acme_pages" in page and "Made with acme-memtrace 1.2" in page
    assert page.index("A box, which means nothing.") > page.rindex("Sizes and lifetimes together")


def test_results_with_columns_of_a_package_are_read_without_it(mixed: Path, ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 0
    done = python(mixed, "-m", "memtrace", "show", "out", installed=False)
    assert (done.returncode, done.stderr) == (0, "") and "acme-above" in done.stdout
    done = python(mixed, "-m", "memtrace", "compare", "out", "out", installed=False)
    assert done.returncode == 0, done.stderr


def test_worker_processes_have_them_too(mixed: Path, ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 0  # what it compiled is found again
    traces = ("log.acme", "acme-stairs:steps=4")
    done = memtrace(mixed, "run", *traces, "-p", "acme-above", "-o", "two", "-j", "2", "--no-report", "--validate")
    assert done.returncode == 0, done.stderr
    assert "compiling" not in done.stderr
    assert {("best-fit", "policies"), ("nameless", "formats"), ("taken", "measures")} < faults_once(done)
    rows = {row["trace"]: row for row in pq.read_table(mixed / "two" / "summary.parquet").to_pylist()}
    assert {name: row["peak_reserved_bytes"] for name, row in rows.items()} == {"log": 5184, "acme-stairs-steps-4": 1088}
    assert {name: row["acme_pages"] for name, row in rows.items()} == {"log": 2, "acme-stairs-steps-4": 1}


def faults_once(done: subprocess.CompletedProcess[str]) -> set[tuple[str, str]]:
    """Whose faults were said, where each worker process may say that a measure has no value."""
    lines = [line for line in done.stderr.splitlines() if "wobbly_count" not in line]
    return set(faults(subprocess.CompletedProcess(done.args, done.returncode, done.stdout, "\n".join(lines))))


def test_the_policy_is_checked_by_its_name(desk: Path, mixed: Path, ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 0
    done = memtrace(desk, "policies", "--check", "acme-above")
    assert done.returncode == 0 and "acme-above: a sound policy" in done.stdout, done.stdout + done.stderr
    done = memtrace(mixed, "policies", "--check", "half")
    assert done.returncode == 4 and "FAIL  it can be loaded" in done.stdout and "has no function free" in done.stdout


def test_a_format_that_fails_to_recognise_a_file_leaves_it_to_the_others(mixed: Path) -> None:
    (mixed / "plain.acme").write_text("op,id,size\nalloc,1,100\n")
    done = memtrace(mixed, "info", "plain.acme", "--json")
    assert done.returncode == 0 and json.loads(done.stdout), done.stderr
    assert faults(done)["jumpy", "formats"].startswith("is left out: KeyError: b'op,id,size")


SUITE = """
traces = ["log.acme", "acme-stairs:steps=4"]
policies = ["acme-above"]
samples = 10
fail_if = ['acme_pages > 1', 'acme_fits == no where trace = "acme*"']
"""


def test_a_suite_replays_them_once_and_gates_their_measures(desk: Path, ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 0
    (desk / "memtrace.toml").write_text(SUITE)
    first, again = (json.loads(memtrace(desk, "suite", *more, "-j", "2", "--json").stdout) for more in ((), ("--resume",)))
    assert (first["replayed"], again["replayed"]) == (2, 0)
    gates = {(gate["rule"][:9], gate["trace"]): gate["state"] for gate in first["gates"]}
    assert gates == {
        ("acme_page", "log"): "failed",
        ("acme_page", "acme-stairs-steps-4"): "passed",
        ("acme_fits", "acme-stairs-steps-4"): "passed",
    }


PLANNED = """
import pathlib
from memtrace.engine.binding import bind
from memtrace.engine.registry import group, parse_policy
from memtrace.suite.config import load
from memtrace.suite.dispatch import installed_digest
from memtrace.suite.planning import plan
over = parse_policy("arenas:policy=acme-first").module, parse_policy("arenas:policy=first-fit").module
assert over[0] is not over[1] and over[0].inner_module.__name__ == "acme.first_fit", over
assert "acme-above" in group("gpu") and "acme-above" in group("all") and "acme-above" not in group("default")
print(bind(parse_policy("acme-above").module).__name__, *[task.key for task in plan(load(pathlib.Path("memtrace.toml"))).tasks])
print(installed_digest())
"""


def test_new_sources_are_compiled_and_replayed_anew(tmp_path: Path) -> None:
    desk = new_desk(tmp_path, wobbly=False)
    (desk / "memtrace.toml").write_text('traces = ["log.acme"]\npolicies = ["acme-above", "best-fit"]\n')

    def planned() -> tuple[str, str, str, str]:
        """Name of the bound policy, keys of the cells of acme-above and best-fit, digest of all."""
        done = python(desk, "-c", PLANNED)
        assert done.returncode == 0, done.stderr
        bound, above, best, installed = done.stdout.split()
        return bound, above, best, installed

    def change(file: str, old: str, new: str) -> None:
        path = desk / "site-packages" / "acme" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    before = planned()
    assert planned() == before
    change("sizes.py", "max(32,", "max(64,")  # a module that the policy takes a function of
    after = planned()
    assert [old != new for old, new in zip(before, after, strict=True)] == [True, True, True, True]
    (desk / "site-packages" / "acme_memtrace-1.2.dist-info" / "entry_points.txt").write_text(
        "[memtrace.policies]\nacme-above = acme.above\nacme-first = acme.first_fit\n[memtrace.formats]\nacme-log = log_of_acme\n"
    )
    os.rename(desk / "site-packages" / "acme" / "log.py", desk / "site-packages" / "log_of_acme.py")
    before = planned()
    change("sizes.py", "max(64,", "max(96,")  # no cell depends on it but those of the policy
    after = planned()
    assert [old != new for old, new in zip(before, after, strict=True)] == [True, True, False, True]
    change("../log_of_acme.py", "1 << 20", "1 << 21")  # a format may read any trace in another way
    before, after = after, planned()
    assert [old != new for old, new in zip(before, after, strict=True)] == [False, True, True, True]


@pytest.mark.parametrize(
    "arguments", [("-m", "memtrace", "--help"), ("-c", "import memtrace, sys; assert 'memtrace.plugins' not in sys.modules")]
)
def test_what_needs_no_plug_in_does_not_look_for_any(mixed: Path, arguments: tuple[str, ...]) -> None:
    done = python(mixed, *arguments)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_of_the_package_imports_no_plug_in(mixed: Path) -> None:
    for arguments in (("policies", "best-fit"), ("formats", "csv"), ("workloads", "robson")):
        done = memtrace(mixed, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments


def test_damaged_metadata_of_another_package_ends_nothing(tmp_path: Path) -> None:
    desk = new_desk(tmp_path, wobbly=False)
    (desk / "site-packages" / "acme_memtrace-1.2.dist-info" / "entry_points.txt").write_text(
        "[memtrace.policies]\nno equals sign\n"
    )
    done = memtrace(desk, "policies")
    assert done.returncode == 0 and "best-fit" in done.stdout
    assert done.stderr.startswith("plug-ins are left out: ") and done.stderr.count("\n") == 1
