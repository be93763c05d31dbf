"""The common options of the heap policies, and what follows from them: block sizes, growth, trimming. All in bytes."""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.structures.bits import align_up, round_up
from memtrace.structures.calls import apart


class Rules(NamedTuple):
    """The common options of the heap policies, in bytes."""

    capacity: int
    align: int
    min_block: int
    header: int
    floor: int
    chunk: int
    full: bool
    inplace: bool
    null: bool
    trim: bool
    limit: np.ndarray  # limit[0]: what the capacity is just now, if others share it


def heap_rules(
    capacity,
    align=16,
    min_block=16,
    header=0,
    base=0,
    initial=0,
    chunk=1,
    extend: Literal["shortfall", "full"] = "shortfall",
    realloc: Literal["inplace", "move"] = "inplace",
    zero: Literal["block", "null"] = "block",
    trim=False,
):
    if align < 1 or align & (align - 1):
        raise ValueError(f"align={align} is not a power of two")
    for name, value, least in (
        ("min_block", min_block, 1),
        ("chunk", chunk, 1),
        ("header", header, 0),
        ("base", base, 0),
    ):
        if value < least:
            raise ValueError(f"{name}={value} is below {least}")
    if initial < 0 or base + initial > capacity:
        raise ValueError(f"base + initial = {base + initial} bytes is above the capacity of {capacity}")
    return Rules(
        capacity, align, min_block, header, base + initial, chunk,
        extend == "full", realloc == "inplace", zero == "null", trim, np.array([capacity], np.int64),
    )  # fmt: skip


def block_size(rules, size):
    return max(rules.min_block, align_up(size + rules.header, rules.align))


def alignment(rules, request):
    return request.align if request.align > 0 else rules.align


def growth(rules, top, missing, size):
    """Bytes by which the heap grows so that ``missing`` more are there for a block of ``size``; 0 if it cannot."""
    if rules.full or rules.chunk > 1:
        return growth_in_chunks(rules, top, missing, size)
    return missing if top + missing <= rules.limit[0] else 0


@apart
def growth_in_chunks(rules, top, missing, size):
    capacity = rules.limit[0]
    if rules.full:
        more = max(size, rules.chunk, missing)
        return more if top + more <= capacity else 0
    more = min(round_up(missing, rules.chunk), capacity - top)
    return more if more >= missing else 0


def trimmed(rules, used):
    """The lowest top that leaves ``used`` bytes: what the heap began with, plus whole chunks."""
    return rules.floor + round_up(max(used - rules.floor, 0), rules.chunk)
