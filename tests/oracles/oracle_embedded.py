"""The heaps of embedded systems as plain lists of blocks, each as its rules are told, and as slow as they come.

A heap has ``alloc(size)``, ``free(address)`` and ``realloc(address, size)``; None stands for a refusal. A block is [start, bytes,
used]; the list is in the order of addresses and tiles what the heap has.
"""

from __future__ import annotations

Block = list[int]  # start, bytes, 1 if used


def up(n: int, step: int) -> int:
    return -(-n // step) * step


def log2(n: int) -> int:
    return n.bit_length() - 1


class Heap:
    """First fit by address with blocks in front, merged at once; what others do otherwise is in their own classes."""

    header, align, least, split, offset = 8, 8, 16, 24, 8

    def __init__(self, pool: int) -> None:
        self.blocks: list[Block] = []
        self.open(pool)

    def open(self, pool: int) -> None:
        self.add(0, pool - 8 & ~7)

    def add(self, start: int, end: int) -> None:
        self.blocks.append([start, end - start, 0])

    def size_of(self, n: int) -> int:
        return max(up(n + self.header, self.align), self.least)

    def payload(self, start: int) -> int:
        return start + self.offset

    def at(self, address: int) -> Block:
        return next(b for b in self.blocks if b[2] and self.payload(b[0]) == address)

    def free_blocks(self) -> list[Block]:
        return [b for b in self.blocks if not b[2]]

    def choose(self, size: int) -> Block | None:
        return next((b for b in self.free_blocks() if b[1] >= size), None)

    def grow(self, size: int) -> Block | None:
        return None

    def alloc(self, n: int) -> int | None:
        if n == 0:
            return None
        return self.place(self.size_of(n))

    def place(self, size: int) -> int | None:
        block = self.choose(size)
        block = self.grow(size) if block is None else self.cut(block, size)
        if block is None:
            return None
        block[2] = 1
        return self.payload(block[0])

    def cut(self, block: Block, size: int) -> Block:
        if block[1] - size >= self.split:
            self.blocks.insert(self.blocks.index(block) + 1, [block[0] + size, block[1] - size, 0])
            block[1] = size
        return block

    def neighbours(self, block: Block) -> tuple[Block | None, Block | None]:
        """The free blocks that touch a block, before and behind."""
        i = self.blocks.index(block)
        before = self.blocks[i - 1] if i and not self.blocks[i - 1][2] else None
        after = self.blocks[i + 1] if i + 1 < len(self.blocks) and not self.blocks[i + 1][2] else None
        if before is not None and before[0] + before[1] != block[0]:
            before = None
        if after is not None and block[0] + block[1] != after[0]:
            after = None
        return before, after

    def release(self, block: Block) -> Block:
        block[2] = 0
        before, after = self.neighbours(block)
        if after is not None:
            block[1] += after[1]
            self.blocks.remove(after)
        if before is not None:
            before[1] += block[1]
            self.blocks.remove(block)
            block = before
        return block

    def free(self, address: int) -> None:
        self.release(self.at(address))

    def realloc(self, address: int, n: int) -> int | None:
        return self.moved(address, n)

    def moved(self, address: int, n: int) -> int | None:
        new = self.alloc(n)
        if new is not None:
            self.free(address)
        return new

    def cut_off(self, block: Block, size: int) -> None:
        """Cut a used block and free the rest."""
        rest = [block[0] + size, block[1] - size, 1]
        block[1] = size
        self.blocks.insert(self.blocks.index(block) + 1, rest)
        self.release(rest)


class Heap5(Heap):
    """heap_5 with regions of 3/8 and 5/8 of the pool."""

    def open(self, pool: int) -> None:
        middle = pool * 3 // 8 & ~7
        self.add(0, middle - 8)
        self.add(middle, pool - 8 & ~7)


class Heap1(Heap):
    def open(self, pool: int) -> None:
        self.top, self.end = 0, pool - 8

    def alloc(self, n: int) -> int | None:
        n = up(n, 8)
        if n == 0 or self.top + n >= self.end:
            return None
        self.top += n
        return self.top - n

    def free(self, address: int) -> None:
        pass


class ListOrder(Heap):
    """Heaps whose free blocks are in a list of their own; ``order`` has it, the head first."""

    def __init__(self, pool: int) -> None:
        self.order: list[Block] = []
        super().__init__(pool)
        self.order = list(self.blocks)


class Heap2(ListOrder):
    def open(self, pool: int) -> None:
        self.add(0, pool - 8)

    def enter(self, block: Block) -> None:
        i = next((i for i, b in enumerate(self.order) if b[1] >= block[1]), len(self.order))
        self.order.insert(i, block)

    def choose(self, size: int) -> Block | None:
        return next((b for b in self.order if b[1] >= size), None)

    def cut(self, block: Block, size: int) -> Block:
        self.order = [b for b in self.order if b is not block]
        if block[1] - size > 16:
            rest = [block[0] + size, block[1] - size, 0]
            self.blocks.insert(self.blocks.index(block) + 1, rest)
            block[1] = size
            self.enter(rest)
        return block

    def release(self, block: Block) -> Block:
        block[2] = 0
        self.enter(block)
        return block


class Nuttx(Heap2):
    """heap_2's list, with merging, chunks of a word's header, and a realloc that grows into both neighbours."""

    header, offset, control = 4, 8, 348

    def open(self, pool: int) -> None:
        self.add(up(self.control + 4 * self.header, 8) - 2 * self.header, (pool & ~7) - 2 * self.header)

    def alloc(self, n: int) -> int | None:
        return self.place(self.size_of(n))

    def leave(self, block: Block) -> None:
        """Take a free block out of the list."""
        self.order = [b for b in self.order if b is not block]

    def cut(self, block: Block, size: int) -> Block:
        self.leave(block)
        if block[1] - size >= self.least:
            rest = [block[0] + size, block[1] - size, 0]
            self.blocks.insert(self.blocks.index(block) + 1, rest)
            block[1] = size
            self.enter(rest)
        return block

    def release(self, block: Block) -> Block:
        for other in self.neighbours(block):
            if other is not None:
                self.leave(other)
        block = Heap.release(self, block)
        self.enter(block)
        return block

    def realloc(self, address: int, n: int) -> int | None:
        block, size = self.at(address), self.size_of(n)
        before, after = self.neighbours(block)
        lower, upper = before[1] if before else 0, after[1] if after else 0
        if size <= block[1]:
            if after is not None and size < block[1]:
                self.leave(after)
                after[0], after[1] = block[0] + size, upper + block[1] - size
                block[1] = size
                self.enter(after)
            elif block[1] - size >= self.least:
                self.cut_off(block, size)
            return address
        needed = size - block[1]
        if lower + upper < needed:
            return self.moved(address, n)
        smaller = (lower, upper) if upper > lower else (upper, lower)
        first = min(needed, smaller[0])
        takes = (first, needed - first) if upper > lower else (needed - first, first)
        for other, take in zip((before, after), takes, strict=True):
            if other is not None and take:
                self.leave(other)
                taken = take if other[1] - take >= self.least else other[1]
                if other is before:
                    block[0] -= taken
                else:
                    other[0] += taken
                other[1] -= taken
                block[1] += taken
                if other[1]:
                    self.enter(other)
                else:
                    self.blocks.remove(other)
        return self.payload(block[0])


class Nuttx64(Nuttx):
    header, least, offset, control = 8, 32, 16, 648


class Umm(ListOrder):
    offset = 4

    def open(self, pool: int) -> None:
        self.add(8, pool // 8 * 8 - 8)

    def size_of(self, n: int) -> int:
        return 8 if n <= 4 else (2 + (n - 5) // 8) * 8

    def choose(self, size: int) -> Block | None:
        return min((b for b in self.order if b[1] >= size), key=lambda b: b[1], default=None)

    def cut(self, block: Block, size: int) -> Block:
        i = next(i for i, b in enumerate(self.order) if b is block)
        if block[1] == size:
            del self.order[i]
            return block
        taken = [block[0], size, 0]
        self.blocks.insert(self.blocks.index(block), taken)
        block[0], block[1] = block[0] + size, block[1] - size
        return taken

    def take_in(self, block: Block, hole: Block) -> None:
        self.order = [b for b in self.order if b is not hole]
        self.blocks.remove(hole)
        block[0], block[1] = min(block[0], hole[0]), block[1] + hole[1]

    def release(self, block: Block) -> Block:
        before, after = self.neighbours(block)
        if after is not None:
            self.take_in(block, after)
        if before is not None:
            before[1] += block[1]
            self.blocks.remove(block)
            return before
        block[2] = 0
        self.order.insert(0, block)
        return block

    def realloc(self, address: int, n: int) -> int | None:
        block, size = self.at(address), self.size_of(n)
        before, after = self.neighbours(block)
        lower, upper = before[1] if before else 0, after[1] if after else 0
        if block[1] < size:
            takes_upper = block[1] + upper == size or (lower == 0 and block[1] + upper >= size)
            takes_lower = not takes_upper and lower + block[1] + upper >= size
            takes_upper = takes_upper or (takes_lower and lower + block[1] < size)
            if not takes_upper and not takes_lower:
                return self.moved(address, n)
            if takes_upper and after:
                self.take_in(block, after)
            if takes_lower and before:
                self.take_in(block, before)
        if block[1] > size:
            self.cut_off(block, size)
        return self.payload(block[0])


class UmmFirst(Umm):
    def choose(self, size: int) -> Block | None:
        return next((b for b in self.order if b[1] >= size), None)


class Lwip(Heap):
    align = 4

    def open(self, pool: int) -> None:
        self.header = self.offset = 8 if pool <= 64000 else 12
        self.least = self.split = self.header + 12
        self.add(0, pool & ~3)


class RtThread(Heap):
    header, align, least, split, offset = 12, 4, 24, 24, 12

    def open(self, pool: int) -> None:
        self.add(40, (pool & -self.align) - self.header)

    def realloc(self, address: int, n: int) -> int | None:
        block, m = self.at(address), up(n, self.align)
        data = block[1] - self.header
        if m == data:
            return address
        if m + self.header + 12 < data:
            self.cut_off(block, m + self.header)
            return address
        return self.moved(address, n)


class RtThread8(RtThread):
    header, align, least, split, offset = 16, 8, 32, 32, 16


class ThreadX(Heap):
    """Merges while it searches: all blocks are gone through, as in the real one but for the search pointer."""

    header, offset = 8, 8

    def open(self, pool: int) -> None:
        self.add(0, (pool & ~3) - 8)

    def alloc(self, n: int) -> int | None:
        n = up(n, 4)
        free = sum(b[1] for b in self.free_blocks())
        if n == 0 or n >= free + (len(self.blocks) + 1 - 2) * 8:
            return None
        i = 0
        while i < len(self.blocks):
            block = self.blocks[i]
            after = self.blocks[i + 1] if i + 1 < len(self.blocks) else None
            if block[2]:
                i += 1
            elif block[1] - 8 >= n:
                if block[1] - 8 - n >= 20:
                    self.blocks.insert(i + 1, [block[0] + n + 8, block[1] - n - 8, 0])
                    block[1] = n + 8
                block[2] = 1
                return block[0] + 8
            elif after is not None and not after[2]:
                block[1] += after[1]
                del self.blocks[i + 1]
            else:
                i += 2
        return None

    def free(self, address: int) -> None:
        self.at(address)[2] = 0
