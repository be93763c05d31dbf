"""Memory snapshots: what is read of them, in every version and state, and that a replay of them is what was recorded."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from sample_snapshots import (
    CASES,
    DATA,
    MORE,
    ORACLE,
    PUBLIC,
    VERSIONS,
    changed,
    cut,
    live_after,
    plain,
    program,
    settings_of,
    written,
)

from memtrace.errors import InputError, UsageError
from memtrace.formats.snapshot.diagnostics import conf_of, released
from memtrace.gpu.ages import by_age
from memtrace.gpu.answer import without_share
from memtrace.gpu.capacity import recorded_capacity
from memtrace.gpu.fidelity import Fidelity, fidelity
from memtrace.gpu.recorded import Recorded, read_recorded
from memtrace.reading import read
from memtrace.trace import Op

SMALL = DATA / "29" / "snapshot.pickle.gz"
SNAPSHOTS = VERSIONS / "snapshots"
ALL = [*CASES, *MORE, *ORACLE, *PUBLIC]


def label(path: Path) -> str:
    return f"{path.parent.name}-{path.name.removesuffix('.pickle.gz')}"


def compared(found: Recorded, settings: dict[str, Any], capacity: int | None = None) -> Fidelity:
    conf = conf_of(found.snapshot.settings, found.recording)
    at = capacity or recorded_capacity(found.recording, released(found.snapshot.settings)).bytes
    if settings.get("fraction"):  # which no snapshot records
        conf += f",per_process_memory_fraction:{settings['fraction']}"
        at = settings["capacity"]
    return fidelity(found, conf, at, found.snapshot.versions.low)


@pytest.mark.parametrize("path", ALL, ids=label)
def test_a_replay_of_the_recorded_settings_is_the_recording(path: Path) -> None:
    found = compared(read_recorded(path), settings_of(path))
    assert (found.addresses_equal, found.first_difference) == (found.addresses_total, None)
    assert found.exact and found.blocks_equal and found.blocks_recorded > 0


@pytest.mark.parametrize(
    ("name", "device"),
    [("ages", ""), ("reservations", "1"), ("pending", ""), ("private-pools", ""), ("threshold", "")],
)
def test_recordings_whose_beginning_takes_some_thought(name: str, device: str) -> None:
    """Equal blocks in segments of unknown age; reservations given up and made again; blocks that wait without end; blocks of
    private pools, which an emptied cache keeps; caches emptied although garbage is collected."""
    found = compared(read_recorded(DATA.parent / "torch-cut" / f"{name}.pickle.gz", device), {})
    assert found.exact and found.blocks_equal and found.addresses_total > 20
    assert (found.ages_inferred > 0) == (name == "ages")


def test_a_share_of_an_unknown_device_is_left_out() -> None:
    assert without_share("expandable_segments:True,per_process_memory_fraction:0.9") == "expandable_segments:True"


@pytest.mark.parametrize("path", CASES, ids=label)
def test_recordings_that_lost_their_first_events(path: Path, tmp_path: Path) -> None:
    value = plain(path)
    events = value["device_traces"][0]
    capacity = settings_of(path)["capacity"]
    for lost in sorted(random.Random(5).sample(range(1, len(events)), 6)):
        found = read_recorded(written(cut(value, lost), tmp_path / "cut.pickle"))
        before = found.lives.before
        there = dict(zip(found.lives.address[before].tolist(), found.lives.requested[before].tolist(), strict=True))
        assert there == live_after(events, lost)
        same = compared(found, {}, capacity)
        assert same.exact and same.blocks_equal, lost


def test_ages_of_block_objects_are_inferred(tmp_path: Path) -> None:
    """By the rule of 2.12, a recording that lost its first events depends on the ages of blocks, which it does not hold."""
    folder = VERSIONS / "2.12.1-24_real_gpt2small_tight_oom"
    found = read_recorded(written(cut(plain(folder / "snapshot.pickle.gz"), 15442), tmp_path / "cut.pickle"))
    same = compared(found, {}, settings_of(folder / "snapshot.pickle.gz")["capacity"])
    assert same.exact and same.blocks_equal and same.ages_inferred > 0 and same.version == "2.12"


def test_ages_are_in_an_order_that_all_conditions_allow() -> None:
    assert by_age([1, 2, 3, 4], []) == [1, 2, 3, 4]
    assert by_age([1, 2, 3, 4], [(4, 1), (3, 2)]) == [3, 2, 4, 1]
    assert by_age([1, 2, 3], [(1, 2), (2, 3), (3, 1)]) is None


@pytest.mark.parametrize("path", CASES, ids=label)
def test_the_trace_is_what_the_program_did(path: Path) -> None:
    value = plain(path)
    trace = read(path, keep_ids=True)
    parts = list(trace.batches())
    op, block, size = (np.concatenate([getattr(part, name) for part in parts]) for name in ("op", "block", "size"))
    expected = program(value["device_traces"][0])
    assert [Op(int(o)).name.lower() for o in op] == [one[0] for one in expected]
    assert size.tolist() == [one[2] for one in expected]
    slots: dict[int | None, int] = {}
    for (name, number, _), slot in zip(expected, block.tolist(), strict=True):
        assert slots.setdefault(number, slot) == slot if name == "free" else not slots.update({number: slot})


def test_tags_are_the_users_own_frames() -> None:
    trace = read(SMALL)
    assert "train/gpt.py:12 forward" in trace.tags and not any("site-packages" in tag for tag in trace.tags)
    sites = json.loads(trace.metadata["sites"])
    assert sites["train/gpt.py:12 forward"] == ["train/gpt.py", 12, "forward"]
    events = plain(SMALL)["device_traces"][0]
    stacks = [[f for f in e["frames"] if "site-packages" not in f["filename"]] for e in events if e["action"] == "alloc"]
    expected = [f"{s[0]['filename']}:{s[0]['line']} {s[0]['name']}" if s else None for s in stacks]
    part = next(iter(trace.batches()))
    tags = [trace.tags[code] if code >= 0 else None for code in part.tag[part.op == Op.ALLOC].tolist()]
    assert [tag and tag.partition(" [")[0] for tag in tags] == expected
    assert {tag.partition(" [")[2] for tag in tags if tag} == {"", "Optimizer.step#AdamW.step]"}  # PyTorch's own annotation


def old(value: dict[str, Any]) -> dict[str, Any]:
    """As PyTorch 2.0 wrote it: blocks without addresses, no settings, no pools, no times."""
    value = copy.deepcopy(value)
    for segment in value["segments"]:
        for key in ("segment_pool_id", "is_expandable"):
            del segment[key]
        for block in segment["blocks"]:
            block["history"] = [{"addr": block.pop("address"), "real_size": block["requested_size"], "frames": []}]
    for event in value["device_traces"][0]:
        for key in ("time_us", "compile_context", "user_metadata", "pool_id"):
            del event[key]
    return {"segments": value["segments"], "device_traces": value["device_traces"]}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_old_and_new_versions(protocol: int, tmp_path: Path) -> None:
    value = plain(SMALL)
    value["segments"][0]["of a later version"] = {"a": [1, (2, None)]}
    for one in (value, old(value)):
        found = compared(read_recorded(written(one, tmp_path / "v.pickle", protocol)), {})
        assert found.exact and found.blocks_equal and found.addresses_total == 478


def test_several_devices(tmp_path: Path, memtrace: Run) -> None:
    value = plain(SMALL)
    other = copy.deepcopy(value["segments"])
    for segment in other:
        segment["device"] = 2
    traces = [value["device_traces"][0], [], value["device_traces"][0][:]]
    path = written({**value, "segments": value["segments"] + other, "device_traces": traces}, tmp_path / "two.pickle")
    for device in ("0", "2"):
        assert compared(read_recorded(path, device), {}).exact
    assert read_recorded(path).recording.device == 0
    assert "also recorded: 2" in read(path).metadata["assumed"]
    assert read(path, format="torch-snapshot:2").metadata["device"] == "2"
    with pytest.raises(InputError, match="nothing is recorded of device 1"):
        read(path, format="torch-snapshot:1")
    with pytest.raises(UsageError, match="is no number"):
        read(path, format="torch-snapshot:x")
    assert memtrace("info", path, "--format", "csv:1").returncode == 2


def without(value: dict[str, Any], *actions: str) -> dict[str, Any]:
    traces = [[event for event in trace if event["action"] not in actions] for trace in value["device_traces"]]
    return {**value, "device_traces": traces}


def test_actions_that_were_skipped(tmp_path: Path) -> None:
    value = plain(SMALL)
    for gone, word in (("free_completed", "free_completed was not recorded"), ("free_requested", "free_requested was not")):
        found = read_recorded(written(without(value, gone), tmp_path / "s.pickle"))
        assert word in found.trace.metadata["assumed"]
        assert found.trace.facts.frees == 359 and compared(found, {}).exact
    for gone in (("alloc",), ("free_requested", "free_completed")):
        with pytest.raises(InputError, match="skip_actions"):
            read_recorded(written(without(value, *gone), tmp_path / "s.pickle"))
        older = without_pools(without(value, *gone))  # 2.11 and before have no such option
        older["allocator_settings"] = {k: v for k, v in value["allocator_settings"].items() if not k.startswith("max_")}
        with pytest.raises(InputError, match="not whole"):
            read_recorded(written({k: v for k, v in older.items() if "host" not in k}, tmp_path / "s.pickle"))


def test_a_ring_buffer_that_kept_frees_only_is_read(tmp_path: Path) -> None:
    value = plain(SMALL)
    events = value["device_traces"][0]
    last = [event for event in events if event["action"].startswith("free")][-8:]
    found = read_recorded(written({**value, "device_traces": [last]}, tmp_path / "ring.pickle"))
    assert found.trace.facts.frees == 4 and "skip_actions" not in found.trace.metadata["assumed"]


def test_nothing_freed_is_no_fault(tmp_path: Path) -> None:
    said = read_recorded(SNAPSHOTS / "2.15.0-fraction.pickle.gz").trace.metadata["assumed"]
    assert "free_requested" not in said and "free_completed" not in said


def test_event_numbers_are_no_times(tmp_path: Path, memtrace: Run) -> None:
    path = written(old(plain(SMALL)), tmp_path / "old.pickle")
    assert "time" not in read(path).columns and "time" in read(SMALL).columns
    assert "time" not in [line.split()[0] for line in memtrace("info", path).stdout.splitlines()[1:] if line]


def test_pinned_memory_is_read_beside_the_devices(memtrace: Run) -> None:
    path = SNAPSHOTS / "2.15.0-pinned_history.pickle.gz"
    trace = read(path, format="torch-snapshot:pinned")
    assert (trace.facts.allocs, trace.facts.frees, trace.facts.peak_live_bytes) == (3, 1, 4194432)
    assert trace.metadata["device"] == "pinned" and "also recorded: pinned" in read(path).metadata["assumed"]
    assert "pinned host memory: at most 6.0 MiB" in " ".join(memtrace("whatif", path).stdout.replace("\n ", "").split())
    assert memtrace("whatif", path, "--device", "pinned").returncode == 2


@pytest.mark.parametrize(
    ("name", "tags"), [("annotations", ["none", "[layer 1]"]), ("user_metadata", ["none", "[step 7, layer 3]", "none"])]
)
def test_what_the_program_said_is_a_tag(name: str, tags: list[str]) -> None:
    trace = read(SNAPSHOTS / f"2.15.0-{name}.pickle.gz")
    part = next(iter(trace.batches()))
    assert [trace.tags[code] if code >= 0 else "none" for code in part.tag.tolist()] == tags


def test_labels_stand_beside_the_call_site(tmp_path: Path) -> None:
    value = plain(SMALL)
    events = value["device_traces"][0]
    times = [event["time_us"] for event in events]
    marks = [
        ("START", "## step 1 ##", times[0]),
        ("START", "inner", times[100]),
        ("END", "inner", times[200] + 1),
        ("END", "## step 1 ##", times[-1] + 1),
    ]
    value["external_annotations"] = [{"stage": s, "name": n, "device": 0, "time_us": t} for s, n, t in marks]
    allocs = [i for i, event in enumerate(events) if event["action"] == "alloc"]
    inside = next(i for i in allocs if times[i] >= times[100])
    events[inside]["compile_context"] = "0/1"
    part = next(iter((trace := read(written(value, tmp_path / "l.pickle"))).batches()))
    found = [trace.tags[code] if code >= 0 else "" for code in part.tag[part.op == Op.ALLOC].tolist()]
    assert found[0].endswith("[step 1]") and found[allocs.index(inside)].endswith("[inner, 0/1]")
    assert all(tag.endswith("]") for tag in found)


def test_settings_that_no_file_holds_are_inferred_from_blocks(tmp_path: Path) -> None:
    from memtrace.formats.snapshot.inferred import inferred_settings

    value = old(plain(SMALL))
    assert inferred_settings(read_recorded(written(value, tmp_path / "o.pickle")).recording) == ""
    base, sizes = 1 << 40, [5000 + 1024 * 3 * i for i in range(20)]
    blocks, at = [], 0
    for asked in sizes:
        power = 1 << (asked.bit_length() - 1)
        size = asked if asked == power else -(-asked // (power // 4)) * (power // 4)
        blocks.append({"address": base + at, "size": size, "requested_size": asked, "state": "active_allocated"})
        at += size
    blocks.append({"address": base + at, "size": (2 << 20) - at, "requested_size": 0, "state": "inactive"})
    segment = {"device": 0, "address": base, "total_size": 2 << 20, "stream": 0, "segment_type": "small", "is_expandable": False}
    recorded = read_recorded(written({"segments": [{**segment, "blocks": blocks}], "device_traces": [[]]}, tmp_path / "r.pickle"))
    assert inferred_settings(recorded.recording) == "roundup_power2_divisions:4"


@pytest.mark.parametrize(
    "value", [{}, [], 5, None, {"a": 1}, {"segments": 3}, {"segments": [1]}, {"segments": [], "device_traces": [[7]]}]
)
def test_pickles_that_are_no_snapshots(value: Any, tmp_path: Path, memtrace: Run) -> None:
    done = memtrace("info", written(value, tmp_path / "no.pickle"))
    assert done.returncode == 3 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ((0, 1024), ["ALLOC", "ALLOC", "RECORD", "FREE", "RECORD", "FREE", "COMPLETE", "COMPLETE", "ALLOC"]),
        ((1024, 0), ["ALLOC", "ALLOC", "RECORD", "FREE", "FREE", "COMPLETE", "ALLOC"]),  # one was completed at once
    ],
)
def test_use_by_other_streams(order: tuple[int, int], expected: list[str], tmp_path: Path) -> None:
    base = 1 << 40
    segment = {"device": 0, "address": base, "total_size": 2 << 20, "stream": 0, "segment_type": "small", "is_expandable": False}
    segment["blocks"] = [
        {"address": base, "size": 1024, "requested_size": 600, "state": "active_allocated"},
        {"address": base + 1024, "size": (2 << 20) - 1024, "requested_size": 0, "state": "inactive"},
    ]
    sizes = {0: 600, 1024: 2000}
    actions = [("segment_alloc", 0), ("alloc", 0), ("alloc", 1024), ("free_requested", 0), ("free_requested", 1024)]
    actions += [("free_completed", order[0]), ("free_completed", order[1]), ("alloc", 0)]
    events = [
        {"action": name, "addr": base + at, "size": (2 << 20) if "segment" in name else sizes[at], "stream": 0, "time_us": i}
        for i, (name, at) in enumerate(actions)
    ]
    found = read_recorded(written({"segments": [segment], "device_traces": [events]}, tmp_path / "s.pickle"))
    ops = [Op(int(op)).name for part in found.trace.batches() for op in part.op]
    assert ops == expected
    same = compared(found, {})
    assert same.exact and same.blocks_equal


def test_streams_that_complete_in_another_order(tmp_path: Path) -> None:
    rng = random.Random(3)
    base, events, live, pending = 1 << 40, [("segment_alloc", 0)], [], []
    for at in range(200):
        events.append(("alloc", at * 512))
        live.append(at * 512)
        if len(live) > 3 and rng.random() < 0.8:
            pending.append(live.pop(rng.randrange(len(live))))
            events.append(("free_requested", pending[-1]))
        if len(pending) > 4 and rng.random() < 0.5:
            events.append(("free_completed", pending.pop(rng.randrange(len(pending)))))
    recorded = [
        {"action": name, "addr": base + at, "size": (2 << 20) if "segment" in name else 400, "stream": 0, "time_us": i}
        for i, (name, at) in enumerate(events)
    ]
    found = read_recorded(written({"segments": [], "device_traces": [recorded]}, tmp_path / "s.pickle"))
    rows, lives = found.rows, found.lives
    uses = [(int(rows.stream[i]), int(rows.id[i])) for i in np.flatnonzero(rows.op == Op.RECORD)]
    lanes = {lane for lane, _ in uses}
    assert len(lanes) > 3
    for lane in lanes:
        own = [block for other, block in uses if other == lane]
        freed, completed = lives.freed[own], np.where(lives.completed[own] < 0, 1 << 60, lives.completed[own])
        assert (np.diff(freed) > 0).all() and (np.diff(completed) >= 0).all()


def test_an_emptied_cache_is_a_trim(tmp_path: Path) -> None:
    base, size = 1 << 40, 30 << 20
    actions = [("segment_alloc", size), ("alloc", size), ("free_requested", size), ("free_completed", size)]
    actions += [("segment_free", size), *actions]
    events = [{"action": name, "addr": base, "size": n, "stream": 0, "time_us": i} for i, (name, n) in enumerate(actions)]
    segment = {"device": 0, "address": base, "total_size": size, "stream": 0, "segment_type": "large"}
    segment["blocks"] = [{"address": base, "size": size, "requested_size": size, "state": "inactive"}]
    found = read_recorded(written({"segments": [segment], "device_traces": [events]}, tmp_path / "s.pickle"))
    ops = [Op(int(op)).name for part in found.trace.batches() for op in part.op]
    assert ops == ["ALLOC", "FREE", "TRIM", "ALLOC", "FREE"] and compared(found, {}).exact


@pytest.mark.parametrize("field", ["addr", "size", "action", "stream", "frames", "time_us"])
@pytest.mark.parametrize("value", [None, "text", -5, 1 << 70, [], 1.5])
def test_odd_fields_are_read_or_refused(field: str, value: Any, tmp_path: Path) -> None:
    one = plain(SMALL)
    for event in one["device_traces"][0][::7]:
        event[field] = value
    path = written(one, tmp_path / "odd.pickle")
    try:
        read(path)
    except InputError as error:
        assert str(error)


def test_a_changed_recording_is_not_called_true(tmp_path: Path) -> None:
    value = plain(SMALL)
    events = value["device_traces"][0]
    allocs = [event for event in events if event["action"] == "alloc" and event["size"] > 5 << 20]
    allocs[3]["size"] //= 3
    found = compared(changed(value, tmp_path / "c.pickle"), {})
    assert not found.exact


def without_pools(value: dict[str, Any]) -> dict[str, Any]:
    """As PyTorch up to 2.11 wrote it: only segments say of which pool they are."""
    traces = [[{k: v for k, v in e.items() if k != "pool_id"} for e in trace] for trace in value["device_traces"]]
    return {**value, "device_traces": traces}


def test_pools_are_inferred_from_segments_where_events_do_not_name_them(tmp_path: Path) -> None:
    value = plain(SNAPSHOTS / "2.15.0-mempool_no_split.pickle.gz")
    told, inferred = (read_recorded(written(v, tmp_path / "p.pickle")) for v in (value, without_pools(value)))
    assert told.recording.pools_told and not inferred.recording.pools_told
    assert inferred.recording.events.pool.tolist() == told.recording.events.pool.tolist()
    assert "inferred from the segments" in inferred.trace.metadata["assumed"]
    assert compared(inferred, {}).exact


def test_a_pool_that_does_not_split_is_said() -> None:
    for name, said in (("2.15.0-mempool_no_split", True), ("2.8.0-mempool", False)):
        assert ("no_split" in read_recorded(SNAPSHOTS / f"{name}.pickle.gz").trace.metadata["assumed"]) == said


def test_a_deleted_pool_goes_back_with_the_next_emptied_cache_and_not_before(tmp_path: Path) -> None:
    found = read_recorded(SNAPSHOTS / "2.15.0-graph_reset.pickle.gz")
    assert [Op(int(op)).name for part in found.trace.batches() for op in part.op].count("TRIM") == 1
    value = plain(SNAPSHOTS / "2.15.0-graph_reset.pickle.gz")
    events = value["device_traces"][0]
    at = next(i for i, event in enumerate(events) if event["action"] == "segment_free")
    base = {**events[0], "addr": events[0]["addr"] + (1 << 40), "size": 30 << 20}
    # A segment of the common pools, used and given back while the graph still has its memory.
    early = [{**base, "action": a} for a in ("segment_alloc", "alloc", "free_requested", "free_completed", "segment_free")]
    changed_value = {**value, "device_traces": [[*events[: at - 4], *early, *events[at - 4 :]]]}
    again = compared(read_recorded(written(changed_value, tmp_path / "early.pickle")), {})
    assert again.exact and again.blocks_equal


def test_settings_changed_in_mid_run_are_said() -> None:
    found = read_recorded(SNAPSHOTS / "2.1.2-settings_midrun.pickle.gz")
    assert "settings were changed in mid-run" in found.trace.metadata["assumed"]
    assert "settings were changed" not in read_recorded(SMALL).trace.metadata["assumed"]


def test_what_is_given_back_at_the_first_event_belongs_to_the_start(tmp_path: Path) -> None:
    """A segment that was there, empty, and goes back first: it counts for the peak, of the recording and of the replay."""
    value = plain(SMALL)
    events = value["device_traces"][0]
    gone = {**events[0], "action": "segment_free", "addr": 1 << 45, "size": 900 << 20}
    found = compared(read_recorded(written({**value, "device_traces": [[gone, *events]]}, tmp_path / "e.pickle")), {})
    assert found.exact and found.reserved_peak_recorded == 900 << 20


@pytest.mark.parametrize("path", sorted(SNAPSHOTS.glob("*.gz")), ids=label)
def test_the_version_is_told_from_the_fields(path: Path) -> None:
    told = read_recorded(path).snapshot.versions
    version = tuple(map(int, path.name.split("-")[0].split(".")[:2]))
    assert told.low <= version <= told.high and (told.low == version or told.low == (2, 14))


@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        ((), "2.14 or later"),
        (("host_segments",), "2.13"),
        (("host_segments", "max_round_threshold"), "2.12"),
        (("host_segments", "max_round_threshold", "pool_id"), "2.10 or 2.11"),
        (("host_segments", "max_round_threshold", "pool_id", "user_metadata"), "2.9"),
    ],
)
def test_each_field_that_is_missing_makes_a_version_older(drop: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    value = plain(SMALL)
    value.pop("host_segments", None) if "host_segments" in drop else None
    value["allocator_settings"] = {k: v for k, v in value["allocator_settings"].items() if k not in drop}
    value["device_traces"] = [[{k: v for k, v in e.items() if k not in drop} for e in trace] for trace in value["device_traces"]]
    assert str(read_recorded(written(value, tmp_path / "v.pickle")).snapshot.versions) == expected


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1] * 9 + [2, 4] + [8] * 5, "[256:1,512:2,1024:4,2048:8,>:8]"),
        ([4] + [0] * 14 + [8], "[1:4,2:0,4:0,8:0,16:0,32:0,64:0,128:0,256:0,512:0,1024:0,2048:0,4096:0,8192:0,16384:0,32768:8]"),
        ([0] * 15 + [8], "[16384:0,32768:8]"),
        ([8] + [2] * 15, "[1:8,2:2,>:2]"),
    ],
)
@pytest.mark.parametrize("from_last", [False, True])
def test_recorded_divisions_are_said_shortly_and_mean_the_same(values: list[int], text: str, from_last: bool) -> None:
    from memtrace.structures.caching.conf import divisions

    recorded = {"roundup_power2_divisions": {str(1 << i): value for i, value in enumerate(values)}, "expandable_segments": False}
    conf = conf_of(recorded, read_recorded(SMALL).recording)
    assert conf == f"roundup_power2_divisions:{text}" and divisions(text, from_last) == values


def test_recorded_settings_decide_how_events_are_read(tmp_path: Path) -> None:
    """Garbage collected before a request looks like an emptied cache, unless the settings say that garbage is collected."""
    base, size, other = 1 << 40, 30 << 20, (1 << 40) + (1 << 28)
    whole = ("segment_alloc", "alloc", "free_requested", "free_completed", "segment_free")
    actions = [(name, base, size) for name in whole[:2]] + [(name, other, size) for name in whole]
    actions += [(name, base, size) for name in whole[2:]]
    actions += [("segment_alloc", base + (1 << 30), 2 << 20), ("alloc", base + (1 << 30), 512)]
    events = [{"action": name, "addr": a, "size": n, "stream": 0} for name, a, n in actions]
    segment = {"device": 0, "address": base + (1 << 30), "total_size": 2 << 20, "stream": 0, "segment_type": "small"}
    blocks = [(base + (1 << 30), 512, "active_allocated"), (base + (1 << 30) + 512, (2 << 20) - 512, "inactive")]
    segment["blocks"] = [{"address": a, "size": n, "requested_size": n, "state": s} for a, n, s in blocks]
    path = written({"segments": [segment], "device_traces": [events]}, tmp_path / "gc.pickle")
    for settings, trims in ((None, 2), ("garbage_collection_threshold:0.5", 1), ("max_split_size_mb:64", 2)):
        assert read_recorded(path, "", settings).rows.trims == trims
