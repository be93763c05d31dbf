"""first-fit, best-fit and worst-fit with the options `place`, `coalesce` and `order`, over plain lists."""

from __future__ import annotations

from oracle_space import Options, OutOfMemoryError, Range, Space, round_up

Hole = list[int]  # start, end


class FreeList(Space):
    """Holes in one list, the head first; what changes goes on at its place, if the order leaves it one."""

    def __init__(self, policy: str, options: Options, capacity: int, place: str, coalesce: str, order: str) -> None:
        super().__init__(options, capacity)
        self.policy, self.at_tail, self.joins, self.order = policy, place == "tail", coalesce == "now", order
        self.list: list[Hole] = [[options.base, self.top]] if options.initial else []

    def hole_list(self) -> list[Range]:
        return sorted((start, end) for start, end in self.list)

    def enter(self, hole: Hole) -> None:
        """Put a new hole into the list."""
        behind = len(self.list)
        if self.order == "lifo":
            behind = 0
        elif self.order == "address":
            behind = sum(each[0] < hole[0] for each in self.list)
        elif self.order == "size":
            behind = sum(each[1] - each[0] < hole[1] - hole[0] for each in self.list)
        self.list.insert(behind, hole)

    def change(self, hole: Hole, start: int, end: int) -> None:
        hole[:] = start, end
        if self.order == "size":
            self.list = [each for each in self.list if each is not hole]
            self.enter(hole)

    def drop(self, hole: Hole) -> None:
        self.list = [each for each in self.list if each is not hole]

    def search(self, block: int, alignment: int) -> Hole | None:
        fitting = [hole for hole in self.list if round_up(hole[0], alignment) + block <= hole[1]]
        self.searched = len(self.list)
        if not fitting:
            return None
        if self.policy == "best-fit":
            return min(fitting, key=lambda hole: hole[1] - hole[0])
        if self.policy == "worst-fit":
            return min(fitting, key=lambda hole: hole[0] - hole[1])
        self.searched = next(i for i, hole in enumerate(self.list) if hole is fitting[0]) + 1
        return fitting[0]

    def alloc(self, size: int, align: int | None) -> int:
        block, alignment = self.block_size(size, align), align or self.options.align
        hole = self.search(block, alignment)
        if hole is not None:
            self.fits.append((hole[1] - hole[0], block))
        else:
            start = self.tail()[0]
            hole = self.grown(block, round_up(start, alignment) + block - self.top)
        return self.place(hole, block, alignment)

    def place(self, hole: Hole, block: int, alignment: int) -> int:
        start, end = hole
        address = (end - block) // alignment * alignment if self.at_tail else round_up(start, alignment)
        after = address + block
        if self.at_tail and address - start < self.options.least_rest and start % alignment == 0:
            address = start
        if end - after < self.options.least_rest:
            after = end
        front, behind = address > start, after < end
        self.counts["splits"] += front + behind
        if front:
            self.change(hole, start, address)
            if behind:
                self.enter([after, end])
        elif behind:
            self.change(hole, after, end)
        else:
            self.drop(hole)
        self.blocks[address] = after - address
        return address

    def tail(self) -> Hole:
        return next((hole for hole in self.list if hole[1] == self.top), [self.top, self.top])

    def grown(self, least: int, missing: int) -> Hole:
        """Grow; the hole at the top."""
        tail = self.tail()
        self.grow(least, missing)
        if any(each is tail for each in self.list):
            self.change(tail, tail[0], self.top)
        else:
            tail[1] = self.top
            self.enter(tail)
        return tail

    def free(self, address: int) -> None:
        self.release(address, address + self.blocks.pop(address))

    def release(self, start: int, end: int) -> None:
        before = next((hole for hole in self.list if hole[1] == start), None) if self.joins else None
        after = next((hole for hole in self.list if hole[0] == end), None) if self.joins else None
        if after is not None:
            self.drop(after)
            end = after[1]
        if before is not None:
            self.change(before, before[0], end)
        else:
            self.enter([start, end])
        self.counts["merges"] += (before is not None) + (after is not None)
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
        end = address + self.blocks[address]
        hole = next((hole for hole in self.list if hole[0] == end), None)
        reach = end if hole is None else hole[1]
        if reach - address < new:
            if reach != self.top:
                return False
            try:
                hole = self.grown(0, address + new - self.top)
            except OutOfMemoryError:
                return False
        assert hole is not None
        if hole[1] - address - new >= self.options.least_rest:
            self.change(hole, address + new, hole[1])
            self.counts["splits"] += 1
        else:
            new = hole[1] - address
            self.drop(hole)
        self.blocks[address] = new
        return True

    def trim(self) -> None:
        tail = self.tail()
        level = self.lowered_top(tail[0])
        if level < self.top:
            self.counts["release"] += 1
            if tail[0] < level:
                self.change(tail, tail[0], level)
            else:
                self.drop(tail)
            self.top = level


class Searching(Space):
    """First fit by address that joins free blocks while it searches; the list of all blocks is [start, end, used]."""

    def __init__(self, options: Options, capacity: int) -> None:
        super().__init__(options, capacity)
        self.all: list[list[int]] = [[0, self.top, 0]] if self.top else []

    def hole_list(self) -> list[Range]:
        """Runs of adjacent free blocks."""
        runs: list[Range] = []
        for start, end, used in self.all:
            if not used and runs and runs[-1][1] == start:
                runs[-1] = runs[-1][0], end
            elif not used:
                runs.append((start, end))
        return runs

    def alloc(self, size: int, align: int | None) -> int:
        block = self.block_size(size, None)
        holes = self.hole_list()
        i = self.search(block)
        if i is None:
            tail = self.all[-1] if self.all and not self.all[-1][2] else [self.top, self.top, 0]
            self.grow(block, block - (tail[1] - tail[0]))
            tail[1] = self.top
            if not self.all or self.all[-1] is not tail:
                self.all.append(tail)
            i = len(self.all) - 1
        else:
            run = next(hole for hole in holes if hole[0] == self.all[i][0])
            self.fits.append((run[1] - run[0], block))
        start, end, _ = self.all[i]
        if end - start - block >= self.options.least_rest:
            self.all.insert(i + 1, [start + block, end, 0])
            self.all[i][1] = start + block
            self.counts["splits"] += 1
        self.all[i][2] = 1
        self.blocks[start] = self.all[i][1] - start
        return start

    def search(self, block: int) -> int | None:
        """The place of the first free block that is large enough, joined with those behind it on the way."""
        i = 0
        while i < len(self.all):
            start, end, used = self.all[i]
            if not used and end - start >= block:
                return i
            if not used and i + 1 < len(self.all) and not self.all[i + 1][2]:
                self.all[i][1] = self.all.pop(i + 1)[1]
                self.counts["merges"] += 1
            else:
                i += 1
        return None

    def free(self, address: int) -> None:
        del self.blocks[address]
        next(each for each in self.all if each[0] == address)[2] = 0

    def resize(self, address: int, size: int, align: int | None) -> bool:
        return False

    def trim(self) -> None:
        pass


def free_list(policy: str, options: Options, capacity: int, **own: str) -> Space:
    """The space of a policy with the options that make it none of the plain fits."""
    if own.get("coalesce") == "search":
        return Searching(options, capacity)
    return FreeList(policy, options, capacity, **{"place": "front", "coalesce": "now", "order": "address", **own})
