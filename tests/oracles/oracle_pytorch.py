"""PyTorch's caching allocator once more, slow and obvious: lists of blocks, sorted and searched whole.

Written from the behaviour that is documented, not from the policy; it shares no code with it.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from oracle_streams import StreamTable

MIB = 1 << 20
UNLIMITED = 1 << 62
NAMES = ("allocation", "allocated_bytes", "active", "active_bytes", "requested_bytes", "segment", "reserved_bytes")
NAMES += ("inactive_split", "inactive_split_bytes")


class OutOfMemory(Exception):
    pass


@dataclass
class Settings:
    """All options as numbers; sizes in MiB, as PyTorch has them."""

    capacity: int  # bytes
    max_split: int | None = None
    rounding: int | None = None
    divisions: list[int] = field(default_factory=lambda: [0] * 16)
    threshold: float = 0.0
    expandable: bool = False
    large: int = 20
    fraction: float = 1.0
    throw: bool = False
    first_fit: bool = False
    manual: bool = False
    ties: str = "segment"  # of equal free blocks: the oldest "segment", the oldest "object", or the lowest "address"


@dataclass(eq=False)
class Block:
    segment: Segment
    address: int
    size: int
    stream: int
    allocated: bool = False
    mapped: bool = True
    requested: int = 0
    waiting: int = 0
    uses: list[int] = field(default_factory=list)
    born: int = 0
    made: int = field(default_factory=count(1).__next__)  # objects are numbered in the order in which they are made

    @property
    def usable(self) -> bool:
        return not self.allocated and not self.waiting and not self.uses


@dataclass(eq=False)
class Segment:
    number: int
    start: int
    size: int
    small: bool
    blocks: list[Block] = field(default_factory=list)

    def beside(self, block: Block, step: int) -> Block | None:
        i = self.blocks.index(block) + step
        return self.blocks[i] if 0 <= i < len(self.blocks) else None


class Statistic:
    def __init__(self) -> None:
        self.current = self.peak = self.allocated = self.freed = 0

    def add(self, amount: int) -> None:
        self.current += amount
        self.peak = max(self.peak, self.current)
        self.allocated += max(amount, 0)
        self.freed += max(-amount, 0)


class Allocator:
    """malloc, free, record_stream, empty_cache; every event of it is in ``events``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.max_split = UNLIMITED if settings.max_split is None else settings.max_split * MIB
        self.large = settings.large * MIB
        self.rounding = self.large if settings.rounding is None else settings.rounding * MIB
        self.limit = int(settings.fraction * settings.capacity + 0.5) if settings.fraction < 1 else None
        self.segments: list[Segment] = []
        self.made = self.device_used = self.total = self.next_address = 0
        self.free: list[Block] = []  # free and mapped, of all pools
        self.searches = {True: 0, False: 0}
        self.pending: dict[int, deque[tuple[int, Block]]] = {}
        self.turns = StreamTable()
        self.recorded = self.done = 0
        self.done_on: Counter[int] = Counter()
        self.scalars: Counter[str] = Counter()
        self.statistics = {(name, pool): Statistic() for name in NAMES for pool in ("all", "small_pool", "large_pool")}
        self.oversize = {"oversize_allocations": Statistic(), "oversize_segments": Statistic()}
        self.events: list[tuple[str, int, int, int]] = []

    # -- sizes

    def rounded(self, n: int) -> int:
        if n < 512:
            return 512
        d = self.settings.divisions[min(max(n.bit_length() - 1 - 20, 0), 15)]
        if d > 1 and n > 512 * d:
            power = 1 << (n.bit_length() - 1)
            step = power // d
            return n if n == power else math.ceil(n / step) * step
        return math.ceil(n / 512) * 512

    def device_size(self, r: int) -> int:
        if r <= MIB:
            return 2 * MIB
        return self.large if r < 10 * MIB else math.ceil(r / (2 * MIB)) * 2 * MIB

    # -- the calls

    def malloc(self, n: int, stream: int) -> Block:
        if n >= 1 << 60:
            raise OutOfMemory
        self.process_events(UNLIMITED if not self.settings.manual else self.done)
        r = self.rounded(n)
        small = r <= MIB
        block = self.cached(r, small, stream) or self.more(r, small, stream)
        if block is None:
            raise OutOfMemory
        self.hand_out(block, r, n)
        return block

    def release(self, block: Block) -> None:
        block.allocated = False
        self.count("allocation", block, -1)
        self.count("allocated_bytes", block, -block.size)
        self.tell("free_requested", block.address, block.requested, block.stream)
        if block.size >= self.max_split:
            self.oversize["oversize_allocations"].add(-1)
        if not block.uses:
            self.complete_free(block)
            return
        uses = StreamTable()
        for stream in block.uses:
            uses.add(stream)
        for stream in uses:
            self.recorded += 1
            self.turns.add(stream)
            self.pending.setdefault(stream, deque()).append((self.recorded, block))
            block.waiting += 1
        block.uses = []

    def record(self, block: Block, stream: int) -> None:
        if stream != block.stream and stream not in block.uses:
            block.uses.append(stream)

    def complete(self, block: Block | None) -> None:
        """The stream work of a freed block is done, or all of it so far."""
        if block is None:
            self.done = self.recorded
        for stream, queue in self.pending.items():
            for number, waiting in queue:
                if waiting is block:
                    self.done_on[stream] = max(self.done_on[stream], number)

    def empty_cache(self) -> None:
        self.scalars["num_sync_all_streams"] += 1
        self.process_events(UNLIMITED)
        for small in (False, True):
            for block in self.in_order(small):
                if self.settings.expandable:
                    self.unmap(block)
                elif len(block.segment.blocks) == 1:
                    self.give_back(block)

    # -- the search

    def key(self, block: Block) -> tuple[int, int, int, int]:
        age = {"segment": block.segment.number, "object": block.made, "address": 0}[self.settings.ties]
        return block.stream, block.size, age, block.address

    def in_order(self, small: bool) -> list[Block]:
        return sorted((b for b in self.free if b.segment.small == small), key=self.key)

    def cached(self, r: int, small: bool, stream: int) -> Block | None:
        if self.limit is not None and self.settings.threshold > 0:
            self.searches[small] += 1
        fits = [b for b in self.in_order(small) if b.stream == stream and b.size >= r]
        if not fits:
            return None
        chosen = 0
        if self.settings.expandable:
            while chosen + 1 < len(fits) and self.growable(fits[chosen + 1]) < self.growable(fits[chosen]):
                chosen += 1
        block = fits[chosen]
        if r < self.max_split <= block.size or (r >= self.max_split and block.size >= r + self.rounding):
            return None
        self.free.remove(block)
        return block

    def growable(self, block: Block) -> int:
        after = block.segment.beside(block, 1)
        return block.size + (after.size if after and not after.mapped else 0)

    def more(self, r: int, small: bool, stream: int) -> Block | None:
        if self.limit is not None and self.settings.threshold > 0:
            self.collect_garbage()
        for attempt in range(3):
            if attempt == 1 and not self.release_oversize(r, small, stream):
                continue
            if attempt == 2:
                self.empty_cache()
                self.scalars["num_alloc_retries"] += 1
            if self.settings.throw and self.rejects(self.total + self.device_size(r)):
                self.scalars["num_oom_rejections"] += 1
                return None
            block = self.from_device(r, small, stream)
            if block is not None:
                return block
        self.scalars["num_ooms"] += 1
        self.tell("oom", self.settings.capacity - self.device_used, r, stream)
        return None

    def rejects(self, wanted: int) -> bool:
        """Whether so many bytes are more than the share of the device, but not more than the limit, which is rounded."""
        allowed = int(self.settings.fraction * self.settings.capacity)
        return wanted > allowed and (self.limit is None or wanted <= self.limit)

    def from_device(self, r: int, small: bool, stream: int) -> Block | None:
        size = self.device_size(r)
        if self.limit is not None and self.total + size > self.limit:
            return None
        if self.settings.expandable:
            return self.extend(r, small, stream)
        if not self.take(math.ceil(size / (2 * MIB)) * 2 * MIB):
            return None
        segment = self.new_segment(size, small)
        block = Block(segment, segment.start, size, stream)
        segment.blocks = [block]
        self.total += size
        self.scalars["num_device_alloc"] += 1
        self.count("segment", block, 1)
        self.count("reserved_bytes", block, size)
        if size >= self.max_split:
            self.oversize["oversize_segments"].add(1)
        self.tell("segment_alloc", block.address, size, stream)
        return block

    def take(self, size: int) -> bool:
        if self.device_used + size > self.settings.capacity:
            return False
        self.device_used += size
        return True

    def new_segment(self, size: int, small: bool) -> Segment:
        space = math.ceil(size / (2 * MIB)) * 2 * MIB
        start = self.next_address
        if self.settings.first_fit and not self.settings.expandable:
            start = 0
            for segment in sorted(self.segments, key=lambda s: s.start):
                if segment.start - start >= space:
                    break
                start = segment.start + math.ceil(segment.size / (2 * MIB)) * 2 * MIB
        self.next_address = max(self.next_address, start + space)
        self.made += 1
        segment = Segment(self.made, start, size, small)
        self.segments.append(segment)
        return segment

    # -- blocks

    def hand_out(self, block: Block, r: int, n: int) -> None:
        segment, rest = block.segment, block.size - r
        was_split = len(segment.blocks) > 1
        fine = segment.small or self.settings.expandable
        if rest >= 512 if fine else r < self.max_split and rest > MIB:
            behind = Block(segment, block.address + r, rest, block.stream)
            block.size = r
            block.made, behind.made = behind.made, block.made  # the front part is the new object
            segment.blocks.insert(segment.blocks.index(block) + 1, behind)
            self.add_free(behind)
            if not self.settings.expandable:
                self.count("inactive_split", block, 0 if was_split else 1)
                self.count("inactive_split_bytes", block, -r if was_split else rest)
        elif was_split and not self.settings.expandable:
            self.count("inactive_split", block, -1)
            self.count("inactive_split_bytes", block, -block.size)
        block.allocated, block.requested = True, n
        for name, amount in self.of_block(block):
            self.count(name, block, amount)
        if block.size >= self.max_split:
            self.oversize["oversize_allocations"].add(1)
        self.tell("alloc", block.address, n, block.stream)

    def of_block(self, block: Block) -> Iterator[tuple[str, int]]:
        yield from (("allocation", 1), ("allocated_bytes", block.size), ("active", 1), ("active_bytes", block.size))
        yield "requested_bytes", block.requested

    def complete_free(self, block: Block) -> None:
        self.tell("free_completed", block.address, block.requested, block.stream)
        self.count("active", block, -1)
        self.count("active_bytes", block, -block.size)
        self.count("requested_bytes", block, -block.requested)
        swallowed = self.merge(block)
        self.add_free(block)
        if not self.settings.expandable:
            split = len(block.segment.blocks) > 1
            self.count("inactive_split", block, split - len(swallowed))
            self.count("inactive_split_bytes", block, (block.size if split else 0) - sum(swallowed))

    def merge(self, block: Block) -> list[int]:
        """Swallow the usable neighbours that are mapped, or not, as the block is; their sizes."""
        sizes = []
        for step in (-1, 1):
            other = block.segment.beside(block, step)
            if other is not None and other.usable and other.mapped == block.mapped:
                if other.mapped:
                    self.free.remove(other)
                block.segment.blocks.remove(other)
                block.address = min(block.address, other.address)
                block.size += other.size
                sizes.append(other.size)
        return sizes

    def add_free(self, block: Block) -> None:
        block.born = self.searches[block.segment.small]
        self.free.append(block)

    # -- giving back

    def give_back(self, block: Block) -> None:
        self.free.remove(block)
        self.segments.remove(block.segment)
        self.device_used -= math.ceil(block.size / (2 * MIB)) * 2 * MIB
        self.total -= block.size
        self.scalars["num_device_free"] += 1
        self.count("segment", block, -1)
        self.count("reserved_bytes", block, -block.size)
        if block.size >= self.max_split:
            self.oversize["oversize_segments"].add(-1)
        self.tell("segment_free", block.address, block.size, block.stream)

    def collect_garbage(self) -> None:
        assert self.limit is not None
        target = self.total - int(self.limit * self.settings.threshold)
        if target <= 0 or self.settings.expandable:
            return

        def age(block: Block) -> int:
            return self.searches[False] - block.born

        def whole() -> list[Block]:
            return [b for b in self.in_order(False) if len(b.segment.blocks) == 1]

        total, count, freed = sum(map(age, whole())), len(whole()), True
        while target > 0 and freed and count:
            threshold, freed = total / count, False
            for block in whole():
                if age(block) >= threshold:
                    self.give_back(block)
                    target, total, count, freed = target - block.size, total - age(block), count - 1, True

    def release_oversize(self, r: int, small: bool, stream: int) -> bool:
        if self.max_split == UNLIMITED or self.settings.expandable:
            return False
        wanted = max(r, self.max_split)
        blocks = [b for b in self.in_order(small) if b.stream == stream]
        large = [b for b in blocks if b.size >= wanted]
        if large:
            self.give_back(large[0])
            return True
        released = 0
        for block in reversed(blocks):
            if block.size < self.max_split or released >= wanted:
                break
            self.give_back(block)
            released += block.size
        return released >= wanted

    # -- expandable segments

    def page(self, small: bool) -> int:
        return 2 * MIB if small else self.large

    def extend(self, r: int, small: bool, stream: int) -> Block | None:
        chain = self.find_chain(r, small, stream)
        if not chain:
            page = self.page(small)
            total = self.settings.capacity
            segment = self.new_segment(math.ceil((total + total // 8) / page) * page, small)
            chain = [Block(segment, segment.start, segment.size, stream, mapped=False)]
            segment.blocks = list(chain)
        first = chain[0]
        if not first.mapped and not self.map(first, min(first.size, r)):
            return None
        while first.size < r:
            hole = first.segment.beside(first, 1)
            if hole is None or hole.mapped or not self.map(hole, min(r - first.size, hole.size)):
                return None
            first = hole
        self.free.remove(first)
        return first

    def find_chain(self, r: int, small: bool, stream: int) -> list[Block]:
        holes = [b for s in self.segments if s.small == small for b in s.blocks if not b.mapped and b.stream == stream]
        for hole in sorted(holes, key=lambda b: b.address):
            before = hole.segment.beside(hole, -1)
            start = before if before is not None and before.usable else hole
            chain = []
            for block in hole.segment.blocks[hole.segment.blocks.index(start) :]:
                if not block.usable:
                    break
                chain.append(block)
                if sum(b.size for b in chain) >= r:
                    return chain
        return []

    def map(self, hole: Block, size: int) -> bool:
        page = self.page(hole.segment.small)
        mapped = math.ceil(size / page) * page
        if not self.take(mapped):
            return False
        if mapped < hole.size:
            rest = Block(hole.segment, hole.address + mapped, hole.size - mapped, hole.stream, mapped=False)
            hole.segment.blocks.insert(hole.segment.blocks.index(hole) + 1, rest)
        hole.size, hole.mapped = mapped, True
        self.tell("segment_map", hole.address, mapped, hole.stream)
        self.merge(hole)
        self.add_free(hole)
        self.total += mapped
        self.scalars["num_device_alloc"] += 1
        self.count("reserved_bytes", hole, mapped)
        return True

    def unmap(self, block: Block) -> None:
        segment, page = block.segment, self.page(block.segment.small)
        first = segment.start + math.ceil((block.address - segment.start) / page) * page
        last = segment.start + (block.address + block.size - segment.start) // page * page
        if first >= last:
            return
        self.free.remove(block)
        at = segment.blocks.index(block)
        head = Block(segment, block.address, first - block.address, block.stream)
        tail = Block(segment, last, block.address + block.size - last, block.stream)
        block.address, block.size, block.mapped = first, last - first, False
        segment.blocks[at : at + 1] = [b for b in (head, block, tail) if b.size]
        for part in (head, tail):
            if part.size:
                self.add_free(part)
        self.tell("segment_unmap", first, last - first, block.stream)
        self.device_used -= last - first
        self.total -= last - first
        self.scalars["num_device_free"] += 1
        self.count("reserved_bytes", block, first - last)
        self.merge(block)
        if block.size == segment.size:
            self.segments.remove(segment)

    # -- stream events

    def process_events(self, until: int) -> None:
        slots, at = self.turns.slots, 0
        while at < len(slots):
            if (slot := slots[at]) is None:
                at += 1
                continue
            stream = slot.stream
            queue = self.pending[stream]
            while queue and queue[0][0] <= max(until, self.done_on[stream]):
                block = queue.popleft()[1]
                block.waiting -= 1
                if not block.waiting:
                    self.complete_free(block)
            if queue:
                at += 1
            else:
                self.turns.remove(at)

    # -- counts

    def count(self, name: str, block: Block, amount: int) -> None:
        self.statistics[name, "all"].add(amount)
        self.statistics[name, "small_pool" if block.segment.small else "large_pool"].add(amount)

    def tell(self, action: str, address: int, size: int, stream: int) -> None:
        self.events.append((action, address, size, stream))

    def counters(self) -> dict[str, int]:
        """All statistics, under the names of torch.cuda.memory_stats."""
        found = {f"{name}.{pool}": s for (name, pool), s in self.statistics.items()} | self.oversize
        values = {f"{name}.{metric}": getattr(s, metric) for name, s in found.items() for metric in vars(s)}
        scalars = ("num_alloc_retries", "num_ooms", "num_sync_all_streams", "num_device_alloc", "num_device_free")
        values |= {name: self.scalars[name] for name in (*scalars, "num_oom_rejections")}
        return {**values, "max_split_size": -1 if self.max_split == UNLIMITED else self.max_split}
