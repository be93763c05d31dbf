"""The plug-in of pytest, in runs of pytest that have it: what passes, what fails and with which words, baselines, workers."""

from __future__ import annotations

import pkgutil
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT

import memtrace
from memtrace.comparing.inputs import read_baseline
from memtrace.errors import UsageError
from memtrace.testing.plugin import leave_asserts
from memtrace.testing.recorder import Recorder, Wanted, update_baseline

pytest_plugins = ["pytester"]
# In an environment where memtrace was installed before it had the plug-in, pytest does not find it.
PLUGIN = [] if entry_points(group="pytest11", name="memtrace") else ["-p", "memtrace.testing.plugin"]
needs_cc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs Linux and a C compiler"
)

# A test that records nothing itself: its trace is written by hand, as the recorders write theirs.
BY_HAND = """
import pytest

BLOCKS = {blocks}

@pytest.mark.memtrace({marker})
def test_it(memtrace_record):
    from memtrace.trace import from_events, write
    rows = [("alloc", i, 1 << 20, None, None, None, None, None) for i in range(BLOCKS)]
    write(from_events(rows), memtrace_record.new(""))
"""


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Import all of memtrace now: pytester takes what a run within this process imports from the loaded modules again."""
    import matplotlib.figure
    import pandas
    import pyarrow.parquet

    assert matplotlib.figure and pandas and pyarrow.parquet
    for found in pkgutil.walk_packages(memtrace.__path__, "memtrace."):
        if not found.name.endswith("__main__"):
            import_module(found.name)


def made(pytester: pytest.Pytester, marker: str, blocks: int = 3) -> Path:
    """Write a test whose trace has so many blocks of 1 MiB."""
    return pytester.makepyfile(test_it=BY_HAND.format(marker=marker, blocks=blocks))


def test_a_gate_that_holds(pytester: pytest.Pytester) -> None:
    made(pytester, "'peak_live_bytes > 3MiB', 'external_frag_at_peak > 1%'")
    pytester.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=1)
    assert [file.name for file in (pytester.path / ".memtrace" / "pytest").iterdir()] == [".gitignore"], "nothing stays"


def test_a_gate_that_fails_has_a_short_message_and_a_report(pytester: pytest.Pytester) -> None:
    made(pytester, "fail_if=['peak_live_bytes > 2MiB'], policies=['bump', 'best-fit']")
    done = pytester.runpytest_inprocess(*PLUGIN)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "memtrace: peak_live_bytes > 2MiB: test_it.py::test_it, bump: measured 3,145,728 B (3.0 MiB), limit 2,097,152 B (2.0 MiB)",
            "memtrace: peak_live_bytes > 2MiB: test_it.py::test_it, best-fit: measured *",
            "report: *report.html",
            "try: memtrace show *results",
        ]
    )
    assert "recorder.py" not in done.stdout.str(), "no traceback"
    (report,) = (pytester.path / ".memtrace" / "pytest").glob("*/report.html")
    assert report.read_text().lower().startswith("<!doctype html>") and (report.parent / "trace-1.parquet").exists()


def test_a_baseline_is_written_and_compared_with(pytester: pytest.Pytester) -> None:
    made(pytester, "fail_if=['peak_live_bytes > +10%', 'search_mean > +1%']")
    done = pytester.runpytest_inprocess(*PLUGIN)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["memtrace: *memtrace-tests.csv has no row of test_it.py::test_it", "try: *--memtrace-update-baseline"]
    )
    pytester.runpytest_inprocess(*PLUGIN, "--memtrace-update-baseline").assert_outcomes(passed=1)
    assert "test_it.py::test_it" in (pytester.path / "memtrace-tests.csv").read_text()
    pytester.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=1)
    made(pytester, "fail_if=['peak_live_bytes > +10%', 'search_mean > +1%']", blocks=4)
    done = pytester.runpytest_inprocess(*PLUGIN)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["memtrace: peak_live_bytes > +10%: test_it.py::test_it, best-fit: measured 4,194,304 B*"])


def test_rows_of_other_tests_stay_in_the_baseline(tmp_path: Path) -> None:
    rows = [
        {"trace": name, "policy": "bump", "trace_sha256": "0" * 64, "status": "ok", "peak_live_bytes": size, "oom_event": None}
        for name, size in (("a", 1), ("b", 2))
    ]
    update_baseline(tmp_path / "base.csv", rows)
    update_baseline(tmp_path / "base.csv", [{**rows[1], "peak_live_bytes": 3}])
    found = read_baseline(tmp_path / "base.csv")
    assert [(row["trace"], row["peak_live_bytes"]) for row in found] == [("a", 1), ("b", 3)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@pytest.mark.memtrace('peak_live_bytes > 1')\ndef test_it():\n    pass\n", "has gates and records nothing"),
        ("@pytest.mark.memtrace(fail='x')\ndef test_it():\n    pass\n", "unknown argument of the marker memtrace 'fail'"),
        ("@pytest.mark.memtrace(record='pytohn')\ndef test_it():\n    pass\n", "did you mean 'python'?"),
        ("@pytest.mark.memtrace(capacity='much')\ndef test_it():\n    pass\n", "'much'"),
    ],
)
def test_a_wrong_marker_is_explained(pytester: pytest.Pytester, text: str, said: str) -> None:
    pytester.makepyfile(f"import pytest\n\n{text}")
    done = pytester.runpytest_inprocess(*PLUGIN)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([f"*memtrace: *{said.replace('[', '[[]')}*"])


def test_a_test_that_fails_itself_is_not_judged(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(BY_HAND.format(marker="'peak_live_bytes > 1'", blocks=3) + "    assert 1 == 2\n")
    done = pytester.runpytest_inprocess(*PLUGIN)
    done.assert_outcomes(failed=1)
    assert "assert 1 == 2" in done.stdout.str() and "measured" not in done.stdout.str()


def test_workers_of_xdist_write_one_baseline(pytester: pytest.Pytester) -> None:
    text = BY_HAND.format(marker="'peak_live_bytes > +10%', policies='bump'", blocks=2)
    pytester.makepyfile(test_a=text, test_b=text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        done = pytester.runpytest_subprocess("-n", "1", *PLUGIN, "--memtrace-update-baseline")
    done.assert_outcomes(passed=2)
    lines = (pytester.path / "memtrace-tests.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["test_a.py::test_it", "test_b.py::test_it"]


def test_tests_have_folders_of_their_own(tmp_path: Path) -> None:
    def place(test: str) -> Path:
        """The folder of a test."""
        return Recorder(test=test, wanted=Wanted(), folder=tmp_path, baseline=tmp_path / "b", is_updating=False).place

    assert place("a.py::t[x/y]") != place("a.py::t[x-y]") and place("../../a.py::t").parent == tmp_path


@needs_cc
def test_a_command_is_recorded(tmp_path: Path) -> None:
    recorder = Recorder(test="t", wanted=Wanted(("events < 1",)), folder=tmp_path, baseline=tmp_path / "b", is_updating=False)
    path = recorder.native(["sort", "/etc/passwd"])
    assert path.exists()
    with pytest.raises(UsageError, match="two recordings of t are called nothing"):
        recorder.native(["sort", "/etc/passwd"])
    with pytest.raises(subprocess.CalledProcessError):
        recorder.native(["sort", str(tmp_path / "none")], name="fails")


@pytest.mark.skipif(find_spec("memray") is None, reason="needs memray")
def test_a_whole_test_is_recorded_by_memray(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import pytest\n\n@pytest.mark.memtrace('peak_live_bytes > 8MiB', record='python')\n"
        "@pytest.mark.parametrize('size', [1, 16])\ndef test_it(size):\n    assert len(bytearray(size << 20))\n"
    )
    pytester.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=1, failed=1)


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_a_whole_test_is_recorded_on_fake_tensors(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import pytest\n\n@pytest.mark.memtrace('peak_live_bytes > 1GiB', record='torch')\n"
        "@pytest.mark.parametrize('n', [1, 1 << 20])\ndef test_it(n):\n    import torch\n    a = torch.empty(1024, n, device='cuda')\n"
    )
    pytester.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=1, failed=1)


def test_memtrace_is_the_same_code_under_pytest(pytestconfig: pytest.Config) -> None:
    """pytest would import the modules of an installed memtrace with asserts of its own, under which they are compiled anew."""
    names = pytestconfig.pluginmanager.rewrite_hook._must_rewrite
    assert isinstance(names, set), "pytest has another way now"
    before = set(names)
    names.add("memtrace")
    leave_asserts(pytestconfig.pluginmanager.rewrite_hook)
    assert names == before - {"memtrace"}


def test_pytest_loads_nothing_heavy_for_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    code = (
        "import sys, pytest; assert pytest.main(['-q', *sys.argv[1:]]) == 0; "
        "print(sorted(name for name in sys.modules if name.startswith('memtrace')), 'numpy' in sys.modules)"
    )
    command = [sys.executable, "-c", code, *PLUGIN, "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT), "PATH": ""}
    )
    assert done.stdout.splitlines()[-1] == "['memtrace', 'memtrace.testing', 'memtrace.testing.plugin'] False"
