"""The common options of the heap policies, and the rules that follow: block sizes, growth and trimming. Sizes are in bytes."""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import align_up, round_up
from memtrace.contract.calls import out_of_line

UNBOUNDED = 1 << 62  # bytes: the capacity of a heap without a limit


class Rules(NamedTuple):
    """The common options of the heap policies, checked; all sizes are in bytes."""

    capacity: int  # upper bound of the heap's reserved end, an address
    align: int  # default alignment, a power of two; requests with their header are rounded up to it
    min_block: int  # smallest block
    header: int  # added to each request
    floor: int  # base + initial: the reserved end at the start, and the lowest one that a trim leaves
    chunk: int  # the heap grows and is trimmed by multiples of it
    full: bool  # True: the heap grows by a whole block, even if its free tail has a part of the bytes
    inplace: bool  # True: a reallocation is done in place if possible; False: it always moves the block
    null: bool  # True: a request of 0 bytes gets no block
    trim: bool  # True: every free gives the heap's free tail back to the system
    split: int  # smallest rest that is split off
    limit: np.ndarray  # limit[0]: the capacity at present, which is lower than capacity where several heaps share one


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
    split=0,
):
    """Check the common options of the heap policies, and return them as rules; raise ValueError if an option is invalid.

    ``base`` is the address at which the heap starts and ``initial`` the bytes that it has at the start; a ``split`` of 0 stands
    for ``min_block``.
    """
    if align < 1 or align & (align - 1):
        raise ValueError(f"align={align} is not a power of two")
    for name, value, least in (
        ("min_block", min_block, 1),
        ("chunk", chunk, 1),
        ("header", header, 0),
        ("split", split, 0),
        ("base", base, 0),
    ):
        if value < least:
            raise ValueError(f"{name}={value} is below {least}")
    if initial < 0 or base + initial > capacity:
        raise ValueError(f"base + initial = {base + initial} bytes is above the capacity of {capacity}")
    return Rules(
        capacity, align, min_block, header, base + initial, chunk,
        extend == "full", realloc == "inplace", zero == "null", trim, split or min_block,
        np.array([capacity], np.int64),
    )  # fmt: skip


def block_size(rules, size):
    """Return the bytes of the block for a request of ``size`` bytes: with header, rounded up to align, and at least min_block."""
    return max(rules.min_block, align_up(size + rules.header, rules.align))


def alignment(rules, request):
    """Return the alignment in bytes that a request asks for; the default alignment if it asks for none (0)."""
    return request.align if request.align > 0 else rules.align


def growth(rules, top, missing, size):
    """Return the bytes by which a heap grows above ``top`` for a block of ``size`` bytes, ``missing`` of which are not reserved.

    The result is at least ``missing``; it is 0 if the capacity does not allow as much.
    """
    if rules.full or rules.chunk > 1:
        return growth_in_chunks(rules, top, missing, size)
    return missing if top + missing <= rules.limit[0] else 0


@out_of_line
def growth_in_chunks(rules, top, missing, size):
    """Return the same as ``growth``, for a heap that grows in chunks or by whole blocks; compiled out of line."""
    capacity = rules.limit[0]
    if rules.full:
        more = max(size, rules.chunk, missing)
        return more if top + more <= capacity else 0
    more = min(round_up(missing, rules.chunk), capacity - top)
    return more if more >= missing else 0


def trimmed(rules, used):
    """Return the lowest reserved end, the floor plus whole chunks, to which a heap can be trimmed that is free above ``used``."""
    return rules.floor + round_up(max(used - rules.floor, 0), rules.chunk)
