"""`memtrace whatif` and `export` as a user runs them, and the autopsy against adding the blocks up."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Run
from sample_snapshots import DATA, GPU, VERSIONS, plain, written

import memtrace as library
from memtrace.cli.policies import DEFAULT_POLICIES, GPU_POLICIES, default_policies
from memtrace.engine.registry import parse_policies
from memtrace.gpu.autopsy import autopsy
from memtrace.gpu.export import BASE
from memtrace.gpu.recorded import read_recorded
from memtrace.gpu.rows import Row, ranked
from memtrace.gpu.settings import changes, options_of, refusal_reason, refused_by, splits_nothing, warnings
from memtrace.structures.caching.versions import Version
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
    expandable, defaults = found["rows"]  # best first
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


def screen(memtrace: Run, *arguments: str | Path) -> list[str]:
    done = memtrace("whatif", *arguments)
    assert done.returncode == 0, done.stderr
    lines: list[str] = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines if "ALLOC_CONF=" not in line)
    return lines


def said(lines: list[str], label: str) -> str:
    """What stands beside a label, in one line."""
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{label:7}"))
    end = next((i for i in range(start + 1, len(lines)) if lines[i][:7].strip()), len(lines))
    return " ".join(line[7:].strip() for line in lines[start:end])


def test_the_screen(memtrace: Run) -> None:
    lines = screen(memtrace, TIGHT)
    assert said(lines, "ran").startswith("PyTorch 2.14 or later, defaults; 10,664 events device 0: 7.861 GiB")
    assert "ran out of memory once; emptied the cache 3 times, 2.0 GiB given back" in said(lines, "ran")
    assert said(lines, "trust").startswith("yes: 5,675 of 5,675 addresses replayed equal (100 %), the peak too, 7.268 GiB")
    assert "asked for 1.2 GiB and failed: 7.3 GiB reserved, 5.8 GiB of it in use and 1.5 GiB cached" in said(lines, "why")
    assert said(lines, "do").startswith("PYTORCH_ALLOC_CONF=expandable_segments:True none failed, not 1; 0 flushes, not 3")
    rule = next(i for i, line in enumerate(lines) if line.startswith("──"))
    assert [line.split()[0] for line in lines[rule + 1 : rule + 3]] == ["as", "expandable_segments:True"]


def test_the_device_that_ran_out_is_the_one_that_is_read(memtrace: Run) -> None:
    path = GPU / "three_devices_oom.pickle.gz"
    found = whatif(memtrace, path)
    assert found["device"] == 1 and [one["ooms"] for one in found["devices"]] == [0, 1, 0]
    assert found["capacity"] == {"bytes": 2726297600, "source": "oom", "least": 2726297600, "below": 2726297601, "device": None}
    assert found["recorded"] == {"conf": "expandable_segments:True", "known": True}
    assert found["autopsy"]["request"] == 734003200 and found["autopsy"]["tag"] == "train.py:8 E"
    assert found["autopsy"]["reserved"] == 2306867200
    assert (found["full"]["live_bytes"], found["full"]["lacking_bytes"]) == (3036676096, 3036676096 - 2726297600)
    assert found["line"] is None and all(row["ooms"] == 1 for row in found["rows"])
    lines = screen(memtrace, path)
    assert "really full: no setting helps; 2.8 GiB are live at once on 2.5 GiB: 296.0 MiB too much" in said(lines, "why")
    assert "need 296.0 MiB less, or a card that leaves this process 2.832 GiB who holds it: train.py:8 E (96 x" in said(
        lines, "do"
    )
    assert "not shown: device 0 (458 events, none failed), 2 (3 events, none failed)" in said(lines, "ran")
    for other in (["--device", "0"], ["--format", "torch-snapshot:0"]):
        assert whatif(memtrace, path, *other)["device"] == 0
    assert memtrace("whatif", path, "--device", "0", "--format", "torch-snapshot:1").returncode == 2


def test_who_holds_the_memory_adds_up() -> None:
    found = library.whatif(GPU / "three_devices_oom.pickle.gz").death
    assert found is not None and sum(size for _, _, size in found.holders) == found.active
    assert found.largest == sorted(found.largest, key=lambda one: -one[1]) and found.largest[0][1] == 62914560


def test_a_run_that_thrashes_says_so(memtrace: Run) -> None:
    path = GPU / "thrash.pickle.gz"
    found = whatif(memtrace, path)
    assert found["ended"] == {"ooms": 6, "survived": True, "flushes": 19, "given_back": 5395972096}
    recorded = found["as_recorded"]
    assert (recorded["status"], recorded["flushes"], recorded["ooms"], recorded["peak_reserved_bytes"]) == (
        "oom",
        19,
        6,
        1447034880,
    )
    same = next(row for row in found["rows"] if row["conf"] == "")
    assert (same["flushes"], same["ooms"]) == (19, 6)
    assert found["best"] == "expandable_segments:True" and found["rows"][0]["ooms"] == 0
    assert "emptied the cache 19 times, 5.0 GiB given back" in said(screen(memtrace, path), "ran")


def test_the_flushes_of_a_recording_are_those_of_its_replay() -> None:
    """What is counted from events is what the allocator's own statistic says after a replay that is exact."""
    from memtrace.formats.snapshot.diagnostics import released
    from memtrace.gpu.capacity import flushes, recorded_capacity
    from memtrace.gpu.fidelity import Rerun, replayed
    from memtrace.structures.caching.statistics import ALLOC_RETRIES

    for path in [*sorted(GPU.glob("*s*.pickle.gz")), TIGHT, *VERSIONS.glob("*/2.15.0-fraction*")]:
        if path.name.startswith(("state", "no_")):
            continue
        recorded = read_recorded(path)
        rules = released(recorded.snapshot.settings)
        at = recorded_capacity(recorded.recording, rules).bytes
        conf = "expandable_segments:True" if recorded.snapshot.settings["expandable_segments"] else ""
        placed = replayed(Rerun(recorded, conf, at, recorded.snapshot.versions.low))
        assert flushes(recorded.recording, rules).count == placed.state.stats[ALLOC_RETRIES], path


