"""Blocks between the tiers of the twin: what a transfer takes, who must leave, what a use brings up."""

from __future__ import annotations

from typing import Any

from oracle_space import Options, OutOfMemoryError
from oracle_tier_parts import NEVER, Block, Level


class Moves:
    how: dict[str, Any]
    levels: list[Level]
    options: Options
    lives: dict[int, Block]
    align_of: dict[int, int | None]
    following: list[int]
    now: int
    clock: int
    stall: int
    entries: int
    room_from: int
    used: int

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
