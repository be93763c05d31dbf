"""A slow and obvious second opinion: what the contract says each policy does, one event at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from oracle_buddy import Buddy
from oracle_cells import CELLS, CellOptions
from oracle_free_lists import free_list
from oracle_heap import Bump, ListHeap
from oracle_lists import LIST_SPACES
from oracle_space import UNBOUNDED, Options, OutOfMemoryError, Range, Space

COMMON = {field.name for field in fields(Options)}
POLICIES = ("first-fit", "next-fit", "best-fit", "worst-fit", "bump", "buddy")


class Event(NamedTuple):
    """One row of a trace; None is an empty cell."""

    op: str
    id: int | None = None
    size: int | None = None
    align: int | None = None
    dst: int | None = None
    tag: str | None = None


@dataclass
class Outcome:
    """What a run did: one entry per event in the lists, totals below."""

    addresses: list[int | None] = field(default_factory=list)
    live: list[int] = field(default_factory=list)
    allocated: list[int] = field(default_factory=list)
    reserved: list[int] = field(default_factory=list)
    holes: list[list[Range]] = field(default_factory=list)
    blocks: list[list[Range]] = field(default_factory=list)
    searches: list[int | None] = field(default_factory=list)  # None where the event made no request
    fits: list[Range] = field(default_factory=list)  # (hole size, block size) of requests served from a hole
    splits: int = 0
    merges: int = 0
    moved_bytes: int = 0
    reserve_calls: int = 0
    release_calls: int = 0
    failed_allocs: int = 0
    skipped_events: int = 0
    oom_event: int | None = None
    status: str = "ok"

    @property
    def fit_ratios(self) -> list[float]:
        """Chosen hole's size over block size, one per request served from a hole."""
        return [hole / block for hole, block in self.fits]


@dataclass
class Handle:
    """What a live id stands for; no address for a request of 0 bytes under zero=null."""

    requested: int
    address: int | None
    tag: str | None = None


class Replay:
    """Events against one space: ids, failures and moved bytes."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.options = space.options
        self.handles: dict[int | None, Handle] = {}
        self.dead: set[int | None] = set()  # ids whose alloc failed
        self.moved = 0
        self.skipped = 0

    def step(self, event: Event) -> int | None:
        """Do one event; the address if it is a served alloc or realloc."""
        op = "free" if event.op == "realloc" and not event.size else event.op
        if op == "trim":
            self.space.trim()
        elif op != "complete" and not (op == "free" and event.id is None) and not self.skip(op, event):
            if (op == "alloc") == (event.id in self.handles or event.id in self.dead):
                raise ValueError(f"not well-formed: {event}")
            return self.act(op, event)
        return None

    def skip(self, op: str, event: Event) -> bool:
        """Count an event of a block whose alloc failed; its free ends that."""
        if op == "alloc" or not {event.id, event.dst} & self.dead:
            return False
        self.skipped += 1
        if op == "free":
            self.dead.discard(event.id)
        return True

    def act(self, op: str, event: Event) -> int | None:
        """An event of live blocks, or an alloc of a new one."""
        match op:
            case "alloc":
                return self.alloc(event)
            case "realloc":
                return self.realloc(event)
            case "free":
                self.release(self.handles.pop(event.id))
            case "copy":
                self.moved += self.smaller(event) if event.size is None else event.size
            case "swap":
                self.swap(event)
            case "access" | "record":
                pass
            case _:
                raise ValueError(f"unknown op: {event}")
        return None

    def place(self, size: int, align: int | None, tag: str | None = None) -> int | None:
        """An address for a request; None for a null block."""
        self.space.tag = tag
        if size == 0 and self.options.zero == "null":
            return None
        return self.space.alloc(size, align)

    def release(self, handle: Handle) -> None:
        if handle.address is not None:
            self.space.free(handle.address)

    def alloc(self, event: Event) -> int | None:
        size = event.size or 0
        address = self.place(size, event.align, event.tag)
        self.handles[event.id] = Handle(size, address, event.tag)
        return address

    def realloc(self, event: Event) -> int | None:
        old, size = self.handles[event.id], event.size or 0
        in_place = old.address is not None and self.options.realloc == "inplace"
        if in_place and old.address is not None and self.space.resize(old.address, size, event.align):
            old.requested = size
            return old.address
        address = self.place(size, event.align, old.tag)
        self.moved += min(old.requested, size)
        self.handles[event.id] = Handle(size, address, old.tag)
        self.release(old)
        return address

    def smaller(self, event: Event) -> int:
        return min(self.handles[event.id].requested, self.handles[event.dst].requested)

    def swap(self, event: Event) -> None:
        smaller = self.smaller(event)
        if self.options.swap == "scratch":
            self.release(Handle(smaller, self.place(smaller, None)))
        self.moved += smaller if event.size is None else event.size


def make_space(policy: str, options: Options, capacity: int, own: Mapping[str, Any]) -> Space:
    """The policy's empty space; ``own`` are the options that only this policy has."""
    if capacity < options.base + options.initial:
        raise ValueError("the capacity is below base + initial")
    if policy in LIST_SPACES:
        return LIST_SPACES[policy](options, capacity, **own)
    if policy in CELLS:
        return CELLS[policy](CellOptions(**vars(options), **own), capacity)
    if policy == "bump":
        return Bump(options, capacity)
    if policy == "buddy":
        return Buddy(options, capacity)
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy}")
    return free_list(policy, options, capacity, **own) if own else ListHeap(options, capacity, policy)


def read_state(outcome: Outcome, replay: Replay, address: int | None) -> None:
    """Append the state after an event."""
    space = replay.space
    outcome.addresses.append(address)
    outcome.live.append(sum(handle.requested for handle in replay.handles.values()))
    outcome.allocated.append(sum(space.blocks.values()))
    outcome.reserved.append(space.top)
    outcome.holes.append(space.hole_list())
    outcome.blocks.append(sorted((start, start + size) for start, size in space.blocks.items()))
    outcome.searches.append(space.searched)


def simulate(
    policy: str,
    events: Iterable[Event],
    capacity: int | None = None,
    on_oom: str = "stop",
    **options: int | str | bool,
) -> Outcome:
    """Replay the events and say what happened."""
    own = {name: options.pop(name) for name in options.keys() - COMMON}
    space = make_space(policy, Options(**options), UNBOUNDED if capacity is None else capacity, own)  # type: ignore[arg-type]
    replay, outcome = Replay(space), Outcome()
    for number, event in enumerate(events):
        space.searched, address = None, None
        try:
            address = replay.step(event)
        except OutOfMemoryError:
            outcome.failed_allocs += 1
            if on_oom == "stop":
                outcome.status, outcome.oom_event = "oom", number
            elif event.op == "alloc":
                replay.dead.add(event.id)
        read_state(outcome, replay, address)
        if outcome.status == "oom":
            break
    outcome.fits = space.fits
    outcome.splits, outcome.merges = space.counts["splits"], space.counts["merges"]
    outcome.reserve_calls, outcome.release_calls = space.counts["reserve"], space.counts["release"]
    outcome.moved_bytes, outcome.skipped_events = replay.moved, replay.skipped
    return outcome
