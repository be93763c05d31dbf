"""tlsf, half-fit, quick-fit and stack over a plain list of holes, each with the time at which it came to be."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace
from math import gcd

from oracle_heap import ListHeap
from oracle_space import Options, OutOfMemoryError, Range, Space, round_up


class ClassHeap(ListHeap):
    """Holes in classes: the newest hole of the first class that has one and none too small."""

    def __init__(self, options: Options, capacity: int, bounds: list[int]) -> None:
        self.bounds = bounds  # the least size of each class, ascending
        self.born: dict[Range, int] = {}
        self.clock = 0
        super().__init__(options, capacity, "first-fit")
        for hole in self.holes:
            self.stamp(hole)

    def stamp(self, hole: Range) -> None:
        self.clock += 1
        self.born[hole] = self.clock

    def add_hole(self, hole: Range) -> None:
        super().add_hole(hole)
        self.stamp(hole)

    def class_of(self, hole: Range) -> int:
        return bisect_right(self.bounds, max(hole[1] - hole[0] - self.options.header, 0)) - 1

    def class_for(self, block: int, alignment: int) -> int:
        """The first class whose holes all hold the block at the alignment."""
        o = self.options
        steps = [o.align, o.min_block, o.base, self.floor, *([o.chunk] if o.chunk > 1 else [])]
        grid = gcd(*steps, 1 << 62)
        grid &= -grid  # every hole starts at a multiple of it
        need = max(block + max(alignment - grid, 0) - o.header, 1)
        return bisect_left(self.bounds, need)

    def cut(self, block: int) -> int:
        return block

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = 0
        block, alignment = self.cut(self.block_size(size, align)), align or self.options.align
        least = self.class_for(block, alignment)
        enough = [hole for hole in self.holes if self.class_of(hole) >= least]
        if enough:
            hole = min(enough, key=lambda hole: (self.class_of(hole), -self.born[hole]))
            self.searched = 1
            self.fits.append((hole[1] - hole[0], block))
            return self.place(hole, round_up(hole[0], alignment), block)
        if least >= len(self.bounds):
            raise OutOfMemoryError
        start = self.tail()[0]
        self.grow(block, start + self.bounds[least] + self.options.header - self.top)
        return self.place(self.tail(), round_up(start, alignment), block)


class Tlsf(ClassHeap):
    """Powers of two, each cut into 2^sl classes."""

    def __init__(self, options: Options, capacity: int, sl: int = 5, small: int = 0, fl: int = 62, cut: str = "request") -> None:
        small = small or options.align * 2**sl
        bounds = list(range(0, small, small // 2**sl))
        while small < 2**fl:
            bounds += range(small, 2 * small, small // 2**sl)
            small *= 2
        self.whole = cut == "class"
        super().__init__(options, capacity, bounds)

    def cut(self, block: int) -> int:
        header = self.options.header
        if not self.whole:
            return block
        least = next((bound for bound in self.bounds if bound >= max(block - header, 1)), 1 << 62) + header
        return round_up(least, self.options.align) if least > block else block


class HalfFit(ClassHeap):
    """Powers of two."""

    def __init__(self, options: Options, capacity: int) -> None:
        super().__init__(options, capacity, [0, *(2**power for power in range(62))])


class Stack(ListHeap):
    """Everything goes above the highest live block."""

    def __init__(self, options: Options, capacity: int) -> None:
        super().__init__(options, capacity, "stack")

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = 0
        block = self.block_size(size, align)
        mark = max((start + size for start, size in self.blocks.items()), default=self.options.base)
        address = round_up(mark, align or self.options.align)
        if address + block > self.top:
            self.grow(block, address + block - self.top)
        return self.place(self.tail(), address, block)

    def widen(self, address: int, new: int) -> bool:
        return address == max(self.blocks) and super().widen(address, new)


class QuickFit(ListHeap):
    """First fit under a pile of blocks for each small size."""

    def __init__(self, options: Options, capacity: int, quick: int = 512, coalesce: str = "growth") -> None:
        super().__init__(options, capacity, "first-fit")
        self.quick = quick
        self.patient = coalesce == "failure"
        self.piles: dict[int, list[int]] = {}  # size -> addresses, the one freed last at the end

    def hole_list(self) -> list[Range]:
        piled = [(start, start + size) for size, pile in self.piles.items() for start in pile]
        return sorted(self.holes + piled)

    def alloc(self, size: int, align: int | None) -> int:
        block, alignment = self.block_size(size, align), align or self.options.align
        pile = self.piles.get(block, [])
        if pile and pile[-1] % alignment == 0:
            self.searched = 1
            self.fits.append((block, block))
            self.blocks[pile[-1]] = block
            return pile.pop()
        if not any(self.piles.values()) or self.search(block, alignment):
            return super().alloc(size, align)
        looked_at = self.searched or 0
        address = self.grown(block, alignment) if self.patient else None
        if address is None:
            self.join_piles()
            try:
                address = super().alloc(size, align)
            finally:
                self.searched = (self.searched or 0) + looked_at
        return address

    def grown(self, block: int, alignment: int) -> int | None:
        """An address above what the heap has, if it can grow."""
        address = round_up(self.tail()[0], alignment)
        try:
            self.grow(block, address + block - self.top)
        except OutOfMemoryError:
            return None
        return self.place(self.tail(), address, block)

    def join_piles(self) -> None:
        piles, self.piles = self.piles, {}
        for size, pile in piles.items():
            for start in pile:
                self.join(start, start + size)

    def join(self, start: int, end: int) -> None:
        """A range becomes part of the holes; nothing is given back."""
        options, self.options = self.options, replace(self.options, trim=False)
        self.release(start, end)
        self.options = options

    def free(self, address: int) -> None:
        block = self.blocks[address]
        if block > self.quick:
            super().free(address)
        else:
            self.piles.setdefault(block, []).append(address)
            del self.blocks[address]

    def trim(self) -> None:
        self.join_piles()
        super().trim()

    def trim_if_asked(self) -> None:
        if self.options.trim:
            super().trim()


LIST_SPACES: dict[str, Callable[..., Space]] = {"tlsf": Tlsf, "half-fit": HalfFit, "quick-fit": QuickFit, "stack": Stack}
