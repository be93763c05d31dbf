"""Write a replay as a memory snapshot, in the form of torch.cuda.memory._dump_snapshot, for PyTorch's own viewer.

For the pytorch policy, the events are those of the allocator itself. For any other policy, blocks become allocs and frees, and
the reserved range is one segment that is mapped and unmapped. Addresses begin at BASE, because a viewer may take 0 for no
address.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import UsageError
from memtrace.formats.snapshot.schema import EVENTS, FIELDS, SETTINGS, TOP
from memtrace.structures.caching.versions import LATEST, Version, parse_version
from memtrace.trace.model import Op

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.engine.replay import Placement
    from memtrace.trace import Trace

BASE = 0x7F0000000000
PROTOCOL = 4  # of pickle; the viewer reads no other
OURS = ("version", "va", "events", "history")  # options of the policy that are not PyTorch's
Json = dict[str, Any]


def export(trace: Trace, policy: Policy, capacity: int | None, target: Path) -> dict[str, int]:
    """Replay a trace and write the snapshot to ``target``; return the numbers of its events, segments and blocks."""
    from memtrace.trace.writing import atomic_replace

    snapshot = snapshot_of(trace, policy, capacity)
    with atomic_replace(target) as name, open(name, "wb") as file:
        pickle.dump(snapshot, file, PROTOCOL)
    events = sum(len(part) for part in snapshot["device_traces"])
    blocks = sum(len(one["blocks"]) for one in snapshot["segments"])
    return {"events": events, "segments": len(snapshot["segments"]), "blocks": blocks}


def snapshot_of(trace: Trace, policy: Policy, capacity: int | None) -> Json:
    """Replay a trace and return the snapshot as plain data."""
    from memtrace.engine.registry import parse_policy
    from memtrace.engine.replay import replay

    caching = "history" in policy.options
    if caching and not policy.options["history"]:
        policy = parse_policy(policy.label + (",history=true" if ":" in policy.label else ":history=true"))
    placed = replay(trace, policy, capacity, on_oom="skip", detail="bare", keep=True)
    told = _TraceColumns(trace, placed)
    events, segments = _of_caching(placed, told) if caching else _of_any(placed, told)
    version = parse_version(policy.options["version"]) if caching else LATEST
    settings = {**(_settings(policy) if caching else {}), **of_version(SETTINGS, version)}
    more = of_version(EVENTS, version)
    found = {"segments": segments, "device_traces": [[{**event, **more} for event in events]], "allocator_settings": settings}
    return {**found, **of_version(TOP, version)}


# Field -> its value in an event, in the settings or at the top, where a version of PyTorch writes it.
VALUES: Json = {
    "compile_context": "N/A",
    "user_metadata": "",
    "pool_id": (0, 0),
    "graph_capture_record_stream_reuse": False,
    "max_round_threshold": -1,
    "external_annotations": [],
    "host_segments": [],
}


def of_version(where: str, version: Version) -> Json:
    """Return the fields that a version of PyTorch has beside the oldest, in one place (TOP, EVENTS or SETTINGS) of a snapshot.

    By them a reader tells the version, and with it the rule for equal free blocks.
    """
    return {name: VALUES[name] for since, place, name in FIELDS if place == where and since <= version and name in VALUES}


class _TraceColumns:
    """Hold what the trace says about events: op, size, time and tag, and the addresses of the replay."""

    def __init__(self, trace: Trace, placed: Placement) -> None:
        """Load the columns of the whole trace; UsageError if the replay kept no addresses."""
        if placed.addresses is None:
            raise UsageError("an export needs the addresses of a replay")
        parts = list(trace.batches())
        self.op, self.block, self.size = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("op", "block", "size")
        )
        tags = [np.broadcast_to(part.tag, part.op.size) for part in parts]
        self.tag, self.names, self.addresses = np.concatenate(tags), trace.tags, placed.addresses
        self.time_us = trace.times(np.arange(self.op.size)) // 1000 if "time" in trace.columns else np.arange(self.op.size)

    def frames(self, event: int) -> list[Json]:
        """Return the stack of an event: one frame, made from its tag (``file:line name`` or any text); none without a tag."""
        code = int(self.tag[event])
        if code < 0:
            return []
        place, _, name = self.names[code].partition(" ")
        file, _, line = place.rpartition(":")
        if not line.isdigit():
            return [{"name": self.names[code], "filename": "", "line": 0}]
        return [{"name": name, "filename": file, "line": int(line)}]

    def event(self, action: str, address: int, size: int, stream: int, event: int, frames: list[Json]) -> Json:
        """Return an event of the snapshot; ``event`` is the number of the trace's event, from which it has its time.

        ``address`` is an offset from BASE, or for an ``oom`` the free bytes of the device.
        """
        where = "device_free" if action == "oom" else "addr"
        at = address if action == "oom" else BASE + address
        time_us = int(self.time_us[event]) if self.time_us.size else 0
        return {"action": action, where: at, "size": size, "stream": stream, "time_us": time_us, "frames": frames}


def _of_caching(placed: Placement, told: _TraceColumns) -> tuple[list[Json], list[Json]]:
    """Return the events and segments of a replay of the pytorch policy, from the history that it kept."""
    from memtrace.structures.caching.blocks import events as history

    served = np.flatnonzero(np.isin(told.op, (Op.ALLOC, Op.REALLOC)) & (told.addresses >= 0)).tolist()  # a realloc moves
    found, number, event = [], 0, 0
    stacks: dict[int, list[Json]] = {}
    for action, address, size, stream in history(placed.state):
        if action == "alloc":
            event = served[number]
            number += 1
            stacks[address] = told.frames(event)
        found.append(told.event(action, address, size, stream, event, stacks.get(address, []) if "segment" not in action else []))
    return found, _segments(placed.state, stacks)


def _segments(state: Any, stacks: dict[int, list[Json]]) -> list[Json]:
    """Return the segments of a caching allocator's state by address; an expandable segment has one for each mapped range.

    ``stacks``: the stack of the last alloc at each address.
    """
    from memtrace.structures.caching.state import FREE, FRESH, LIVE, PENDING, UNMAPPED

    nodes = np.asarray(state.nodes)[1 : int(state.at[FRESH])]
    nodes = nodes[np.isin(nodes["state"], (LIVE, PENDING, FREE, UNMAPPED))]
    states = {LIVE: "active_allocated", PENDING: "active_pending_free", FREE: "inactive"}
    found: list[Json] = []
    last: Json | None = None
    before = None
    for node in nodes[np.lexsort((nodes["addr"], nodes["segment"]))]:
        if node["state"] == UNMAPPED or before is None or node["segment"] != before:
            last = None
        before = node["segment"]
        if node["state"] == UNMAPPED:
            continue
        address, size = int(node["addr"]), int(node["extent"])
        if last is None:
            queue = int(node["queue"])
            last = _segment(address, int(state.streams[queue >> 1].number), bool(queue & 1), bool(state.rules.expandable))
            found.append(last)
        used = states[int(node["state"])]
        requested = int(node["requested"])
        _add_block(last, address, size, requested, used, stacks.get(address, []) if used != "inactive" else [])
    return sorted(found, key=lambda one: int(one["address"]))


def _segment(address: int, stream: int, large: bool, expandable: bool) -> Json:
    """Return a segment without blocks, which ``_add_block`` fills."""
    return {
        "device": 0,
        "address": BASE + address,
        "total_size": 0,
        "allocated_size": 0,
        "active_size": 0,
        "requested_size": 0,
        "stream": stream,
        "segment_type": "large" if large else "small",
        "segment_pool_id": (0, 0),
        "is_expandable": expandable,
        "frames": [],
        "blocks": [],
    }


def _add_block(segment: Json, address: int, size: int, requested: int, state: str, frames: list[Json]) -> None:
    """Append a block to a segment and add its bytes to the segment's sums; ``state`` is PyTorch's name of the block's state."""
    segment["blocks"].append(
        {"address": BASE + address, "size": size, "requested_size": requested, "state": state, "frames": frames}
    )
    segment["total_size"] += size
    segment["allocated_size"] += size if state == "active_allocated" else 0
    segment["active_size"] += size if state != "inactive" else 0
    segment["requested_size"] += requested if state != "inactive" else 0


