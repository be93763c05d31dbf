"""The textbook allocator of CS:APP (chapter 9.9, implicit list with boundary tags) comes out to the byte."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from oracle import Event, simulate
from strategies import random_events

TEXTBOOK: dict[str, Any] = {
    "header": 8,
    "align": 8,
    "min_block": 16,
    "base": 16,
    "initial": 4096,
    "chunk": 4096,
    "extend": "full",
    "realloc": "move",
    "zero": "null",
}


@dataclass
class Textbook:
    """mm.c as the book prints it; a block stands at the address of its payload."""

    next_fit: bool
    sizes: dict[int, int] = field(default_factory=lambda: {16: 4096})  # block -> size, contiguous
    free_blocks: set[int] = field(default_factory=lambda: {16})
    end: int = 16 + 4096
    rover: int = 16

    def malloc(self, size: int) -> int | None:
        if size == 0:
            return None
        wanted = 16 if size <= 8 else 8 * ((size + 8 + 7) // 8)
        found = self.find_fit(wanted)
        if found is None:
            found = self.extend_heap(max(wanted, 4096))
        return self.place(found, wanted)

    def find_fit(self, wanted: int) -> int | None:
        order = sorted(self.sizes)
        if self.next_fit:
            order = [b for b in order if b >= self.rover] + [b for b in order if b < self.rover]
        for block in order:
            if block in self.free_blocks and self.sizes[block] >= wanted:
                self.rover = block
                return block
        return None

    def extend_heap(self, size: int) -> int:
        block, self.end = self.end, self.end + size
        self.sizes[block] = size
        return self.coalesce(block)

    def place(self, block: int, wanted: int) -> int:
        self.free_blocks.remove(block)
        rest = self.sizes[block] - wanted
        if rest >= 16:
            self.sizes[block] = wanted
            self.sizes[block + wanted] = rest
            self.free_blocks.add(block + wanted)
        return block

    def coalesce(self, block: int) -> int:
        self.free_blocks.add(block)
        after = block + self.sizes[block]
        if after in self.free_blocks:
            self.free_blocks.remove(after)
            self.sizes[block] += self.sizes.pop(after)
        before = max((b for b in self.sizes if b < block), default=None)
        if before in self.free_blocks and before is not None:
            self.free_blocks.remove(block)
            self.sizes[before] += self.sizes.pop(block)
            block = before
        if block < self.rover < block + self.sizes[block]:
            self.rover = block
        return block

    def free(self, block: int | None) -> None:
        if block is not None:
            self.coalesce(block)

    def realloc(self, block: int | None, size: int) -> int | None:
        moved = self.malloc(size)
        self.free(block)
        return moved


def replay(heap: Textbook, events: list[Event]) -> tuple[list[int | None], list[int]]:
    """The addresses and the heap's end after each event."""
    blocks: dict[int | None, int | None] = {}
    addresses, ends = [], []
    for event in events:
        address = None
        if event.op == "alloc":
            address = blocks[event.id] = heap.malloc(event.size or 0)
        elif event.op == "free" or not event.size:
            heap.free(blocks.pop(event.id))
        else:
            address = blocks[event.id] = heap.realloc(blocks[event.id], event.size)
        addresses.append(address)
        ends.append(heap.end)
    return addresses, ends


@pytest.mark.parametrize("policy", ["first-fit", "next-fit"])
@pytest.mark.parametrize("max_size", [100, 1000, 9000])
def test_random_traces_land_where_the_book_puts_them(policy: str, max_size: int) -> None:
    weights = {"alloc": 40, "free": 30, "realloc": 20}
    for seed in range(10):
        events = random_events(seed, 400, max_size=max_size, aligned_percent=0, weights=weights)
        outcome = simulate(policy, events, **TEXTBOOK)
        addresses, ends = replay(Textbook(policy == "next-fit"), events)
        assert outcome.addresses == addresses
        assert outcome.reserved == ends


def test_the_heap_grows_by_the_block_and_joins_its_tail() -> None:
    events = [Event("alloc", number, size) for number, size in enumerate((2040, 2040, 1, 5000, 9, 0))]
    outcome = simulate("first-fit", events, **TEXTBOOK)
    # The 16 bytes of prologue, then 2048 each; one page more; 5008 more behind a tail of 4080.
    assert outcome.addresses == [16, 2064, 4112, 4128, 9136, None]
    assert outcome.reserved == [4112, 4112, 8208, 13216, 13216, 13216]
    assert outcome.holes[3:5] == [[(9136, 13216)], [(9160, 13216)]]
    assert outcome.allocated[4] == 2048 + 2048 + 16 + 5008 + 24


def test_a_rest_below_sixteen_bytes_goes_to_the_block() -> None:
    events = [Event("alloc", 1, 40), Event("alloc", 2, 8), Event("free", 1), Event("alloc", 3, 32)]
    outcome = simulate("best-fit", events, **TEXTBOOK)
    assert outcome.addresses == [16, 64, None, 16]
    assert outcome.allocated[-1] == 48 + 16


def test_realloc_always_moves() -> None:
    events = [Event("alloc", 1, 40), Event("realloc", 1, 8), Event("realloc", 1, 0)]
    outcome = simulate("first-fit", events, **TEXTBOOK)
    assert outcome.addresses == [16, 64, None]
    assert outcome.moved_bytes == 8
    assert outcome.holes[-1] == [(16, 4112)]
