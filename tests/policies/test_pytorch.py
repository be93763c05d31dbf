"""The pytorch policy: recordings of the library, worked examples, and random programs through an oracle."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytorch_programs import Program, counters_of, first_difference, random_program, through_oracle, through_policy

from memtrace.engine.recorder import SKIPPED
from memtrace.engine.registry import parse_policies, parse_policy
from memtrace.engine.replay import Placement, replay
from memtrace.errors import UsageError
from memtrace.reading import read
from memtrace.structures.caching.blocks import events as history_of
from memtrace.trace import from_events

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "60"))
SHARED = ROOT.parent / "shared" / "data" / "torch-oracle"
COMMITTED = ROOT / "tests" / "data" / "torch"
VERSIONS = ROOT / "tests" / "data" / "torch-versions"
MIB = 1 << 20
COLUMNS = {
    "allocated": "allocated_bytes.all.current",
    "reserved": "reserved_bytes.all.current",
    "active": "active_bytes.all.current",
    "inactive_split": "inactive_split_bytes.all.current",
    "requested": "requested_bytes.all.current",
    "segments": "segment.all.current",
    "retries": "num_alloc_retries",
    "ooms": "num_ooms",
}


def recordings() -> list[Path]:
    """The committed ones, of several versions, and all others that this machine has."""
    more = [case for folder in (SHARED, SHARED.parent / "torch-versions") if folder.is_dir() for case in sorted(folder.iterdir())]
    return [
        case for case in (*sorted(COMMITTED.iterdir()), *sorted(VERSIONS.iterdir()), *more) if (case / "states.csv.gz").exists()
    ]


def policy_of(setting: dict[str, Any]) -> str:
    """A recording's settings as a policy."""
    words = [setting["conf"]] if setting["conf"] else []
    if setting["fraction"] is not None:
        words.append(f"per_process_memory_fraction:{setting['fraction']}")
    return "pytorch:" + ",".join([*words, f"va={setting['va']}", f"version={setting.get('torch', '2.14')}"])


def replay_recording(case: Path) -> Placement:
    setting = json.loads((case / "settings.json").read_text())
    trace = read(case / "trace.csv.gz")
    return replay(trace, policy_of(setting), setting["capacity"], on_oom="skip", samples=1 << 62, keep=True)


def rows_that_differ(case: Path, placement: Placement) -> Iterator[tuple[str, str, int, int]]:
    """(row, column, recorded, replayed) of everything in states.csv that is not equal."""
    assert placement.addresses is not None
    states, skipped = counters_of(placement), 0
    with gzip.open(case / "states.csv.gz", "rt") as lines:
        for i, row in enumerate(csv.DictReader(lines)):
            placed = row["result"] == "ok" and row["op"] == "alloc"
            address = int(row["addr_off"]) if placed else -1 if row["result"] == "oom" else -2
            found = {"addr_off": int(placement.addresses[i]), **{name: states[i][key] for name, key in COLUMNS.items()}}
            wanted = {"addr_off": address, **{name: int(row[name]) for name in COLUMNS}}
            yield from ((row["i"], name, wanted[name], found[name]) for name in wanted if wanted[name] != found[name])
            skipped += row["result"] == "skip"
    assert (i + 1, skipped) == (placement.events, placement.recorder.totals[SKIPPED])


@pytest.mark.parametrize("case", recordings(), ids=lambda case: case.name)
def test_recordings_of_the_library_are_equal_in_every_row_and_statistic(case: Path) -> None:
    placement = replay_recording(case)
    assert list(rows_that_differ(case, placement))[:5] == []
    if not (case / "stats.json").exists():
        return
    recorded = json.loads((case / "stats.json").read_text())["memory_stats"]
    replayed = counters_of(placement)[-1]
    assert {name: replayed[name] for name in recorded} == recorded


def program_of(text: str, capacity: int, policy: str = "pytorch", on_oom: Any = "skip") -> Placement:
    """``a1:100@2`` allocates 100 bytes as 1 on stream 2, ``f1`` frees, ``r1@2`` records, ``c1`` and ``c`` complete, ``e`` empties."""
    rows: list[dict[str, Any]] = []
    for word in text.split():
        name, _, rest = word.partition(":")
        size, _, stream = rest.partition("@")
        if not rest:
            name, _, stream = name.partition("@")
        op = {"a": "alloc", "f": "free", "r": "record", "c": "complete", "e": "trim"}[name[0]]
        row = {"op": op, "id": name[1:] and int(name[1:]), "size": size and int(size), "stream": stream and int(stream)}
        rows.append({key: value for key, value in row.items() if value != ""})
    policy += ("," if ":" in policy else ":") + "history=true"
    return replay(from_events(rows), policy, capacity, on_oom=on_oom, samples=1 << 62, keep=True, interpret=True)


