"""first-fit, next-fit, best-fit, worst-fit and bump, over a plain sorted list of holes."""

from __future__ import annotations

from oracle_space import Options, OutOfMemoryError, Range, Space, round_up


class ListHeap(Space):
    """first-fit, next-fit, best-fit and worst-fit over one address-ordered list of holes."""

    def __init__(self, options: Options, capacity: int, policy: str) -> None:
        super().__init__(options, capacity)
        self.policy = policy
        self.rover = 0
        self.holes: list[Range] = [(options.base, self.top)] if options.initial else []

    def hole_list(self) -> list[Range]:
        return list(self.holes)

    def search(self, block: int, alignment: int) -> Range | None:
        """The hole that the policy chooses, and how many it looked at."""
        order = self.holes
        if self.policy == "next-fit":
            here = [hole for hole in self.holes if hole[1] > self.rover]
            order = here + [hole for hole in self.holes if hole[1] <= self.rover]
        fitting = [hole for hole in order if round_up(hole[0], alignment) + block <= hole[1]]
        self.searched = len(order)
        if not fitting:
            return None
        if self.policy == "best-fit":
            return min(fitting, key=lambda hole: (hole[1] - hole[0], hole[0]))
        if self.policy == "worst-fit":
            return min(fitting, key=lambda hole: (hole[0] - hole[1], hole[0]))
        self.searched = order.index(fitting[0]) + 1
        return fitting[0]

    def alloc(self, size: int, align: int | None) -> int:
        block, alignment = self.block_size(size, align), align or self.options.align
        hole = self.search(block, alignment)
        if hole is not None:
            self.fits.append((hole[1] - hole[0], block))
            self.rover = round_up(hole[0], alignment)
            return self.place(hole, self.rover, block)
        address = round_up(self.tail()[0], alignment)
        self.grow(block, address + block - self.top)
        return self.place(self.tail(), address, block)

    def place(self, hole: Range, address: int, block: int) -> int:
        self.holes.remove(hole)
        self.take(hole, address, block)
        return address

    def take(self, free: Range, address: int, block: int) -> None:
        """Put a block into a free range that is no longer in the list; what is left goes back to it."""
        start, end = free
        if start < address:
            self.add_hole((start, address))
            self.counts["splits"] += 1
        if end - address - block >= self.options.least_rest:
            self.add_hole((address + block, end))
            self.counts["splits"] += 1
        else:
            block = end - address
        self.blocks[address] = block

    def add_hole(self, hole: Range) -> None:
        self.holes = sorted([*self.holes, hole])

    def tail(self) -> Range:
        """The hole that ends at the top, empty if there is none."""
        return next((hole for hole in self.holes if hole[1] == self.top), (self.top, self.top))

    def grow(self, least: int, missing: int) -> None:
        tail = self.tail()
        super().grow(least, missing)
        self.holes = [hole for hole in self.holes if hole != tail]
        self.add_hole((tail[0], self.top))

    def free(self, address: int) -> None:
        self.release(address, address + self.blocks.pop(address))

    def release(self, start: int, end: int) -> None:
        """A range becomes free and joins the holes on both sides."""
        touching = [hole for hole in self.holes if hole[1] == start or hole[0] == end]
        self.counts["merges"] += len(touching)
        for hole in touching:
            self.holes.remove(hole)
            start, end = min(start, hole[0]), max(end, hole[1])
        self.add_hole((start, end))
        self.trim_if_asked()

    def resize(self, address: int, size: int, align: int | None) -> bool:
        if align and address % align:
            return False
        new, old = self.block_size(size, align), self.blocks[address]
        if new > old:
            return self.widen(address, new)
        if old - new >= self.options.least_rest:
            self.blocks[address] = new
            self.counts["splits"] += 1
            self.release(address + new, address + old)
        return True

    def widen(self, address: int, new: int) -> bool:
        """Take the following hole, or the top of the heap, if that suffices."""
        end = address + self.blocks[address]
        hole = next((hole for hole in self.holes if hole[0] == end), (end, end))
        if hole[1] - address < new:
            if hole[1] != self.top:
                return False
            try:
                self.grow(0, address + new - self.top)
            except OutOfMemoryError:
                return False
            hole = self.tail()
        self.holes.remove(hole)
        self.take((address, hole[1]), address, new)
        return True

    def trim(self) -> None:
        tail = self.tail()
        level = self.lowered_top(tail[0])
        if level < self.top:
            self.counts["release"] += 1
            self.holes.remove(tail)
            if tail[0] < level:
                self.add_hole((tail[0], level))
            self.top = level


class Bump(ListHeap):
    """Never uses an address twice."""

    def __init__(self, options: Options, capacity: int) -> None:
        super().__init__(options, capacity, "bump")
        self.next = options.base

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = 0
        block = self.block_size(size, align)
        address = round_up(self.next, align or self.options.align)
        if address + block > self.top:
            self.grow(block, address + block - self.top)
        self.place(self.tail(), address, block)
        self.next = address + self.blocks[address]
        return address

    def widen(self, address: int, new: int) -> bool:
        if address + self.blocks[address] != self.next or not super().widen(address, new):
            return False
        self.next = address + self.blocks[address]
        return True