def test_flushes_bracket_the_capacity() -> None:
    found = library.whatif(GPU / "flushes.pickle.gz")
    assert found.capacity.source == "flush" and found.capacity.below is not None and found.capacity.least is not None
    assert found.capacity.least <= 2306867200 < found.capacity.below  # what the device had
    assert found.line == "PYTORCH_ALLOC_CONF=expandable_segments:True" and found.rows[0].flushes == 0
    assert found.death is not None and found.death.request == 1468006400


def test_a_fraction_set_in_code_is_bracketed() -> None:
    found = library.whatif(VERSIONS / "snapshots" / "2.15.0-fraction.pickle.gz")
    capacity = found.capacity
    assert (capacity.source, capacity.least, capacity.below, capacity.device) == ("fraction", 1048576000, 1153433600, 2097152000)
    assert "from 0.500 to below 0.550 of 1.95 GiB" in str(found).replace("\n         ", " ")


def test_a_replay_from_an_empty_heap_that_differs_is_said(memtrace: Run) -> None:
    path = GPU / "midrun_gain.pickle.gz"
    found = whatif(memtrace, path)
    assert found["as_recorded"]["peak_reserved_bytes"] == 1468006400 and found["capacity"]["source"] == "unknown"
    assert found["line"] == "PYTORCH_ALLOC_CONF=expandable_segments:True"
    text = " ".join(screen(memtrace, path))
    assert "begin with an empty heap: from there defaults" in text and re.search(
        r"defaults reserves \d+\.\d MiB more", " ".join(text.split())
    )


TUTORIAL = re.findall(r"    \$ memtrace (whatif .*)\n((?:    .*\n|\n(?=    ))+)", (ROOT / "docs" / "tutorial-gpu.md").read_text())


@pytest.mark.parametrize("shown", TUTORIAL, ids=[command.split("/")[-2] for command, _ in TUTORIAL])
def test_the_screens_of_the_tutorial_are_what_is_printed(shown: tuple[str, str], memtrace: Run) -> None:
    words = [str(ROOT / word) if word.startswith("tests/") else word for word in shown[0].split()]
    printed = [line.rstrip() for line in memtrace(*words).stdout.splitlines()]
    assert printed == [line.removeprefix("    ").rstrip() for line in shown[1].rstrip("\n").splitlines()]


def test_the_tutorial_shows_both_screens() -> None:
    assert len(TUTORIAL) == 2


def row(conf: str, ooms: int, flushes: int, peak: int) -> Row:
    return Row(conf, "oom" if ooms else "ok", peak, flushes, ooms)


def test_fits_goes_before_flushes_and_flushes_before_bytes() -> None:
    rows = [row("a:1", 0, 5, 100), row("b:1", 0, 2, 300), row("c:1", 1, 0, 10), row("d:1", 0, 2, 200)]
    assert [one.conf for one in ranked(rows, "")] == ["d:1", "b:1", "a:1", "c:1"]


def test_less_than_one_percent_is_a_tie_which_goes_to_fewest_changes() -> None:
    rows = [row("a:1,b:2", 0, 0, 1000), row("", 0, 0, 1009), row("a:1", 0, 0, 1005), row("c:1", 0, 0, 1011)]
    assert [one.conf for one in ranked(rows, "")] == ["", "a:1", "a:1,b:2", "c:1"]
    assert [one.conf for one in ranked(rows, "a:1")] == ["a:1", "a:1,b:2", "", "c:1"]
    assert changes("a:1,b:[1:2,>:3]", "b:[1:2,>:4],c:1") == 3


