"""Memory pools as lists that are searched whole, and what drives them beside a policy; written from the rules in words."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from comparison import spec

from memtrace.contract import ledger as led
from memtrace.engine import recorder as rec
from memtrace.engine.replay import replay
from memtrace.trace import from_events

DATA = Path(__file__).parent.parent / "data" / "heaps"
REGION = 2 << 20  # regions of the device start at multiples of it
UNBOUNDED = 1 << 62


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


class Ask(NamedTuple):
    """An alloc, or a free, of which the size does not count."""

    op: str
    id: int
    size: int = 0
    stream: int = 0


class Pool(Protocol):
    """A pool of the oracle."""

    held: int  # bytes from the device

    def alloc(self, size: int, stream: int) -> int | None:
        """The address; None: refused."""

    def free(self, address: int, stream: int) -> None: ...

    def holes(self) -> list[int]:
        """The bytes of each free block."""


def driven(pool: Pool, asks: Sequence[Ask]) -> list[tuple[Any, ...]]:
    """(address, bytes held, sizes of the free blocks) after each of the asks; the address of a free is -2, as for 0 bytes."""
    found: list[tuple[Any, ...]] = []
    blocks: dict[int, int | None] = {}
    for ask in asks:
        address: int | None = -2
        if ask.op == "alloc":
            address = pool.alloc(ask.size, ask.stream) if ask.size else -2
            blocks[ask.id] = address
            address = -1 if address is None else address
        else:
            place = blocks.pop(ask.id)
            if place is not None and place >= 0:
                pool.free(place, ask.stream)
        sizes = pool.holes()
        found.append((address, pool.held, len(sizes), sum(sizes), max(sizes, default=0), sum(size * size for size in sizes)))
    return found


def replayed(policy: str, asks: Sequence[Ask], capacity: int | None, options: dict[str, Any], how: bool | None) -> Any:
    """The same of a policy; ``how`` as `interpret` of `memtrace.replay`."""
    rows = [
        {"op": ask.op, "id": ask.id, "stream": ask.stream, **({"size": ask.size} if ask.op == "alloc" else {})} for ask in asks
    ]
    placement = replay(
        from_events(rows),
        spec(policy, options),
        capacity,
        on_oom="skip",
        samples=1 << 62,
        keep=True,
        interpret=how,
        batch_rows=50,
    )
    assert placement.addresses is not None
    found = []
    for address, row in zip(placement.addresses.tolist(), placement.recorder.samples[: len(asks)].tolist(), strict=True):
        at = dict(zip(rec.ROW, row, strict=True))
        squares = at["squares_high"] * led.SQUARE_UNIT + at["squares"]
        found.append((address, at["reserved"], at["holes"], at["free"], at["largest"], squares))
    return found


def vector(name: str) -> tuple[list[Ask], list[tuple[int, int | None]]]:
    """The requests of a file of placements, and (address, bytes held) that each alloc got; -1: refused, -2: 0 bytes."""
    asks, found = [], []
    with (DATA / name).open() as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            asks.append(Ask(row["op"], int(row["id"]), int(row["size"] or 0), int(row.get("stream") or 0)))
            if row["op"] == "alloc":
                address = {"null": -1, "-1": -2}.get(row["address"]) or int(row["address"])
                found.append((address, int(row["pool"]) if row.get("pool") else None))
    return asks, found


def requests(seed: int, count: int, sizes: Callable[[random.Random], int], streams: int = 1, live: int = 40) -> list[Ask]:
    """About ``count`` random allocs and frees, on some streams; some frees are on a stream of their own choice."""
    dice, found, blocks = random.Random(seed), [], []
    for number in range(count):
        if blocks and (len(blocks) > live or dice.random() < 0.45):
            id, stream = blocks.pop(dice.randrange(len(blocks)))
            found.append(Ask("free", id, 0, dice.randrange(streams) if dice.random() < 0.2 else stream))
        else:
            stream = dice.randrange(streams)
            found.append(Ask("alloc", number, sizes(dice), stream))
            blocks.append((number, stream))
    return found


@dataclass
class Block:
    start: int
    end: int
    region: int  # number of the region

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass
class Lists:
    """Free blocks in lists by address; those of one list and one region join."""

    held: int = 0
    top: int = 0
    regions: int = 0
    lists: dict[int, list[Block]] = field(default_factory=dict)
    live: dict[int, Block] = field(default_factory=dict)

    def holes(self) -> list[int]:
        return [block.size for blocks in self.lists.values() for block in blocks]

    def insert(self, key: int, block: Block) -> None:
        blocks = self.lists.setdefault(key, [])
        blocks.append(block)
        blocks.sort(key=lambda each: each.start)
        joined: list[Block] = []
        for each in blocks:
            if joined and joined[-1].end == each.start and joined[-1].region == each.region:
                joined[-1] = Block(joined[-1].start, each.end, each.region)
            else:
                joined.append(each)
        self.lists[key] = joined

    def take(self, key: int, block: Block, size: int) -> int:
        """Make a live block of the beginning of a free one; the rest stays in the list."""
        self.lists[key].remove(block)
        return self.give(key, block, size)

    def give(self, key: int, block: Block, size: int) -> int:
        self.live[block.start] = Block(block.start, block.start + size, block.region)
        if block.size > size:
            self.insert(key, Block(block.start + size, block.end, block.region))
        return block.start

    def region(self, size: int) -> Block:
        block = Block(self.top, self.top + size, self.regions)
        self.regions += 1
        self.held += size
        self.top = round_up(self.top + size, REGION)
        return block


class RmmPool(Lists):
    """RMM's pool: a list per stream."""

    def __init__(self, initial: int = 0, maximum: int | None = None, device: int = UNBOUNDED) -> None:
        super().__init__()
        self.maximum, self.device = maximum, device
        self.order: list[int] = []  # streams in the order of their events
        if initial:
            self.order.append(0)
            self.insert(0, self.region(initial))

    def event(self, stream: int) -> int:
        if stream not in self.order:
            self.order.append(stream)
        return stream

    def best(self, stream: int, size: int) -> Block | None:
        fitting = [block for block in self.lists.get(stream, []) if block.size >= size]
        return min(fitting, key=lambda block: (block.size, block.start), default=None)

    def alloc(self, size: int, stream: int) -> int | None:
        size = round_up(size, 256)
        own = self.event(stream)
        others = [each for each in self.order if each != own and each in self.lists]
        for each in [own, *others]:
            block = self.best(each, size)
            if block is not None:
                return self.take(each, block, size)
        for each in others:
            for block in self.lists.pop(each):
                self.insert(own, block)
            found = self.best(own, size)
            if found is not None:
                return self.take(own, found, size)
        grown = self.grow(size)
        return None if grown is None else self.give(own, grown, size)

    def grow(self, size: int) -> Block | None:
        extent = max(size, self.held)
        if self.maximum is not None:
            left = round_up(self.maximum - self.held, 256)
            if size > left:
                return None
            extent = max(size, left // 2)
        while True:
            if self.held + extent <= self.device:
                return self.region(extent)
            if extent == size:
                return None
            extent = max(size, extent // 2)

    def free(self, address: int, stream: int) -> None:
        self.insert(self.event(stream), self.live.pop(address))


@dataclass
class Chunk:
    base: int
    free: list[list[int]]  # [offset, bytes] by offset
    most: int = 0  # bytes


class Ggml:
    """ggml's allocator: arrays of free blocks in chunks."""

    def __init__(self, align: int = 32, chunk: int = 0, capacity: int = UNBOUNDED) -> None:
        self.align, self.chunk, self.capacity = align, chunk or 1 << 61, capacity
        self.chunks: list[Chunk] = []
        self.top = 0
        self.live: dict[int, tuple[Chunk, int, int]] = {}

    @property
    def held(self) -> int:
        return sum(chunk.most for chunk in self.chunks)

    def holes(self) -> list[int]:
        cut = [min(size, chunk.most - offset) for chunk in self.chunks for offset, size in chunk.free]
        return [size for size in cut if size > 0]

    def alloc(self, size: int, stream: int) -> int | None:
        size = round_up(size, self.align)
        found: tuple[Chunk, list[int]] | None = None
        for chunk in self.chunks:
            smallest = UNBOUNDED
            for block in chunk.free[:-1]:
                if size <= block[1] <= smallest:
                    found, smallest = (chunk, block), block[1]
        if found is None:
            reuse = -UNBOUNDED
            for chunk in self.chunks:
                for block in chunk.free[-1:]:
                    left = chunk.most - block[0] - size
                    if block[1] >= size and ((reuse < 0 and left > reuse) or 0 <= left < reuse):
                        found, reuse = (chunk, block), left
        if found is None:
            chunk = Chunk(self.top, [[0, max(size, self.chunk) if len(self.chunks) < 15 else 1 << 61]])
            if len(self.chunks) == 16 or self.held + size > self.capacity:
                return None
            self.chunks.append(chunk)
            self.top = round_up(self.top + chunk.free[0][1], REGION)
            found = chunk, chunk.free[0]
        chunk, block = found
        most = max(chunk.most, block[0] + size)
        if self.held - chunk.most + most > self.capacity:
            return None
        chunk.most = most
        offset = block[0]
        block[0], block[1] = block[0] + size, block[1] - size
        chunk.free = [each for each in chunk.free if each[1]]
        self.live[chunk.base + offset] = chunk, offset, size
        return chunk.base + offset

    def free(self, address: int, stream: int) -> None:
        chunk, offset, size = self.live.pop(address)
        joined: list[list[int]] = []
        for each in sorted([*chunk.free, [offset, size]]):
            if joined and sum(joined[-1]) == each[0]:
                joined[-1][1] += each[1]
            else:
                joined.append(each)
        chunk.free = joined


class Cupy(Lists):
    """CuPy's pool: free blocks by stream, segments made to measure."""

    def __init__(self, ties: str = "lowest", limit: int = UNBOUNDED) -> None:
        super().__init__()
        self.ties, self.limit = ties, limit
        self.clock, self.freed = 0, {}  # freed: (start, end) of a free block -> when it was put into its list
        self.owner: dict[int, int] = {}
        self.sizes: dict[int, int] = {}  # region -> bytes

    def rank(self, block: Block) -> int:
        age = self.freed[block.start, block.end]
        return {"lowest": block.start, "highest": -block.start, "oldest": age, "newest": -age}[self.ties]

    def insert(self, key: int, block: Block) -> None:
        super().insert(key, block)
        for each in self.lists[key]:
            if each.start <= block.start < each.end:
                self.clock += 1
                self.freed[each.start, each.end] = self.clock

    def alloc(self, size: int, stream: int) -> int | None:
        size = round_up(size, 512)
        fitting = [block for block in self.lists.get(stream, []) if block.size >= size]
        if fitting:
            address = self.take(stream, min(fitting, key=lambda block: (block.size, self.rank(block))), size)
        else:
            if self.held + size > self.limit:
                self.give_back()
            if self.held + size > self.limit:
                return None
            region = self.region(size)
            self.sizes[region.region] = size
            address = self.give(stream, region, size)
        self.owner[address] = stream
        return address

    def give_back(self) -> None:
        for blocks in self.lists.values():
            for block in [each for each in blocks if each.size == self.sizes[each.region]]:
                blocks.remove(block)
                self.held -= block.size

    def free(self, address: int, stream: int) -> None:
        self.insert(self.owner.pop(address), self.live.pop(address))


class QuickPool(Lists):
    """Umpire's QuickPool: one list, of equal blocks the one that became free first, chunks given back and taken as one."""

    def __init__(self, device: int, *, first: int, next: int, align: int, coalesce: str, blocks: int) -> None:
        super().__init__()
        self.device, self.first, self.next, self.align = device, first, next, align
        self.coalesce, self.needed = coalesce, blocks
        self.clock, self.freed = 0, {}  # freed: (start, end) of a free block -> when it was put into the list
        self.sizes: dict[int, int] = {}  # region -> bytes
        self.highest = 0

    @property
    def actual(self) -> int:
        return sum(self.sizes.values())

    def insert(self, key: int, block: Block) -> None:
        super().insert(key, block)
        for each in self.lists[key]:
            if each.start <= block.start < each.end:
                self.clock += 1
                self.freed[each.start, each.end] = self.clock

    def whole(self) -> list[Block]:
        return [each for each in self.lists.get(0, []) if each.size == self.sizes[each.region]]

    def alloc(self, size: int, stream: int) -> int | None:
        size = round_up(size, self.align)
        fitting = [block for block in self.lists.get(0, []) if block.size >= size]
        if fitting:
            address = self.take(0, min(fitting, key=lambda block: (block.size, self.freed[block.start, block.end])), size)
        else:
            extent = max(size, self.next if self.actual else self.first)
            if self.held + extent + self.align > self.device:
                self.release()
            if self.held + extent + self.align > self.device:
                return None
            chunk = self.region(extent + self.align)
            chunk.end -= self.align
            self.sizes[chunk.region] = extent
            address = self.give(0, chunk, size)
        self.highest = max(self.highest, sum(block.size for block in self.live.values()))
        return address

    def release(self) -> None:
        for block in self.whole():
            self.lists[0].remove(block)
            self.held -= self.sizes.pop(block.region) + self.align

    def free(self, address: int, stream: int) -> None:
        self.insert(0, self.live.pop(address))
        due = len(self.whole()) >= self.needed if self.needed else sum(b.size for b in self.whole()) == self.actual
        if self.coalesce == "never" or not due or len(self.lists[0]) < 2:
            return
        wanted = self.highest if self.coalesce == "hwm" else self.actual
        self.release()
        if self.actual < wanted:
            taken = self.alloc(wanted - self.actual, stream)
            if taken is not None:
                self.free(taken, stream)
