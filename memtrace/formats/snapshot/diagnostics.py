"""Describe a recording to the user: the allocator settings that it recorded, remarks on it, and errors if no trace can be made.

The settings are text as in PYTORCH_CUDA_ALLOC_CONF; the remarks are sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from memtrace.errors import InputError
from memtrace.formats.snapshot.events import ReleaseSettings, TraceRows
from memtrace.formats.snapshot.inferred import inferred_settings
from memtrace.formats.snapshot.lives import Lives
from memtrace.formats.snapshot.pools import unsplit_pools
from memtrace.formats.snapshot.records import HOST, Action, Recorded, Recording, Snapshot, State
from memtrace.units import format_size

MIB = 1 << 20
PINNED = "pinned"  # the name of pinned host memory, in place of a device's number
SHARE = "per_process_memory_fraction"
# Options that a snapshot records only as part of the text of PYTORCH_CUDA_ALLOC_CONF.
ONLY_IN_TEXT = ("max_non_split_rounding_mb", "large_segment_size_mb", SHARE, "throw_on_cudamalloc_oom")


def conf_of(settings: dict[str, Any], recording: Recording) -> str:
    """Return the settings in force at the end of the recording as text.

    Of old files, which have no settings, they are inferred from events and blocks.
    """
    if not settings:
        return inferred_settings(recording)
    options = []
    if settings.get("expandable_segments"):
        options.append("expandable_segments:True")
    most = settings.get("max_split_size")
    if isinstance(most, int) and 0 < most < 1 << 58:
        options.append(f"max_split_size_mb:{most // MIB}")
    if collects(settings):
        options.append(f"garbage_collection_threshold:{settings['garbage_collection_threshold']:g}")
    roundup = _roundup(settings.get("roundup_power2_divisions"))
    options += [roundup] if roundup else []
    return ",".join([*options, *_only_in_text(str(settings.get("PYTORCH_CUDA_ALLOC_CONF") or ""))])


def collects(settings: dict[str, Any]) -> bool:
    """Return whether garbage collection was on."""
    threshold = settings.get("garbage_collection_threshold")
    return isinstance(threshold, float) and threshold > 0


def released(settings: dict[str, Any]) -> ReleaseSettings:
    """Return the settings that decide when segments were given back."""
    most = settings.get("max_split_size")
    return ReleaseSettings(collects(settings), most if isinstance(most, int) and most > 0 else ReleaseSettings().max_split)


def released_by(options: Mapping[str, str]) -> ReleaseSettings:
    """Return the same for settings given as options: name -> value as text."""
    most = options.get("max_split_size_mb", "")
    return ReleaseSettings(
        "garbage_collection_threshold" in options,
        int(most) * MIB if most.isdigit() else ReleaseSettings().max_split,
    )


def _roundup(divisions: Any) -> str:
    """Return the option roundup_power2_divisions as text, empty if it is off.

    ``divisions``: the recorded dict of size in MiB -> divisions. Equal values become one number, others a list.
    """
    if not isinstance(divisions, dict):
        return ""
    pairs = sorted((int(key), int(value)) for key, value in divisions.items() if str(key).isdigit() and isinstance(value, int))
    values = [value for _, value in pairs]
    if not any(value > 1 for value in values):
        return ""
    if len(set(values)) == 1:
        return f"roundup_power2_divisions:{values[0]}"
    low = next(i for i, value in enumerate(values) if value != values[0]) - 1  # the first key also stands for all below it
    high = len(values) - next(i for i, value in enumerate(reversed(values)) if value != values[-1])
    named = [f"{key}:{value}" for key, value in pairs[low : high + 1]]
    # `>` begins behind the last key or, up to 2.9, with it: the last key has the same value, so both are the same.
    rest = [f">:{values[-1]}"] if high + 1 < len(values) else []
    return f"roundup_power2_divisions:[{','.join([*named, *rest])}]"


def _only_in_text(conf: str) -> list[str]:
    """Return the options, each as ``key:value``, that are recorded only in the text ``conf``."""
    parts = [part.strip() for part in conf.replace(" ", "").split(",")]
    return [part for part in parts if part.partition(":")[0] in ONLY_IN_TEXT]


RECORD = "torch.cuda.memory._record_memory_history(max_entries=1_000_000)"
ASCEND_HEADER = 32  # bytes that torch_npu adds to each request


def name_of_device(number: int) -> str:
    """Return the number of a device as text, or PINNED for pinned memory of the host."""
    return PINNED if number == HOST else str(number)


def state_only(recording: Recording) -> bool:
    """Return whether a recording holds no events of the program, but the blocks at the dump.

    With enabled='state', one event may be there all the same.
    """
    action = recording.events.action
    return action.size <= 1 and not (action == Action.ALLOC).any() and bool((recording.blocks.state != State.INACTIVE).any())


def without_events(recording: Recording) -> Recording:
    """Return a recording without its events, so that its blocks at the dump are all that it says."""
    none = {name: column[:0] for name, column in recording.events._asdict().items()}
    return replace(recording, events=Recorded(**none))


def check_history(recording: Recording, label: str, skips: bool = True) -> None:
    """Raise InputError unless the events of the device include the program's allocs and frees.

    ``label`` names the file; ``skips``: whether the version of PyTorch that recorded can leave kinds of events out.
    """
    action = recording.events.action
    allocs = int(np.count_nonzero(action == Action.ALLOC))
    frees = int(np.count_nonzero((action == Action.FREE_REQUESTED) | (action == Action.FREE_COMPLETED)))
    if action.size <= 1 and not allocs and not frees:
        raise InputError(
            f"{label}: no events and no block in use: there is nothing to replay\n"
            f"try: call {RECORD} before what you want recorded, and dump before you stop the recording"
        )
    if not allocs and _must_have_allocated(recording):
        raise InputError(f"{label}: no alloc among {action.size:,} events, though blocks were freed twice: {_left_out(skips)}")
    if not frees and _must_have_freed(recording):
        raise InputError(f"{label}: no free among {action.size:,} events, though addresses were used twice: {_left_out(skips)}")


def _left_out(skips: bool) -> str:
    """Return why events are missing, and what to try; ``skips``: whether the version that recorded has skip_actions."""
    if skips:
        return f"skip_actions left them out\ntry: {RECORD}, without skip_actions"
    return f"the file is not whole\ntry: {RECORD}, and dump again"


def _must_have_allocated(recording: Recording) -> bool:
    """Return whether allocs must have occurred: an address was given back twice. Otherwise the ring buffer may have lost them."""
    events = recording.events
    given = events.address[events.action == Action.FREE_COMPLETED]
    return np.unique(given).size < given.size


def _must_have_freed(recording: Recording) -> bool:
    """Return whether frees must have occurred.

    They must if an address was allocated twice, or was allocated and is not in use at the end.
    """
    events, blocks = recording.events, recording.blocks
    address = events.address[events.action == Action.ALLOC]
    used = blocks.address[blocks.state != State.INACTIVE]
    return np.unique(address).size < address.size or bool((~np.isin(address, used)).any())


def notes(snapshot: Snapshot, recording: Recording, lives: Lives, rows: TraceRows) -> list[str]:
    """Return the remarks on a recording and its trace, each a sentence."""
    found = list(snapshot.notes)
    if not recording.events.action.size:
        used = int(recording.blocks.size[recording.blocks.state != State.INACTIVE].sum())
        held = format_size(int(recording.segments.size.sum()))
        found.append(
            "no events: memory history was off, or stopped before the dump. "
            f"The {rows.before:,} blocks in use at the dump are the trace ({format_size(used)} of {held} reserved). "
            f"To have events, call {RECORD} first, and dump before you stop the recording"
        )
        return found
    others = [
        device for device in snapshot.recordings if device != recording.device and snapshot.recordings[device].events.action.size
    ]
    if others:
        listed = ", ".join(map(name_of_device, others))
        read = name_of_device(recording.device)
        found.append(f"device {read} is read; also recorded: {listed} (--format torch-snapshot:{name_of_device(others[0])})")
    if rows.before:
        bytes_there = format_size(int(lives.requested[lives.before].sum()))
        found.append(
            f"the recording starts in mid-run: {rows.before:,} blocks ({bytes_there}) that were there come first, at time 0"
        )
    if lives.gaps:
        found.append(f"{lives.gaps:,} blocks were never freed, though their address was used again: events are missing")
    action = recording.events.action
    requested, completed = ((action == one).any() for one in (Action.FREE_REQUESTED, Action.FREE_COMPLETED))
    if completed and not requested:
        found.append("free_requested was not recorded: blocks are freed where they were given back to the pool")
    elif requested and not completed:
        found.append("free_completed was not recorded: use by other streams after a free is not known")
    if rows.late:
        found.append(
            f"{rows.late:,} blocks were in use by another stream when they were freed: record and complete events say so"
        )
    if rows.trims:
        times = "once" if rows.trims == 1 else f"{rows.trims:,} times"
        found.append(f"{times} segments were given back that no request needed: read as empty_cache")
    failed = int(np.count_nonzero(action == Action.OOM))
    if failed:
        each = "1 request failed" if failed == 1 else f"{failed:,} requests failed"
        found.append(f"{each} with out-of-memory; {'it' if failed == 1 else 'each'} is in the trace, freed at once")
    if (recording.events.pool > 0).any() or (recording.segments.pool > 0).any():
        found.append(private_pools(recording))
    if changed := changed_settings(recording):
        found.append(changed)
    if collects(snapshot.settings):
        found.append(
            "garbage_collection_threshold was set: what it gave back depends on the memory fraction and on the time before the "
            "recording, which are not recorded"
        )
    if is_ascend(recording):
        found.append("the block sizes are those of torch_npu, which adds 32 bytes to each request; the pytorch policy is CUDA's")
    return found


def private_pools(recording: Recording) -> str:
    """Return the sentence that says how the private pools of a recording are replayed."""
    said = "private pools (CUDA graphs, MemPool) were used; each is replayed as streams of its own, which share no memory"
    if not recording.pools_told:
        said += "; which events are theirs is not recorded, and inferred from the segments at the dump"
    if unsplit_pools(recording):
        said += "; one of them hands out its blocks whole (no_split)"
    return said


def changed_settings(recording: Recording) -> str | None:
    """Return the sentence that says that the settings were changed in mid-run; None if nothing shows that they were."""
    action = recording.events.action
    made = np.flatnonzero(action == Action.SEGMENT_ALLOC)
    mapped = np.flatnonzero(action == Action.SEGMENT_MAP)
    both = bool(made.size and mapped.size) or np.unique(recording.segments.expandable).size > 1
    if not both:
        return None
    said = "the settings were changed in mid-run: there are expandable segments and ordinary ones"
    return f"{said}; the file holds the last settings only"


def is_ascend(recording: Recording) -> bool:
    """Return whether the recording comes from torch_npu.

    It does if at least 8 small blocks are in use at the end, and more than nine tenths of those whose size tells the two
    allocators apart have the size that torch_npu gives them.
    """
    blocks = recording.blocks
    used = (blocks.state == State.ALLOCATED) & (blocks.requested > 0) & (blocks.requested < 1 << 20)
    if np.count_nonzero(used) < 8:
        return False
    requested, size = blocks.requested[used], blocks.size[used]
    plain, padded = -(-requested // 512) * 512, -(-(requested + ASCEND_HEADER) // 512) * 512
    differ = plain != padded
    return bool(differ.any() and (size[differ] == padded[differ]).mean() > 0.9)