@pytest.mark.parametrize("name", ["2.15.0-mempool_no_split", "2.15.0-graph_reset", "2.8.0-mempool"])
def test_rows_have_the_private_pools_of_the_recording(name: str) -> None:
    found = library.whatif(VERSIONS / "snapshots" / f"{name}.pickle.gz", confs=("", "roundup_power2_divisions:8"))
    assert found.as_recorded is not None and found.same is not None  # both begin with an empty heap
    assert found.same.peak_reserved == found.as_recorded.peak_reserved
    assert "empty heap" not in str(found)


def test_equal_remarks_are_one_line(memtrace: Run) -> None:
    lines = screen(memtrace, GPU / "really_full.pickle.gz", "-v")
    assert sum("is above the largest request" in line for line in lines) == 1


def test_nothing_is_recommended_where_nothing_helps(memtrace: Run) -> None:
    confs = ["--conf", "", "--conf", "max_split_size_mb:512", "--conf", "max_split_size_mb:256"]
    found = whatif(memtrace, SMALL, *confs)
    assert found["line"] is None and found["best"] == ""
    assert said(screen(memtrace, SMALL, *confs), "do").startswith("nothing to change: no setting tried does better")


def test_nothing_is_recommended_that_cannot_be_trusted(memtrace: Run, tmp_path: Path) -> None:
    value = plain(SMALL)
    allocs = [event for event in value["device_traces"][0] if event["action"] == "alloc" and event["size"] > 1 << 20]
    for event in allocs[::2]:
        event["size"] //= 3
    path = written(value, tmp_path / "odd.pickle")
    found = whatif(memtrace, path)
    assert found["trusted"] is False and found["line"] is None and found["best"] is None
    lines = screen(memtrace, path)
    assert said(lines, "trust").startswith("no: ") and "at least 95 %" in said(lines, "trust")
    assert not any("ALLOC_CONF=" in line for line in lines)


def test_the_version_decides_what_is_offered_and_the_name_of_the_variable(memtrace: Run) -> None:
    path = GPU / "midrun_gain.pickle.gz"
    for version, name, refused in (
        ("2.9.1", "PYTORCH_CUDA_ALLOC_CONF", 1),
        ("2.10", "PYTORCH_ALLOC_CONF", 1),
        ("2.11", "PYTORCH_ALLOC_CONF", 0),
    ):
        found = whatif(memtrace, path, "--pytorch", version)
        assert found["variable"] == name and found["line"] == f"{name}=expandable_segments:True"
        assert len(found["left_out"]) == refused and found["pytorch"]["rules"] == version[:4].rstrip(".")
    old = whatif(memtrace, path, "--pytorch", "2.0")
    assert not any("expandable" in one["conf"] for one in old["rows"]) and old["best"] != "expandable_segments:True"
    assert memtrace("whatif", path, "--pytorch", "new").returncode == 2


@pytest.mark.parametrize("what", ["blocks", "segments", "events"])
def test_a_recording_that_contradicts_itself_is_not_replayed(what: str, memtrace: Run, tmp_path: Path) -> None:
    """Blocks that overlap, segments that overlap, and memory that is mapped twice: said, with no line, and without end is none."""
    value = plain(GPU / "midrun_gain.pickle.gz")
    if what == "blocks":
        for block in (block for segment in value["segments"] for block in segment["blocks"]):
            block["address"] += 512
    elif what == "segments":
        value["segments"][1]["address"] = value["segments"][0]["address"] + (2 << 20)
    else:
        mapped = next(event for event in value["device_traces"][0] if event["action"] == "segment_alloc")
        value["device_traces"][0] += [dict(mapped)]
    found = whatif(memtrace, written(value, tmp_path / "odd.pickle"))
    assert found["trusted"] is False and found["fidelity"]["contradiction"] and found["line"] is None
    assert "the recording contradicts itself" in said(screen(memtrace, tmp_path / "odd.pickle"), "trust")


@pytest.mark.parametrize(
    ("conf", "version", "word"),
    [
        ("large_segment_size_mb:64", Version(2, 10), "2.11"),
        ("max_split_size_mb:20", Version(2, 9), "below 21"),
        ("expandable_segments:True", Version(2, 0), "2.1"),
        ("per_process_memory_fraction:0.5", Version(2, 9), "2.10"),
    ],
)
def test_what_a_version_refuses_is_not_offered(conf: str, version: Version, word: str) -> None:
    assert word in (refused_by(conf, version) or "")
    assert refused_by(conf, Version(2, 15)) is None


