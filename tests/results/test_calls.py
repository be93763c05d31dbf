"""What Python users begin with: `memtrace.run`, `memtrace.load`, the tables of results, and what `dir` shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import memtrace
from docs import python as page
from memtrace.errors import UsageError
from memtrace.results.folder import write_folder

TRACE = "classic:events=60"


@pytest.fixture(scope="module")
def results() -> memtrace.Results:
    return memtrace.run(f"{TRACE},seed=0..1", ["bump:align=16|64", "first-fit"], capacity=["1MiB", 1 << 24], samples=10)


def test_run_is_every_trace_through_every_policy(results: memtrace.Results) -> None:
    names = [f"classic-events-60{seed}@{size}" for seed in ("", "-seed-1") for size in ("1MiB", "16MiB")]
    assert results.traces() == names
    assert all(results.policies(name) == ["bump:align=16", "bump:align=64", "first-fit"] for name in names)
    for row in results.summary:
        seed, size = "seed-1" in row["trace"], row["capacity_bytes"]
        placement = memtrace.replay(memtrace.read(f"{TRACE},seed={int(seed)}"), row["policy"], size, samples=10, interpret=True)
        assert memtrace.measure(placement).items() <= row.items()


def test_results_are_tables(results: memtrace.Results, tmp_path: Path) -> None:
    frame = results.to_pandas()
    assert list(frame["peak_reserved_bytes"]) == [row["peak_reserved_bytes"] for row in results.summary]
    assert list(frame["policy.align"][:2]) == [16, 64] and set(frame["trace.seed"]) == {0, 1}
    assert results.to_arrow().num_rows == 12
    html = results._repr_html_()
    assert html.count("<table>") == 4 and "first-fit" in html and "classic-events-60-seed-1@16MiB" in html
    write_folder(results, tmp_path / "r")
    assert memtrace.load(tmp_path / "r").to_arrow().equals(results.to_arrow())


def test_traces_and_policies_of_all_kinds(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("op,id,size\nalloc,1,100\nfree,1,\n")
    found = memtrace.run([file, memtrace.read(TRACE)], [memtrace.policy("bump", name="mine"), "first-fit"])
    assert [(row["trace"], row["policy"]) for row in found.summary] == [
        (trace, policy) for trace in ("a", "classic-events-60") for policy in ("mine", "first-fit")
    ]
    assert found.summary[0]["capacity_bytes"] is None
    assert memtrace.run(file, "bump", capacity=4096).summary[0]["capacity_bytes"] == 4096


def test_what_cannot_be_asked_for_is_said() -> None:
    for how, said in (({"sampels": 3}, "did you mean 'samples'"), ({"capacity": "1GiB..2GiB"}, "how many sizes")):
        with pytest.raises(UsageError, match=said):
            memtrace.run(TRACE, "bump", **how)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no policy"):
        memtrace.run(TRACE, [])


def test_a_trace_is_a_table() -> None:
    trace = memtrace.read(TRACE)
    table = trace.to_arrow()
    assert table.num_rows == 60 and table.column_names[:2] == ["event", "op"]
    assert trace._repr_html_().startswith("<p>Trace classic-events-60: 60 events")


def test_dir_shows_what_there_is_before_it_is_used() -> None:
    code = "import sys, memtrace; print(*dir(memtrace)); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    shown, loaded = (set(line.split()) for line in said.splitlines())
    assert set(memtrace.__all__) <= shown and not loaded & {"numpy", "numba", "pandas", "pyarrow", "matplotlib", "click"}


def test_the_page_has_every_public_name() -> None:
    assert {*page.ORDER, *page.MODULES, "__version__"} == set(memtrace.__all__)
    text = (ROOT / "docs" / "python.md").read_text()
    assert text == page.page()
    assert not re.search(r"0x[0-9a-f]+|<memtrace", text)
    for name in ("_repr_html_", "to_arrow", "to_pandas"):
        assert all(hasattr(each, name) for each in (memtrace.Trace, memtrace.Results))
