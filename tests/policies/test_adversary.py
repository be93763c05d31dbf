"""Robson's adversary: the most memory that a program can force an allocator that never moves a block to take.

With M units live at most, in blocks of 1, 2, 4, ... n units, every such allocator takes M (log2(n) / 2 + 1) - n + 1 or
more, and first fit takes less than M log2(n) (Robson 1971 and 1977; the program is given after Bendersky and Petrank 2012,
"Space overhead bounds for dynamic memory management with partial compaction", section 2.1).
"""

from __future__ import annotations

from math import log2

import pytest

import memtrace
from memtrace.engine.heap import Block

UNIT = 16


def occupies(block: Block, offset: int, step: int) -> bool:
    """Whether the block covers a unit that is ``offset`` modulo ``step``."""
    assert block.address is not None
    start = block.address // UNIT
    return (offset - start) % step < block.size // UNIT


def drive(policy: str, most: int, largest: int) -> int:
    """Units that the policy has reserved when the program is through."""
    heap = memtrace.Heap(policy)
    live = [allocated(heap, 1) for _ in range(most)]
    offset, step = 0, 2
    while step <= largest:
        choices = [[block for block in live if occupies(block, f, step)] for f in (offset, offset + step // 2)]
        waste = [sum(step - block.size // UNIT for block in chosen) for chosen in choices]
        best = waste.index(max(waste))
        offset += best * step // 2
        kept = {id(block) for block in choices[best]}
        for block in live:
            if id(block) not in kept:
                heap.free(block)
        live = choices[best]
        room = most - sum(block.size // UNIT for block in live)
        live += [allocated(heap, step) for _ in range(room // step)]
        assert sum(block.size for block in live) <= most * UNIT
        step *= 2
    return heap.reserved // UNIT


def allocated(heap: memtrace.Heap, units: int) -> Block:
    block = heap.allocate(units * UNIT)
    assert block is not None
    return block


@pytest.mark.parametrize(("most", "largest"), [(256, 16), (512, 64)])
@pytest.mark.parametrize("policy", ["first-fit", "half-fit", "best-fit", "tlsf"])
def test_worst_cases(policy: str, most: int, largest: int) -> None:
    least = most * (log2(largest) / 2 + 1) - largest + 1
    taken = drive(policy, most, largest)
    print(f"{policy}: {taken / most:.2f} M; any allocator {least / most:.2f} M, first fit below {log2(largest):.0f} M")
    assert least <= taken < most * log2(largest)
