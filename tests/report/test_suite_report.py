"""The report of a suite: boxes, capacities and pages have the numbers of the summary."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from conftest import Run

import memtrace
from memtrace.report import suite
from memtrace.report.blocks import Heading, Picture, Table
from memtrace.report.suite_traces import ratios_of


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    found = memtrace.run("classic:events=60,seed=0..2", ["bump", "first-fit"], capacity=["1KiB", "16MiB"], samples=10)
    return found.summary


def test_every_trace_has_a_page_and_every_capacity_a_column(rows: list[dict[str, object]]) -> None:
    document = suite.build(rows, "all")
    traces = list(dict.fromkeys(row["trace"] for row in rows))
    assert [block.text for block in document.blocks if isinstance(block, Heading) and block.level == 1] == ["all", *traces]
    at = next(i for i, block in enumerate(document.blocks) if isinstance(block, Heading) and block.text.startswith("Who fails"))
    table = document.blocks[at + 1]
    assert isinstance(table, Table) and [column.title for column in table.columns] == ["policy", "1.0 KiB", "16.0 MiB"]
    served = {
        policy: [
            sum(row["status"] == "ok" for row in rows if row["policy"] == policy and row["capacity_bytes"] == size)
            for size in (1024, 16 << 20)
        ]
        for policy in ("bump", "first-fit")
    }
    assert {line[0]: list(line[1:]) for line in table.rows} == {
        policy: [f"{count} of 3" for count in counts] for policy, counts in served.items()
    }
    assert all(counts[1] == 3 for counts in served.values())
    assert "suite-boxes" in [block.file_name for block in document.blocks if isinstance(block, Picture)]


def test_a_box_has_the_ratios_of_the_traces_that_were_served(rows: list[dict[str, object]]) -> None:
    found, failed, count = ratios_of(rows, "first-fit")
    expected = [
        float(numpy.divide(row["peak_reserved_bytes"], row["peak_live_bytes"]))  # type: ignore[arg-type]
        for row in rows
        if row["policy"] == "first-fit" and row["status"] == "ok"
    ]
    assert found == pytest.approx(sorted(expected)) and (failed, count) == (6 - len(expected), 6)


def test_the_report_is_written(memtrace: Run, tmp_path: Path) -> None:
    (tmp_path / "memtrace.toml").write_text(
        'traces = ["classic:events=40,seed=0..2"]\npolicies = ["bump", "bump:align=64"]\ncapacity = "1KiB|1MiB"\n'
    )
    assert memtrace("suite", "-j", "1").returncode == 0
    done = memtrace("report", "reports/suite", "-o", "s.md")
    text = (tmp_path / "s.md").read_text()
    assert done.returncode == 0 and "Who fails within which capacity" in text and "# classic-events-40-seed-2@1MiB" in text
    assert memtrace("report", "reports/suite", "-o", "s.pdf").returncode == 0
    drawn = memtrace("plot", "reports/suite", "capacities", "-o", "c.svg")
    assert drawn.returncode == 0 and ">traces served (%)</text>" in (tmp_path / "c.svg").read_text()
    assert "of a suite, name the folder of one trace" in (
        memtrace("plot", "reports/suite", "memory", "-o", "m.svg", "--trace", "classic-events-40@1MiB").stderr
    )
