"""The commands, as a user runs them: output, exit codes, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import ROOT, Run

from memtrace.cli.output import print_policies
from memtrace.cli.policies import comes_from_gpu
from memtrace.cli.ranking import print_ranked
from memtrace.plots import plots
from memtrace.results.tables import Results

TRACE = ROOT / "traces" / "gpt-6x512-fp32.csv"
FILES = {"summary", "timeline", "holes", "occupancy", "distributions", "timing", "requests", "fits", "holders", "pins"}


def test_run_writes_the_folder_and_a_ranked_table(memtrace_process: Run, tmp_path: Path) -> None:
    done = memtrace_process("run", TRACE, "-p", "best-fit", "-p", "buddy")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 20 and max(map(len, lines)) <= 80
    assert done.stdout.index("best-fit") < done.stdout.index("buddy")
    folder = tmp_path / "reports" / "gpt-6x512-fp32"
    assert {path.stem for path in folder.glob("*.parquet")} == FILES
    assert (folder / "report.pdf").stat().st_size < 2_000_000
    drawn = {path.stem.removeprefix("gpt-6x512-fp32-") for path in (folder / "plots").glob("*.png")}
    assert drawn == {plot.NAME for plot in plots()} - {"occupancy-tag"}, "the trace has no tags"
    assert str(Path("reports/gpt-6x512-fp32")) in done.stderr and "try:" in done.stderr
    assert not list(folder.glob(".partial*"))


def test_policies_too_long_for_the_table_are_numbered_and_named_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = [f"pytorch:expandable_segments=true,max_split_size_mb={mb}" for mb in (128, 256)]
    print_policies(
        ("policy", "reserved", "status"), [(label, "9.3 GiB", "ok") for label in (long[0], "best-fit", long[1])], (0, 2)
    )
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines[:-2])) <= 40
    assert [line.split()[:2] for line in lines if "GiB" in line] == [["pytorch", "[1]"], ["best-fit", "9.3"], ["pytorch", "[2]"]]
    assert lines[-2:] == [f"[1] {long[0]}", f"[2] {long[1]}"]


def rows_of(events: list[tuple[str, int, int]]) -> str:
    """Return the text of a trace."""
    return "op,id,size\n" + "".join(f"{op},{block},{size or ''}\n" for op, block, size in events)


def test_a_pool_beside_a_heap_that_grows_is_shown_by_what_it_needs(memtrace: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,1000\nalloc,2,3000\nfree,1,\n")
    done = memtrace("run", "t.csv", "-p", "best-fit:initial=64KiB", "-p", "first-fit:align=8", "--no-report")
    assert "policy" in done.stdout and "needs: the most that was reserved; of a pool of fixed size how far up" in done.stdout
    assert "3.9 KiB" in done.stdout and "64.0 KiB" not in done.stdout.partition("need least")[0].partition("policy")[2]


def test_pools_of_fixed_size_have_a_table_of_high_water_marks(memtrace: Run, tmp_path: Path) -> None:
    """64 blocks of 1,000 bytes, of which every second is freed: 33 holes, the largest 1 KiB, and 32.5 KiB are free."""
    freed = [("free", block, 0) for block in range(0, 64, 2)]
    (tmp_path / "pool.csv").write_text(rows_of([*(("alloc", block, 1000) for block in range(64)), *freed]))
    names = [f"{name}:initial=65536" for name in ("best-fit", "first-fit")]
    done = memtrace("run", "pool.csv", "-p", names[0], "-p", names[1], "--no-report", "-o", "out")
    title, head, _, *lines = done.stdout.splitlines()
    assert max(map(len, done.stdout.splitlines()[:7])) <= 80
    assert title.strip() == "pool: 96 events, lower bound 62.5 KiB, pool 64.0 KiB"
    assert head.split() == ["policy", "high", "water", "x", "bound", "min", "free", "min", "largest", "max", "external", "status"]
    assert [line.split()[2:] for line in lines[:2]] == [
        ["63.0", "KiB", "1.008x", "1.0", "KiB", "1.0", "KiB", "96.9", "%", "ok"]
    ] * 2
    assert f"{names[0]} and {names[1]} need least: 63.0 KiB of a pool of 64.0 KiB, 1.008x the lower bound" in lines[-1]
    assert "try:  memtrace mincap pool.csv -p best-fit\n" in done.stderr
    compared = memtrace(
        "compare", "out", "--fail-if", "least_largest_hole_bytes < 2KiB", "--fail-if", "highest_end_bytes > 64000"
    )
    assert compared.returncode == 1 and "measured 1,024 B" in compared.stdout and "measured 64,504 B" in compared.stdout
    passed = memtrace("compare", "out", "--fail-if", "least_free_bytes < 1KiB", "--fail-if", "jw3 > 0.1")
    assert passed.returncode == 0, passed.stdout


def test_what_is_held_at_the_end_is_a_column_where_it_tells_policies_apart(memtrace: Run, tmp_path: Path) -> None:
    """Large blocks, then one small one, are allocated; the large ones are freed, and one of the policies trims."""
    large = [("alloc", block, 100_000) for block in range(1, 40)]
    (tmp_path / "held.csv").write_text(rows_of([("alloc", 0, 64), *large, *(("free", block, 0) for block in range(1, 40))]))
    done = memtrace("run", "held.csv", "-p", "best-fit:trim=true", "-p", "first-fit", "--no-report", "-o", "out")
    lines = done.stdout.splitlines()
    assert max(map(len, lines[:6])) <= 80 and "at end" in lines[1]
    assert lines[-1].startswith(
        "After the load best-fit:trim=true holds least, 64 B, and first-fit most, 3.7 MiB, for 64 B live;"
    )
    alone = memtrace("run", "held.csv", "-p", "first-fit", "--no-report", "-o", "alone").stdout
    assert "at end" not in alone and "After the load first-fit still holds 3.7 MiB for 64 B live; of that, 3.7 MiB lie" in alone


def test_a_narrow_terminal_has_fewer_columns_and_no_cell_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "trace": "t", "policy": "best-fit", "events": 2_000_000, "lower_bound_bytes": 1, "capacity_bytes": None, "status": "ok",
        "peak_reserved_bytes": 1_024_512, "external_frag_at_peak": 1.0, "internal_frag_at_peak": 1.0, "holes_max": 103_345,
        "search_mean": 12_345.6, "failed_allocs": 819, "invalid_events": 0, "oom_event": None, "peak_allocated_bytes": 1,
    }  # fmt: skip
    oom = {**row, "policy": "first-fit:align=64,header=16", "status": "oom", "oom_event": 1_234_567}
    for width, absent in ((100, ""), (80, "search"), (66, "holes")):
        monkeypatch.setenv("COLUMNS", str(width))
        print_ranked(Results([row, oom], *[None] * 4, manifest={}), "t")  # type: ignore[arg-type]
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines[:5])) <= width and (absent or "-") not in lines[1]
        assert lines[3].rstrip().endswith("819 failed") and lines[4].rstrip().endswith("oom @1,234,567")


@pytest.mark.parametrize(
    ("metadata", "gpu"),
    [
        ({"format": "torch-snapshot"}, True),
        ({"format": "rmm"}, True),
        ({"format": "chrome", "device": "cuda:0"}, True),
        ({"format": "chrome", "device": "cpu"}, False),
        ({"recorded": "torch 2.9"}, True),
        ({"format": "heaptrack"}, False),
        ({}, False),
    ],
)
def test_recordings_of_gpus_are_replayed_through_the_policies_of_gpus(metadata: dict[str, str], gpu: bool) -> None:
    assert comes_from_gpu(metadata) == gpu


def test_json_is_one_document(memtrace: Run) -> None:
    done = memtrace("run", TRACE, "-p", "first-fit", "--json", "--no-report", "-o", "out")
    document = json.loads(done.stdout)
    assert document["schema"] == "memtrace.run/1"
    (row,) = document["results"]
    assert row["policy"] == "first-fit" and row["events"] == 8425 and row["capacity_bytes"] is None
    assert set(document["files"]) == {f"out/{name}.parquet" for name in FILES} | {"out/manifest.json"}
    assert done.stderr == ""


def test_results_do_not_depend_on_jobs(memtrace: Run, tmp_path: Path) -> None:
    for jobs in ("1", "2"):
        policies = ("-p", "best-fit", "-p", "buddy", "-p", "worst-fit")
        done = memtrace("run", TRACE, *policies, "-j", jobs, "-o", f"j{jobs}", "--placements")
        assert done.returncode == 0, done.stderr
    files, others = (
        sorted(path.relative_to(tmp_path / folder) for path in (tmp_path / folder).rglob("*") if path.is_file())
        for folder in ("j1", "j2")
    )
    assert files == others and Path("report.pdf") in files and Path("placements.parquet") in files
    for file in files:
        if file.name not in ("manifest.json", "timing.parquet"):
            assert (tmp_path / "j1" / file).read_bytes() == (tmp_path / "j2" / file).read_bytes(), file


def test_out_of_memory_is_a_result(memtrace: Run, small_trace: Path) -> None:
    done = memtrace("run", small_trace, "-p", "first-fit", "--capacity", "160", "--json", "--no-report")
    (row,) = json.loads(done.stdout)["results"]
    assert done.returncode == 0
    assert (row["status"], row["oom_event"], row["failed_allocs"]) == ("oom", 1, 1)
    skipped = memtrace("run", small_trace, "-p", "first-fit", "--capacity", "160", "--on-oom", "skip", "--json", "--no-report")
    (row,) = json.loads(skipped.stdout)["results"]
    assert (row["status"], row["failed_allocs"], row["skipped_events"]) == ("ok", 1, 1)


def test_placements_have_every_request(memtrace: Run, small_trace: Path, tmp_path: Path) -> None:
    memtrace(
        "run", small_trace, "-p", "first-fit", "--capacity", "160", "--on-oom", "skip", "--placements", "--no-report", "-o", "o"
    )
    table = pq.read_table(tmp_path / "o" / "placements.parquet").to_pydict()
    assert table["event"] == [0, 1, 3, 4][: len(table["event"])]
    assert table["id"] == [1, 2, 3, 2]
    assert table["address"] == [0, None, 0, None]


def test_a_policy_of_ones_own(memtrace: Run, small_trace: Path) -> None:
    example = ROOT / "docs" / "example_policy.py"
    done = memtrace("run", small_trace, "-p", example, "--capacity", "4KiB", "--validate", "--json", "--no-report")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["results"]
    assert (row["policy"], row["peak_allocated_bytes"], row["splits"]) == ("example_policy", 176, None)
    assert row["squares_frag_mean"] > 0, "the engine counts the sizes of its holes"
    checked = memtrace("policies", "--check", example)
    assert checked.returncode == 0 and "a sound policy" in checked.stdout


OVERLAPPING = """
from typing import NamedTuple
import numpy as np
class State(NamedTuple):
    top: np.ndarray
