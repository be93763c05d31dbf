"""memtrace.Heap, by hand."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest

import memtrace
import memtrace.heap
from memtrace.errors import UsageError

POLICIES = ("first-fit", "next-fit", "best-fit", "worst-fit", "buddy", "bump")


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(memtrace.heap).failed == 0


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
    with pytest.raises(UsageError, match="power of two"):
        heap.allocate(1, align=3)


@pytest.mark.parametrize("policy", POLICIES)
def test_there_is_no_limit_on_live_blocks(policy: str) -> None:
    heap = memtrace.Heap(policy)
    blocks = [heap.allocate(16) for _ in range(300)]
    addresses = [block.address for block in blocks if block is not None]
    assert addresses == list(range(0, 4800, 16))
    for block in blocks:
        assert block is not None
        heap.free(block)
    assert (heap.live, heap.allocated, heap.blocks) == (0, 0, [])


def test_it_does_not_import_numba() -> None:
    code = "import sys, memtrace; memtrace.Heap('buddy').allocate(9); sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
