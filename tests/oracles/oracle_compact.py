"""First fit over a list of holes, which slides its blocks. Blocks are known by keys; ``where`` has their addresses."""

from __future__ import annotations

from typing import Any

from oracle_heap import ListHeap
from oracle_space import Options, round_up


class Sliding(ListHeap):
    def __init__(self, options: Options, capacity: int, when: str = "threshold", threshold: int = 25) -> None:
        super().__init__(options, capacity, "first-fit")
        self.when, self.threshold = when, threshold
        self.where: dict[int, int] = {}
        self.aligns: dict[int, int] = {}  # of the same keys
        self.left = 0
        self.pauses: list[int] = []

    def layout(self) -> dict[int, int]:
        """Key -> where the block would be after a slide."""
        places, end = {}, self.options.base
        for key, address in sorted(self.where.items(), key=lambda item: item[1]):
            places[key] = round_up(end, self.aligns[key])
            end = places[key] + self.blocks[address]
        return places

    def end_of(self, places: dict[int, int]) -> int:
        return max((at + self.blocks[self.where[key]] for key, at in places.items()), default=self.options.base)

    def could_end_at(self, end: int, block: int) -> bool:
        missing, room = end - self.top, self.capacity - self.top
        if missing <= 0:
            return True
        if self.options.extend == "full":
            return max(block, self.options.chunk, missing) <= room
        return missing <= room

    def alloc(self, size: int, align: int | None) -> int:
        block, alignment = self.block_size(size, align), align or self.options.align
        if self.search(block, alignment) is None:
            looked_at = self.searched
            self.slide_for(block, alignment)
            address = super().alloc(size, align)
            self.searched = looked_at
        else:
            address = super().alloc(size, align)
        key = max(self.where, default=0) + 1
        self.where[key], self.aligns[key] = address, alignment
        return key

    def slide_for(self, block: int, alignment: int) -> None:
        if not any(hole[1] < self.top for hole in self.holes):
            return
        grows = self.could_end_at(round_up(self.tail()[0], alignment) + block, block)
        slid = self.could_end_at(round_up(self.end_of(self.layout()), alignment) + block, block)
        if slid and (self.when == "growth" or not grows):
            self.slide()

    def slide(self) -> None:
        places = self.layout()
        moved = {key: at for key, at in places.items() if at != self.where[key]}
        end = self.end_of(places)
        pause = sum(self.blocks[self.where[key]] for key in moved)
        self.blocks = {at: self.blocks[self.where[key]] for key, at in places.items()}
        self.where = places
        self.holes, last = [], self.options.base
        for at, size in sorted(self.blocks.items()):
            if at > last:
                self.add_hole((last, at))
            last = at + size
        self.left = sum(high - low for low, high in self.holes)
        if end < self.top:
            self.add_hole((end, self.top))
        self.counts["moved"] += pause
        self.pauses += [pause] if pause else []

    def slide_if_due(self) -> None:
        scattered = sum(high - low for low, high in self.holes if high < self.top) - self.left
        if self.when == "threshold" and 100 * scattered > self.threshold * self.top:
            if self.holes:
                self.slide()
            self.trim_if_asked()

    def free(self, key: int) -> None:
        del self.aligns[key]
        super().free(self.where.pop(key))
        self.slide_if_due()

    def resize(self, key: int, size: int, align: int | None) -> bool:
        alignment = align or self.options.align
        if not super().resize(self.where[key], size, alignment):
            return False
        self.aligns[key] = alignment
        self.slide_if_due()
        return True

    def counters(self) -> dict[str, Any]:
        return {
            "slides": len(self.pauses),
            "slid_bytes": sum(self.pauses),
            "pause_bytes": self.pauses[-1] if self.pauses else 0,
            "largest_pause_bytes": max(self.pauses, default=0),
        }
