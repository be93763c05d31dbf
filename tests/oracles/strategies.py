"""Well-formed event lists, option sets and capacities: drawn by hypothesis, or fast from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st
from oracle import POLICIES, Event

T = TypeVar("T")
Case = tuple[str, list[Event], int | None, str, dict[str, Any]]

# Kinds of events by how often they come; "null" is a free of nothing.
WEIGHTS = {"alloc": 40, "free": 30, "realloc": 15, "copy": 4, "swap": 4, "access": 4, "trim": 2, "null": 1}
ALIGNMENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Dice(Protocol):
    """The two throws an event list is made of."""

    def number(self, low: int, high: int) -> int: ...

    def pick(self, items: Sequence[T]) -> T: ...


class SeededDice:
    """Throws from a seed."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)

    def number(self, low: int, high: int) -> int:
        return self.source.randint(low, high)

    def pick(self, items: Sequence[T]) -> T:
        return self.source.choice(items)


class DrawnDice:
    """Throws that hypothesis chooses and shrinks."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self.draw = draw

    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def pick(self, items: Sequence[T]) -> T:
        result: T = self.draw(st.sampled_from(items))
        return result


@dataclass
class Writer:
    """Writes one well-formed event after another."""

    dice: Dice
    max_size: int
    max_live: int
    aligned_percent: int
    live: dict[int, int] = field(default_factory=dict)  # id -> requested size

    def size(self) -> int:
        """Mostly small, sometimes anything up to the maximum, sometimes nothing."""
        top = self.dice.pick((0, 1, 16, 64, 64, 200, self.max_size, self.max_size))
        return self.dice.number(0, min(top, self.max_size))

    def align(self) -> int | None:
        return self.dice.pick(ALIGNMENTS) if self.dice.number(0, 99) < self.aligned_percent else None

    def handle(self) -> int:
        return self.dice.pick(list(self.live))

    def write(self, op: str) -> Event:
        """An event of this kind, or the nearest one that is possible now."""
        if op == "trim":
            return Event("trim")
        if op == "null":
            return Event("free")
        if not self.live or (op == "alloc" and len(self.live) < self.max_live):
            return self.alloc()
        if op in ("alloc", "free"):
            handle = self.handle()
            del self.live[handle]
            return Event("free", handle)
        if op == "realloc":
            return self.realloc()
        if op in ("copy", "swap") and len(self.live) > 1:
            return self.pair(op)
        return Event("access", self.handle())

    def alloc(self) -> Event:
        handle = self.dice.pick([number for number in range(self.max_live + 1) if number not in self.live])
        self.live[handle] = self.size()
        return Event("alloc", handle, self.live[handle], self.align())

    def realloc(self) -> Event:
        handle, size = self.handle(), self.size()
        self.live[handle] = size
        if size == 0:
            del self.live[handle]
        return Event("realloc", handle, size, self.align())

    def pair(self, op: str) -> Event:
        first = self.handle()
        second = self.dice.pick([handle for handle in self.live if handle != first])
        smaller = min(self.live[first], self.live[second])
        size = self.dice.number(0, smaller) if self.dice.number(0, 1) else None
        return Event(op, first, size, dst=second)


def random_events(
    seed: int,
    n: int,
    *,
    max_size: int = 1000,
    max_live: int = 60,
    aligned_percent: int = 15,
    weights: Mapping[str, int] = WEIGHTS,
    free_all: bool = False,
) -> list[Event]:
    """About n events (n, and with free_all the frees of what is left): the live set swells and shrinks."""
    writer = Writer(SeededDice(seed), max_size, max_live, aligned_percent)
    ops = [op for op, weight in weights.items() for _ in range(weight)]
    ebb = [op for op in ops if op != "alloc"] + ["free"] * weights.get("alloc", 0) + ["alloc"] * weights.get("free", 0)
    events = []
    falling = False
    for _ in range(n):
        if writer.dice.number(0, max_live) == 0:
            falling = not falling
        events.append(writer.write(writer.dice.pick(ebb if falling else ops)))
    if free_all:
        events += [Event("free", handle) for handle in writer.live]
    return events


@st.composite
def event_lists(
    draw: Callable[..., Any],
    max_events: int = 40,
    max_size: int = 600,
    max_live: int = 12,
    aligned_percent: int = 20,
) -> list[Event]:
    """Well-formed event lists that shrink to few and small events."""
    writer = Writer(DrawnDice(draw), max_size, max_live, aligned_percent)
    length = draw(st.integers(0, max_events))  # st.lists alone would keep to a handful
    ops = draw(st.lists(st.sampled_from(list(WEIGHTS)), min_size=length, max_size=length))
    return [writer.write(op) for op in ops]


def option_sets() -> st.SearchStrategy[dict[str, Any]]:
    """The common options, each absent (its default) or set."""
    powers = st.sampled_from((1, 4, 8, 16, 32, 64))
    return st.fixed_dictionaries(
        {},
        optional={
            "align": powers,
            "min_block": st.sampled_from((1, 8, 16, 24, 32, 48, 64, 100)),
            "header": st.sampled_from((0, 4, 8, 16)),
            "base": st.sampled_from((0, 8, 16, 24, 100)),
            "initial": st.sampled_from((0, 16, 100, 512, 4096)),
            "chunk": st.sampled_from((1, 16, 100, 512, 4096)),
            "extend": st.sampled_from(("shortfall", "full")),
            "realloc": st.sampled_from(("inplace", "move")),
            "zero": st.sampled_from(("block", "null")),
            "trim": st.booleans(),
            "split": st.sampled_from((1, 8, 24, 64, 200)),
            "swap": st.sampled_from(("scratch", "inplace")),
        },
    )


def random_options(seed: int) -> dict[str, Any]:
    """One option set from a seed."""
    dice = random.Random(seed)
    choices: dict[str, Sequence[Any]] = {
        "align": (1, 8, 16, 64),
        "min_block": (1, 16, 24, 64),
        "header": (0, 8),
        "base": (0, 16, 100),
        "initial": (0, 100, 4096),
        "chunk": (1, 100, 4096),
        "extend": ("shortfall", "full"),
        "realloc": ("inplace", "move"),
        "zero": ("block", "null"),
        "trim": (False, True),
        "split": (1, 24, 40, 200),
        "swap": ("scratch", "inplace"),
    }
    return {name: dice.choice(values) for name, values in choices.items() if dice.random() < 0.6}


def capacities(options: Mapping[str, Any], room: int = 3000) -> st.SearchStrategy[int | None]:
    """Unbounded, or so tight that requests fail; never below what exists at the start."""
    floor = options.get("base", 0) + options.get("initial", 0)
    return st.none() | st.integers(floor, floor + room)


@st.composite
def cases(draw: Callable[..., Any], policies: Sequence[str] = POLICIES, max_events: int = 40) -> Case:
    """Everything that `simulate` takes: policy, events, capacity, on_oom, options."""
    options = draw(option_sets())
    capacity = draw(capacities(options))
    on_oom = draw(st.sampled_from(("stop", "skip")))
    return draw(st.sampled_from(list(policies))), draw(event_lists(max_events)), capacity, on_oom, options


def to_csv(events: Sequence[Event]) -> str:
    """The events as text in the CSV form of a trace; the column of tags only if there are any."""
    columns = len(Event._fields) if any(event.tag for event in events) else Event._fields.index("tag")
    rows = [",".join("" if cell is None else str(cell) for cell in event[:columns]) for event in events]
    return "\n".join([",".join(Event._fields[:columns]), *rows]) + "\n"