def init(capacity, max_live):
    return State(np.zeros(1, np.int64))
def alloc(state, request):
    state.top[0] += 16
    return state.top[0] - 16
def free(state, request, address):
    pass
def reserved(state):
    return state.top[0] + 4096
"""


def test_a_broken_policy_exits_4(memtrace: Run, memtrace_process: Run, small_trace: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(OVERLAPPING)
    done = memtrace_process("run", small_trace, "-p", "./broken.py", "--no-report")
    assert done.returncode == 4
    assert "broken on small: event 1: the block [16, 66) overlaps the live block [0, 100)" in done.stderr
    checked = memtrace("policies", "--check", "./broken.py")
    assert (
        checked.returncode == 4 and "the block [16, 77) overlaps the live block [0, 531), which event 0 placed" in checked.stdout
    )
    (tmp_path / "raises.py").write_text(OVERLAPPING.replace("state.top[0] += 16", "state.top[7] += 16"))
    checked = memtrace("policies", "--check", "./raises.py")
    assert checked.returncode == 4 and "raises.py:9: state.top[7] += 16\n      IndexError" in checked.stdout
    (tmp_path / "untyped.py").write_text(OVERLAPPING.replace("return state.top[0] - 16", "return 'here'"))
    done = memtrace("run", small_trace, "-p", "./untyped.py", "--no-report")
    assert done.returncode == 4 and "untyped.py" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("rnu",), 2, "unknown command 'rnu'; did you mean 'run'?"),
        (("run",), 2, "Missing argument"),
        (("run", "x.csv"), 3, "x.csv: no such file"),
        (("run", TRACE, "-p", "bestfit"), 2, "did you mean 'best-fit'?"),
        (("run", TRACE, "-p", "best-fit:algin=8"), 2, "did you mean 'align'?"),
        (("run", TRACE, "-p", "best-fit:align=3"), 2, "align=3 is not a power of two"),
        (("run", TRACE, "-p", "best-fit:extend=all"), 2, "none of shortfall, full"),
        (("run", TRACE, "-p", "best-fit:align"), 2, "is not key=value"),
        (("run", TRACE, "-p", "./none.py"), 2, "there is no policy file none.py"),
        (("run", TRACE, "-p", "best-fit:initial=4KiB", "--capacity", "1KiB"), 2, "above the capacity"),
        (("run", TRACE, "--capacity", "80G"), 2, "80GiB"),
        (("run", TRACE, "--samples", "0"), 2, "--samples"),
        (("run", TRACE, TRACE), 2, "two traces are called gpt-6x512-fp32"),
        (("run", TRACE, "--polcy", "x"), 2, "--policy"),
        (("policies", "besst-fit"), 2, "did you mean 'best-fit'?"),
        (("metrics", "jw5"), 2, "did you mean 'jw4'?"),
        (("formats", "cvs"), 2, "did you mean 'csv'?"),
    ],
)
def test_mistakes_are_answered(memtrace: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = memtrace(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_a_folder_of_somebody_else_is_not_touched(memtrace: Run, small_trace: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    done = memtrace("run", small_trace, "-o", "mine", "-p", "best-fit", "--no-report")
    assert done.returncode == 2 and "--force" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    forced = memtrace("run", small_trace, "-o", "mine", "-p", "best-fit", "--no-report", "--force")
    assert forced.returncode == 0 and (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_what_an_earlier_run_wrote_goes(memtrace: Run, small_trace: Path, tmp_path: Path) -> None:
    memtrace("run", small_trace, "-o", "o", "-p", "best-fit")
    assert (tmp_path / "o" / "report.pdf").exists()
    memtrace("run", small_trace, "-o", "o", "-p", "best-fit", "--no-report")
    assert not (tmp_path / "o" / "report.pdf").exists()


def test_invalid_events(memtrace: Run, memtrace_process: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("op,id,size\nalloc,1,8\nfree,2,\nfree,1,\n")
    done = memtrace_process("run", "bad.csv", "-p", "best-fit", "--no-report")
    assert done.returncode == 3 and done.stderr.startswith("error: bad.csv:3: free of id 2")
    assert not (tmp_path / "reports").exists()
    checked = memtrace("check", "bad.csv")
    assert checked.returncode == 3 and "bad.csv:3: free of id 2" in checked.stdout
    done = memtrace("run", "bad.csv", "-p", "best-fit", "--no-report", "--invalid", "skip")
    assert done.returncode == 0 and "1 invalid events skipped" in done.stdout


def test_convert_there_and_back(memtrace: Run, small_trace: Path, tmp_path: Path) -> None:
    assert memtrace("convert", small_trace, "a.parquet").returncode == 0
    assert memtrace("convert", "a.parquet", "b.csv").returncode == 0
    assert (tmp_path / "b.csv").read_text().splitlines()[0] == "op,id,size"
    assert json.loads(memtrace("info", "b.csv", "--json").stdout)["peak_live_bytes"] == 150
    assert "valid" in memtrace("check", "a.parquet").stdout


def test_standard_input(memtrace_process: Run, small_trace: Path) -> None:
    done = memtrace_process("run", "-", "-p", "best-fit", "--no-report", input=small_trace.read_text())
    assert done.returncode == 0 and done.stdout.startswith("stdin: 5 events")


def test_help_of_each_command_ends_with_an_example(memtrace: Run) -> None:
    for command in ("run", "suite", "compare", "info", "check", "convert", "policies", "metrics", "formats"):
        done = memtrace(command, "--help")
        assert done.returncode == 0 and "Example" in done.stdout and f"memtrace {command}" in done.stdout


def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = f"{sys.executable} -m memtrace metrics --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{", "")


def test_a_full_disk_loses_nothing(small_trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memtrace.engine.registry import parse_policies
    from memtrace.errors import InputError
    from memtrace.reading import read
    from memtrace.results import folder
    from memtrace.results.running import run
    from memtrace.results.settings import Settings

    results = run([read(small_trace)], parse_policies(["best-fit"]), Settings())
    target = tmp_path / "o"
    folder.write_folder(results, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}

    def full(table: object, path: Path) -> Path:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "_write_table", full)
    with pytest.raises(InputError, match="No space left on device; nothing was changed there"):
        folder.write_folder(results, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    with pytest.raises(InputError, match="No space left on device"):
        folder.write_folder(results, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "memtrace", "run", *map(str, arguments)]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_run_leaves_the_old_results(memtrace: Run, small_trace: Path, tmp_path: Path) -> None:
    memtrace("run", small_trace, "-o", "o", "-p", "best-fit")
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir() if path.is_file()}
    process = start(tmp_path, TRACE, "-o", "o", "-p", "best-fit")
    while process.poll() is None and not list((tmp_path / "o").glob(".partial-*/*")):
        time.sleep(0.002)
    process.kill()
    process.communicate()
    after = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir() if path.is_file()}
    assert after.pop(".partial-lock").decode() == str(process.pid)
    assert after == before
    memtrace("run", small_trace, "-o", "o", "-p", "best-fit", "--no-report")
    assert not list((tmp_path / "o").glob(".partial-*")), "what the killed run left is cleared away"


def test_what_a_killed_run_left_in_a_new_folder_is_no_ones(memtrace: Run, small_trace: Path, tmp_path: Path) -> None:
    (tmp_path / "o" / ".partial-1" / "plots").mkdir(parents=True)
    (tmp_path / "o" / ".partial-1" / "timeline.parquet").write_bytes(b"PAR1")
    assert memtrace("run", small_trace, "-o", "o", "--no-report").returncode == 0
    assert not list((tmp_path / "o").glob(".partial-*"))


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_the_run_cleanly(tmp_path: Path, jobs: str) -> None:
    process = start(tmp_path, TRACE, TRACE.parent / "cpython-objects.parquet", "-p", "classic", "-j", jobs, "--samples", "all")
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said.strip().endswith("interrupted; nothing was written")
    assert not (tmp_path / "reports").exists()
