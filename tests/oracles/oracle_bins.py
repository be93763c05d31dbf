"""The heaps of embedded systems whose free blocks are in lists by size: o1heap, Zephyr's and ESP-IDF's."""

from __future__ import annotations

from oracle_embedded import Block, Heap, log2, up


class Bins(Heap):
    """Free blocks in lists by bin: a freed or left block enters its list, a block that is taken or merged leaves it."""

    def __init__(self, pool: int) -> None:
        self.lists: dict[int, list[Block]] = {}
        super().__init__(pool)
        self.enter(self.blocks[0])

    def bin_of(self, size: int) -> int:
        raise NotImplementedError

    def enter(self, block: Block) -> None:
        """Last in, first out."""
        self.lists.setdefault(self.bin_of(block[1]), []).insert(0, block)

    def leave(self, block: Block) -> None:
        found = self.lists[self.bin_of(block[1])]
        del found[next(i for i, b in enumerate(found) if b is block)]

    def first_bin(self, size: int) -> int:
        raise NotImplementedError

    def choose(self, size: int) -> Block | None:
        bins = [number for number, found in self.lists.items() if found and number >= self.first_bin(size)]
        return self.lists[min(bins)][0] if bins else None

    def cut(self, block: Block, size: int) -> Block:
        self.leave(block)
        if block[1] - size >= self.split:
            rest = [block[0] + size, block[1] - size, 0]
            self.blocks.insert(self.blocks.index(block) + 1, rest)
            block[1] = size
            self.enter(rest)
        return block

    def release(self, block: Block) -> Block:
        for hole in self.neighbours(block):
            if hole is not None:
                self.leave(hole)
        block = super().release(block)
        self.enter(block)
        return block

    def grown(self, address: int, size: int) -> bool:
        """Cut a block to a size, or grow it into the free block behind; return whether that is possible."""
        block = self.at(address)
        after = self.neighbours(block)[1]
        if size > block[1]:
            if after is None or block[1] + after[1] < size:
                return False
            self.leave(after)
            self.blocks.remove(after)
            block[1] += after[1]
            if block[1] - size >= self.split:
                rest = [block[0] + size, block[1] - size, 0]
                self.blocks.insert(self.blocks.index(block) + 1, rest)
                block[1] = size
                self.enter(rest)
        elif block[1] - size >= self.split:
            self.cut_off(block, size)
        return True


class O1heap(Bins):
    offset, split = 16, 32

    def open(self, pool: int) -> None:
        self.add(160, 160 + (pool - 160) // 32 * 32)

    def size_of(self, n: int) -> int:
        return 1 << (max(n + 16, 32) - 1).bit_length()

    def bin_of(self, size: int) -> int:
        return log2(size // 32)

    first_bin = bin_of


class EspIdf(Bins):
    offset, split = 4, 16

    def open(self, pool: int) -> None:
        self.sl = 3 if pool <= 1 << 14 else 4 if pool <= 1 << 18 else 5
        self.fl = pool.bit_length()
        levels = self.fl - self.sl - 1
        self.add(36 + 4 * levels + (4 * levels << self.sl), pool - 4 & ~3)

    def rounded(self, data: int) -> int:
        return up(data, 1 << (log2(data) - self.sl)) if data >= 1 << (self.sl + 2) else data

    def bin_of(self, size: int) -> int:
        data = size - 4
        if data < 1 << (self.sl + 2):
            return data // 4
        return ((log2(data) - self.sl - 1) << self.sl) + (data >> (log2(data) - self.sl)) - (1 << self.sl)

    first_bin = bin_of

    def alloc(self, n: int) -> int | None:
        return None if n >= 1 << self.fl else super().alloc(n)

    def size_of(self, n: int) -> int:
        return self.rounded(max(up(n, 4), 12)) + 4

    def realloc(self, address: int, n: int) -> int | None:
        return address if self.grown(address, max(up(n, 4), 12) + 4) else self.moved(address, n)


class Zephyr(Bins):
    """Lists are rings: ``lists`` has them from their heads on, and what enters goes to the end."""

    offset, split, header, least_units = 4, 8, 4, 1

    def open(self, pool: int) -> None:
        end = (pool - (8 if pool // 8 > 0x7FFF else self.header)) // 8
        if end > 0x7FFF:
            self.header = self.offset = 8
        self.least_units = 1 + self.header // 8
        rings = log2(end - self.least_units + 1) + 1
        self.add(up(16 + 4 * rings, 8), end * 8)

    def size_of(self, n: int) -> int:
        return (n + self.header + 7) // 8 * 8

    def bin_of(self, size: int) -> int:
        return log2(max(size // 8 - self.least_units + 1, 1))

    def enter(self, block: Block) -> None:
        if block[1] // 8 >= self.least_units:
            self.lists.setdefault(self.bin_of(block[1]), []).append(block)

    def leave(self, block: Block) -> None:
        """The block behind the one that leaves becomes the head."""
        if block[1] // 8 >= self.least_units:
            ring = self.lists[self.bin_of(block[1])]
            i = next(i for i, b in enumerate(ring) if b is block)
            self.lists[self.bin_of(block[1])] = ring[i + 1 :] + ring[:i]

    def choose(self, size: int) -> Block | None:
        own = self.bin_of(size)
        for _ in range(min(3, len(self.lists.get(own, [])))):
            ring = self.lists[own]
            if ring[0][1] >= size:
                return ring[0]
            self.lists[own] = ring[1:] + ring[:1]
        bins = [number for number, ring in self.lists.items() if ring and number > own]
        return self.lists[min(bins)][0] if bins else None

    def realloc(self, address: int, n: int) -> int | None:
        return address if self.grown(address, self.size_of(n)) else self.moved(address, n)


class Zephyr64(Zephyr):
    """A build for 64 bits, whose heaps are all big ones."""

    offset, header = 8, 8