def told(placement: Placement) -> list[str]:
    return [" ".join(map(str, event[:3])) for event in history_of(placement.state)]


def test_a_small_block_is_cut_from_a_segment_of_2_mib() -> None:
    assert told(program_of("a1:100 a2:513", 80 << 30)) == ["segment_alloc 0 2097152", "alloc 0 100", "alloc 512 513"]


def test_a_large_rest_is_cut_off_and_one_up_to_1_mib_is_not() -> None:
    placement = program_of("a1:30000000", 80 << 30)
    assert told(placement) == ["segment_alloc 0 31457280", "alloc 0 30000000"]
    assert counters_of(placement)[-1]["inactive_split_bytes.all.current"] == 1457152
    last = counters_of(program_of("a1:31000000", 80 << 30))[-1]
    assert (last["allocated_bytes.all.current"], last["requested_bytes.all.current"]) == (31457280, 31000000)
    assert last["inactive_split.all.current"] == 0


def test_out_of_memory_is_told_with_what_is_free_and_the_rounded_request() -> None:
    placement = program_of("a1:200000001", 100 * MIB)
    assert told(placement) == ["oom 104857600 200000512"]
    last = counters_of(placement)[-1]
    assert [last[f"num_{name}"] for name in ("alloc_retries", "ooms", "sync_all_streams")] == [1, 1, 1]


def test_expandable_segments_pack_large_blocks_and_keep_a_tail_without_a_whole_page() -> None:
    placement = program_of("a1:100 a2:5000000 a3:30000000 f2 f3 a4:5000000 e", 8 << 30, "pytorch:expandable_segments:True")
    start = 9 << 30
    maps = [line for line in told(placement) if line.startswith("segment_")]
    assert maps == [
        "segment_map 0 2097152",
        f"segment_map {start} 20971520",
        f"segment_map {start + 20971520} 20971520",
        f"segment_unmap {start + 20971520} 20971520",
    ]
    assert placement.addresses is not None and placement.addresses[2] == start + 5000192


def test_a_block_that_another_stream_uses_waits_for_it() -> None:
    lines = told(program_of("a1:100 r1@1 f1 a2:100 c1 a3:100", 80 << 30))
    assert lines[2:] == ["free_requested 0 100", "alloc 512 100", "free_completed 0 100", "alloc 0 100"]
    # Without any complete in the trace, stream work is done at once: at the next request.
    assert told(program_of("a1:100 r1@1 f1 a2:100", 80 << 30))[2:] == [
        "free_requested 0 100",
        "free_completed 0 100",
        "alloc 0 100",
    ]


def test_a_complete_names_the_block_that_is_done() -> None:
    text = "a1:100 a2:100 r1@1 r2@2 f1 f2 {} a3:100"
    assert told(program_of(text.format("c2"), 80 << 30))[5:] == ["free_completed 512 100", "alloc 512 100"]
    assert told(program_of(text.format("c1"), 80 << 30))[5:] == ["free_completed 0 100", "alloc 0 100"]
    # The newest stream takes its turn first.
    assert told(program_of(text.format("c"), 80 << 30))[5:] == ["free_completed 512 100", "free_completed 0 100", "alloc 0 100"]


def test_what_a_stream_did_before_is_done_too() -> None:
    lines = told(program_of("a1:100 a2:100 r1@1 r2@1 f1 f2 c2 a3:100", 80 << 30))
    assert lines[5:] == ["free_completed 0 100", "free_completed 512 100", "alloc 0 100"]


def test_an_id_used_again_leaves_the_waiting_block_waiting() -> None:
    lines = told(program_of("a1:100 r1@1 f1 a1:100 c1 a2:100 f1 a3:100 c a4:100", 80 << 30))
    assert [line for line in lines if line.startswith("alloc")] == [f"alloc {512 * i} 100" for i in (0, 1, 2, 1, 0)]


def test_a_failed_block_is_skipped_whatever_happens_to_it() -> None:
    placement = program_of("a1:200000000 r1@1 f1 c1 a2:100", 100 * MIB)
    assert placement.addresses is not None and placement.addresses.tolist() == [-1, -2, -2, -2, 0]


