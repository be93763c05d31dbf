"""The benchmarks: seeded traces, twins that agree with each other and with brute force, honest tables."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.__main__ as command
from benchmarks import native
from benchmarks.cache import TraceFile, load, store, trace_file
from benchmarks.columns import TITLES, PolicyColumn
from benchmarks.measure import BATCH, Results, Sample, run_rounds, steady_from
from benchmarks.tables import as_json, as_text
from benchmarks.targets import disagreements, verdicts
from benchmarks.workloads import Columns, Workload, workload

SHORT = {"holes-1e3": 8_000, "small": 24_000, "skewed": 24_000, "stack": 24_000, "uniform": 120_000}
GRANULE = 16
MAP, TREAP = TITLES[native.BEST_FIT_MAP], TITLES[native.FIRST_FIT_TREAP]
needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="needs a C++ compiler")


def short(name: str, folder: Path, events: int | None = None) -> TraceFile:
    """A workload's trace of few events."""
    full = workload(name)
    events = events or SHORT[name]
    return trace_file(Workload(name, events, events, full.about, full.generate), quick=True, folder=folder)


def brute_force(columns: Columns, *, best: bool) -> tuple[int, int]:
    """Peak reserved bytes and the sum of addresses, holes found anew from the live blocks at each request."""
    live: dict[int, tuple[int, int]] = {}
    end = total = 0
    for op, slot, size in zip(columns.op.tolist(), columns.block.tolist(), columns.size.tolist(), strict=True):
        if op == 1:
            del live[slot]
            continue
        need = max(1, -(-size // GRANULE))
        holes, at = [], 0
        for address, length in sorted(live.values()):
            if address > at:
                holes.append((address - at, at))
            at = address + length
        if at < end:
            holes.append((end - at, at))
        fitting = [(length, address) for length, address in holes if length >= need]
        address = at
        if fitting:
            address = min(fitting)[1] if best else min(address for _, address in fitting)
        live[slot] = (address, need)
        end = max(end, address + need)
        total += address
    return end * GRANULE, total


def scramble(blocks: int, events: int) -> Columns:
    """Random allocs and frees of few blocks, sizes from 0 up."""
    rng = np.random.default_rng(3)
    live: set[int] = set()
    rows: list[tuple[int, int, int]] = []
    while len(rows) < events:
        slot = int(rng.integers(blocks))
        rows.append((1, slot, 0) if slot in live else (0, slot, int(rng.choice([0, 1, 16, 17, int(rng.integers(1, 900))]))))
        live ^= {slot}
    op, block, size = zip(*rows, strict=True)
    return Columns(np.array(op, np.uint8), np.array(block, np.int32), np.array(size, np.int64), 0)


@pytest.mark.parametrize("name", SHORT)
def test_traces_are_seeded(name: str) -> None:
    make = workload(name).generate
    first, again, other = make(SHORT[name], 1), make(SHORT[name], 1), make(SHORT[name], 2)
    for column in ("op", "block", "size"):
        assert np.array_equal(getattr(first, column), getattr(again, column))
    assert not np.array_equal(first.size, other.size)


@pytest.mark.parametrize("name", SHORT)
def test_traces_are_valid(name: str) -> None:
    columns = workload(name).generate(SHORT[name], 0)
    live: set[int] = set()
    for op, slot, size in zip(columns.op.tolist(), columns.block.tolist(), columns.size.tolist(), strict=True):
        assert (slot in live) == (op == 1)
        assert (size > 0) == (op == 0)
        live ^= {slot}
    assert 0 < columns.ramp < columns.op.size <= SHORT[name]


def test_too_few_events_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        workload("holes-1e6").generate(1_000, 0)


def test_stack_is_last_in_first_out() -> None:
    columns = workload("stack").generate(SHORT["stack"], 0)
    stack: list[int] = []
    for op, slot in zip(columns.op.tolist(), columns.block.tolist(), strict=True):
        if op == 0:
            stack.append(slot)
        else:
            assert stack.pop() == slot


def test_skewed_is_small_with_huge_blocks() -> None:
    small, skewed = (workload(name).generate(events, 0) for name, events in (("small", 23_936), ("skewed", 24_000)))
    huge = skewed.size == 1 << 30
    assert huge.sum() == 64
    assert np.array_equal(skewed.size[~huge], small.size)
    assert np.array_equal(skewed.block[~huge], small.block)


def test_cache_gives_back_what_was_stored(tmp_path: Path) -> None:
    columns = scramble(8, 50)
    store(columns, tmp_path / "t.bin")
    again = load(tmp_path / "t.bin")
    assert all(np.array_equal(getattr(again, name), getattr(columns, name)) for name in ("op", "block", "size"))
    assert [path.name for path in tmp_path.iterdir()] == ["t.bin"]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = native.compiler()
    assert found is not None
    return native.build(found, tmp_path_factory.mktemp("build"))


@needs_compiler
@pytest.mark.parametrize("blocks", [3, 40])
def test_twins_agree_with_brute_force(program: Path, tmp_path: Path, blocks: int) -> None:
    columns = scramble(blocks, 3_000)
    store(columns, tmp_path / "t.bin")
    for allocator, best in (
        (native.BEST_FIT_MAP, True),
        (native.BEST_FIT_SET, True),
        (native.FIRST_FIT_TREAP, False),
    ):
        ran = native.run(program, allocator, tmp_path / "t.bin", steady_from=1_000, min_seconds=0)
        assert (ran.peak_reserved_bytes, ran.address_sum) == brute_force(columns, best=best)


@needs_compiler
@pytest.mark.parametrize("name", SHORT)
def test_twins_agree_with_each_other(program: Path, tmp_path: Path, name: str) -> None:
    path = short(name, tmp_path).path
    one, other = (
        native.run(program, allocator, path, steady_from=0, min_seconds=0)
        for allocator in (native.BEST_FIT_MAP, native.BEST_FIT_SET)
    )
    assert (one.peak_reserved_bytes, one.address_sum, one.holes) == (
        other.peak_reserved_bytes,
        other.address_sum,
        other.holes,
    )


@needs_compiler
def test_malloc_is_replayed_as_often_as_asked(program: Path, tmp_path: Path) -> None:
    ran = native.run(program, native.GLIBC, short("small", tmp_path).path, steady_from=20_000, min_seconds=0.02)
    assert ran.replays > 1
    assert ran.seconds >= 0.02
    assert 0 <= ran.steady_seconds <= ran.seconds


@needs_compiler
def test_native_program_says_what_is_wrong(program: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        native.run(program, native.GLIBC, Path("nowhere.bin"), steady_from=0, min_seconds=0)
    assert "cannot open nowhere.bin" in failed.value.stderr


@dataclass
class FakePlacement:
    cpu_seconds: float
    batch_cpu_seconds: Sequence[float]
    peak_reserved_bytes: int = 4096


def test_policy_column_averages_over_replays(tmp_path: Path) -> None:
    trace = TraceFile(workload("small"), tmp_path / "t.bin", events=3 * BATCH, ramp=10)
    store(scramble(8, 50), trace.path)
    asked: list[tuple[str, str]] = []

    def replay(_: Any, policy: str, detail: str) -> FakePlacement:
        asked.append((policy, detail))
        return FakePlacement(6.0, [1.0, 2.0, 3.0])

    column = PolicyColumn("best-fit", "search", replay, lambda columns: columns)
    sample = column.measure(trace, min_seconds=11)
    assert steady_from(trace) == BATCH
    assert asked == [("best-fit", "search")] * 2
    assert sample.ns == pytest.approx(6e9 / (3 * BATCH))
    assert sample.steady_ns == pytest.approx(5e9 / (2 * BATCH))
    assert sample.peak_reserved_bytes == 4096
    assert column.name == "best-fit +search"


@dataclass
class FakeColumn:
    name: str
    ns: dict[str, float]
    turns: list[tuple[str, str]]
    peak: int = 1

    def measure(self, trace: TraceFile, min_seconds: float) -> Sample:
        self.turns.append((self.name, trace.name))
        return Sample(self.ns[trace.name], self.ns[trace.name], self.peak, 5)


def fake_run(peak: int = 1) -> tuple[Results, list[tuple[str, str]]]:
    turns: list[tuple[str, str]] = []
    traces = [TraceFile(workload(name), Path(), 1, 0) for name in ("holes-1e3", "holes-1e6")]
    columns = [
        FakeColumn(MAP, {"holes-1e3": 50, "holes-1e6": 100}, turns),
        FakeColumn("best-fit", {"holes-1e3": 10, "holes-1e6": 70}, turns, peak),
    ]
    return run_rounds(columns, traces, rounds=2, min_seconds=0, progress=lambda _: None), turns


def test_columns_take_turns() -> None:
    _, turns = fake_run()
    round_ = [(column, trace) for trace in ("holes-1e3", "holes-1e6") for column in (MAP, "best-fit")]
    assert turns == round_ * 2


def test_verdicts() -> None:
    judged = {one.title: one for one in verdicts(fake_run()[0])}
    against = judged[f"best-fit / {MAP}"]
    assert against.ratios == pytest.approx({"holes-1e3": 0.2, "holes-1e6": 0.7})
    assert not against.met
    assert judged["best-fit, steady: holes-1e6 / holes-1e3"].ratios == pytest.approx({"holes-1e6": 7.0})
    assert len(judged) == 2


def test_tables() -> None:
    text = as_text(fake_run()[0])
    assert "MISSED" in text
    assert "0.70" in text
    assert as_json(fake_run()[0], {})["targets"][0]["met"] is False
    assert "no target" in as_text(Results())


def test_disagreements_are_found() -> None:
    assert disagreements(fake_run()[0]) == []
    assert len(disagreements(fake_run(peak=2)[0])) == 2


def test_without_a_compiler_the_policies_stand_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(native, "compiler", lambda: None)
    assert command.native_columns() == []
    assert "no C++ compiler" in capsys.readouterr().err


def test_command_ends_with_1_where_placements_differ(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for peak in (1, 2):
        twin, policy = FakeColumn(MAP, {"small": 50}, []), FakeColumn("best-fit", {"small": 10}, [], peak)
        monkeypatch.setattr(command, "native_columns", lambda twin=twin: [twin])
        monkeypatch.setattr(command, "policy_columns", lambda _, policy=policy: [policy])
        monkeypatch.setattr(command, "trace_file", lambda one, quick: TraceFile(one, Path(), 1, 0))
        assert command.main(["--quick", "--traces", "small"]) == peak - 1
        said = capsys.readouterr()
        assert "met" in said.out
        assert ("DISAGREEMENT small" in said.err) == (peak == 2)


def test_the_check_on_a_gpu_says_why_it_checked_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import gpu_check

    monkeypatch.setattr("sys.argv", ["gpu_check"])
    monkeypatch.setitem(sys.modules, "torch", None)
    assert gpu_check.main() == 1 and "PyTorch is not installed" in capsys.readouterr().out
