"""A heap as a list of intervals that is sorted anew for every question, written from docs/policies.md and docs/measures.md alone.

It shares no code with the engine, nor with the other oracles. What it keeps of an event is a `Step`, from which
`naive_measures` computes the summary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

UNBOUNDED = 1 << 62


class Step(NamedTuple):
    """The state after one event, and what the event did."""

    live: int  # L
    allocated: int  # A
    reserved: int  # R
    holes: tuple[int, ...]  # the size h of each hole


@dataclass
class Options:
    """The options of the heap policies, with the defaults of the table in docs/policies.md."""

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


@dataclass
class Counts:
    """What is counted over all events."""

    searches: list[int] = field(default_factory=list)  # holes looked at, for each request that was searched for
    fits: list[float] = field(default_factory=list)  # hole / block, for each request that was served from a hole
    splits: int = 0
    merges: int = 0
    moved: int = 0
    reserve_calls: int = 0
    release_calls: int = 0
    failed: int = 0
    skipped: int = 0


class NoRoomError(Exception):
    """The request fails."""


def up(value: int, multiple: int) -> int:
    """Return the next multiple at or above a value."""
    return -(-value // multiple) * multiple


class Heap:
    """The heap of one policy: first, next, best or worst fit, or bump."""

    def __init__(self, policy: str, options: Options, capacity: int | None) -> None:
        self.policy, self.options = policy, options
        self.capacity = UNBOUNDED if capacity is None else capacity
        self.top = options.base + options.initial
        self.blocks: dict[int, int] = {}  # address -> bytes
        self.rover = options.base
        self.above = options.base  # end of the highest block so far, for bump
        self.counts = Counts()

    def holes(self) -> list[tuple[int, int]]:
        """Return the maximal ranges [start, end) of reserved bytes that are in no block, by address."""
        found, end = [], self.options.base
        for address in sorted(self.blocks):
            if address > end:
                found.append((end, address))
            end = address + self.blocks[address]
        if self.top > end:
            found.append((end, self.top))
        return found

    def block_size(self, size: int) -> int:
        return max(self.options.min_block, up(size + self.options.header, self.options.align))

    def alloc(self, size: int, align: int | None) -> int | None:
        """Place a block for a request; None if it gets none. Raise NoRoomError if it fails."""
        if size == 0 and self.options.zero == "null":
            return None
        need, multiple = self.block_size(size), align or self.options.align
        if self.policy == "bump":
            return self.bump(need, multiple)
        hole = self.search(need, multiple)
        if hole is None:
            return self.grow(need, multiple)
        self.counts.fits.append((hole[1] - hole[0]) / need)
        address = self.put(hole, up(hole[0], multiple), need)
        if self.policy == "next-fit":
            self.rover = address
        return address

    def search(self, need: int, multiple: int) -> tuple[int, int] | None:
        """Return the hole that the policy takes, and note how many a linear list would have looked at."""
        holes = self.holes()
        if self.policy == "next-fit":  # the hole that contains the rover, those above it, then those below it
            first = next((i for i, hole in enumerate(holes) if hole[1] > self.rover), 0)
            holes = holes[first:] + holes[:first]
        fitting = [hole for hole in holes if up(hole[0], multiple) + need <= hole[1]]
        if self.policy in ("first-fit", "next-fit"):
            self.counts.searches.append(holes.index(fitting[0]) + 1 if fitting else len(holes))
            return fitting[0] if fitting else None
        self.counts.searches.append(len(holes))
        order = 1 if self.policy == "best-fit" else -1
        return min(fitting, key=lambda hole: (order * (hole[1] - hole[0]), hole[0])) if fitting else None

    def bump(self, need: int, multiple: int) -> int:
        """Place a block above all blocks so far; no hole is looked at, and none serves it."""
        self.counts.searches.append(0)
        address = up(self.above, multiple)
        if address + need > self.top:
            return self.grow(need, multiple)
        return self.put(next(hole for hole in self.holes() if hole[1] == self.top), address, need)

    def grow(self, need: int, multiple: int) -> int:
        """Get memory from the system, and place the block at the top."""
        holes = self.holes()
        start = holes[-1][0] if holes and holes[-1][1] == self.top else self.top
        address = up(max(start, self.above) if self.policy == "bump" else start, multiple)
        self.reserve(address + need - self.top, need)
        return self.put((start, self.top), address, need)

    def reserve(self, missing: int, need: int) -> None:
        """Let the heap grow, so that `missing` more bytes are there for a block of `need` bytes."""
        room = self.capacity - self.top
        if self.options.extend == "full":
            more = max(missing, need, self.options.chunk)
            least = more
        else:
            more, least = min(up(missing, self.options.chunk), room), missing
        if least > room:
            raise NoRoomError
        self.top += more
        self.counts.reserve_calls += 1

    def put(self, hole: tuple[int, int], address: int, need: int) -> int:
        """Cut a block out of a hole; a gap in front of it and a rest of min_block bytes stay holes."""
        rest = hole[1] - address - need
        self.counts.splits += (address > hole[0]) + (rest >= self.options.min_block)
        self.blocks[address] = need if rest >= self.options.min_block else need + rest
        self.above = max(self.above, address + self.blocks[address])
        return address

    def free(self, address: int) -> None:
        self.join(address, address + self.blocks.pop(address))
        if self.options.trim:
            self.trim()

    def join(self, start: int, end: int) -> None:
        """Count the holes with which the free range [start, end), which was in a block, is joined."""
        whole = next(hole for hole in self.holes() if hole[0] <= start and end <= hole[1])
        self.counts.merges += (whole[0] < start) + (whole[1] > end)

    def trim(self) -> None:
        """Give the free tail back, in whole chunks."""
        holes = self.holes()
        if not holes or holes[-1][1] != self.top:
            return
        floor = self.options.base + self.options.initial
        keep = floor + up(max(0, holes[-1][0] - floor), self.options.chunk)
        if keep < self.top:
            self.top = keep
            self.counts.release_calls += 1

    def resize(self, address: int, size: int, align: int | None) -> bool:
        """Resize a block where it is; return whether that is possible."""
        if self.options.realloc != "inplace" or address % (align or 1):
            return False
        need, has = self.block_size(size), self.blocks[address]
        end = address + has
        if need <= has:
            if has - need >= self.options.min_block:
                self.blocks[address] = need
                self.counts.splits += 1
                self.join(address + need, end)
                if self.options.trim:
                    self.trim()
            return True
        if self.policy == "bump" and end != self.above:
            return False
        behind = next((hole for hole in self.holes() if hole[0] == end), (end, end))
        if behind[1] - address < need:
            if behind[1] != self.top:
                return False
            try:
                self.reserve(address + need - self.top, address + need - self.top)
            except NoRoomError:
                return False
            behind = (end, self.top)
        rest = behind[1] - address - need
        self.counts.splits += rest >= self.options.min_block
        self.blocks[address] = need if rest >= self.options.min_block else need + rest
        self.above = max(self.above, address + self.blocks[address])
        return True


@dataclass
class Run:
    """A trace replayed through a heap: the addresses, the state after each event, and how it ended."""

    addresses: list[int | None] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    oom: int | None = None
    counts: Counts = field(default_factory=Counts)


def replayed(policy: str, given: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], capacity: int | None = None) -> Run:
    """Replay the rows of a trace (columns op, id, size, align) until a request fails."""
    heap, run = Heap(policy, Options(**given), capacity), Run()
    sizes: dict[Any, int] = {}
    places: dict[Any, int | None] = {}
    for number, row in enumerate(rows):
        run.addresses.append(None)
        try:
            run.addresses[-1] = act(heap, row, sizes, places)
        except NoRoomError:
            heap.counts.failed += 1
            run.oom = number
        holes = tuple(end - start for start, end in heap.holes())
        run.steps.append(Step(sum(sizes.values()), sum(heap.blocks.values()), heap.top, holes))
        if run.oom is not None:
            break
    run.counts = heap.counts
    return run


def act(heap: Heap, row: Mapping[str, Any], sizes: dict[Any, int], places: dict[Any, int | None]) -> int | None:
    """Do one event; return the address of an alloc or realloc, None if there is none."""
    op, block, size, align = row["op"], row["id"], row["size"] or 0, row["align"]
    if op == "alloc":
        places[block] = heap.alloc(size, align)
        sizes[block] = size
        return places[block]
    if op == "trim":
        heap.trim()
    elif block is None:
        pass
    elif op == "free" or (op == "realloc" and size == 0):
        address = places.pop(block)
        del sizes[block]
        if address is not None:
            heap.free(address)
    elif op == "realloc":
        address, old = places[block], sizes[block]
        if address is None or not heap.resize(address, size, align):
            places[block] = heap.alloc(size, align)
            if address is not None:
                heap.counts.moved += min(old, size)
                heap.free(address)
        sizes[block] = size
        return places[block]
    return None
