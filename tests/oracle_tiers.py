"""A slow and obvious second opinion on replays over tiers: objects, lists and dicts, one event at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from oracle import Event, make_space
from oracle_space import Options, OutOfMemoryError

NEVER = 1 << 62
FREE_IS_USE = {"access": False, "lifetimes": True}


@dataclass
class Level:
    """One tier: what is described, its space, and the blocks that may be evicted, the newest entry last."""

    capacity: int
    bandwidth: float
    latency: int
    ratios: dict[str, int] | None  # thousandths
    pack: float
    unpack: float
    space: Any
    order: list[Block] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    queue: dict[str, int] = field(default_factory=lambda: {"down": 0, "up": 0})


@dataclass(eq=False)
class Block:
    life: int
    requested: int
    tag: str | None
    pinned: bool
    tier: int | None = None  # None: it needs no place
    address: int = -2
    stored: int = 0
    entered: int = 0
    bit: bool = False
    next: int = NEVER
    ready: int = 0
    visited: set[int] = field(default_factory=set)


class Tiers:
    def __init__(
        self, events: list[Event], tiers: list[dict[str, Any]], policy: str, options: dict[str, Any], **how: Any
    ) -> None:
        self.events, self.how = events, how
        self.levels = [
            Level(t["capacity"], t["bandwidth"], t["latency"], t.get("ratios"), t.get("pack", 0), t.get("unpack", 0),
                  make_space(policy, Options(**options), t["capacity"], {}))
            for t in tiers
        ]  # fmt: skip
        self.options = Options(**options)
        self.clock = self.stall = self.entries = self.room_from = self.used = self.looked = 0
        self.blocks: dict[int, Block | None] = {}  # id -> block, None where its alloc failed
        self.lives: dict[int, Block] = {}
        self.addresses: list[tuple[int, int]] = []
        self.failed = self.skipped = self.moved = 0
        self.oom: int | None = None
        self.uses = list_uses(events, FREE_IS_USE[how["uses"]])
        self.following = [next_use(self.uses, n) for n in range(len(self.uses))]

    def run(self) -> Tiers:
        for now, event in enumerate(self.events):
            self.now = now
            self.clock += self.how.get("event_ns", 0)
            self.look_ahead()
            place, failed = (-2, -1), False
            try:
                place = self.step(event)
            except OutOfMemoryError:
                failed, place = True, (-1, -1)
                self.failed += 1
                if event.op == "alloc":
                    self.blocks[event.id] = None
            self.addresses.append(
                place if event.op in ("alloc", "realloc") and event.op + str(event.size) != "realloc0" else (-2, -1)
            )
            self.check()
            if failed and self.how.get("on_oom", "stop") == "stop":
                self.oom = self.now
                break
        return self

    # Time

    def ns_of(self, a: int, b: int, size: int, here: int, there: int, carried: int) -> tuple[int, int]:
        upper, lower = min(a, b), max(a, b)
        links = self.levels[upper + 1 : lower + 1]
        pace = max(1e9 / link.bandwidth for link in links)
        moving = sum(link.latency for link in links) + int(carried * pace + 0.5)
        packing = 0.0
        if self.levels[b].ratios is not None and self.levels[b].pack:
            packing += size * (1e9 / self.levels[b].pack)
        if self.levels[a].ratios is not None and here < size and self.levels[a].unpack:
            packing += size * (1e9 / self.levels[a].unpack)
        return moving, int(packing + 0.5)

    def carry(self, a: int, b: int, size: int, here: int, there: int, carried: int, begin: int) -> int:
        moving, packing = self.ns_of(a, b, size, here, there, carried)
        way = "down" if a < b else "up"
        links = self.levels[min(a, b) + 1 : max(a, b) + 1]
        start = max(begin, self.clock)
        if self.how.get("overlap"):
            start = max([start, *(link.queue[way] for link in links)])
        end = start + moving + packing
        for link in links:
            link.queue[way] = end
        if not self.how.get("overlap"):
            self.wait(end)
        return end

    def wait(self, until: int) -> None:
        self.stall += max(0, until - self.clock)
        self.clock = max(self.clock, until)

    # Places

    def stored(self, tier: int, block: Block) -> int:
        ratios = self.levels[tier].ratios
        if ratios is None:
            return block.requested
        ratio = ratios.get(block.tag or "", ratios.get("*", 1000))
        return min(block.requested, -(-block.requested * 1000 // ratio))

    def try_place(self, tier: int, block: Block, align: int | None) -> int | None:
        size = self.stored(tier, block)
        if size == 0 and self.options.zero == "null":
            return -2
        try:
            return int(self.levels[tier].space.alloc(size, align))
        except OutOfMemoryError:
            return None

    def settle(self, block: Block, first: int, below: int, guarded: list[Block]) -> tuple[int, int] | None:
        for tier in range(first, below):
            level = self.levels[tier]
            while True:
                address = self.try_place(tier, block, self.align_of.get(block.life))
                if address is not None:
                    return tier, address
                pinned = sum(b.stored for b in self.lives.values() if b.tier == tier and b.pinned)
                if tier == len(self.levels) - 1 or self.stored(tier, block) > level.capacity - pinned:
                    break
                victim = self.victim(level, guarded)
                if victim is None:
                    break
                place = self.settle(victim, tier + 1, len(self.levels), guarded)
                if place is None:
                    break
                level.counts["evictions"] += 1
                level.counts["evicted"] += victim.requested
                self.room_from = max(self.room_from, self.move(victim, *place, 0))
        return None

    align_of: dict[int, int | None]

    def victim(self, level: Level, guarded: list[Block]) -> Block | None:
        evict = self.how["evict"]
        free = [b for b in level.order if b not in guarded]
        if not free:
            return None
        if evict in ("lru", "fifo"):
            return free[0]
        if evict == "clock":
            while True:
                first = next(b for b in level.order if b not in guarded)
                if not first.bit:
                    return first
                first.bit = False
                level.order.remove(first)
                level.order.append(first)
        if evict == "largest":
            return max(free, key=lambda b: (b.stored, -b.entered))
        if evict == "belady":
            return max(free, key=lambda b: (b.next, b.stored, -b.entered))
        price = {b: 0.0 if b.next == NEVER else b.stored / max(b.next - self.now, 1) for b in free}
        return min(free, key=lambda b: (price[b], -b.stored, b.entered))

    def enter(self, block: Block, tier: int, address: int) -> None:
        level = self.levels[tier]
        block.tier, block.address, block.stored = tier, address, self.stored(tier, block)
        level.counts["in"] += block.requested
        level.counts["written"] += block.stored
        if not block.pinned:
            block.entered, block.bit = self.entries, False
            self.entries += 1
            level.order.append(block)

    def leave(self, block: Block) -> None:
        level = self.levels[block.tier]
        level.counts["out"] += block.requested
        if not block.pinned:
            level.order.remove(block)

    def move(self, block: Block, tier: int, address: int, begin: int) -> int:
        source, size = block.tier, self.stored(tier, block)
        carried = size if tier > source else block.stored
        end = self.carry(source, tier, block.requested, block.stored, size, carried, max(begin, block.ready))
        for link in self.levels[min(source, tier) + 1 : max(source, tier) + 1]:
            link.counts["down" if tier > source else "up"] += carried
        self.levels[source].space.free(block.address)
        self.leave(block)
        self.enter(block, tier, address)
        block.ready = end
        return end

    # Uses

    def bring(self, block: Block, other: Block | None, ahead: bool) -> None:
        source = block.tier
        place = self.settle(block, 0, source, [block] if other is None else [block, other])
        begin, self.room_from = self.room_from, 0
        if place is None:
            return
        end = self.move(block, *place, begin)
        if not ahead:
            self.wait(end)

    def use(self, block: Block | None, other: Block | None, whole: bool) -> None:
        following = self.following[self.used]
        self.used += 1
        if block is None:
            return
        block.next = following
        if block.tier is None:
            return
        found = block.tier
        if found > 0:
            self.bring(block, other, False)
        self.levels[found].counts["hits"] += 1
        if block.tier == found and not block.pinned:
            self.touch(block)
        if found == 0 and self.how.get("overlap"):
            self.wait(block.ready)
        if block.tier > 0 and whole:
            self.reach(block)

    def touch(self, block: Block) -> None:
        block.bit = True
        if self.how["evict"] == "lru":
            order = self.levels[block.tier].order
            order.remove(block)
            order.append(block)

    def reach(self, block: Block) -> None:
        end = self.carry(
            block.tier, 0, block.requested, block.stored, block.requested, block.stored, max(block.ready, self.clock)
        )
        self.wait(end)
        for link in self.levels[1 : block.tier + 1]:
            link.counts["remote"] += block.stored

    def look_ahead(self) -> None:
        while self.how.get("prefetch") and self.looked < len(self.uses):
            event, life, born = self.uses[self.looked]
            if event > self.now + self.how["prefetch"]:
                break
            block = self.lives.get(life)
            if not born and block is not None and block.tier and self.looked >= self.used:
                self.bring(block, None, True)
            self.looked += 1

    # Events

    def step(self, event: Event) -> tuple[int, int]:
        op = "free" if event.op == "realloc" and not event.size else event.op
        if op == "alloc":
            return self.alloc(event)
        if op == "trim":
            for level in self.levels:
                level.space.trim()
            return -2, -1
        if event.id is None:
            return -2, -1
        block = self.blocks[event.id]
        other = self.blocks[event.dst] if event.dst is not None else None
        if op in ("access", "realloc") or (op == "free" and FREE_IS_USE[self.how["uses"]]):
            self.use(block, None, True)
        if op in ("copy", "swap"):
            self.use(block, other, False)
            self.use(other, block, False)
        if block is None or (op in ("copy", "swap") and other is None):
            self.skipped += 1
            if op == "free":
                del self.blocks[event.id]
            return -2, -1
        if op == "free":
            self.drop(block)
            del self.blocks[event.id]
        elif op == "realloc":
            return self.realloc(event, block)
        elif op in ("copy", "swap"):
            self.exchange(op, event, block, other)
        return -2, -1

    def drop(self, block: Block) -> None:
        if block.tier is not None:
            self.levels[block.tier].space.free(block.address)
            self.leave(block)
        del self.lives[block.life]

    def alloc(self, event: Event) -> tuple[int, int]:
        block = Block(self.now, event.size or 0, event.tag, event.tag in self.how.get("pinned", ()))
        block.next = self.following[self.used]
        self.align_of[block.life] = event.align
        place = self.settle(block, 0, len(self.levels), [])
        self.used += 1
        if place is None:
            raise OutOfMemoryError
        self.blocks[event.id] = self.lives[block.life] = block
        if place[1] == -2:
            return -2, 0
        self.placed(block, *place)
        return place[1], place[0]

    def placed(self, block: Block, tier: int, address: int) -> None:
        self.enter(block, tier, address)
        self.wait(self.room_from)
        self.room_from = 0
        if tier > 0:
            self.reach(block)

    def realloc(self, event: Event, block: Block) -> tuple[int, int]:
        size = event.size or 0
        if block.tier is not None and self.options.realloc == "inplace":
            level = self.levels[block.tier]
            new = Block(block.life, size, block.tag, block.pinned)
            if level.space.resize(block.address, self.stored(block.tier, new), event.align):
                self.leave(block)
                block.requested = size
                self.align_of[block.life] = event.align
                self.enter(block, block.tier, block.address)
                return block.address, block.tier
        new = Block(block.life, size, block.tag, block.pinned)
        old_align = self.align_of.get(block.life)
        self.align_of[block.life] = event.align
        place = self.settle(new, 0, len(self.levels), [block])
        if place is None:
            self.align_of[block.life] = old_align
            self.wait_later = True
            raise OutOfMemoryError
        if block.tier is None:
            block.requested = size
            self.placed(block, *place)
            return place[1], place[0]
        source, kept = block.tier, min(block.requested, size)
        self.moved += kept
        self.levels[source].space.free(block.address)
        self.leave(block)
        block.requested = size
        self.enter(block, *place)
        self.cross(source, place[0], kept)
        self.wait(self.room_from)
        self.room_from = 0
        return place[1], place[0]

    def cross(self, a: int, b: int, size: int) -> None:
        if a != b and size:
            self.wait(self.carry(a, b, size, size, size, size, self.clock))
            for link in self.levels[min(a, b) + 1 : max(a, b) + 1]:
                link.counts["copied"] += size

    def exchange(self, op: str, event: Event, block: Block, other: Block) -> None:
        smaller = min(block.requested, other.requested)
        first, second = block.tier or 0, other.tier or 0
        if (
            op == "swap"
            and self.options.swap == "scratch"
            and first == second
            and not (smaller == 0 and self.options.zero == "null")
        ):
            space = self.levels[first].space
            space.free(space.alloc(smaller, None))
        size = smaller if event.size is None else event.size
        self.moved += size
        self.cross(first, second, size)
        if op == "swap":
            self.cross(second, first, size)

    def check(self) -> None:
        """Every live block is in one tier, at a place of its own, and nothing else is."""
        for number, level in enumerate(self.levels):
            there = [b for b in self.lives.values() if b.tier == number]
            assert sorted(b.address for b in there) == sorted(level.space.blocks)
            assert sum(b.requested for b in there) == level.counts["in"] - level.counts["out"]


def list_uses(events: list[Event], at_free: bool) -> list[tuple[int, int, bool]]:
    """(event, the block's life, whether it is its alloc), in order."""
    lives: dict[int | None, int] = {}
    found = []
    for now, event in enumerate(events):
        op = "free" if event.op == "realloc" and not event.size else event.op
        if op == "alloc":
            lives[event.id] = now
            found.append((now, now, True))
        elif op in ("access", "realloc") or (op == "free" and at_free and event.id is not None):
            found.append((now, lives[event.id], False))
        elif op in ("copy", "swap"):
            found += [(now, lives[event.id], False), (now, lives[event.dst], False)]
    return found


def next_use(uses: list[tuple[int, int, bool]], n: int) -> int:
    return next((event for event, life, _ in uses[n + 1 :] if life == uses[n][1]), NEVER)


def simulate_tiers(
    events: list[Event], tiers: list[dict[str, Any]], policy: str = "best-fit", options: dict[str, Any] | None = None, **how: Any
) -> Tiers:
    twin = Tiers(events, tiers, policy, options or {}, **how)
    twin.align_of = {}
    return twin.run()
