"""A heap of the oracle per arena over one list of pages. Blocks are known by keys; ``where`` has their addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from oracle import Event
from oracle_heap import ListHeap
from oracle_space import Options, Range, Space


class Arenas(Space):
    def __init__(self, options: Options, capacity: int, policy: str, count: int, page: int) -> None:
        super().__init__(options, capacity)
        self.heaps = [ListHeap(options, capacity, policy) for _ in range(count)]
        self.page, self.room = page, capacity // page
        self.tables: list[list[int]] = [[] for _ in range(count)]
        self.spare: list[int] = []
        self.numbered = 0
        self.owner: dict[int, tuple[int, int, int]] = {}  # key -> arena, address in its heap, bytes asked for
        self.where: dict[int, int] = {}
        self.keys = 0
        self.event, self.stream = Event("trim"), 0
        self.stream_of: dict[int | None, int] = {}
        self.foreign: list[int] = []  # bytes of each block freed by another stream
        for arena in range(count):
            self.follow(arena)

    def feed(self, events: Iterable[Event], streams: Iterable[int]) -> Iterator[Event]:
        for self.event, self.stream in zip(events, streams, strict=True):
            if self.event.op == "alloc":
                self.stream_of[self.event.id] = self.stream
            yield self.event

    @property
    def held(self) -> int:
        return sum(len(table) for table in self.tables)

    def limited(self, arena: int) -> ListHeap:
        self.heaps[arena].capacity = (self.room - self.held + len(self.tables[arena])) * self.page
        return self.heaps[arena]

    def follow(self, arena: int) -> None:
        """Pages for what the arena's heap has now, and the sums over all."""
        table, wanted = self.tables[arena], -(-self.heaps[arena].top // self.page)
        while len(table) > wanted:
            self.spare.append(table.pop())
        while len(table) < wanted:
            if self.spare:
                table.append(self.spare.pop())
            else:
                table.append(self.numbered)
                self.numbered += 1
        self.top = self.held * self.page
        self.blocks = {key: self.heaps[arena].blocks[start] for key, (arena, start, _) in self.owner.items()}
        self.counts = sum((heap.counts for heap in self.heaps), Counter())
        self.fits = [fit for heap in self.heaps for fit in heap.fits]

    def physical(self, arena: int, start: int) -> int:
        return self.tables[arena][start // self.page] * self.page + start % self.page

    def pieces(self, key: int) -> list[Range]:
        """(address, bytes) of the parts of a block on each of its pages."""
        arena, start, size = self.owner[key]
        found, end = [], start + size
        while start < end or not found:
            stop = min(end, (start // self.page + 1) * self.page)
            found.append((self.physical(arena, start), stop - start))
            start = stop
        return found

    def hole_list(self) -> list[Range]:
        return [hole for heap in self.heaps for hole in heap.hole_list()]

    def enter(self, key: int, arena: int, start: int, size: int) -> int:
        self.owner[key] = (arena, start, size)
        self.follow(arena)
        self.where[key] = self.physical(arena, start)
        return key

    def alloc(self, size: int, align: int | None) -> int:
        stream = 0 if self.event.op == "swap" else self.stream_of[self.event.id]
        arena = stream % len(self.heaps)
        heap = self.limited(arena)
        try:
            start = heap.alloc(size, align)
        finally:
            self.searched = heap.searched
        self.keys += 1
        return self.enter(self.keys, arena, start, size)

    def free(self, key: int) -> None:
        arena, start, size = self.owner.pop(key)
        del self.where[key]
        asked = self.event.op == "free" or (self.event.op == "realloc" and not self.event.size)
        if asked and self.stream % len(self.heaps) != arena:
            self.foreign.append(size)
        self.limited(arena).free(start)
        self.follow(arena)

    def resize(self, key: int, size: int, align: int | None) -> bool:
        arena, start, _ = self.owner[key]
        if not self.limited(arena).resize(start, size, align):
            return False
        self.enter(key, arena, start, size)
        return True

    def trim(self) -> None:
        for arena in range(len(self.heaps)):
            self.limited(arena).trim()
            self.follow(arena)
