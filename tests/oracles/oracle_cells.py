"""segregated, size-class, slab and pool over plain sets of free cells and a list of page holes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from oracle_heap import ListHeap
from oracle_space import Options, OutOfMemoryError, Range, Space, power_of_two, round_up


@dataclass(frozen=True)
class CellOptions(Options):
    """What the cell policies take besides."""

    page: int = 4096
    spacing: int = 4
    small: int = 0
    tail: int = 8
    empty: int = 1
    cell: int = 64
    cells: int = 256
    pools: int = 0
    fallback: str = "best-fit"


@dataclass(eq=False)
class Run:
    """Some cells of one size, by groups of 64."""

    number: int
    address: int
    groups: list[Group] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return all(len(group.free) == group.count for group in self.groups)


@dataclass(eq=False)
class Group:
    run: Run
    count: int
    free: set[int]  # addresses


class CellHeap(Space):
    """Cells in runs, and a best-fit heap in which the runs are blocks and the other blocks are too."""

    options: CellOptions

    def __init__(self, options: CellOptions, capacity: int) -> None:
        self.pages = ListHeap(self.page_options(options), capacity, "best-fit")
        super().__init__(options, capacity)
        self.counts = self.pages.counts
        self.lists: dict[int, list[Group]] = {}
        self.kept: dict[int, list[Run]] = {}
        self.runs = 0
        self.home: dict[int, Group] = {}

    @property
    def top(self) -> int:
        return self.pages.top

    @top.setter
    def top(self, value: int) -> None:
        assert value == self.pages.top

    def page_options(self, options: CellOptions) -> Options:
        raise NotImplementedError

    def class_for(self, size: int, align: int | None) -> int | None:
        """The number of the class whose cell the request gets; None for one that gets a block of the heap."""
        raise NotImplementedError

    def shape(self, number: int) -> tuple[int, int, int]:
        """Bytes of a cell, cells, bytes of the run."""
        raise NotImplementedError

    run_align: int
    keep: float
    most_runs: float = float("inf")

    def hole_list(self) -> list[Range]:
        runs = [group.run for groups in self.lists.values() for group in groups] + [run for k in self.kept.values() for run in k]
        groups = {group for run in runs for group in run.groups}
        cells = [(start, start + self.shape(group.run.number)[0]) for group in groups for start in group.free]
        return sorted([*self.pages.hole_list(), *cells])

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = 0
        number = self.class_for(size, align)
        return self.heap_alloc(size, align) if number is None else self.cell_alloc(number)

    def cell_alloc(self, number: int) -> int:
        cell = self.shape(number)[0]
        groups = self.lists.setdefault(number, [])
        if not groups:
            groups[:] = self.some_run(number).groups
        else:
            self.served_by_cell(cell)
        group = groups[0]
        start = min(group.free)
        group.free.remove(start)
        if not group.free:
            groups.remove(group)
        self.home[start] = group
        self.blocks[start] = cell
        return start

    def served_by_cell(self, cell: int) -> None:
        self.searched = 1
        self.fits.append((cell, cell))

    def some_run(self, number: int) -> Run:
        """One that was kept, or a new one."""
        cell, count, size = self.shape(number)
        if self.kept.get(number):
            self.served_by_cell(cell)
            return self.kept[number].pop()
        if self.runs >= self.most_runs:
            raise OutOfMemoryError
        address = self.place(size - self.options.header, self.run_align, cell)
        self.runs += 1
        run = Run(number, address)
        for low in range(0, count, 64):
            cells = range(low, min(low + 64, count))
            run.groups.append(Group(run, len(cells), {address + i * cell for i in cells}))
        return run

    def place(self, size: int, align: int | None, block: int | None) -> int:
        """A block of the heap; if there is no room, all empty runs are given back first. ``block`` is what it is counted as."""
        before = len(self.pages.fits)
        while True:
            try:
                address = self.pages.alloc(size, align)
                break
            except OutOfMemoryError:
                if not any(self.kept.values()):
                    raise
                self.reap()
            finally:
                self.searched = (self.searched or 0) + (self.pages.searched or 0)
        for hole, wanted in self.pages.fits[before:]:
            self.fits.append((hole, wanted if block is None else block))
        return address

    def heap_alloc(self, size: int, align: int | None) -> int:
        address = self.place(size, align, None)
        self.blocks[address] = self.pages.blocks[address]
        return address

    def free(self, address: int) -> None:
        del self.blocks[address]
        group = self.home.pop(address, None)
        if group is None:
            self.pages.free(address)
            return
        groups = self.lists[group.run.number]
        if not group.free:
            groups.insert(0, group)
        group.free.add(address)
        if group.run.empty:
            self.lists[group.run.number] = [other for other in groups if other.run is not group.run]
            self.kept.setdefault(group.run.number, []).append(group.run)
            if len(self.kept[group.run.number]) > self.keep:
                self.return_run(self.kept[group.run.number].pop())

    def return_run(self, run: Run) -> None:
        self.runs -= 1
        self.pages.free(run.address)

    def reap(self) -> None:
        for number in sorted(self.kept):
            while self.kept[number]:
                self.return_run(self.kept[number].pop())

    def resize(self, address: int, size: int, align: int | None) -> bool:
        group = self.home.get(address)
        if group is not None:
            return self.class_for(size, align) == group.run.number
        if self.leaves_heap(size, align) or not self.pages.resize(address, size, align):
            return False
        self.blocks[address] = self.pages.blocks[address]
        return True

    def leaves_heap(self, size: int, align: int | None) -> bool:
        """Whether a block of the heap moves because its new size is that of a cell."""
        return self.class_for(size, align) is not None

    def trim(self) -> None:
        self.reap()
        self.pages.trim()


class SizeClass(CellHeap):
    keep: float = 0

    def __init__(self, options: CellOptions, capacity: int) -> None:
        super().__init__(options, capacity)
        self.run_align = options.page
        self.classes = [options.align]
        while self.classes[-1] < max(options.small or options.spacing * options.page, options.min_block):
            last = self.classes[-1]
            doubling = power_of_two(last + 1) // 2
            self.classes.append(last + max(options.align, doubling // options.spacing))

    def page_options(self, options: CellOptions) -> Options:
        return replace(options, align=options.page, min_block=options.page)

    def class_for(self, size: int, align: int | None) -> int | None:
        o = self.options
        wanted = round_up(max(size + o.header, o.min_block), max(o.align, align or 1))
        if (align or 1) > o.page:
            return None
        return next((number for number, cell in enumerate(self.classes) if cell >= wanted), None)

    def heap_alloc(self, size: int, align: int | None) -> int:
        return super().heap_alloc(size, max(align or 1, self.options.page))

    def shape(self, number: int) -> tuple[int, int, int]:
        cell, page = self.classes[number], self.options.page
        size = page
        while size < cell or size % cell > size / self.options.tail:
            size += page
        return cell, size // cell, size


class Slab(SizeClass):
    def __init__(self, options: CellOptions, capacity: int) -> None:
        super().__init__(options, capacity)
        self.keep = options.empty


class Pool(CellHeap):
    keep: float = float("inf")

    def __init__(self, options: CellOptions, capacity: int) -> None:
        super().__init__(options, capacity)
        self.cell = round_up(max(options.cell, options.min_block), options.align)
        self.run_align = next(1 << k for k in range(62, -1, -1) if self.cell % (1 << k) == 0)
        if options.pools:
            self.most_runs = options.pools

    def page_options(self, options: CellOptions) -> Options:
        return options

    def class_for(self, size: int, align: int | None) -> int | None:
        return 0 if self.block_size(size, align) <= self.cell and (align or 1) <= self.run_align else None

    def shape(self, number: int) -> tuple[int, int, int]:
        return self.cell, self.options.cells, self.cell * self.options.cells

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = 0
        if self.class_for(size, align) is not None:
            try:
                return self.cell_alloc(0)
            except OutOfMemoryError:
                pass
        if self.options.fallback == "none":
            raise OutOfMemoryError
        return self.heap_alloc(size, align)

    def leaves_heap(self, size: int, align: int | None) -> bool:
        return False


class Segregated(Space):
    """Powers of two, each with a stack of free cells; those of a new page lie at the bottom, the lowest on top of them."""

    options: CellOptions

    def __init__(self, options: CellOptions, capacity: int) -> None:
        super().__init__(options, capacity)
        self.stacks: dict[int, list[int]] = {}
        self.pages: list[Range] = []
        self.cell_of: dict[int, int] = {}

    def cell_size(self, size: int, align: int | None) -> int:
        o = self.options
        wanted = round_up(max(size + o.header, o.min_block), max(o.align, min(align or 1, o.page)))
        return power_of_two(wanted + max((align or 1) - o.page, 0))

    def frontier(self) -> int:
        return max((end for _, end in self.pages), default=self.options.base)

    def hole_list(self) -> list[Range]:
        cells = [(start, start + size) for size, stack in self.stacks.items() for start in stack]
        first = min((start for start, _ in self.pages), default=self.options.base)
        ends = [(self.options.base, first), (self.frontier(), self.top)]
        return sorted(cells + [(low, high) for low, high in ends if low < high])

    def alloc(self, size: int, align: int | None) -> int:
        cell = self.cell_size(size, align)
        stack = self.stacks.setdefault(cell, [])
        if stack:
            self.searched = 1
            self.fits.append((cell, cell))
        else:
            self.carve(cell, stack)
        start = stack.pop()
        address = round_up(start, align or 1)
        self.cell_of[address] = start
        self.blocks[address] = cell
        return address

    def carve(self, cell: int, stack: list[int]) -> None:
        tail = self.top - self.frontier()
        self.searched = 1 if tail else 0
        start = round_up(self.frontier(), self.options.page)
        end = start + max(cell, self.options.page)
        if end <= self.top:
            self.fits.append((tail, cell))
        else:
            self.grow(end - start, end - self.top)
        self.pages.append((start, end))
        stack.extend(reversed(range(start, end, cell)))

    def free(self, address: int) -> None:
        self.stacks[self.blocks.pop(address)].append(self.cell_of.pop(address))

    def resize(self, address: int, size: int, align: int | None) -> bool:
        o, cell = self.options, self.blocks[address]
        end = address + max(size + o.header, o.min_block)
        same = self.cell_size(size, align) == cell and end <= self.cell_of[address] + cell
        return same and address % (align or 1) == 0

    def trim(self) -> None:
        pass


CELLS = {"segregated": Segregated, "size-class": SizeClass, "slab": Slab, "pool": Pool}
