"""Eviction rules that rank blocks, against a look at every block of the tier."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from memtrace.tiers.eviction import rule
from memtrace.tiers.eviction.cost import NEVER
from memtrace.tiers.records import BLOCK

SLOTS, TIERS = 40, 3


@dataclass
class Kept:
    stored: int
    next: int
    entry: int


def price(block: Kept, event: int) -> float:
    return 0.0 if block.next == NEVER else block.stored / max(block.next - event, 1)


LEAST: dict[str, Callable[[Kept, int], Any]] = {
    "largest": lambda block, event: (-block.stored, block.entry),
    "belady": lambda block, event: (-block.next, -block.stored, block.entry),
    "cost": lambda block, event: (price(block, event), -block.stored, block.entry),
}


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("seed", range(6))
def test_the_victim_is_the_least_of_all(name: str, seed: int) -> None:
    """Uses so near that they do not tell blocks apart, sizes of 0, and many blocks of one size are among them."""
    chance, chosen = random.Random(f"{name}{seed}"), rule(name)
    sizes, far = chance.choice([[0, 64, 100], [64], range(1, 3000), [0, 1 << 40, 3 << 33]]), chance.choice([3, 40, 10_000])
    order, blocks = chosen.init(TIERS, SLOTS), np.zeros(SLOTS, BLOCK).view(np.recarray)
    there: list[dict[int, Kept]] = [{} for _ in range(TIERS)]
    asked = 0
    for event in range(1500):
        tier, slot = chance.randrange(TIERS), chance.randrange(SLOTS)
        home = next((k for k in range(TIERS) if slot in there[k]), None)
        following = chance.choice([NEVER, event, event + 1, *(event + chance.randrange(far) for _ in range(3))])
        if home is None and chance.random() < 0.7:
            blocks[slot].stored, blocks[slot].next = chance.choice(sizes), following
            there[tier][slot] = Kept(int(blocks[slot].stored), following, event)
            chosen.enter(order, blocks, tier, np.int64(slot))
        elif home is not None and chance.random() < 0.5:
            blocks[slot].next = there[home][slot].next = following
            chosen.touch(order, blocks, home, np.int64(slot))
        elif home is not None and chance.random() < 0.5:
            del there[home][slot]
            chosen.leave(order, blocks, home, np.int64(slot))
        one, other = chance.choice([-1, *there[tier]]), chance.choice([-1, *there[tier]])
        left = [slot for slot in there[tier] if slot not in (one, other)]
        least = min(left, key=lambda slot: LEAST[name](there[tier][slot], event), default=-1)
        for excluded in ((one, other), (other, one)):
            assert chosen.victim(order, blocks, tier, *map(np.int64, excluded), np.int64(event)) == least
        asked += least >= 0
    assert asked > 500
