"""`memtrace whatif` and `export` as a user runs them, and the autopsy against adding the blocks up."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Run
from sample_snapshots import DATA, plain

import memtrace as library
from memtrace.cli.policies import DEFAULT_POLICIES, GPU_POLICIES, default_policies
from memtrace.engine.registry import parse_policies
from memtrace.gpu.autopsy import autopsy
from memtrace.gpu.export import BASE
from memtrace.gpu.recorded import read_recorded
from memtrace.gpu.whatif import GRID, options_of, refusal_reason, warnings
from memtrace.trace import write

TIGHT = DATA / "24" / "snapshot.pickle.gz"
SMALL = DATA / "29" / "snapshot.pickle.gz"
CAPACITY = 8441036800


def whatif(memtrace: Run, *arguments: str | Path) -> dict[str, Any]:
    done = memtrace("whatif", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_defaults_die_where_expandable_segments_live(memtrace: Run) -> None:
    found = whatif(memtrace, TIGHT, "--capacity", str(CAPACITY), "--conf", "", "--conf", "expandable_segments:True")
    said = found["fidelity"]
    assert said["addresses_equal"] == said["addresses_total"] == 5675
    assert said["reserved_peak_recorded"] == said["reserved_peak_replayed"] == 7803502592
    defaults, expandable = found["rows"]
    assert (defaults["status"], defaults["oom_event"]) == ("oom", 10661)
    assert (expandable["status"], expandable["oom_event"]) == ("ok", None)
    assert found["best"] == "expandable_segments:True"
    assert defaults["autopsy"]["request"] == defaults["oom_request_bytes"] > defaults["autopsy"]["largest_free"]


def test_the_smallest_capacity_works_and_less_does_not(memtrace: Run) -> None:
    for row in whatif(memtrace, TIGHT, "--conf", "", "--conf", "max_split_size_mb:128")["rows"]:
        trace = library.read(TIGHT)
        policy = f"pytorch:{row['conf']}" if row["conf"] else "pytorch"
        least = row["smallest_capacity_bytes"]
        assert library.replay(trace, policy, least, detail="bare").status == "ok"
        assert library.replay(trace, policy, least - (2 << 20), detail="bare").status == "oom"


def test_the_screen(memtrace: Run) -> None:
    done = memtrace("whatif", SMALL)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("recorded settings (defaults) replayed: 478 of 478 addresses equal (100 %)")
    assert all(any(conf[:20] in line for line in lines) for conf in GRID if conf)
    assert lines[-1].startswith(("PYTORCH_CUDA_ALLOC_CONF=", "the defaults do best"))


def test_any_trace_has_rows_but_no_fidelity(memtrace: Run) -> None:
    found = whatif(memtrace, ROOT / "traces" / "gpt2-small-amp-tight.parquet", "--conf", "", "--capacity", str(CAPACITY))
    assert found["fidelity"] is None and found["rows"][0]["oom_event"] == 10661


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ("garbage_collection_threshold:0.8", "does nothing without"),
        ("max_split_size_mb:4096", "above the largest request"),
        ("max_non_split_rounding_mb:64", "does nothing without max_split_size_mb"),
        ("pinned_use_cuda_host_register:True", "does not change where"),
        ("large_segment_size_mb:64", "newer PyTorch"),
    ],
)
def test_warnings(conf: str, word: str) -> None:
    assert any(word in said for said in warnings(conf, 100 << 20))


def test_settings_that_break_pytorch_are_refused(memtrace: Run) -> None:
    assert refusal_reason("max_split_size_mb:64, expandable_segments:True") and not refusal_reason("expandable_segments:True")
    row = whatif(memtrace, SMALL, "--conf", "max_split_size_mb:64,expandable_segments:True")["rows"][0]
    assert row["status"] == "refused" and "#123548" in row["warnings"][0]


def test_options_of_a_setting() -> None:
    conf = "roundup_power2_divisions:[256:1, >:8],max_split_size_mb:64"
    assert options_of(conf) == {"roundup_power2_divisions": "[256:1,>:8]", "max_split_size_mb": "64"}


def test_unknown_settings_are_named(memtrace: Run) -> None:
    row = whatif(memtrace, SMALL, "--conf", "max_splt_size_mb:64")["rows"][0]
    assert row["status"] == "refused" and "max_split_size_mb" in row["warnings"][-1]


def test_the_autopsy_adds_up() -> None:
    trace = read_recorded(SMALL).trace
    placed = library.replay(trace, "pytorch", 200 << 20, detail="bare", keep=True)
    found = autopsy(placed)
    parts = list(trace.batches())
    op, block, size, tag = (np.concatenate([getattr(part, n) for part in parts]) for n in ("op", "block", "size", "tag"))
    live: dict[int, tuple[int, str]] = {}
    for event in range(found.event):
        if op[event] == 0:
            live[int(block[event])] = (int(size[event]), trace.tags[tag[event]] if tag[event] >= 0 else "untagged")
        elif op[event] == 1:
            del live[int(block[event])]
    assert found.requested == sum(one for one, _ in live.values())
    assert found.request == size[found.event]
    assert found.reserved == found.active + found.cached == placed.reserved[found.event]  # type: ignore[index]
    assert found.splits + found.releasable == found.cached and found.largest_free < found.request
    held = [holder for pin in found.pins for holder in pin.holders]
    assert {tag for tag, _, _ in held} <= {tag for _, tag in live.values()}
    assert all(sum(one[2] for one in pin.holders) == pin.live_bytes == pin.extent - pin.free for pin in found.pins)


@pytest.mark.parametrize("conf", ["", "expandable_segments:True"])
def test_an_export_is_read_back_as_the_same_replay(conf: str, memtrace: Run, tmp_path: Path) -> None:
    policy = f"pytorch:{conf}" if conf else "pytorch"
    done = memtrace("export", SMALL, "--to", "torch-snapshot", "-p", policy, "-o", "out.pickle", "--json")
    assert done.returncode == 0, done.stderr
    found = whatif(memtrace, tmp_path / "out.pickle", "--conf", conf)
    assert found["fidelity"]["addresses_equal"] == found["fidelity"]["addresses_total"] == 478
    assert found["fidelity"]["blocks_equal"]
    sites = [json.loads(library.read(path).metadata["sites"]).keys() for path in (tmp_path / "out.pickle", SMALL)]
    assert sites[0] == sites[1]


def test_an_export_of_the_recorded_settings_is_the_recording(memtrace: Run, tmp_path: Path) -> None:
    assert memtrace("export", SMALL, "--to", "torch-snapshot", "-o", "out.pickle").returncode == 0
    made, recorded = pickle.loads((tmp_path / "out.pickle").read_bytes()), plain(SMALL)
    first = recorded["device_traces"][0][0]["addr"]
    for ours, theirs in zip(made["device_traces"][0], recorded["device_traces"][0], strict=True):
        assert (ours["action"], ours["addr"] - BASE, ours["size"]) == (theirs["action"], theirs["addr"] - first, theirs["size"])
    same = ("total_size", "allocated_size", "active_size", "requested_size", "stream", "segment_type", "is_expandable")
    for ours, theirs in zip(made["segments"], recorded["segments"], strict=True):
        assert [ours[key] for key in same] == [theirs[key] for key in same]
        for one, other in zip(ours["blocks"], theirs["blocks"], strict=True):
            assert (one["address"] - BASE, one["size"], one["state"]) == (other["address"] - first, other["size"], other["state"])


def test_an_export_of_another_policy(memtrace: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,100\nalloc,2,60\nfree,1,\nalloc,3,48\nrealloc,3,200\n")
    assert memtrace("export", "t.csv", "--to", "torch-snapshot", "-p", "best-fit", "-o", "out.pickle").returncode == 0
    made = pickle.loads((tmp_path / "out.pickle").read_bytes())
    live = [block for block in made["segments"][0]["blocks"] if block["state"] == "active_allocated"]
    assert [(block["address"] - BASE, block["size"]) for block in live] == [(112, 60), (176, 200)]
    assert library.read(tmp_path / "out.pickle").facts.allocs == 4


@pytest.mark.parametrize(
    "arguments", [["--conf", "", "--capacity", "lots"], ["--device", "x"], ["--device", "7"], ["--no-such-option"]]
)
def test_wrong_use(arguments: list[str], memtrace: Run) -> None:
    done = memtrace("whatif", SMALL, *arguments)
    assert done.returncode in (2, 3) and "Traceback" not in done.stderr


def test_traces_of_gpus_are_compared_with_allocators_of_gpus(tmp_path: Path) -> None:
    snapshot = library.read(SMALL)
    write(snapshot, tmp_path / "kept.parquet")
    write(snapshot, tmp_path / "bare.csv")
    assert default_policies([snapshot]) == default_policies([library.read(tmp_path / "kept.parquet")]) == GPU_POLICIES
    assert default_policies([library.read(tmp_path / "bare.csv")]) == DEFAULT_POLICIES
    names = [policy.label for policy in parse_policies(GPU_POLICIES)]
    assert names == [
        *("first-fit", "next-fit", "best-fit", "worst-fit"),
        *("pytorch", "pytorch:expandable_segments=true", "bfc", "stitch", "paged"),
    ]
