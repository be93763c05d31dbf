"""What a policy may be told of the trace: tags, times, the number of each event; interpreted, compiled, in a Heap and in tiers."""

from __future__ import annotations

from pathlib import Path

import pytest

import memtrace
from memtrace.engine.registry import parse_policy
from memtrace.errors import UsageError
from memtrace.tiers.description import Tier
from memtrace.tiers.replay import Plan, replay_tiers
from memtrace.trace import from_events

# A block's address is 1,000 times the number of its event, plus 100 times the number of tags, plus the event's time.
TEXT = """
from typing import NamedTuple
import numpy as np
from memtrace.contract.ledger import RESERVED, new_ledger

class State(NamedTuple):
    {field}: np.ndarray
    number: np.ndarray
    tags: int
    times: np.ndarray

def init(capacity, max_live):
    return State({made}, np.zeros(1, np.int64), -1, np.zeros(1, np.int64))

def start(state, facts):
    return state._replace(tags=len(facts.tags), times=facts.times())

def next_event(state, number):
    state.number[0] = number

def alloc(state, request):
    if request.size == 0:
        return -2
    number = state.number[0]
    time = state.times[number if state.times.size > 1 else 0]
    state.{field}[{top}] = 1 << 20
    return 1000 * number + 100 * state.tags + time

def free(state, request, address):
    pass

def {read}(state):
    return state.{field}[{top}]
"""
ROWS = [
    ("alloc", 1, 8, 3, None, None, None, "a"),
    ("alloc", 2, 0, 4),
    ("free", 1, None, 5),
    ("alloc", 3, 8, 7, None, None, None, "b"),
]


@pytest.fixture(params=["ledger", "no ledger"])
def mine(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A policy with or without a ledger that is told all that there is."""
    words = {"field": "ledger", "top": "RESERVED", "made": "new_ledger(0)", "read": "largest_hole"}
    if request.param == "no ledger":
        words = {"field": "top", "top": "0", "made": "np.zeros(1, np.int64)", "read": "reserved"}
    path = tmp_path / "mine.py"
    path.write_text(TEXT.format(**words))
    return str(path)


def test_a_policy_is_told_tags_times_and_numbers(mine: str) -> None:
    for interpret in (True, False):
        found = memtrace.replay(from_events(ROWS), mine, keep=True, interpret=interpret, batch_rows=2)
        assert found.addresses is not None and found.addresses.tolist() == [203, -2, -2, 3207]
    untimed = memtrace.replay(from_events([("alloc", 1, 8), ("alloc", 2, 8)]), mine, keep=True, interpret=True)
    assert untimed.addresses is not None and untimed.addresses.tolist() == [0, 1000]


def test_in_a_heap_and_in_tiers(mine: str) -> None:
    heap = memtrace.Heap(mine)
    first, second = heap.allocate(8, tag="a"), heap.allocate(8)
    assert first is not None and second is not None and (first.address, second.address) == (0, 1000)
    tiers = [Tier("a", 1 << 20, 1e9, 0, mine)]
    found = replay_tiers(from_events(ROWS), tiers, Plan(uses="lifetimes"), interpret=True, keep=True)
    assert found.addresses is not None and found.addresses.tolist() == [203, -2, -2, 3207]


def test_a_policy_that_is_told_of_the_trace_cannot_be_put_into_another(mine: str) -> None:
    with pytest.raises(UsageError, match="cannot be put in"):
        parse_policy(f"arenas:policy=[{mine}]")