def test_a_split_size_that_no_block_reaches_is_not_replayed() -> None:
    assert splits_nothing("max_split_size_mb:64", 62 << 20) and not splits_nothing("max_split_size_mb:64", 63 << 20)
    assert not splits_nothing("max_split_size_mb:64,expandable_segments:True", 1)
    found = library.whatif(GPU / "thrash.pickle.gz", confs=("", "max_split_size_mb:64"))
    alone = library.whatif(GPU / "thrash.pickle.gz", confs=("max_split_size_mb:64",)).rows[0]
    assert found.rows[1].same_as == "" and found.rows[1].peak_reserved == alone.peak_reserved
    assert (found.rows[1].flushes, found.rows[1].smallest_capacity) == (alone.flushes, alone.smallest_capacity)


def test_remarks_are_one_line_with_a_count(memtrace: Run) -> None:
    path = GPU / "thrash.pickle.gz"
    done = memtrace("whatif", path)
    assert done.stdout.splitlines()[-1].endswith("remarks on the recording and the settings: -v lists them")
    assert "note:" not in done.stderr and "warning:" not in done.stderr
    assert (
        "begins in mid-run" in memtrace("whatif", path, "-v").stdout
        or "starts in mid-run" in memtrace("whatif", path, "-v").stdout
    )
    quiet = memtrace("whatif", path, "--json", "-q")
    assert quiet.stderr == "" and json.loads(quiet.stdout)["schema"] == "memtrace.whatif/2"


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
            live[int(block[event])] = (int(size[event]), trace.tags[tag[event]] if tag[event] >= 0 else "no call site")
        elif op[event] == 1:
            del live[int(block[event])]
    assert found.requested == sum(one for one, _ in live.values())
    assert found.request == size[found.event]
    assert found.reserved == found.active + found.cached == placed.reserved[found.event]  # type: ignore[index]
    assert found.splits + found.releasable == found.cached and found.largest_free < found.request
    held = [holder for pin in found.pins for holder in pin.holders]
    assert {tag for tag, _, _ in held} <= {tag for _, tag in live.values()}
    assert all(sum(one[2] for one in pin.holders) == pin.live_bytes == pin.extent - pin.free for pin in found.pins)


@pytest.mark.parametrize("version", ["2.9", "2.12", "2.13", "2.15"])
def test_an_export_tells_the_version_whose_rules_it_has(version: str, memtrace: Run, tmp_path: Path) -> None:
    arguments = ["-p", f"pytorch:version={version}", "-o", "out.pickle"]
    assert memtrace("export", SMALL, "--to", "torch-snapshot", *arguments).returncode == 0
    recorded = read_recorded(tmp_path / "out.pickle")
    assert recorded.snapshot.versions.low == tuple(map(int, version.split("."))) or version == "2.15"
    found = whatif(memtrace, tmp_path / "out.pickle", "--conf", "")
    assert found["fidelity"]["addresses_equal"] == 478 and found["pytorch"]["low"] == {"2.15": "2.14"}.get(version, version)


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


def test_the_report_says_what_the_screen_says(memtrace: Run, tmp_path: Path) -> None:
    done = memtrace("whatif", GPU / "flushes.pickle.gz", "-o", "out")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    for words in (
        "What to do",
        "PYTORCH_ALLOC_CONF=expandable_segments:True",
        "0 flushes, not 4",
        "Who held the memory then",
        "train.py:8 E",
    ):
        assert words in page
    assert (tmp_path / "out" / "report.pdf").read_bytes()[:5] == b"%PDF-" and len(page) < 5 << 20
    summary = (tmp_path / "out").iterdir()
    assert {"report.pdf", "report.html", "blocks.html", "plots"} <= {path.name for path in summary}
    assert memtrace("whatif", GPU / "flushes.pickle.gz", SMALL, "-o", "two").returncode == 2


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


def test_an_export_has_the_blocks_of_reallocs(memtrace: Run, tmp_path: Path) -> None:
    """A realloc of PyTorch's allocator is an alloc, then the free of the old block; each has the tag of its own request."""
    events = "alloc,1,100,a\nrealloc,1,5000,a\nalloc,2,60,b\nrealloc,2,700,b\nfree,1,,\n"
    (tmp_path / "t.csv").write_text(f"op,id,size,tag\n{events}")
    assert memtrace("export", "t.csv", "--to", "torch-snapshot", "-o", "out.pickle").returncode == 0
    made = pickle.loads((tmp_path / "out.pickle").read_bytes())
    allocs = [(event["size"], event["frames"][0]["name"]) for event in made["device_traces"][0] if event["action"] == "alloc"]
    assert allocs == [(100, "a"), (5000, "a"), (60, "b"), (700, "b")]
    live = [block for block in made["segments"][0]["blocks"] if block["state"] == "active_allocated"]
    assert [block["requested_size"] for block in live] == [700]