def test_an_alignment_above_512_asks_for_more() -> None:
    trace = from_events([("alloc", 1, 100), {"op": "alloc", "id": 2, "size": 100, "align": 4096}])
    placement = replay(trace, "pytorch", keep=True, samples=1 << 62, interpret=True)
    assert placement.addresses is not None and placement.addresses.tolist() == [0, 4096]
    assert counters_of(placement)[-1]["requested_bytes.all.current"] == 100 + 100 + 4096 - 512


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        ("max_split_size_mb:19", "below 20"),
        ("large_segment_size_mb:64,max_split_size_mb:32", "below 64"),
        ("max_non_split_rounding_mb:19", "below 20"),
        ("garbage_collection_threshold:0", "between 0 and 1"),
        ("garbage_collection_threshold:1.0", "between 0 and 1"),
        ("roundup_power2_divisions:3", "no power of two"),
        ("roundup_power2_divisions:0", "no power of two"),
        ("roundup_power2_divisions:[3:2]", "the size 3"),
        ("roundup_power2_divisions:[256:3]", "no power of two"),
        ("large_segment_size_mb:10", "not above 10"),
        ("per_process_memory_fraction:1.5", "not from 0 to 1"),
        ("pinned_num_register_threads:7", "no power of two"),
        ("max_split_size_mb:abc", "no whole number"),
        ("backend:cudaMallocAsync", "only native"),
        ("expandable_segments:true", "with a capital"),
        ("max_split_sise_mb:30", "max_split_size_mb"),
    ],
)
def test_what_pytorch_refuses_is_refused(conf: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason.replace("(", r"\(")):
        replay(from_events([("alloc", 1, 100)]), f"pytorch:{conf}", 1 << 30, interpret=True)


@pytest.mark.parametrize(
    ("version", "conf", "reason"),
    [
        ("2.0", "expandable_segments:True", "needs PyTorch 2.1"),
        ("2.5", "max_non_split_rounding_mb:64", "needs PyTorch 2.6"),
        ("2.10.0", "large_segment_size_mb:64", "needs PyTorch 2.11"),
        ("2.11", "throw_on_cudamalloc_oom:True", "needs PyTorch 2.12"),
        ("2.9.1", "max_split_size_mb:20", "below 21"),
        ("1.13", "", "older than 2.0"),
        ("new", "", "no version"),
    ],
)
def test_what_a_version_refuses_is_refused(version: str, conf: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        replay(from_events([("alloc", 1, 100)]), f"pytorch:{conf},version={version}", interpret=True)


@pytest.mark.parametrize(("version", "size"), [("2.9", 1 << 20), ("2.10", 5 << 18)])
def test_the_rest_of_the_sizes_begins_at_the_last_one_named_up_to_2_9(version: str, size: int) -> None:
    """1.2 MiB: of 1 to 2 MiB the list names 4 divisions, which the older versions overwrite with the 1 of the rest."""
    policy = f"pytorch:roundup_power2_divisions:[1:4,>:1],version={version}"
    placement = replay(from_events([("alloc", 1, 1258291), ("alloc", 2, 1258291)]), policy, keep=True, interpret=True)
    assert placement.addresses is not None
    assert placement.addresses[1] == (1258496 if version == "2.9" else size)


def test_a_fraction_needs_a_capacity() -> None:
    with pytest.raises(UsageError, match="--capacity"):
        replay(from_events([("alloc", 1, 100)]), "pytorch:per_process_memory_fraction:0.5", interpret=True)


def test_both_ways_of_writing_options_are_one() -> None:
    ways = (
        "roundup_power2_divisions:[256:1,>:8],expandable_segments:True",
        "roundup_power2_divisions=[256:1,>:8],expandable_segments=true",
    )
    one, other = (parse_policy(f"pytorch:{way}") for way in ways)
    assert one.options == other.options and one.label == other.label
    assert parse_policy(one.label).options == one.options
    assert [policy.label for policy in parse_policies(["gpu"])][:2] == ["pytorch", "pytorch:expandable_segments=true"]


@pytest.mark.parametrize("interpret", [False, True], ids=["compiled", "interpreted"])
def test_random_programs(interpret: bool) -> None:
    for seed in range(SEEDS // 5 if interpret else SEEDS):
        program = random_program(seed).with_ties(("segment", "object", "address")[seed % 3])
        found = through_policy(program, interpret, batch_rows=7 if seed % 5 == 0 else 1 << 20)
        assert (difference := first_difference(found, through_oracle(program))) is None, (
            f"seed {seed}: {program.conf}: {difference}"
        )


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A random program whose rows hypothesis may leave out, but for what then makes no sense."""
    program = random_program(draw(st.integers(0, 1 << 20)), draw(st.integers(1, 120)))
    kept = [row for row in program.rows if draw(st.booleans())]
    live: set[int] = set()
    rows = []
    for op, id, size, stream in kept:
        if op == "alloc":
            live.add(id)
        elif op in ("free", "record") and id not in live:
            continue
        elif op == "free":
            live.remove(id)
        rows.append((op, id, size, stream))
    return Program(rows or [("trim", -1, 0, 0)], program.settings, program.conf)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_searched_for_counterexamples(program: Program) -> None:
    assert first_difference(through_policy(program), through_oracle(program)) is None
