"""A slow and obvious second opinion on replays over tiers: objects, lists and dicts, one event at a time."""

from __future__ import annotations

from typing import Any

from oracle import Event, make_space
from oracle_space import Options, OutOfMemoryError
from oracle_tier_moves import Moves
from oracle_tier_parts import Block, Level, list_uses, next_use

FREE_IS_USE = {"access": False, "lifetimes": True}


class Tiers(Moves):
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


def simulate_tiers(
    events: list[Event], tiers: list[dict[str, Any]], policy: str = "best-fit", options: dict[str, Any] | None = None, **how: Any
) -> Tiers:
    twin = Tiers(events, tiers, policy, options or {}, **how)
    twin.align_of = {}
    return twin.run()
