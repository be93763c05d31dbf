"""memtrace.Heap, by hand."""

from __future__ import annotations

import doctest
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

import memtrace
import memtrace.engine.heap
from memtrace.contract.policy import constants_of, function_of
from memtrace.engine.registry import builtin_policies, parse_policy
from memtrace.errors import PolicyError, UsageError
from memtrace.trace import from_events

POLICIES = tuple(
    name
    for name, module in builtin_policies().items()
    if function_of(module, "plan") is None and not constants_of(module).TAKES_POOL
)
EXAMPLE = str(ROOT / "docs" / "example_policy.py")


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(memtrace.engine.heap).failed == 0


def test_a_short_story() -> None:
    heap = memtrace.Heap("first-fit", capacity=256)
    a, b, c = heap.allocate(64), heap.allocate(30), heap.allocate(100)
    assert a is not None and b is not None and c is not None
    assert [a.address, b.address, c.address] == [0, 64, 96]
    assert (heap.live, heap.allocated, heap.reserved, heap.holes) == (194, 208, 208, 0)
    heap.free(b)
    assert (heap.holes, heap.largest_hole) == (1, 32)
    assert heap.allocate(64) is None
    assert heap.live == 164
    again = heap.allocate(16)
    assert again is not None and again.address == 64
    assert heap.map(16) == "0 AAAAD.CCCCCCC___ 256"


def test_realloc_in_place_and_moved() -> None:
    heap = memtrace.Heap("best-fit")
    a = heap.allocate(16)
    assert a is not None and heap.realloc(a, 48) is a and a.address == 0 and heap.moved == 0
    assert heap.allocate(16) is not None
    assert heap.realloc(a, 64) is a and a.address == 64 and heap.moved == 48


def test_copy_and_swap_count_their_bytes() -> None:
    heap = memtrace.Heap("first-fit", capacity=128)
    a, b = heap.allocate(64), heap.allocate(32)
    assert a is not None and b is not None
    assert heap.copy(a, b, 8) == 8
    assert heap.swap(a, b) == 32
    assert heap.allocate(32) is not None
    assert heap.swap(a, b) == 0, "no room for the scratch block"


