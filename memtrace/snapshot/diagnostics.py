"""Remarks on a recording for the user, as sentences, and the errors for recordings that no trace can be made of."""

from __future__ import annotations

import numpy as np

from memtrace.errors import InputError
from memtrace.snapshot.lives import Lives
from memtrace.snapshot.model import Action, Recording, Snapshot, State
from memtrace.snapshot.rows import TraceRows
from memtrace.snapshot.settings import collects
from memtrace.units import format_size

RECORD = "torch.cuda.memory._record_memory_history(max_entries=1_000_000)"
ASCEND_HEADER = 32  # bytes that torch_npu adds to each request


def check_history(recording: Recording, label: str) -> None:
    """Raise InputError unless the events of the device include the program's allocs and frees; ``label`` names the file."""
    action = recording.events.action
    allocs = int(np.count_nonzero(action == Action.ALLOC))
    frees = int(np.count_nonzero((action == Action.FREE_REQUESTED) | (action == Action.FREE_COMPLETED)))
    if action.size <= 1 and not allocs:
        raise InputError(
            f"{label}: no events: memory history was off (or enabled='state', which keeps one)\n"
            f"try: call {RECORD} before what you want recorded, and dump again"
        )
    if not allocs:
        raise InputError(
            f"{label}: no alloc among {action.size:,} events: skip_actions left them out\ntry: {RECORD}, without skip_actions"
        )
    if not frees and _must_have_freed(recording):
        raise InputError(
            f"{label}: no free among {action.size:,} events: skip_actions left them out\ntry: {RECORD}, without skip_actions"
        )


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
    others = [
        device for device in snapshot.recordings if device != recording.device and snapshot.recordings[device].events.action.size
    ]
    if others:
        listed = ", ".join(map(str, others))
        found.append(f"device {recording.device} is read; also recorded: {listed} (--format torch-snapshot:{others[0]})")
    if rows.before:
        bytes_there = format_size(int(lives.requested[lives.before].sum()))
        found.append(
            f"the recording starts in mid-run: {rows.before:,} blocks ({bytes_there}) that were there come first, at time 0"
        )
    if lives.gaps:
        found.append(f"{lives.gaps:,} blocks were never freed, though their address was used again: events are missing")
    action = recording.events.action
    if not (action == Action.FREE_REQUESTED).any():
        found.append("free_requested was not recorded: blocks are freed where they were given back to the pool")
    elif not (action == Action.FREE_COMPLETED).any():
        found.append("free_completed was not recorded: use by other streams after a free is not known")
    if rows.late:
        found.append(
            f"{rows.late:,} blocks were in use by another stream when they were freed: record and complete events say so"
        )
    if rows.trims:
        found.append(f"{rows.trims:,} times segments were given back that no request needed: read as empty_cache")
    failed = int(np.count_nonzero(action == Action.OOM))
    if failed:
        found.append(f"{failed:,} requests failed with out-of-memory; each is in the trace, freed at once")
    if (recording.events.pool > 0).any() or (recording.segments.pool > 0).any():
        found.append(private_pools(recording))
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
    if (recording.events.pool > 0).any():
        return "private pools (CUDA graphs, MemPool) were used; each is replayed as streams of its own, which share no memory"
    return "private pools (CUDA graphs, MemPool) were used; which events are theirs is not recorded: the common pools have them"


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
