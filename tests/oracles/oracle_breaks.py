"""The heaps of C libraries of embedded systems, which grow by moving the program's break, as plain lists of blocks."""

from __future__ import annotations

from oracle_embedded import Block, Heap, up


class Break(Heap):
    """Heaps that grow by moving the break."""

    def open(self, pool: int) -> None:
        self.top, self.end = 0, pool

    def grow(self, size: int) -> Block | None:
        if self.top + size > self.end:
            return None
        self.blocks.append([self.top, size, 1])
        self.top += size
        return self.blocks[-1]

    def cut(self, block: Block, size: int) -> Block:
        """The block is the tail of the free one."""
        if block[1] - size < self.split:
            return block
        block[1] -= size
        tail = [block[0] + block[1], size, 0]
        self.blocks.insert(self.blocks.index(block) + 1, tail)
        return tail

    def alloc(self, n: int) -> int | None:
        return self.place(self.size_of(n))


class NewlibNano(Break):
    header, align, least, split = 8, 4, 12, 12

    def payload(self, start: int) -> int:
        return up(start + 4, 8)

    def realloc(self, address: int, n: int) -> int | None:
        block = self.at(address)
        return address if block[0] + block[1] - address >= n else self.moved(address, n)


class NewlibNano41(NewlibNano):
    """realloc moves a block that would be half empty."""

    def realloc(self, address: int, n: int) -> int | None:
        block = self.at(address)
        usable = block[0] + block[1] - address
        return address if usable // 2 < n <= usable else self.moved(address, n)


class NewlibNano43(NewlibNano41):
    """Blocks in front, and the last free block grows where the break cannot go far enough for a whole one."""

    cut = Heap.cut

    def grow(self, size: int) -> Block | None:
        found = super().grow(size)
        last = self.blocks[-1] if self.blocks else None
        if found is None and last is not None and not last[2] and last[0] + size <= self.end:
            last[1] = size
            self.top = last[0] + size
            return last
        return found


class Picolibc(Break):
    header, align, least, split, offset = 4, 16, 16, 16, 4
    cut = Heap.cut

    def grow(self, size: int) -> Block | None:
        start = up(self.top + 4, 16) - 4
        if self.top + size > self.end:
            return None
        if start + size > self.end:
            self.top += size
            return None
        self.blocks.append([start, size, 1])
        self.top = start + size
        return self.blocks[-1]

    def realloc(self, address: int, n: int) -> int | None:
        block, size = self.at(address), self.size_of(n)
        if size > block[1]:
            if block[0] + block[1] != self.top or block[0] + size > self.end:
                return self.moved(address, n)
            block[1] = size
            self.top = block[0] + size
        elif block[1] - size >= 16:
            self.cut_off(block, size)
        return address


class AvrLibc(Break):
    header, offset, split = 4, 4, 8

    def size_of(self, n: int) -> int:
        return max(n, self.header) + self.header

    def choose(self, size: int) -> Block | None:
        return min((b for b in self.free_blocks() if b[1] >= size), key=lambda b: b[1], default=None)

    def release(self, block: Block) -> Block:
        if block[0] + block[1] != self.top:
            return super().release(block)
        self.blocks.remove(block)
        self.top = block[0]
        last = self.blocks[-1] if self.blocks else None
        if last is not None and not last[2] and last[0] + last[1] == self.top:
            self.blocks.remove(last)
            self.top = last[0]
        return block

    def realloc(self, address: int, n: int) -> int | None:
        block, size = self.at(address), self.size_of(n)
        if size <= block[1]:
            if block[1] - size >= self.split:
                self.cut_off(block, size)
            return address
        after = self.neighbours(block)[1]
        if after is not None and block[1] + after[1] >= size:
            rest = block[1] + after[1] - size
            if rest > self.split:
                after[0], after[1] = block[0] + size, rest
            else:
                size += rest
                self.blocks.remove(after)
            block[1] = size
            return address
        largest = max((b[1] for b in self.free_blocks()), default=0)
        if block[0] + block[1] == self.top and size > largest and block[0] + size < self.end:
            block[1] = size
            self.top = block[0] + size
            return address
        return self.moved(address, n)


class AvrLibc2(AvrLibc):
    header, offset, split = 2, 2, 4
