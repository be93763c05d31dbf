"""GMLake as lists of byte ranges: physical blocks by address, remembered stitched blocks as the ranges they were made of."""

from __future__ import annotations

from oracle_space import Options, OutOfMemoryError, Range, Space, round_up

PAGE, UNIT = 2 << 20, 512


class Stitch(Space):
    """``tables`` has the pieces of each block by its address, in the order in which they are mapped."""

    def __init__(self, capacity: int, stitched: int = 1024) -> None:
        super().__init__(Options(realloc="move", zero="null"), capacity)
        self.most = stitched
        self.physical: list[Range] = []  # by address
        self.busy: set[int] = set()  # starts of physical blocks that are mapped
        self.remembered: list[list[Range]] = []  # the last one was used last
        self.pages: dict[int, list[tuple[int, int, bool]]] = {}  # start of a small page -> start, end, free
        self.tables: dict[int, list[Range]] = {}
        self.served: list[str] = []

    def idle(self) -> list[Range]:
        return [block for block in self.physical if block[0] not in self.busy]

    def idle_bytes(self) -> int:
        return sum(end - start for start, end in self.idle())

    def small_holes(self) -> list[Range]:
        return [(start, end) for page in self.pages.values() for start, end, free in page if free]

    def hole_list(self) -> list[Range]:
        """All idle memory is one hole, wherever it is."""
        return [(0, self.idle_bytes())] * (self.idle_bytes() > 0) + self.small_holes()

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = len(self.hole_list())
        if size < PAGE and (align or 0) <= UNIT:
            return self.alloc_small(round_up(size, UNIT))
        size = round_up(size, PAGE)
        table = self.find(size)
        self.tables[table[0][0]] = table
        self.blocks[table[0][0]] = size
        return table[0][0]

    def find(self, size: int) -> list[Range]:
        enough = sorted((end - start, start) for start, end in self.idle() if end - start >= size)
        if enough and enough[0][0] == size:
            return self.mapped([(enough[0][1], enough[0][1] + size)], "exact")
        for table in reversed(self.remembered):
            if sum(end - start for start, end in table) == size and self.all_idle(table):
                self.remembered.remove(table)
                return self.mapped(table, "exact")
        if enough:
            extent, start = enough[0]
            self.remember([(start, start + extent)])
            return self.mapped([(start, start + size)], "single")
        missing = size - self.idle_bytes()
        if missing > self.capacity - self.top:
            raise OutOfMemoryError
        table, left = [], size - max(missing, 0)
        for extent, start in sorted(((end - start, start) for start, end in self.idle()), key=lambda one: (-one[0], one[1])):
            if left > 0:
                table.append((start, start + min(extent, left)))
                left -= min(extent, left)
        if missing > 0:
            table.append(self.new_memory(missing))
        return self.mapped(table, "grown" if missing > 0 else "stitched")

    def mapped(self, table: list[Range], how: str) -> list[Range]:
        """Cut physical blocks where the pieces end, and mark what is in them."""
        self.served.append(how)
        for start, end in table:
            for block in [block for block in self.physical if block[0] < end and start < block[1]]:
                if block[1] > end:
                    at = self.physical.index(block)
                    self.physical[at : at + 1] = [(block[0], end), (end, block[1])]
                    self.counts["splits"] += 1
                self.busy.add(block[0])
        return table

    def new_memory(self, size: int) -> Range:
        self.physical.append((self.top, self.top + size))
        self.top += size
        self.counts["reserve"] += 1
        return self.physical[-1]

    def inside(self, table: list[Range]) -> list[Range]:
        return [block for start, end in table for block in self.physical if start <= block[0] < end]

    def all_idle(self, table: list[Range]) -> bool:
        return all(block[0] not in self.busy for block in self.inside(table))

    def remember(self, table: list[Range]) -> None:
        self.remembered.append(table)
        if len(self.remembered) > self.most:
            self.remembered.pop(0)

    def free(self, address: int) -> None:
        size = self.blocks.pop(address)
        table = self.tables.pop(address)
        page = self.page_of(address)
        if page is not None:
            self.free_small(page, address, size)
            return
        self.busy -= {block[0] for block in self.inside(table)}
        if len(table) > 1 or self.physical.count(table[0]) == 0:
            self.remember(table)

    def page_of(self, address: int) -> int | None:
        return next((page for page in self.pages if page <= address < page + PAGE), None)

    def alloc_small(self, size: int) -> int:
        enough = sorted((end - start, start) for start, end in self.small_holes() if end - start >= size)
        if enough:
            extent, start = enough[0]
            self.fits.append((extent, size))
        else:
            start, extent = self.new_page(), PAGE
        page = self.page_of(start)
        assert page is not None
        parts = [(start, start + size, False)] + [(start + size, start + extent, True)] * (extent > size)
        at = self.pages[page].index((start, start + extent, True))
        self.pages[page][at : at + 1] = parts
        self.counts["splits"] += len(parts) - 1
        self.blocks[start] = size
        self.tables[start] = [(start, start + size)]
        return start

    def new_page(self) -> int:
        enough = sorted((end - start, start) for start, end in self.idle() if end - start >= PAGE)
        if enough:
            start = enough[0][1]
            self.mapped([(start, start + PAGE)], "page")
        elif PAGE <= self.capacity - self.top:
            start = self.new_memory(PAGE)[0]
            self.mapped([(start, start + PAGE)], "page")
        else:
            raise OutOfMemoryError
        self.served.pop()
        self.pages[start] = [(start, start + PAGE, True)]
        return start

    def free_small(self, page: int, address: int, size: int) -> None:
        joined: list[tuple[int, int, bool]] = []
        for start, end, free in self.pages[page]:
            free = free or start == address
            if joined and joined[-1][2] and free:
                joined[-1] = (joined[-1][0], end, True)
                self.counts["merges"] += 1
            else:
                joined.append((start, end, free))
        self.pages[page] = joined
        if joined == [(page, page + PAGE, True)]:
            del self.pages[page]
            self.busy.discard(page)

    def resize(self, address: int, size: int, align: int | None) -> bool:
        return False

    def trim(self) -> None:
        pass
