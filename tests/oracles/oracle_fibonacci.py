"""Fibonacci buddies as a tree of plain objects; every question is answered by walking over all of it."""

from __future__ import annotations

from collections.abc import Iterator

from oracle_space import UNBOUNDED, Options, OutOfMemoryError, Range, Space, round_up


class Part:
    """A range of the space: whole, free or used, or split in two."""

    def __init__(self, start: int, order: int, above: Part | None = None) -> None:
        self.start, self.order, self.above = start, order, above
        self.parts: list[Part] = []
        self.used = False

    def leaves(self) -> Iterator[Part]:
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


class FibonacciBuddy(Space):
    def __init__(self, options: Options, capacity: int) -> None:
        super().__init__(options, capacity)
        unit = round_up(options.min_block, options.align)
        self.unit_alignment = unit & -unit
        self.fibonacci = [1, 2]
        while (self.fibonacci[-1] + self.fibonacci[-2]) * unit <= UNBOUNDED:
            self.fibonacci.append(sum(self.fibonacci[-2:]))
        self.lengths = [number * unit for number in self.fibonacci]
        self.pieces: list[Part] = []
        self.part_at: dict[int, Part] = {}  # by the address that was given out
        start, orders = round_up(options.base, unit), []
        room = capacity - start
        while (orders == [] or capacity != UNBOUNDED) and room >= unit:
            orders.append(max(k for k, length in enumerate(self.lengths) if length <= room))
            room -= self.lengths[orders[-1]]
        for order in sorted(orders):
            self.pieces.append(Part(start, order))
            start += self.lengths[order]

    def leaves(self) -> list[Part]:
        return [leaf for piece in self.pieces for leaf in piece.leaves()]

    def end(self, part: Part) -> int:
        return part.start + self.lengths[part.order]

    def hole_list(self) -> list[Range]:
        free = [leaf for leaf in self.leaves() if not leaf.used and leaf.start < self.top]
        return [(leaf.start, min(self.end(leaf), self.top)) for leaf in free]

    def order_for(self, length: int) -> int:
        orders = [k for k, each in enumerate(self.lengths) if each >= length]
        if not orders:
            raise OutOfMemoryError
        return orders[0]

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = 0
        spare = max((align or 1) - self.unit_alignment, 0)
        order = self.order_for(self.block_size(size, align) + spare)
        enough = [leaf for leaf in self.leaves() if not leaf.used and leaf.order >= order]
        if not enough:
            raise OutOfMemoryError
        part = min(enough, key=lambda leaf: (leaf.order, leaf.start))
        if self.end(part) <= self.top:
            self.searched = 1
            self.fits.append((self.lengths[part.order], self.lengths[order]))
        self.reach(part.start, order)
        return self.use(part, order, round_up(part.start, align or 1))

    def reach(self, start: int, order: int) -> None:
        if start + self.lengths[order] > self.top:
            self.grow(self.lengths[order], start + self.lengths[order] - self.top)

    def use(self, part: Part, order: int, address: int) -> int:
        """Split down to the order, low parts first, and hand the block out."""
        while part.order > order:
            low = Part(part.start, part.order - 1, part)
            part.parts = [low, Part(self.end(low), max(part.order - 2, 0), part)]
            self.counts["splits"] += 1
            part = low
        part.used = True
        self.part_at[address] = part
        self.blocks[address] = self.lengths[order]
        return address

    def free(self, address: int) -> None:
        del self.blocks[address]
        part = self.part_at.pop(address)
        part.used = False
        while part.above and all(not each.used and not each.parts for each in part.above.parts):
            part = part.above
            part.parts = []
            self.counts["merges"] += 1
        self.trim_if_asked()

    def resize(self, address: int, size: int, align: int | None) -> bool:
        if align and address % align:
            return False
        part = self.part_at[address]
        try:
            order = self.order_for(self.block_size(size, align) + address - part.start)
            if order > part.order:
                return self.widen(part, order, address)
        except OutOfMemoryError:
            return False
        if order < part.order:
            part.used = False
            self.use(part, order, address)
            self.trim_if_asked()
        return True

    def widen(self, part: Part, order: int, address: int) -> bool:
        whole = part
        while whole.order < order:
            if whole.above is None or whole.above.parts[0] is not whole:
                return False
            high = whole.above.parts[1]
            if high.used or high.parts:
                return False
            whole = whole.above
        self.reach(whole.start, order)
        self.counts["merges"] += whole.order - part.order
        whole.parts = []
        self.use(whole, order, address)
        return True

    def trim(self) -> None:
        level = self.lowered_top(max((self.end(leaf) for leaf in self.leaves() if leaf.used), default=0))
        if level < self.top:
            self.counts["release"] += 1
            self.top = level
