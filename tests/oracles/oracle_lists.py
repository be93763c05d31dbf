"""tlsf, half-fit, quick-fit, stack and region over a plain list of holes, each with the time at which it came to be."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace
from math import gcd
from typing import NamedTuple

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

    def grid(self) -> int:
        """The power of two of which every hole's start and the heap's end are multiples."""
        o = self.options
        steps = [o.align, o.min_block, o.base, self.floor, *([o.chunk] if o.chunk > 1 else [])]
        grid = gcd(*steps, 1 << 62)
        return grid & -grid

    def class_for(self, block: int, alignment: int) -> int:
        """The first class whose holes all hold the block at the alignment."""
        need = max(block + max(alignment - self.grid(), 0) - self.options.header, 1)
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
        end = start + round_up(self.bounds[least] + self.options.header, self.grid())
        self.grow(block, end - self.top)
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


class Page(NamedTuple):
    """A range that is one region's."""

    tag: str | None
    start: int
    end: int


class Region(ListHeap):
    """Pages from first fit; within a page everything goes behind the last block placed in it."""

    def __init__(self, options: Options, capacity: int, page: int = 65536) -> None:
        super().__init__(options, capacity, "first-fit")
        self.page = page
        self.pages: list[Page] = []
        self.current: dict[str | None, tuple[Page, int]] = {}  # tag -> the page it fills, and where the next block goes

    def free_in(self, page: Page) -> list[Range]:
        """What lies between the blocks of a page."""
        blocks = sorted((start, start + size) for start, size in self.blocks.items() if page.start <= start < page.end)
        edges = [page.start, *(edge for block in blocks for edge in block), page.end]
        return [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high]

    def hole_list(self) -> list[Range]:
        return sorted(self.holes + [hole for page in self.pages for hole in self.free_in(page)])

    def page_at(self, address: int) -> Page:
        return next(page for page in self.pages if page.start <= address < page.end)

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = 0
        block, alignment = self.block_size(size, align), align or self.options.align
        if self.tag in self.current:
            page, following = self.current[self.tag]
            address = round_up(following, alignment)
            if address + block <= page.end:
                self.current[self.tag] = page, self.put(page, address, block)
                return address
        page = self.new_page(block, alignment)
        end = self.put(page, page.start, block)
        if page.end - page.start < self.page or block > self.page or self.tag not in self.current:
            self.current.setdefault(self.tag, (page, end))
        else:
            self.current[self.tag] = page, end
        return page.start

    def new_page(self, block: int, alignment: int) -> Page:
        try:
            start = self.take_page(max(block, self.page), alignment)
        except OutOfMemoryError:
            if block >= self.page:
                raise
            start = self.take_page(block, alignment)
        page = Page(self.tag, start, start + self.blocks.pop(start))
        self.pages.append(page)
        return page

    def take_page(self, size: int, alignment: int) -> int:
        """First fit, without the figures of a block that it serves."""
        looked_at, fits = self.searched or 0, list(self.fits)
        try:
            return self.first_fit(size, alignment)
        finally:
            self.searched = looked_at + (self.searched or 0)
            self.fits = fits

    def first_fit(self, size: int, alignment: int) -> int:
        hole = self.search(size, alignment)
        if hole is not None:
            return self.place(hole, round_up(hole[0], alignment), size)
        address = round_up(self.tail()[0], alignment)
        self.grow(size, address + size - self.top)
        return self.place(self.tail(), address, size)

    def put(self, page: Page, address: int, block: int) -> int:
        """Place a block in the last free range of its page; a rest that is too small becomes part of it."""
        start, end = self.free_in(page)[-1]
        self.counts["splits"] += start < address
        if end - address - block < self.options.least_rest:
            block = end - address
        else:
            self.counts["splits"] += 1
        self.blocks[address] = block
        return address + block

    def free(self, address: int) -> None:
        page = self.page_at(address)
        self.let_wait(page, address, address + self.blocks.pop(address))
        mine = [other for other in self.pages if other.tag == page.tag]
        if any(other.start <= start < other.end for other in mine for start in self.blocks):
            return
        self.pages = [other for other in self.pages if other.tag != page.tag]
        del self.current[page.tag]
        trim, self.options = self.options.trim, replace(self.options, trim=False)
        for other in mine:
            self.release(other.start, other.end)
        self.options = replace(self.options, trim=trim)
        self.trim_if_asked()

    def let_wait(self, page: Page, start: int, end: int) -> None:
        """Count what a range that is free now joins in its page."""
        edges = {page.start, page.end}
        for low, size in self.blocks.items():
            edges |= {low, low + size}
        self.counts["merges"] += (start not in edges) + (end not in edges)

    def resize(self, address: int, size: int, align: int | None) -> bool:
        if align and address % align:
            return False
        new, old, page = self.block_size(size, align), self.blocks[address], self.page_at(address)
        if new <= old:
            if old - new >= self.options.least_rest:
                self.blocks[address] = new
                self.counts["splits"] += 1
                self.let_wait_above(page, address + new, address + old)
            return True
        current, following = self.current[page.tag]
        if page != current or address + old != following or address + new > page.end or following == page.end:
            return False
        del self.blocks[address]
        splits = self.counts["splits"]
        self.current[page.tag] = page, self.put(page, address, new)
        self.counts["splits"] = splits + (self.current[page.tag][1] < page.end)
        return True

    def let_wait_above(self, page: Page, start: int, end: int) -> None:
        self.counts["merges"] += end != page.end and end not in self.blocks


LIST_SPACES: dict[str, Callable[..., Space]] = {
    "tlsf": Tlsf,
    "half-fit": HalfFit,
    "quick-fit": QuickFit,
    "region": Region,
    "stack": Stack,
}
