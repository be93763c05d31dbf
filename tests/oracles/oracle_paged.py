"""Pages as plain lists of numbers: a free list, a list of numbers given back, a list per block."""

from __future__ import annotations

from oracle_space import Options, OutOfMemoryError, Range, Space


class Paged(Space):
    """Blocks of pages; ``blocks`` has them by the first page's address, ``tables`` the numbers of all their pages."""

    def __init__(self, options: Options, capacity: int, page: int, order: str = "head", skip: int = 0) -> None:
        super().__init__(options, capacity)
        self.page, self.order, self.skip = page, order, skip
        self.room = capacity // page
        self.least = max(self.in_pages(options.initial), skip)
        self.tables: dict[int, list[int]] = {}
        self.unused: list[int] = []  # the next one to be taken is the first
        self.returned: list[int] = []  # the last one is the next to be had again
        self.numbered = skip
        self.add(self.least - skip)

    def in_pages(self, size: int) -> int:
        return -(-size // self.page)

    @property
    def held(self) -> int:
        return self.skip + len(self.unused) + sum(len(table) for table in self.tables.values())

    def add(self, more: int) -> None:
        numbers = []
        for _ in range(more):
            if self.returned:
                numbers.append(self.returned.pop())
            else:
                numbers.append(self.numbered)
                self.numbered += 1
        self.unused = numbers + self.unused
        self.top = self.held * self.page

    def take(self, pages: int) -> list[int]:
        """Pages off the free list, which grows if it is too short."""
        missing = pages - len(self.unused)
        if missing > 0:
            chunk = self.in_pages(self.options.chunk)
            more = min(-(-missing // chunk) * chunk, self.room - self.held)
            if more < missing:
                raise OutOfMemoryError
            self.counts["reserve"] += 1
            self.add(more)
        table, self.unused = self.unused[:pages], self.unused[pages:]
        return table

    def hole_list(self) -> list[Range]:
        return [(0, len(self.unused) * self.page)] if self.unused else []

    def enter(self, table: list[int]) -> int:
        address = table[0] * self.page
        self.tables[address] = table
        self.blocks[address] = len(table) * self.page
        return address

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = 1 if self.unused else 0
        return self.enter(self.take(max(self.in_pages(size), 1)))

    def free(self, address: int) -> None:
        del self.blocks[address]
        self.give_back(self.tables.pop(address))
        self.trim_if_asked()

    def give_back(self, pages: list[int]) -> None:
        self.unused = (pages if self.order == "head" else pages[::-1]) + self.unused

    def resize(self, address: int, size: int, align: int | None) -> bool:
        wanted, table = max(self.in_pages(size), 1), self.tables[address]
        if wanted > len(table):
            try:
                more = self.take(wanted - len(table))
            except OutOfMemoryError:
                return False
            self.enter(table + more)
        elif wanted < len(table):
            self.enter(table[:wanted])
            self.give_back(table[wanted:])
            self.trim_if_asked()
        return True

    def trim(self) -> None:
        used, chunk = self.held - len(self.unused), self.in_pages(self.options.chunk)
        keep = self.least + -(-max(used - self.least, 0) // chunk) * chunk
        if keep < self.held:
            surplus = self.held - keep
            self.returned += self.unused[:surplus]
            self.unused = self.unused[surplus:]
            self.counts["release"] += 1
            self.top = keep * self.page
