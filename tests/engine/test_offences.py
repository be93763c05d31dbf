"""What a policy may not do ends every replay, with the event, the request and the address; nothing that is sound ends one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run

import memtrace
from memtrace.engine.registry import Policy, group, policy
from memtrace.errors import PolicyError
from memtrace.tiers.description import Tier
from memtrace.tiers.replay import Plan, replay_tiers
from memtrace.trace import from_events
from memtrace.validation.placements import validate
from memtrace.validation.policies import random_trace

# Blocks of whole 64 bytes one above the other, with a fault at the block of 100 bytes.
TEXT = """
from typing import NamedTuple
import numpy as np
from memtrace.contract.ledger import ALLOCATED, RESERVED, new_ledger

class State(NamedTuple):
    {field}: np.ndarray
    most: int

def init(capacity, max_live):
    return State({made}, capacity)

def alloc(state, request):
    top = state.{field}[{top}]
    if request.size != 100 and top + 64 > state.most:
        return -1
    state.{field}[{top}] += 64
    {fault}
    return top

def free(state, request, address):
    pass

def resize(state, request, address, old_size):
    return address if request.size != 100 else address + 1000

def {read}(state):
    return state.{field}[{top}]
"""
FAULTS = {
    "the alloc of 100 bytes got the address 64 and ends at 164, above the 128 reserved bytes": "pass",
    "the alloc of 100 bytes got the address -7, which is below 0": "top = -7 if request.size == 100 else top",
    "the alloc of 100 bytes at a multiple of 32 got the address 72, which is no multiple of 32": (
        "top = top + 8 if request.size == 100 else top\n    state.{field}[{top}] += 100 if request.size == 100 else 0"
    ),
    "1,088 bytes are reserved, which is above the capacity of 1,024": (
        "top = top if request.size == 100 else top\n    state.{field}[{top}] += 960 if request.size == 100 else 0"
    ),
}
ROWS = "op,id,size,align\nalloc,1,50,\nalloc,2,100,{align}\nalloc,3,20,\n"


def test_a_ledger_of_another_size_or_kind_is_refused(tmp_path: Path) -> None:
    for made in ("np.zeros(4, np.int64)", "new_ledger(0).astype(np.int32)"):
        file = tmp_path / "mine.py"
        file.write_text(
            "from typing import NamedTuple\nimport numpy as np\nfrom memtrace.contract.ledger import new_ledger\n"
            "class State(NamedTuple):\n    ledger: np.ndarray\n"
            f"def init(capacity, max_live):\n    return State({made})\n"
            "def alloc(state, request):\n    return -1\ndef free(state, request, address):\n    pass\n"
            "def largest_hole(state):\n    return 0\n"
        )
        with pytest.raises(PolicyError, match=r"the ledger in the state is .*\ntry: make it with new_ledger"):
            memtrace.replay(from_events([("alloc", 1, 10)]), str(file))


def file_of(folder: Path, fault: str, ledger: bool) -> Path:
    """Write a policy with a fault, with or without a ledger."""
    words = {"field": "ledger", "top": "RESERVED", "made": "new_ledger(0)", "read": "largest_hole"}
    if not ledger:
        words = {"field": "top", "top": "0", "made": "np.zeros(1, np.int64)", "read": "reserved"}
    path = folder / "mine.py"
    path.write_text(TEXT.format(fault=fault.format(**words), **words))
    return path


@pytest.mark.parametrize("ledger", [True, False])
@pytest.mark.parametrize("said", list(FAULTS))
def test_a_fault_ends_a_replay_a_heap_and_a_replay_over_tiers(said: str, ledger: bool, tmp_path: Path) -> None:
    path = str(file_of(tmp_path, FAULTS[said], ledger))
    align = 32 if "multiple" in said else None
    trace = from_events([("alloc", 1, 50), ("alloc", 2, 100, None, align), ("alloc", 3, 20)])
    for keep in (False, True):
        with pytest.raises(PolicyError) as caught:
            memtrace.replay(trace, path, 1024, interpret=True, keep=keep)
        assert "event 1: " + said in str(caught.value) and str(caught.value).startswith("mine")
        assert caught.value.exit_code == 4
    heap = memtrace.Heap(path, 1024)
    heap.allocate(50)
    with pytest.raises(PolicyError, match="event 1: "):
        heap.allocate(100, align or 0)
    with pytest.raises(PolicyError, match=r"mine in tier 0 of .*event 1: "):
        replay_tiers(trace, [Tier("a", 1024, 1e9, 0, path)], Plan(uses="lifetimes"), interpret=True)


def test_a_realloc_in_place_is_looked_at_too(tmp_path: Path) -> None:
    path = str(file_of(tmp_path, "pass", ledger=True))
    with pytest.raises(PolicyError, match="event 1: the realloc of 100 bytes got the address 1,000 and ends at 1,100"):
        memtrace.replay(from_events([("alloc", 1, 50), ("realloc", 1, 100)]), path, interpret=True)


def test_run_and_suite_end_with_the_fault(tmp_path: Path, memtrace: Run) -> None:
    said = list(FAULTS)[3]
    file_of(tmp_path, FAULTS[said], ledger=True)
    (tmp_path / "t.csv").write_text(ROWS.format(align=""))
    done = memtrace("run", "t.csv", "-p", "./mine.py", "-p", "first-fit", "--capacity", "1024", "--no-report")
    assert done.returncode == 4 and f"mine on t: event 1: {said}" in done.stderr
    (tmp_path / "memtrace.toml").write_text(
        'output = "out"\ncapacity = "1KiB"\npolicies = ["./mine.py", "first-fit"]\ntraces = ["t.csv"]\n'
    )
    done = memtrace("suite", "memtrace.toml", "-j", "1", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 4 and said in document["failed"][0]["error"]
    assert [row["policy"] for row in document["results"]] == ["first-fit"], "a cell that failed is no reference"


def overlapping() -> Policy:
    """Return a policy without a ledger whose second block lies in the first."""

    def alloc(state, request):
        return 16 if request.size == 20 else 0

    whole = policy("first-fit")
    return policy(init=lambda capacity, max_live: (), alloc=alloc, free=nothing, reserved=lambda state: 4096, name=whole.name)


def nothing(state, request, address):
    """Free nothing."""


def test_an_overlap_of_blocks_without_a_ledger_is_seen() -> None:
    with pytest.raises(PolicyError, match=r"event 1: the block \[16, 36\) overlaps the live block \[0, 100\)"):
        memtrace.replay(from_events([("alloc", 1, 100), ("alloc", 2, 20)]), overlapping(), interpret=True)


def test_of_a_larger_alignment_than_it_serves_a_policy_owes_only_that() -> None:
    def alloc(state, request):
        return 8 * request.block

    given = {"init": lambda capacity, max_live: (), "alloc": alloc, "free": nothing, "reserved": lambda state: 4096}
    trace = from_events([("alloc", 1, 8), ("alloc", 2, 8, None, 64)])
    with pytest.raises(PolicyError, match="no multiple of 64"):
        memtrace.replay(trace, policy(**given), interpret=True)
    found = memtrace.replay(trace, policy(**given, MAX_ALIGN=8), interpret=True, keep=True)
    assert found.addresses is not None and found.addresses.tolist() == [0, 8] and validate(found) is None


@pytest.mark.parametrize("name", [name for name in group("all") if name != "optimum"])
def test_no_built_in_policy_is_accused(name: str) -> None:
    for seed, capacity in ((1, None), (2, 1 << 14), (3, 1 << 22)):
        memtrace.replay(random_trace(seed, 120), name, capacity, interpret=True, on_oom="skip")
