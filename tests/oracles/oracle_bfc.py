"""TensorFlow's BFC as lists: regions of chunks, each with its bytes and whether it is free, and bins that are searched in turn."""

from __future__ import annotations

from dataclasses import dataclass, field

from oracle_space import UNBOUNDED, Options, OutOfMemoryError, Range, Space, round_up

UNIT, BINS = 256, 21
MIB = 1 << 20


@dataclass
class Chunk:
    start: int
    size: int
    free: bool = True

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass
class Region:
    size: int
    chunks: list[Chunk] = field(default_factory=list)  # by address


class Bfc(Space):
    """Regions of chunks."""

    def __init__(self, capacity: int, allow_growth: bool = True, garbage_collection: bool = False, fraction: float = 0) -> None:
        super().__init__(Options(realloc="move", zero="null"), capacity)
        self.collects = garbage_collection
        self.waste = int(fraction * capacity) if fraction else 128 * MIB
        self.next_size = max(round_up(min(capacity, 2 * MIB) if allow_growth else capacity, UNIT), UNIT)
        self.next_start = 0
        self.regions: list[Region] = []

    def chunks(self) -> list[tuple[Region, Chunk]]:
        return [(region, chunk) for region in self.regions for chunk in region.chunks]

    def hole_list(self) -> list[Range]:
        return sorted((chunk.start, chunk.end) for _, chunk in self.chunks() if chunk.free)

    def bins(self) -> list[list[tuple[Region, Chunk]]]:
        """Free chunks of 256 bytes and more, of 512 and more, ...; each bin by size and address."""
        found: list[list[tuple[Region, Chunk]]] = [[] for _ in range(BINS)]
        for region, chunk in self.chunks():
            if chunk.free:
                found[self.bin_of(chunk.size)].append((region, chunk))
        return [sorted(each, key=lambda pair: (pair[1].size, pair[1].start)) for each in found]

    def bin_of(self, size: int) -> int:
        number = 0
        while number < BINS - 1 and UNIT << (number + 1) <= size:
            number += 1
        return number

    def find(self, size: int, align: int) -> tuple[Region, Chunk] | None:
        for each in self.bins()[self.bin_of(size) :]:
            for region, chunk in each:
                if round_up(chunk.start, align) + size <= chunk.end:
                    return region, chunk
        return None

    def alloc(self, size: int, align: int | None) -> int:
        size, align = round_up(size, UNIT), max(align or 0, UNIT)
        self.searched = len(self.hole_list())
        found = self.find(size, align)
        if found is not None:
            self.fits.append((found[1].size, size))
        if found is None and self.extend(size):
            found = self.find(size, align)
        if found is None and self.collects and self.collect(size) and self.extend(size):
            found = self.find(size, align)
        if found is None:
            raise OutOfMemoryError
        return self.hand_out(*found, size, align)

    def hand_out(self, region: Region, chunk: Chunk, size: int, align: int) -> int:
        at = region.chunks.index(chunk)
        start = round_up(chunk.start, align)
        parts = [Chunk(chunk.start, start - chunk.start)] if start > chunk.start else []
        rest = chunk.end - start - size
        taken = Chunk(start, size, free=False)
        parts.append(taken)
        if rest >= size or rest >= self.waste:
            parts += [Chunk(start + size, rest)] if rest else []
        else:
            taken.size += rest
        region.chunks[at : at + 1] = parts
        self.counts["splits"] += len(parts) - 1
        self.blocks[start] = taken.size
        return start

    def extend(self, size: int) -> bool:
        left = (self.capacity - self.top) // UNIT * UNIT
        if size > left:
            return False
        if size > self.next_size:
            while size > self.next_size:
                self.next_size *= 2
            extent = min(self.next_size, left)
        else:
            extent = min(self.next_size, left)
            self.next_size = min(2 * self.next_size, UNBOUNDED)
        self.regions.append(Region(extent, [Chunk(self.next_start, extent)]))
        self.next_start = round_up(self.next_start + extent, 2 * MIB)
        self.top += extent
        self.counts["reserve"] += 1
        return True

    def collect(self, size: int) -> bool:
        unused = [region for region in self.regions if all(chunk.free for chunk in region.chunks)]
        more = sum(region.size for region in unused)
        if not unused or size > self.capacity - self.top + more:
            return False
        self.regions = [region for region in self.regions if region not in unused]
        self.top -= more
        self.counts["release"] += 1
        return True

    def free(self, address: int) -> None:
        del self.blocks[address]
        region, chunk = next((r, c) for r, c in self.chunks() if c.start == address and not c.free)
        chunk.free = True
        joined: list[Chunk] = []
        for each in region.chunks:
            if joined and joined[-1].free and each.free:
                joined[-1].size += each.size
                self.counts["merges"] += 1
            else:
                joined.append(each)
        region.chunks = joined

    def resize(self, address: int, size: int, align: int | None) -> bool:
        return False

    def trim(self) -> None:
        pass


class Ort(Bfc):
    """ONNX Runtime's arena: the same with another growth, and a trim that gives unused regions back."""

    def __init__(self, capacity: int, *, first: int, max_extend: int, extend: str, growth: int, waste: int) -> None:
        super().__init__(capacity)
        self.next_size = max(round_up(min(capacity, first), UNIT), UNIT)
        self.most, self.exact, self.growth, self.waste = max_extend, extend == "exact", growth, waste

    def extend(self, size: int) -> bool:
        left = (self.capacity - self.top) // UNIT * UNIT
        if size > left:
            return False
        extent = size
        if not self.exact:
            before = self.next_size
            while self.next_size < size:
                self.next_size *= 2
            extent = min(self.next_size, left)
            if self.next_size == before:
                self.next_size = min(2 * before, self.most)
        self.regions.append(Region(extent, [Chunk(self.next_start, extent)]))
        self.next_start = round_up(self.next_start + extent, 2 * MIB)
        self.top += extent
        self.counts["reserve"] += 1
        return True

    def trim(self) -> None:
        kept = [
            region
            for number, region in enumerate(self.regions)
            if (number == 0 and not self.exact) or not all(chunk.free for chunk in region.chunks)
        ]
        self.counts["release"] += len(kept) < len(self.regions)
        self.regions = kept
        self.top = sum(region.size for region in kept)
        self.next_size = self.growth
