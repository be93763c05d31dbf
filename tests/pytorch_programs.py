"""Random programs of requests with random settings of PyTorch's allocator, and what makes of them: the policy, the oracle."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from oracle_pytorch import MIB, Allocator, OutOfMemory, Settings

from memtrace.replaying import Placement, replay
from memtrace.structures.caching.history import events as history_of
from memtrace.structures.caching.statistics import COUNTERS
from memtrace.trace import MISSING, Op, Trace, from_columns

LISTS = {
    "off": [0] * 16,
    "2": [2] * 16,
    "8": [8] * 16,
    "[1:8,4:2,>:4]": [8, 0, 2] + [4] * 13,
    "[256:1,512:2,1024:4,>:8]": [1] * 9 + [2, 4] + [8] * 5,
    "[2:4,32:16]": [4, 4, 0, 0, 0, 16] + [0] * 10,
    "[>:4]": [0] + [4] * 15,
}


@dataclass(frozen=True)
class Program:
    """Rows of (op, id, size, stream), -1 for no id; and under which settings."""

    rows: list[tuple[str, int, int, int]]
    settings: Settings
    divisions: str

    @property
    def conf(self) -> str:
        """The settings in PyTorch's own grammar."""
        s = self.settings
        words = {
            "max_split_size_mb": s.max_split,
            "max_non_split_rounding_mb": s.rounding,
            "garbage_collection_threshold": s.threshold or None,
            "large_segment_size_mb": s.large if s.large != 20 else None,
            "per_process_memory_fraction": s.fraction if s.fraction < 1 else None,
            "roundup_power2_divisions": self.divisions if self.divisions != "off" else None,
            "expandable_segments": s.expandable or None,
            "throw_on_cudamalloc_oom": s.throw or None,
        }
        return ",".join(f"{name}:{value}" for name, value in words.items() if value is not None)

    @property
    def policy(self) -> str:
        ours = ["history=true", "events=manual" if self.settings.manual else "events=auto"]
        return "pytorch:" + ",".join([*filter(None, [self.conf]), *ours, *["va=firstfit"] * self.settings.first_fit])

    def trace(self) -> Trace:
        return from_columns(
            op=[int(Op[op.upper()]) for op, *_ in self.rows],
            id=[MISSING if id < 0 else id for _, id, *_ in self.rows],
            size=[size if op == "alloc" else MISSING for op, _, size, _ in self.rows],
            stream=[stream for *_, stream in self.rows],
        )


def random_settings(chance: random.Random) -> tuple[Settings, str]:
    large = chance.choice([20, 20, 20, 12, 32, 21])
    pick = chance.choice
    divisions = pick(["off", "off", *LISTS])
    max_split = pick([None, None, 32, 64, 200])
    return Settings(
        capacity=pick([64, 100, 300, 1000, 1001, 4000]) * MIB + pick([0, 0, 1 << 19]),
        max_split=max_split,
        rounding=pick([None, None, 32, 64]),
        divisions=LISTS[divisions],
        threshold=pick([0.0, 0.0, 0.3, 0.6, 0.8]),
        expandable=pick([False, False, True]),
        large=large,
        fraction=pick([1.0, 1.0, 0.5, 0.9]),
        throw=pick([False, False, False, True]),
        first_fit=pick([False, False, True]),
        manual=pick([False, True]),
    ), divisions


def random_program(seed: int, length: int = 250, most_streams: int = 3) -> Program:
    """The oracle knows the turns of three streams; the library and the policy those of any number."""
    chance = random.Random(seed)
    settings, divisions = random_settings(chance)
    streams = chance.choice([1, 2, most_streams])
    most = chance.choice([8, 30, 100])
    shape = chance.choice(["small", "mixed", "mixed", "large", "border"])
    rows: list[tuple[str, int, int, int]] = []
    live: list[int] = []
    for i in range(length):
        draw = chance.random()
        if draw < 0.02:
            rows.append(("trim", -1, 0, 0))
        elif draw < 0.05 and settings.manual:
            rows.append(("complete", -1, 0, 0))
        elif draw < 0.12 and live and streams > 1:
            rows.append(("record", chance.choice(live), 0, chance.randrange(streams)))
        elif not live or (len(live) < most and chance.random() < (0.7 if (i // 60) % 2 == 0 else 0.4)):
            rows.append(("alloc", i, random_size(chance, shape, settings.capacity), chance.randrange(streams)))
            live.append(i)
        else:
            rows.append(("free", live.pop(chance.randrange(len(live))), 0, 0))
    return Program(rows, settings, divisions)


def random_size(chance: random.Random, shape: str, capacity: int) -> int:
    small = chance.choice([chance.randrange(1, 5000), chance.randrange(1, MIB)])
    if shape == "small":
        return small
    edge = chance.choice([1, 2, 10, 12, 20, 32, 64, 200]) * MIB + chance.choice([-512, -1, 0, 1, 512, 513])
    middle = int(MIB * 2 ** chance.uniform(0, 5))
    large = chance.randrange(1, max(capacity // 3, 2))
    return chance.choice({"mixed": [small, middle, middle, edge, large], "large": [middle, large], "border": [edge]}[shape])


def through_oracle(program: Program, keep_states: bool = True) -> dict[str, Any]:
    """Every address, the counters after every row, and the event stream."""
    allocator = Allocator(program.settings)
    blocks: dict[int, Any] = {}
    addresses, states = [], []
    for op, id, size, stream in program.rows:
        address = -2
        if op == "alloc":
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
