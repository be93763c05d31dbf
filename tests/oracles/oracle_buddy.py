"""Binary buddies over a plain set of free blocks."""

from __future__ import annotations

from oracle_space import Options, OutOfMemoryError, Range, Space, power_of_two


class Buddy(Space):
    """Binary buddies inside the aligned powers of two that the space is cut into."""

    def __init__(self, options: Options, capacity: int) -> None:
        super().__init__(options, capacity)
        self.pieces = self.cut(options.base)
        self.unused = set(self.pieces)  # free blocks as (start, size)

    def cut(self, start: int) -> list[Range]:
        """The fewest aligned powers of two, as (start, size), without those too small to use."""
        pieces = []
        while start < self.capacity:
            size = 1 << (self.capacity - start).bit_length() - 1
            while start % size:
                size //= 2
            pieces.append((start, size))
            start += size
        return [piece for piece in pieces if piece[1] >= self.options.min_block]

    def block_size(self, size: int, align: int | None) -> int:
        return power_of_two(max(super().block_size(size, align), align or self.options.align))

    def hole_list(self) -> list[Range]:
        return sorted((start, min(start + size, self.top)) for start, size in self.unused if start < self.top)

    def inside(self, start: int, size: int) -> bool:
        return any(low <= start and start + size <= low + length for low, length in self.pieces)

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = 0
        block = self.block_size(size, align)
        enough = [(size, start) for start, size in self.unused if size >= block]
        if not enough:
            raise OutOfMemoryError
        size, start = min(enough)
        if start + size <= self.top:
            self.searched = 1
            self.fits.append((size, block))
        self.reach(start + block, block)
        self.unused.remove((start, size))
        self.halve(start, size, block)
        return start

    def reach(self, end: int, block: int) -> None:
        if end > self.top:
            self.grow(block, end - self.top)

    def halve(self, start: int, size: int, block: int) -> None:
        """Cut down to the block's size, keeping the low half each time."""
        while size > block:
            size //= 2
            self.unused.add((start + size, size))
            self.counts["splits"] += 1
        self.blocks[start] = block

    def free(self, address: int) -> None:
        start, size = address, self.blocks.pop(address)
        while (start ^ size, size) in self.unused and self.inside(start & ~size, 2 * size):
            self.unused.remove((start ^ size, size))
            self.counts["merges"] += 1
            start, size = start & ~size, 2 * size
        self.unused.add((start, size))
        self.trim_if_asked()

    def resize(self, address: int, size: int, align: int | None) -> bool:
        new, old = self.block_size(size, align), self.blocks[address]
        if new > old:
            return self.widen(address, old, new)
        if new < old:
            self.halve(address, old, new)
            self.trim_if_asked()
        return True

    def widen(self, address: int, old: int, new: int) -> bool:
        """Join the upper buddies up to the wanted size, if all of them are free."""
        size, uppers = old, []
        while size < new:
            upper = (address + size, size)
            if address % (2 * size) or upper not in self.unused or not self.inside(address, 2 * size):
                return False
            uppers.append(upper)
            size *= 2
        try:
            self.reach(address + new, new)
        except OutOfMemoryError:
            return False
        self.unused.difference_update(uppers)
        self.counts["merges"] += len(uppers)
        self.blocks[address] = new
        return True

    def trim(self) -> None:
        level = self.lowered_top(max((start + size for start, size in self.blocks.items()), default=0))
        if level < self.top:
            self.counts["release"] += 1
            self.top = level
