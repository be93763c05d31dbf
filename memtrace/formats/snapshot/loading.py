"""Convert the plain data of a snapshot (a Tree) to a Snapshot, whatever version of PyTorch wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import InputError
from memtrace.formats.snapshot.labels import labelled
from memtrace.formats.snapshot.pickles import read_tree
from memtrace.formats.snapshot.pools import Ranges, pools_by_segment
from memtrace.formats.snapshot.records import HOST, POOL_BITS, Action, Blocks, Recorded, Recording, Segments, Snapshot, State
from memtrace.formats.snapshot.schema import versions_of
from memtrace.formats.snapshot.sites import find_sites
from memtrace.formats.snapshot.tree import Tree, Values
from memtrace.formats.snapshot.wrapped import pickle_of
from memtrace.trace.model import Int32s, Int64s

if TYPE_CHECKING:
    from memtrace.trace.sources import Source

# Names in the file -> codes.
ACTIONS = {action.name.lower(): action for action in Action} | {"free": Action.FREE_COMPLETED}
STATES = {
    "active_allocated": State.ALLOCATED,
    "active_pending_free": State.PENDING,
    "active_awaiting_free": State.PENDING,
}
RECORD = "torch.cuda.memory._record_memory_history(max_entries=1_000_000)"
MAKE = "try: a file written by torch.cuda.memory._dump_snapshot(PATH)"
MISSING = -1  # in place of a number that was not recorded


def load(source: Source) -> Snapshot:
    """Read a snapshot file and return it; raise InputError if it is no snapshot, holds neither events nor segments, or would
    run code.
    """
    tree = read_tree(pickle_of(source))
    segments, traces = _parts(tree, source.label)
    stacks: list[Values] = []
    devices = []
    pinned = _pinned(tree, source.label)
    for device, events in [*_by_device(tree, segments, traces).items(), *([(HOST, pinned[0])] if pinned else [])]:
        own = segments[tree.numbers(tree.column(segments, "device"), 0) == device] if device != HOST or not pinned else pinned[1]
        layout = _Layout(tree, own)
        stacks += [tree.column(events, "frames"), tree.column(layout.blocks, "frames")]
        devices.append((device, events, layout))
    numbers, sites = find_sites(tree, np.concatenate(stacks) if stacks else np.empty(0, np.int64))
    parts = np.split(numbers, np.cumsum([stack.size for stack in stacks])[:-1]) if stacks else []
    found = {}
    for i, (device, events, layout) in enumerate(devices):
        named = labelled(tree, device, events, parts[2 * i], sites)
        found[device] = _recording(tree, device, events, layout, (named, parts[2 * i + 1]))
    if not found:
        raise InputError(
            f"{source.label}: the snapshot has neither events nor segments\ntry: call {RECORD} before what you record"
        )
    return Snapshot(found, _settings(tree), sites, versions_of(tree, any(events.size for events in traces)))


def _pinned(tree: Tree, label: str) -> tuple[Values, Values] | None:
    """Return the events and the segments of pinned host memory; None if there are none."""
    if not tree.is_dict(tree.root):
        return None
    events, segments = (_dicts(tree, tree.items(tree.get(tree.root, key)), label) for key in ("host_traces", "host_segments"))
    return (events, segments) if events.size or segments.size else None


def _parts(tree: Tree, label: str) -> tuple[Values, list[Values]]:
    """Return the segments, and the events of each device by device number; InputError if the data is no snapshot.

    A bare list, which torch.cuda.memory_snapshot() returns, has segments only.
    """
    if tree.is_list(tree.root):  # torch.cuda.memory_snapshot()
        return _dicts(tree, tree.items(tree.root), label), []
    keys = tree.keys(tree.root)
    if "segments" not in keys and "device_traces" not in keys:
        there = ", ".join(keys[:8]) or "none"
        raise InputError(f"{label}: a pickle, but no memory snapshot: it has no 'segments' (keys: {there})\n{MAKE}")
    segments = _dicts(tree, tree.items(tree.get(tree.root, "segments")), label)
    devices = tree.items(tree.get(tree.root, "device_traces"))
    return segments, [_dicts(tree, tree.items(int(one)), label) for one in devices]


def _dicts(tree: Tree, values: Values, label: str) -> Values:
    """Return ``values`` if all are dicts; otherwise raise InputError."""
    if not all(tree.is_dict(value) for value in np.unique(values & 15).tolist()):
        raise InputError(f"{label}: a pickle, but no memory snapshot: its segments and events are no dicts\n{MAKE}")
    return values


def _by_device(tree: Tree, segments: Values, traces: list[Values]) -> dict[int, Values]:
    """Return the events of every device that has events or segments, by device number."""
    with_segments = set(np.unique(tree.numbers(tree.column(segments, "device"), 0)).tolist())
    none = np.empty(0, np.int64)
    found = {device: events for device, events in enumerate(traces) if events.size or device in with_segments}
    return {**found, **dict.fromkeys(sorted(with_segments - set(found)), none)}


def _codes(tree: Tree, values: Values, names: dict[str, Any], default: int) -> Any:
    """Return the code in ``names`` of each text, as uint8; ``default`` for other texts and for values that are no text."""
    texts = tree.text_codes(values)
    if not texts.size:
        return np.empty(0, np.uint8)
    codes = np.full(int(texts.max()) + 2, default, np.uint8)  # the last is for -1, no text
    for code in np.flatnonzero(np.bincount(texts[texts >= 0])).tolist():
        codes[code] = names.get(tree.text(code), default)
    codes[-1] = default
    return codes[texts]


def _pools(tree: Tree, values: Values) -> Int32s:
    """Return ids of pools, which are pairs of numbers, as codes; 0 for the default pool (0, 0) and where there is no id."""
    found, *both = tree.pairs(values)
    first, second = (tree.numbers(one, 0) for one in both)
    if not (first.any() or second.any()):
        return np.zeros(values.size, np.int32)
    pairs = np.zeros((values.size, 2), np.int64)
    pairs[found, 0], pairs[found, 1] = first, second
    unique, inverse = np.unique(np.concatenate((np.zeros((1, 2), np.int64), pairs)), axis=0, return_inverse=True)
    codes = inverse.reshape(-1)
    # The row put in front is the default pool's, so codes[0] is its code; it becomes 0, and codes below it move up by one.
    moved = np.where(np.arange(len(unique)) < codes[0], np.arange(len(unique)) + 1, np.arange(len(unique)))
    moved[codes[0]] = 0
    return moved[codes[1:]].astype(np.int32)


class _Layout:
    """The segments of a device that have an address, and their blocks, as values of the tree."""

    def __init__(self, tree: Tree, values: Values) -> None:
        """Sort the segments ``values`` by address, and find their blocks."""
        address = tree.numbers(tree.column(values, "address"), MISSING)
        values, address = values[address >= 0], address[address >= 0]
        self.segments, self.address = values[np.argsort(address, kind="stable")], np.sort(address)
        inside = [tree.items(int(value)) for value in tree.column(self.segments, "blocks")]
        self.counts = [part.size for part in inside]
        self.blocks: Values = np.concatenate(inside) if inside else np.empty(0, np.int64)


def _recording(tree: Tree, device: int, events: Values, layout: _Layout, sites: tuple[Int32s, Int32s]) -> Recording:
    """Return the columns of a device; ``sites``: the index of each event's and of each block's site, -1 for none."""
    action = _codes(tree, tree.column(events, "action"), ACTIONS, Action.OTHER)
    address = tree.numbers(tree.column(events, "addr"), MISSING)
    free = tree.numbers(tree.column(events, "device_free"), MISSING)
    told = tree.key("pool_id") is not None
    ids = (tree.column(events, "pool_id"), tree.column(layout.segments, "segment_pool_id"))
    pools, own = np.split(_pools(tree, np.concatenate(ids)), [events.size])
    ranges = Ranges(layout.address, tree.numbers(tree.column(layout.segments, "total_size"), 0), own)
    size = tree.numbers(tree.column(events, "size"), MISSING)
    if not told:
        pools = pools_by_segment(action, address, size, ranges)
    recorded = Recorded(
        action,
        np.where((action == Action.OOM) & (free >= 0), free, address),
        size,
        _with_pool(tree.numbers(tree.column(events, "stream"), 0), pools),
        tree.numbers(tree.column(events, "time_us"), MISSING),
        sites[0],
        pools,
    )
    return Recording(device, recorded, *_layout(tree, layout, own, sites[1]), pools_told=told)


def _with_pool(streams: Int64s, pools: Int32s) -> Int64s:
    """Return streams in which those of each private pool are different from all others.

    Private pools share no memory with each other, just as streams do not, so each stream of a pool becomes a stream of its own.
    """
    return streams + (pools.astype(np.int64) << POOL_BITS)


def _layout(tree: Tree, layout: _Layout, pools: Int32s, sites: Int32s) -> tuple[Segments, Blocks]:
    """Return the segments that have an address, and their blocks, by address.

    ``pools``: the code of each segment's pool. ``sites``: the index of each block's site.
    """
    values = layout.segments
    large = _codes(tree, tree.column(values, "segment_type"), {"large": 1}, 0).astype(np.bool_)
    streams = tree.numbers(tree.column(values, "stream"), 0)
    segments = Segments(
        layout.address,
        tree.numbers(tree.column(values, "total_size"), 0),
        _with_pool(streams, pools),
        large,
        tree.numbers(tree.column(values, "is_expandable"), 0).astype(np.bool_),
        pools,
    )
    return segments, _blocks(tree, layout, segments, sites)


def _blocks(tree: Tree, layout: _Layout, segments: Segments, sites: Int32s) -> Blocks:
    """Return the blocks of all segments; ``sites``: the index of each block's site.

    Blocks without an address (PyTorch 2.0) follow each other directly from the start of their segment.
    """
    counts, whole = layout.counts, layout.blocks
    owner = np.repeat(np.arange(len(counts)), counts)
    size = tree.numbers(tree.column(whole, "size"), 0)
    before = np.cumsum(size) - size
    first = np.repeat(np.cumsum([0, *counts[:-1]]), counts) if counts else np.empty(0, np.int64)
    follows: Int64s = segments.address[owner] + before - before[first] if whole.size else size
    address = tree.numbers(tree.column(whole, "address"), MISSING)
    requested = tree.numbers(tree.column(whole, "requested_size"), MISSING)
    return Blocks(
        np.where(address >= 0, address, follows),
        size,
        np.where(requested >= 0, requested, size),
        _codes(tree, tree.column(whole, "state"), STATES, State.INACTIVE),
        owner,
        sites,
    )


def _settings(tree: Tree) -> dict[str, Any]:
    """Return allocator_settings as plain values, with the table of roundups as a dict of numbers."""
    value = tree.get(tree.root, "allocator_settings") if tree.is_dict(tree.root) else 0
    found = {key: tree.plain(tree.get(value, key)) for key in tree.keys(value)}
    roundup = tree.get(value, "roundup_power2_divisions") if tree.is_dict(value) else 0
    if tree.is_dict(roundup):
        found["roundup_power2_divisions"] = {key: tree.plain(tree.get(roundup, key)) for key in tree.keys(roundup)}
    return found
