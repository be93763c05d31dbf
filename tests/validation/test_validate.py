"""The validator against a quadratic twin, on sound placements and on spoilt ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memtrace.engine.replay import Placement, replay
from memtrace.trace import Op, from_events
from memtrace.validation.placements import validate
from memtrace.validation.policies import random_trace


def twin(placement: Placement) -> tuple[int, str] | None:
    """The same, by comparing every block with every live one."""
    assert placement.addresses is not None and placement.reserved is not None
    (events,) = placement.trace.batches()
    live: dict[int, tuple[int, int]] = {}
    for i in range(placement.events):
        op, slot, size, start = events.op[i], int(events.block[i]), int(events.size[i]), int(placement.addresses[i])
        if op == Op.FREE:
            live.pop(slot, None)
        if op not in (Op.ALLOC, Op.REALLOC) or (op == Op.REALLOC and start == -1):
            continue
        live.pop(slot, None)
        if start < 0:
            continue
        align = int(events.align[i if events.align.size > 1 else 0]) or int(placement.policy.options["align"])  # type: ignore[arg-type]
        if start % align:
            return i, "misaligned"
        if start + size > (placement.capacity or 1 << 62):
            return i, "beyond"
        if start + size > placement.reserved[i]:
            return i, "outside"
        if any(start < end and other < start + size for other, end in live.values() if size and other < end):
            return i, "overlap"
        live[slot] = (start, start + size)
    return None


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from([0, 0, 1, -16, 16, 64, 4096]))
def test_spoilt_placements_are_found_as_the_twin_finds_them(seed: int, where: int, shift: int) -> None:
    placement = replay(random_trace(seed, 80), "first-fit", (None, 1 << 14)[seed % 2], on_oom="skip", keep=True)
    assert placement.addresses is not None
    addresses = placement.addresses.copy()
    placed = np.flatnonzero(addresses >= 0)
    at = placed[where % placed.size]
    addresses[at] = max(addresses[at] + shift, 0)
    spoilt = replace(placement, addresses=addresses)
    offence = validate(spoilt)
    assert (None if offence is None else (offence.event, offence.kind)) == twin(spoilt)


def test_the_offence_names_both_blocks() -> None:
    trace = from_events([("alloc", 1, 100), ("alloc", 2, 50), ("free", 1), ("alloc", 3, 20)])
    placement = replay(trace, "first-fit", keep=True)
    offence = validate(replace(placement, addresses=np.array([0, 112, -2, 128])))
    assert offence is not None and offence.other is not None
    assert (offence.event, offence.kind, offence.other.event) == (3, "overlap", 1)
    assert offence.text == "event 3: the block [128, 148) overlaps the live block [112, 162) placed at event 1"


def test_it_needs_addresses() -> None:
    with pytest.raises(ValueError, match="keep=True"):
        validate(replay(from_events([("alloc", 1, 1)]), "first-fit"))