def _of_any(placed: Placement, told: _TraceColumns) -> tuple[list[Json], list[Json]]:
    """Return the events and the one segment of a replay of any policy, from the kept addresses and reserved bytes."""
    found: list[Json] = []
    live: dict[int, tuple[int, int, list[Json]]] = {}  # slot -> address, size, frames
    held = 0
    assert placed.reserved is not None

    def free(slot: int, event: int) -> None:
        """Append the free of the block in a slot, if it is live, at an event."""
        address, size, frames = live.pop(slot, (-1, 0, []))
        if address >= 0:
            found.append(told.event("free_requested", address, size, 0, event, frames))
            found.append(told.event("free_completed", address, size, 0, event, frames))

    for event in range(told.addresses.size):
        op, slot, address = int(told.op[event]), int(told.block[event]), int(told.addresses[event])
        reserved = int(placed.reserved[event])
        if reserved > held:
            found.append(told.event("segment_map", held, reserved - held, 0, event, []))
        if op == Op.FREE or (op == Op.REALLOC and address >= 0):
            free(slot, event)
        if op in (Op.ALLOC, Op.REALLOC) and address >= 0:
            live[slot] = (address, int(told.size[event]), told.frames(event))
            found.append(told.event("alloc", *live[slot][:2], 0, event, live[slot][2]))
        if reserved < held:
            found.append(told.event("segment_unmap", reserved, held - reserved, 0, event, []))
        held = reserved
    return found, [_one_segment(held, sorted(live.values()))] if held else []


def _one_segment(held: int, live: list[tuple[int, int, list[Json]]]) -> Json:
    """Return a segment of ``held`` bytes with the live blocks, and a free block in each gap.

    ``live``: (address, bytes, stack) of each block, by address.
    """
    segment, at = _segment(0, 0, True, True), 0
    for address, size, frames in live:
        if address > at:
            _add_block(segment, at, address - at, 0, "inactive", [])
        _add_block(segment, address, size, size, "active_allocated", frames)
        at = max(at, address + size)
    if held > at:
        _add_block(segment, at, held - at, 0, "inactive", [])
    return segment


def _settings(policy: Policy) -> Json:
    """Return allocator_settings for the pytorch policy with these options."""
    label = policy.label.partition(":")[2]
    conf = ",".join(part.replace("=", ":", 1) for part in label.split(",") if part.partition("=")[0] not in OURS)
    return {"PYTORCH_CUDA_ALLOC_CONF": conf, "expandable_segments": bool(policy.options["expandable_segments"])}
