"""`regions` and `chunks`: a list of spaces of the oracle that never touch, tried one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from oracle import Event
from oracle_space import UNBOUNDED, Options, OutOfMemoryError, Range, Space, round_up

Make = Callable[[int], Space]  # the inner policy's empty space of so many bytes; ValueError if it can have none


@dataclass
class Part:
    base: int
    extent: int
    space: Space
    owner: int = 0

    @property
    def unused(self) -> int:
        return self.extent - sum(self.space.blocks.values())


class Parts(Space):
    """The parts in the order of their making."""

    def __init__(self, options: Options, capacity: int, make: Make, to: str) -> None:
        super().__init__(options, capacity)
        self.make, self.to, self.top = make, to, 0
        self.parts: list[Part] = []
        self.gone = {"splits": 0, "merges": 0}  # of parts that there are no more
        self.event, self.stream = Event("trim"), 0
        self.stream_of: dict[int | None, int] = {}

    def feed(self, events: Iterable[Event], streams: Iterable[int]) -> Iterator[Event]:
        for self.event, self.stream in zip(events, streams, strict=True):
            if self.event.op == "alloc":
                self.stream_of[self.event.id] = self.stream
            yield self.event

    def add(self, part: Part) -> Part:
        self.parts.append(part)
        self.top += part.extent
        return part

    def hole_list(self) -> list[Range]:
        return [(part.base + low, part.base + high) for part in self.parts for low, high in part.space.hole_list()]

    def follow(self) -> None:
        """The sums over the parts."""
        self.blocks = {part.base + start: size for part in self.parts for start, size in part.space.blocks.items()}
        for name in ("splits", "merges"):
            self.counts[name] = self.gone[name] + sum(part.space.counts[name] for part in self.parts)

    def tried(self, owner: int | None = None) -> list[Part]:
        found = [part for part in self.parts if owner is None or part.owner == owner]
        if self.to == "fullest":
            found.sort(key=lambda part: part.unused)
        if self.to == "roomiest":
            found.sort(key=lambda part: -part.unused)
        return found

    def offer(self, part: Part, size: int, align: int | None) -> int | None:
        """An address in the part; None if it has none."""
        if part.unused < size:
            return None
        space = part.space
        space.searched, space.tag, before = None, self.tag, len(space.fits)
        try:
            start = space.alloc(size, align)
        except OutOfMemoryError:
            return None
        finally:
            self.searched = (self.searched or 0) + (space.searched or 0)
            self.fits += space.fits[before:]
        return part.base + start

    def part_of(self, address: int) -> Part:
        return next(part for part in self.parts if part.base <= address < part.base + part.extent)

    def alloc(self, size: int, align: int | None) -> int:
        self.searched = 0
        for part in self.tried(self.owner()):
            address = self.offer(part, size, align)
            if address is not None:
                self.follow()
                return address
        self.follow()
        return self.without_part(size, align)

    def owner(self) -> int | None:
        return None

    def without_part(self, size: int, align: int | None) -> int:
        raise OutOfMemoryError

    def free(self, address: int) -> None:
        part = self.part_of(address)
        part.space.free(address - part.base)
        if not part.space.blocks:
            self.emptied(part)
        self.follow()

    def emptied(self, part: Part) -> None:
        pass

    def resize(self, address: int, size: int, align: int | None) -> bool:
        part = self.part_of(address)
        done = part.space.resize(address - part.base, size, align)
        self.follow()
        return done

    def trim(self) -> None:
        pass


class Regions(Parts):
    def __init__(self, options: Options, capacity: int, make: Make, sizes: list[int], to: str = "first") -> None:
        super().__init__(options, capacity, make, to)
        base = 0
        for extent in sizes:
            self.add(Part(base, extent, make(extent)))
            base = round_up(base + extent + 1, 4096)
        self.follow()


@dataclass(frozen=True)
class Rules:
    size: int = 2 << 20
    first: int = 0
    growth: str = "fixed"
    release: str = "empty"
    by: str = "none"


class Chunks(Parts):
    def __init__(self, options: Options, capacity: int, make: Make, rules: Rules, to: str = "first") -> None:
        super().__init__(options, capacity, make, to)
        self.rules = rules
        if rules.first:
            self.add(Part(0, rules.first, make(rules.first)))
        self.follow()

    def owner(self) -> int | None:
        scratch = self.event.op == "swap"
        if self.rules.by == "stream":
            return 0 if scratch else self.stream_of[self.event.id]
        return None

    def empties(self) -> list[Part]:
        return [part for part in self.parts if not part.space.blocks]

    @property
    def left(self) -> int:
        return self.capacity - self.top

    def give_back(self, part: Part) -> None:
        self.parts.remove(part)
        self.top -= part.extent
        self.counts["release"] += 1
        for name in self.gone:
            self.gone[name] += part.space.counts[name]

    def emptied(self, part: Part) -> None:
        empty = sum(each.extent for each in self.empties())
        one_more = len(self.empties()) > 1
        if {"empty": True, "never": False, "spare": one_more, "half": 2 * empty > self.top}[self.rules.release]:
            self.give_back(part)

    def trim(self) -> None:
        if self.rules.release != "never":
            for part in self.empties():
                self.give_back(part)
        self.follow()

    def serves(self, extent: int, size: int, align: int | None) -> bool:
        try:
            space = self.make(extent)
            space.tag = self.tag
            space.alloc(size, align)
        except (OutOfMemoryError, ValueError):
            return False
        return True

    def least(self, size: int, align: int | None, most: int) -> int | None:
        """The request's bytes, its block's, then 16, 32, 64, ... more."""
        block = self.make(UNBOUNDED).block_size(size, align)
        for extent in [max(size, 1), block, *(block + (16 << i) for i in range(60))]:
            if extent <= most and self.serves(extent, size, align):
                return extent
        return None

    def wanted(self, size: int) -> int:
        match self.rules.growth:
            case "held":
                return self.top
            case "half":
                return round_up(self.left, 256) // 2
            case "eighths":
                extent, largest = self.rules.size, max((part.extent for part in self.parts), default=0)
                for _ in range(3):
                    if extent // 2 > largest and extent // 2 >= 2 * size:
                        extent //= 2
                return extent
        return self.rules.size

    def without_part(self, size: int, align: int | None) -> int:
        could = 0 if self.rules.release == "never" else sum(part.extent for part in self.empties())
        need = self.least(size, align, self.left + could)
        if need is None:
            raise OutOfMemoryError
        if need > self.left:
            self.trim()
        extent = max(need, self.wanted(size))
        while extent > self.left:
            extent = max(need, extent // 2)
        if not self.serves(extent, size, align):
            extent = need
        searched, fits = self.searched, list(self.fits)
        part = self.add(Part(self.gap(extent), extent, self.make(extent), self.owner() or 0))
        self.counts["reserve"] += 1
        address = self.offer(part, size, align)
        assert address is not None
        self.searched, self.fits = searched, fits
        self.follow()
        return address

    def gap(self, extent: int) -> int:
        base = 0
        for part in sorted(self.parts, key=lambda part: part.base):
            if base + extent < part.base:
                break
            base = round_up(part.base + part.extent + 1, 4096)
        return base