def test_a_freed_block_cannot_be_used() -> None:
    heap = memtrace.Heap()
    a = heap.allocate(1)
    assert a is not None
    heap.free(a)
    with pytest.raises(UsageError, match="not live"):
        heap.free(a)
    with pytest.raises(UsageError, match="not live"):
        heap.free(memtrace.Heap().allocate(1))


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda heap, a, b: heap.allocate(-1), "size -1 is negative"),
        (lambda heap, a, b: heap.allocate(1 << 61), "more than 2\\^60"),
        (lambda heap, a, b: heap.allocate(1, align=3), "power of two"),
        (lambda heap, a, b: heap.realloc(a, -5), "size -5 is negative"),
        (lambda heap, a, b: heap.copy(a, b, 64), "A and B have 32 bytes in common, not 64"),
        (lambda heap, a, b: heap.swap(a, b, 33), "A and B have 32 bytes in common, not 33"),
        (lambda heap, a, b: heap.copy(a, b, -1), "size -1 is negative"),
        (lambda heap, a, b: heap.map(0), "width 0"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(call: Any, why: str) -> None:
    heap = memtrace.Heap(capacity=128)
    a, b = heap.allocate(64), heap.allocate(32)
    with pytest.raises(UsageError, match=why):
        call(heap, a, b)
    assert heap.blocks == [a, b] and (heap.live, heap.reserved, heap.moved) == (96, 96, 0)
    with pytest.raises(UsageError, match="capacity -1 is negative"):
        memtrace.Heap(capacity=-1)


def test_options_come_as_keywords_or_in_the_policys_text() -> None:
    for heap in (memtrace.Heap("best-fit", align=64, trim=True), memtrace.Heap("best-fit:align=64", trim=True)):
        assert heap.policy.label == "best-fit:align=64,trim=true"
        a, b = heap.allocate(1), heap.allocate(1)
        assert a is not None and b is not None and b.address == 64
        heap.free(b)
        assert heap.reserved == 64
    with pytest.raises(UsageError, match="did you mean 'align'"):
        memtrace.Heap("best-fit", algin=64)


def test_trim_gives_the_free_tail_back() -> None:
    heap = memtrace.Heap("first-fit")
    a, b = heap.allocate(16), heap.allocate(4096)
    assert a is not None and b is not None
    heap.free(b)
    assert heap.reserved == 4112
    heap.trim()
    assert heap.reserved == 16


def test_a_policy_of_ones_own_by_its_path_sees_the_tag(tmp_path: Path) -> None:
    file = tmp_path / "tagged.py"
    # Blocks lie 100 bytes apart by tag and 10 by handle, so an address shows which code the policy saw.
    file.write_text(
        "from typing import NamedTuple\n"
        "class State(NamedTuple):\n    capacity: int\n"
        "def init(capacity, max_live):\n    return State(capacity)\n"
        "def alloc(state, request):\n    return 100 * (request.tag + 1) + 10 * request.block\n"
        "def free(state, request, address):\n    pass\n"
        "def reserved(state):\n    return 1000\n"
    )
    heap = memtrace.Heap(str(file))
    found = [heap.allocate(8, tag=tag) for tag in (None, "weight", "activation", "weight")]
    assert [(block.address, block.tag) for block in found if block is not None] == [
        (0, None),
        (110, "weight"),
        (220, "activation"),
        (130, "weight"),
    ]


def test_a_policy_that_asks_for_a_larger_state_and_has_none(tmp_path: Path) -> None:
    file = tmp_path / "stuck.py"
    file.write_text(
        "from typing import NamedTuple\n"
        "class State(NamedTuple):\n    capacity: int\n"
        "def init(capacity, max_live):\n    return State(capacity)\n"
        "def alloc(state, request):\n    return -3\n"
        "def free(state, request, address):\n    pass\n"
        "def reserved(state):\n    return 0\n"
    )
    with pytest.raises(PolicyError, match="no function enlarge"):
        memtrace.Heap(str(file)).allocate(1)


@pytest.mark.parametrize("policy", [*POLICIES, EXAMPLE])
def test_call_by_call_it_places_as_a_replay_does(policy: str) -> None:
    draw, heap = random.Random(7), memtrace.Heap(policy, capacity=1 << 16)
    events: list[tuple[str, int, int | None]] = []
    addresses: list[int | None] = []
    live: dict[int, Any] = {}
    for number in range(600):
        which = draw.choice(list(live)) if len(live) > 100 or (live and draw.random() < 0.3) else number
        size = draw.choice([1, 24, 100, 300])
        if which == number:
            block = live[number] = heap.allocate(size)
            events.append(("alloc", number, size))
            addresses.append(None if block is None else block.address)
        elif draw.random() < 0.3 and live[which] is not None:
            done = heap.realloc(live[which], size)
            events.append(("realloc", which, size))
            addresses.append(None if done is None else done.address)
        else:
            block = live.pop(which)
            if block is not None:
                heap.free(block)
            events.append(("free", which, None))
    placement = memtrace.replay(from_events(events), policy, 1 << 16, on_oom="skip", keep=True, interpret=True)
    assert placement.addresses is not None
    placed = [None if address == -1 else int(address) for address in placement.addresses if address != -2]
    assert placed == addresses
    assert heap.reserved <= placement.peak_reserved_bytes


@pytest.mark.parametrize("policy", POLICIES)
def test_there_is_no_limit_on_live_blocks(policy: str) -> None:
    heap = memtrace.Heap(policy)
    blocks = [heap.allocate(16) for _ in range(300)]
    addresses = [block.address for block in blocks if block is not None]
    assert len(set(addresses)) == 300
    for block in blocks:
        assert block is not None
        heap.free(block)
    assert (heap.live, heap.allocated, heap.blocks) == (0, 0, [])


@pytest.mark.parametrize("policy", ["optimum", "native:glibc"])
def test_what_knows_the_future_is_no_heap(policy: str) -> None:
    with pytest.raises(UsageError, match="one at a time"):
        memtrace.Heap(policy)


def test_it_does_not_import_numba() -> None:
    code = "import sys, memtrace; memtrace.Heap('buddy').allocate(9); sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_of_virtual_addresses_only_the_blocks_are_drawn() -> None:
    """They may lie above what is reserved, and which bytes between them are is not known."""
    start = parse_policy("first-fit").module

    def far(state, request):
        address = start.alloc(state, request)
        return address + (1 << 40) if address >= 0 else address

    def freed(state, request, address):
        start.free(state, request, address - (1 << 40))

    for capacity in (None, 256):
        heap = memtrace.Heap(memtrace.policy(start, alloc=far, free=freed, VIRTUAL=True, name="far"), capacity=capacity)
        assert heap.map(8) == "0          0"
        _, middle, _ = heap.allocate(64), heap.allocate(32), heap.allocate(96)
        heap.free(middle)
        assert heap.map(12) == f"{1 << 40} AAAA  CCCCCC {(1 << 40) + 192}"
        assert heap.map(5) == f"{1 << 40} AACCC {(1 << 40) + 192}"
