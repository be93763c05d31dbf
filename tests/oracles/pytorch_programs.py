"""Random programs of requests with random settings of PyTorch's allocator, and what makes of them: the policy, the oracle."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from typing import Any

from oracle_pytorch import MIB, Allocator, OutOfMemory, Settings
from pytorch_settings import conf_of, random_settings

from memtrace.engine.replay import Placement, replay
from memtrace.structures.caching.blocks import events as history_of
from memtrace.structures.caching.statistics import COUNTERS
from memtrace.trace import MISSING, Op, Trace, from_columns

Row = tuple[str, int, int, int]
VERSIONS = {"segment": "2.15", "object": "2.12", "address": "2.11"}  # rule for equal free blocks -> a version that has it


def split(conf: str) -> list[str]:
    """Its options; commas inside brackets do not separate any."""
    return [part for part in re.split(r",(?![^\[]*\])", conf) if part]


@dataclass(frozen=True)
class Program:
    """Rows of (op, id, size, stream), -1 for no id; and under which settings."""

    rows: list[Row]
    settings: Settings
    conf: str  # the settings in PyTorch's own grammar

    @property
    def policy(self) -> str:
        ours = ["history=true", "events=manual" if self.settings.manual else "events=auto"]
        ours += [f"version={VERSIONS[self.settings.ties]}"]
        return "pytorch:" + ",".join([*filter(None, [self.conf]), *ours, *["va=firstfit"] * self.settings.first_fit])

    def with_ties(self, ties: str) -> Program:
        """The same with another rule for equal free blocks, and without what its version refuses."""
        settings = replace(self.settings, ties=ties, throw=self.settings.throw and ties != "address")
        conf = self.conf if settings.throw else ",".join(p for p in split(self.conf) if not p.strip().startswith("throw_on"))
        return Program(self.rows, settings, conf)

    def trace(self) -> Trace:
        return from_columns(
            op=[int(Op[op.upper()]) for op, *_ in self.rows],
            id=[MISSING if id < 0 else id for _, id, *_ in self.rows],
            size=[size if op == "alloc" else MISSING for op, _, size, _ in self.rows],
            stream=[stream for *_, stream in self.rows],
        )


def random_program(seed: int, length: int = 250, most_streams: int = 3) -> Program:
    """A program and its settings, of up to so many streams."""
    chance = random.Random(seed)
    settings, divisions = random_settings(chance)
    writer = Writer(chance, settings, chance.choice([1, 2, most_streams, chance.randrange(1, most_streams + 1)]))
    sections = (writer.draw, writer.draw, writer.repeat, writer.fill)
    while len(writer.rows) < length:
        chance.choice(sections)(chance.choice([40, 120, length]))
    return Program(writer.rows[:length], settings, conf_of(settings, divisions, chance))


class Writer:
    """Writes a program, section by section."""

    def __init__(self, chance: random.Random, settings: Settings, streams: int) -> None:
        self.chance, self.settings, self.streams = chance, settings, streams
        self.rows: list[Row] = []
        self.live: list[int] = []
        self.ids = 0
        self.most = chance.choice([8, 30, 100])
        self.shape = chance.choice(["small", "mixed", "mixed", "large", "border", "rules"])
        self.trims = chance.choice([0.005, 0.02, 0.1])
        self.records = chance.choice([0.02, 0.1, 0.35]) if streams > 1 else 0.0
        self.completions = chance.choice([0.005, 0.03, 0.1]) if settings.manual else 0.0

    def alloc(self, size: int, stream: int) -> int:
        self.ids += 1
        self.rows.append(("alloc", self.ids, size, stream))
        self.live.append(self.ids)
        return self.ids

    def free(self, id: int) -> None:
        self.live.remove(id)
        self.rows.append(("free", id, 0, 0))

    def any_stream(self) -> int:
        return self.chance.randrange(self.streams)

    def aside(self) -> bool:
        """Now and then something that is neither a request nor a free."""
        chance = self.chance
        if chance.random() < self.trims:
            self.rows.append(("trim", -1, 0, 0))
        elif chance.random() < self.completions:
            self.rows.append(("complete", -1, 0, 0))
        elif self.live and chance.random() < self.records:
            id = chance.choice(self.live)
            self.rows += [("record", id, 0, self.any_stream()) for _ in range(chance.choice([1, 1, 2, 5]))]
        else:
            return False
        return True

    def draw(self, rows: int) -> None:
        """Whatever comes: now more requests, then more frees."""
        chance = self.chance
        for i in range(rows):
            if self.aside():
                continue
            if not self.live or (len(self.live) < self.most and chance.random() < (0.7 if (i // 60) % 2 == 0 else 0.4)):
                self.alloc(self.size(), self.any_stream())
            else:
                self.free(chance.choice(self.live))

    def repeat(self, rows: int) -> None:
        """Steps of a training: the same requests again and again, of which one now and then has another size."""
        chance = self.chance
        step = [(self.size(), self.any_stream(), chance.randrange(1, 12)) for _ in range(chance.randrange(3, 15))]
        start = len(self.rows)
        until: list[tuple[int, int]] = []  # requests to come before it is freed, id
        while len(self.rows) - start < rows:
            for size, stream, life in step:
                self.aside()
                size = size if chance.random() < 0.95 else self.size()
                until.append((life, self.alloc(size, stream)))
                until = [(left - 1, id) for left, id in until]
                for left, id in until:
                    if left == 0:
                        self.free(id)
                until = [(left, id) for left, id in until if left > 0]

    def fill(self, rows: int) -> None:
        """Fill the device until a request fails, free some, try again, and again with what is larger."""
        chance = self.chance
        parts = chance.choice([1, 2, 3, 5, 7, 16, 40])
        size = max(self.settings.capacity // parts + chance.choice([-MIB, -512, -1, 0, 0, 1, 512, MIB]), 1)
        stream = self.any_stream()
        for _ in range(min(parts + chance.choice([0, 1, 2]), rows)):
            self.alloc(size, stream)
            self.aside()
        for id in chance.sample(self.live, len(self.live) * chance.randrange(5) // 4):
            self.free(id)
            self.aside()
        for larger in (size, 2 * size, max(size // 3, 1)):
            self.alloc(larger, chance.choice([stream, self.any_stream()]))
        for id in self.live[:] if chance.random() < 0.5 else []:
            self.free(id)

    def size(self) -> int:
        """Bytes; 0 and more than there is, too."""
        chance, settings = self.chance, self.settings
        draw = chance.random()
        if draw < 0.01:
            return 0
        if draw < 0.02:
            return max(settings.capacity + chance.choice([-3 * MIB, -512, 0, 1, 512, 1 << 30, 1 << 44]), 1)
        small = chance.choice([chance.randrange(1, 5000), chance.randrange(1, MIB)])
        if self.shape == "small":
            return small
        offset = chance.choice([-512, -1, 0, 1, 512, 513])
        edge = chance.choice([1, 2, 9, 10, 11, 12, 18, 19, 20, 32, 64, 200]) * MIB + offset
        rules = [settings.large, settings.max_split or 20, settings.large + (settings.rounding or 20)]
        rules += [(settings.max_split or 64) + (settings.rounding or settings.large), 2 << chance.randrange(9)]
        middle = int(MIB * 2 ** chance.uniform(0, 5))
        large = chance.randrange(1, max(settings.capacity // 3, 2))
        return chance.choice(
            {
                "mixed": [small, middle, middle, edge, large],
                "large": [middle, large],
                "border": [edge],
                "rules": [chance.choice(rules) * MIB + offset, chance.choice(rules) * MIB * 5 // 4, middle],
            }[self.shape]
        )


def through_oracle(program: Program, keep_states: bool = True) -> dict[str, Any]:
    """Every address, the counters after every row, and the event stream."""
    allocator = Allocator(program.settings)
    blocks: dict[int, Any] = {}
    addresses, states = [], []
    for op, id, size, stream in program.rows:
        address = -2
        if op == "alloc" and size > 0:
            try:
                blocks[id] = allocator.malloc(size, stream)
                address = blocks[id].address
            except OutOfMemory:
                address = -1
        elif op == "free" and id in blocks:
            allocator.release(blocks.pop(id))
        elif op == "record" and id in blocks:
            allocator.record(blocks[id], stream)
        elif op == "complete":
            allocator.complete(None)
        elif op == "trim":
            allocator.empty_cache()
        addresses.append(address)
        if keep_states:
            states.append(allocator.counters())
    return {"addresses": addresses, "states": states, "events": allocator.events, "last": allocator.counters()}


def through_policy(program: Program, interpret: bool = False, batch_rows: int = 1 << 20) -> dict[str, Any]:
    placement = replay(
        program.trace(),
        program.policy,
        program.settings.capacity,
        on_oom="skip",
        samples=1 << 62,
        keep=True,
        interpret=interpret,
        batch_rows=batch_rows,
    )
    assert placement.addresses is not None
    states = counters_of(placement)
    return {
        "addresses": placement.addresses.tolist(),
        "states": states,
        "events": history_of(placement.state),
        "last": states[-1],
    }


def counters_of(placement: Placement) -> list[dict[str, int]]:
    """The policy's counters after every event of a replay with all samples."""
    return [dict(zip(COUNTERS, row, strict=True)) for row in placement.recorder.sample_counters[: placement.events].tolist()]


def first_difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """Where two accounts of a program part, in words."""
    for row, (left, right) in enumerate(zip(one["addresses"], other["addresses"], strict=True)):
        if left != right:
            return f"row {row}: address {left}, {right}"
    for row, (left, right) in enumerate(zip(one["states"], other["states"], strict=False)):
        if left != right:
            return f"row {row}: " + ", ".join(f"{k} {left[k]}, {right[k]}" for k in left if left[k] != right.get(k))
    for i, (left, right) in enumerate(zip(one["events"], other["events"], strict=False)):
        if left != right:
            return f"event {i}: {left}, {right}"
    if len(one["events"]) != len(other["events"]):
        return f"{len(one['events'])} events, {len(other['events'])}"
    return None if one["last"] == other["last"] else "the last counters differ"
