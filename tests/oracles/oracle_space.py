"""What the spaces of the oracle share: options, the top of the reserved range, counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

UNBOUNDED = 2**62

Range = tuple[int, int]


@dataclass(frozen=True)
class Options:
    """The common options of the heap policies."""

    align: int = 16
    min_block: int = 16
    header: int = 0
    base: int = 0
    initial: int = 0
    chunk: int = 1
    extend: str = "shortfall"
    realloc: str = "inplace"
    zero: str = "block"
    trim: bool = False
    split: int = 0
    swap: str = "scratch"

    @property
    def least_rest(self) -> int:
        """The smallest rest that is split off."""
        return self.split or self.min_block


class OutOfMemoryError(Exception):
    """A request that does not fit."""


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple that is not below the value."""
    return -(-value // multiple) * multiple


def power_of_two(value: int) -> int:
    """The smallest power of two that is not below the value."""
    return 1 << max(value - 1, 0).bit_length()


class Space:
    """What every policy has: blocks, the top of the reserved range and the counts."""

    def __init__(self, options: Options, capacity: int) -> None:
        self.options = options
        self.capacity = capacity
        self.floor = options.base + options.initial
        self.top = self.floor
        self.blocks: dict[int, int] = {}  # start -> size
        self.counts: Counter[str] = Counter()
        self.searched: int | None = None
        self.tag: str | None = None  # of the request to come
        self.fits: list[Range] = []

    def block_size(self, size: int, align: int | None) -> int:
        """The block that a request needs; an alignment of the event's own only moves the address."""
        del align
        o = self.options
        return max(o.min_block, round_up(size + o.header, o.align))

    def grow(self, least: int, missing: int) -> None:
        """Move the top up by at least the missing bytes, or change nothing and fail."""
        room = self.capacity - self.top
        if self.options.extend == "full":
            add = max(least, self.options.chunk, missing)
        else:
            add = min(round_up(missing, self.options.chunk), room)
        if not missing <= add <= room:
            raise OutOfMemoryError
        self.counts["reserve"] += 1
        self.top += add

    def lowered_top(self, used_end: int) -> int:
        """Where the top may fall to when nothing is used from there on."""
        return self.floor + round_up(max(used_end - self.floor, 0), self.options.chunk)

    def trim_if_asked(self) -> None:
        if self.options.trim:
            self.trim()

    def hole_list(self) -> list[Range]:
        raise NotImplementedError

    def alloc(self, size: int, align: int | None) -> int:
        raise NotImplementedError

    def free(self, address: int) -> None:
        raise NotImplementedError

    def resize(self, address: int, size: int, align: int | None) -> bool:
        """Change a block where it stands; False if it must move."""
        raise NotImplementedError

    def trim(self) -> None:
        raise NotImplementedError
