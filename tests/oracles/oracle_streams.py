"""PyTorch's table of streams once more, written as the hash table it is: robin hood hashing with distances kept in slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

GOLDEN = 11400714819323198485  # 2^64 / golden ratio
DEVICE = 1 << 56


@dataclass
class Slot:
    stream: int
    distance: int  # from where its hash puts it


class StreamTable:
    """Twice as many slots as streams at least, and as many more behind as a stream may be off its place."""

    def __init__(self) -> None:
        self.buckets = self.count = 0
        self.slots: list[Slot | None] = []

    def __iter__(self) -> Iterator[int]:
        return (slot.stream for slot in self.slots if slot is not None)

    def __contains__(self, stream: int) -> bool:
        return stream in list(self)

    @property
    def furthest(self) -> int:
        return max(4, self.buckets.bit_length() - 1)

    def bucket(self, stream: int) -> int:
        """Stream 0 is the default one; the others come from PyTorch's pool of 32 of them, each with its kind in the low bits."""
        number = DEVICE | (0 if stream == 0 else ((stream - 1) << 5) + 3)
        return (number * GOLDEN % (1 << 64)) // (2**64 // self.buckets)

    def add(self, stream: int) -> None:
        if stream in self:
            return
        if 2 * (self.count + 1) > self.buckets:
            self.grow()
        at, distance = self.bucket(stream), 0
        while (slot := self.slots[at]) is not None and slot.distance >= distance:
            at, distance = at + 1, distance + 1
        if distance == self.furthest:
            self.grow()
            self.add(stream)
            return
        first, carried = at, Slot(stream, distance)
        while (slot := self.slots[at]) is not None:
            if slot.distance < carried.distance:
                self.slots[at], carried = carried, slot
                carried.distance += 1
            else:
                carried.distance += 1
                if carried.distance == self.furthest:
                    # What the new stream has pushed too far gives way to it for now, and the new one comes again.
                    self.slots[first], carried = carried, self.slots[first] or carried
                    self.grow()
                    self.add(carried.stream)
                    return
            at += 1
        self.slots[at] = carried
        self.count += 1

    def grow(self) -> None:
        streams = list(self)
        self.buckets, self.count = max(4, 2 * self.buckets), 0
        self.slots = [None] * (self.buckets + self.furthest + 1)
        for stream in streams:
            self.add(stream)

    def remove(self, at: int) -> None:
        """The stream in a slot leaves; those behind it that are off their place move up."""
        while (slot := self.slots[at + 1]) is not None and slot.distance > 0:
            self.slots[at] = Slot(slot.stream, slot.distance - 1)
            at += 1
        self.slots[at] = None
        self.count -= 1
