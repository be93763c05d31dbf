"""The kernel's page allocator over plain lists of page numbers, head first: one list for each zone, order and type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

PAGE, MAX_ORDER, BLOCK_ORDER = 4096, 10, 9
BLOCK = 1 << BLOCK_ORDER
KINDS = ("unmovable", "movable", "reclaimable")
OTHERS = {
    "unmovable": ("reclaimable", "movable"),
    "movable": ("reclaimable", "unmovable"),
    "reclaimable": ("unmovable", "movable"),
}
Place = tuple[int, int, str]  # zone, order, type


@dataclass
class Pages:
    """Zones that begin at ``starts``, of ``count`` pages in all, and CPUs that keep blocks if there are any."""

    count: int
    starts: tuple[int, ...] = (0,)
    cpus: int = 0
    batch: int = 63
    high: int = 512
    free: dict[Place, list[int]] = field(default_factory=dict)
    used: dict[int, tuple[int, str]] = field(default_factory=dict)  # page -> order, type of the request
    kept: dict[tuple[int, int, int, str], list[int]] = field(default_factory=dict)  # zone, cpu, order, type
    types: dict[int, str] = field(default_factory=dict)  # pageblock -> type
    claims: int = 0
    steals: int = 0
    stealing: bool = False

    def __post_init__(self) -> None:
        page = 0
        while page < self.count:
            end = min((start for start in self.starts if start > page), default=self.count)
            order = max(k for k in range(MAX_ORDER + 1) if page % (1 << k) == 0 and page + (1 << k) <= end)
            self.list(self.zone(page), order, "movable").append(page)
            page += 1 << order

    def list(self, zone: int, order: int, kind: str) -> list[int]:
        return self.free.setdefault((zone, order, kind), [])

    def zone(self, page: int) -> int:
        return max(zone for zone, start in enumerate(self.starts) if start <= page)

    def type(self, page: int) -> str:
        return self.types.get(page // BLOCK, "movable")

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(page, order) of every free block."""
        for (_, order, _), pages in self.free.items():
            yield from ((page, order) for page in pages)

    def alloc(self, pages: int, kind: str, cpu: int = 0) -> int | None:
        """The first page of a block of so many pages."""
        order = (pages - 1).bit_length()
        if order > MAX_ORDER:
            return None
        page = self.search(order, kind, cpu)
        if page is None and self.drain():
            page = self.search(order, kind, cpu)
        if page is not None:
            self.used[page] = (order, kind)
        return page

    def search(self, order: int, kind: str, cpu: int) -> int | None:
        for gently in (True, False):
            for zone in reversed(range(len(self.starts))):
                if self.cpus and order <= 3:
                    page = self.from_cpu(zone, cpu % self.cpus, order, kind, gently)
                else:
                    self.stealing = False
                    page = self.from_zone(zone, order, kind, gently)
                if page is not None:
                    return page
        return None

    def from_cpu(self, zone: int, cpu: int, order: int, kind: str, gently: bool) -> int | None:
        mine = self.kept.setdefault((zone, cpu, order, kind), [])
        if not mine:
            self.stealing = False
            for _ in range(max(self.batch >> order, 2) if self.batch > 1 else 1):
                page = self.from_zone(zone, order, kind, gently)
                if page is None:
                    break
                mine.append(page)
        return mine.pop(0) if mine else None

    def from_zone(self, zone: int, order: int, kind: str, gently: bool) -> int | None:
        page = None
        if not self.stealing:
            page = self.smallest(zone, order, kind)
            if page is None:
                page = self.claim(zone, order, kind, max(order, BLOCK_ORDER) if gently else order)
                self.claims += page is not None
        if page is None and not gently:
            page = self.steal(zone, order, kind)
            if page is not None:
                self.steals += 1
                self.stealing = True
        return page

    def smallest(self, zone: int, order: int, kind: str) -> int | None:
        for found in range(order, MAX_ORDER + 1):
            if self.list(zone, found, kind):
                return self.cut(zone, self.list(zone, found, kind).pop(0), order, found, kind)
        return None

    def cut(self, zone: int, page: int, order: int, found: int, kind: str) -> int:
        for half in reversed(range(order, found)):
            self.list(zone, half, kind).insert(0, page + (1 << half))
        return page

    def other(self, zone: int, order: int, kind: str) -> str | None:
        return next((other for other in OTHERS[kind] if self.list(zone, order, other)), None)

    def claim(self, zone: int, order: int, kind: str, least: int) -> int | None:
        for found in reversed(range(least, MAX_ORDER + 1)):
            if kind == "movable" and found < 4:
                return None
            other = self.other(zone, found, kind)
            if other is None:
                continue
            page = self.list(zone, found, other)[0]
            if found >= BLOCK_ORDER:
                self.list(zone, found, other).pop(0)
                for block in range(page // BLOCK, (page + (1 << found)) // BLOCK):
                    self.types[block] = kind
                return self.cut(zone, page, order, found, kind)
            if self.convert(zone, page // BLOCK, other, kind):
                return self.smallest(zone, order, kind)
        return None

    def convert(self, zone: int, block: int, other: str, kind: str) -> bool:
        """Let a pageblock change its type, if half of it is free or fits."""
        inside = range(block * BLOCK, (block + 1) * BLOCK)
        if inside.stop > min((start for start in self.starts if start > inside.start), default=self.count):
            return False
        free = sorted((page, order) for page, order in self.blocks() if page in inside)
        unused = sum(1 << order for _, order in free)
        movable = sum(1 << order for page, (order, what) in self.used.items() if page in inside and what == "movable")
        fits = movable if kind == "movable" else BLOCK - unused - movable if other == "movable" else 0
        if unused + fits < BLOCK // 2:
            return False
        for page, order in free:
            self.list(zone, order, other).remove(page)
            self.list(zone, order, kind).append(page)
        self.types[block] = kind
        return True

    def steal(self, zone: int, order: int, kind: str) -> int | None:
        for found in range(order, MAX_ORDER + 1):
            other = self.other(zone, found, kind)
            if other is not None:
                return self.cut(zone, self.list(zone, found, other).pop(0), order, found, other)
        return None

    def release(self, page: int, cpu: int = 0) -> None:
        order, _ = self.used.pop(page)
        zone = self.zone(page)
        if not self.cpus or order > 3:
            self.merge(zone, page, order)
            return
        cpu %= self.cpus
        self.kept.setdefault((zone, cpu, order, self.type(page)), []).insert(0, page)
        if self.held(zone, cpu) >= self.high:
            self.shrink(zone, cpu, order * 3 + KINDS.index(self.type(page)), self.batch)

    def held(self, zone: int, cpu: int) -> int:
        """Pages that a CPU keeps of a zone."""
        return sum(len(pages) << order for (z, c, order, _), pages in self.kept.items() if (z, c) == (zone, cpu))

    def shrink(self, zone: int, cpu: int, number: int, pages: int) -> None:
        left = min(pages, self.held(zone, cpu))
        while left > 0:
            order, kind = number // 3, KINDS[number % 3]
            mine = self.kept.get((zone, cpu, order, kind))
            if mine:
                self.merge(zone, mine.pop(), order)
                left -= 1 << order
            else:
                number = (number + 1) % 12

    def drain(self) -> bool:
        found = False
        for zone in range(len(self.starts)):
            for cpu in range(self.cpus):
                found |= self.held(zone, cpu) > 0
                self.shrink(zone, cpu, 0, self.held(zone, cpu))
        return found

    def merge(self, zone: int, page: int, order: int) -> None:
        kind = self.type(page)
        while order < MAX_ORDER:
            buddy = page ^ (1 << order)
            of_buddy = self.type(buddy) if order >= BLOCK_ORDER else kind
            if buddy not in self.list(zone, order, of_buddy):
                break
            self.list(zone, order, of_buddy).remove(buddy)
            if order >= BLOCK_ORDER:
                self.types[buddy // BLOCK] = kind
            page, order = min(page, buddy), order + 1
        joined = page & ~(1 << order)
        buddy = joined ^ (2 << order)
        likely = order < MAX_ORDER - 1 and any(buddy in self.list(zone, order + 1, each) for each in KINDS)
        mine = self.list(zone, order, kind)
        mine.insert(len(mine) if likely else 0, page)

    def indices(self, zone: int, order: int) -> tuple[int, int]:
        """The external fragmentation index and the unusable free space index, in thousandths, from their definitions."""
        orders = [found for page, found in self.blocks() if self.zone(page) == zone]
        free = sum(1 << found for found in orders)
        usable = sum(1 << found for found in orders if found >= order)
        unusable = 1000 if free == 0 else (free - usable) * 1000 // free
        if not orders:
            return 0, unusable
        if usable:
            return -1000, unusable
        return 1000 - (1000 + free * 1000 // (1 << order)) // len(orders), unusable
