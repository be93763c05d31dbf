"""Read XLA's buffer assignment as text: the values in each allocation, and the live ranges of values.

Ranges are inclusive at both ends in the text; here they are half-open. Values that lie at one offset and whose ranges meet are
one block: a value that aliases another, or is computed in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

ALLOCATION = re.compile(r"allocation (\d{1,19}): size (\d{1,19})(.*?):?$", re.ASCII)
VALUE = re.compile(r" value: <\d+ (.+?)(?: \(phi\))? @-?\d+> \(size=(\d{1,19}),offset=(\d{1,19})\)", re.ASCII)
RANGE = re.compile(r"\s+(\S.*\{[\d,]*\}):(\d{1,19})-(\d{1,19})$", re.ASCII)
RANGES_BEGIN, RANGES_END = "BufferLiveRange:", "Live ranges at"


@dataclass(frozen=True)
class Value:
    """A value that the program computes, and where it lies in its allocation."""

    name: str  # with the index in a tuple: `while.3{1}`
    size: int  # bytes
    offset: int  # bytes
    line: int  # of the buffer assignment


@dataclass
class Allocation:
    """One piece of memory that the program holds, and the values in it."""

    number: int
    size: int  # bytes
    kind: str  # what the file says of it: `preallocated-temp`, `parameter 2, shape ...`
    values: list[Value] = field(default_factory=list)

    @property
    def planned(self) -> bool:
        """Whether it is the arena of temporaries, whose values the compiler packs by their lifetimes."""
        return "preallocated-temp" in self.kind


@dataclass(frozen=True)
class Block:
    """A block of an allocation's plan, over the half-open lifetime [lower, upper)."""

    name: str
    lower: int
    upper: int
    size: int  # bytes
    offset: int  # bytes
    place: int  # the line, or the number of the buffer


@dataclass
class Text:
    """What a text holds: allocations, live ranges, or both."""

    allocations: list[Allocation] = field(default_factory=list)
    ranges: dict[str, tuple[int, int]] = field(default_factory=dict)  # name -> [lower, upper)
    bad: dict[int, str] = field(default_factory=dict)  # line -> what is wrong


def parse(lines: Iterable[str]) -> Text:
    """Return what the lines of a buffer assignment, of live ranges, or of both hold; other lines are passed over."""
    found, ranges = Text(), False
    for number, line in enumerate(lines, 1):
        text = line.rstrip()
        if text.endswith(RANGES_BEGIN):
            ranges = True
        elif ranges and text.lstrip().startswith(RANGES_END):
            ranges = False
        elif ranges:
            if match := RANGE.match(text):
                found.ranges[match[1]] = (int(match[2]), int(match[3]) + 1)
            elif text.strip():
                found.bad[number] = f"no live range: {text.strip()[:60]!r}"
        elif match := ALLOCATION.match(text):
            found.allocations.append(Allocation(int(match[1]), int(match[2]), match[3].strip(", ")))
        elif text.startswith(" value: <"):
            match = VALUE.match(text)
            if match is None or not found.allocations:
                found.bad[number] = f"no value of an allocation: {text.strip()[:60]!r}"
                continue
            name = match[1] if match[1].endswith("}") else match[1] + "{}"
            found.allocations[-1].values.append(Value(name, int(match[2]), int(match[3]), number))
    return found


def blocks_of(allocation: Allocation, ranges: dict[str, tuple[int, int]]) -> tuple[list[Block], int]:
    """Return the blocks of an allocation by offset and time, and how many of its values have no live range."""
    spans = [(value.offset, *ranges[value.name], value) for value in allocation.values if value.name in ranges]
    found: list[Block] = []
    for offset, lower, upper, value in sorted(spans, key=lambda span: span[:3]):
        last = found[-1] if found else None
        if last is not None and last.offset == offset and lower < last.upper:
            size, end = max(last.size, value.size), max(last.upper, upper)
            found[-1] = Block(last.name, last.lower, end, size, offset, last.place)
        else:
            found.append(Block(value.name.removesuffix("{}"), lower, upper, value.size, offset, value.line))
    return found, len(allocation.values) - len(spans)
