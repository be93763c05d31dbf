"""A heap to play with: any policy, one call at a time, and a drawing of what it does.

>>> heap = Heap("best-fit", capacity=256)
>>> a, b, c = heap.allocate(64), heap.allocate(32), heap.allocate(100)
>>> heap.free(b)
>>> print(heap.map(16))
0 AAAA..CCCCCCC___ 256
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    from memtrace.engine.registry import Policy

FIRST_BLOCKS = 64
LARGEST = 1 << 60  # bytes, of a request and of an alignment: as in a trace
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FREE, BEYOND, UNKNOWN = ".", "_", " "


@dataclass(eq=False)
class Block:
    """A live block; ``address`` is None if its request of 0 bytes got none (``zero=null``), or once it is freed."""

    number: int
    size: int
    address: int | None
    slot: int = field(repr=False)
    tag: str | None = None

    @property
    def letter(self) -> str:
        return LETTERS[self.number % len(LETTERS)]


class Heap:
    """Allocate and free through a policy: ``Heap("best-fit", capacity=4096, align=64)``, or ``Heap("best-fit:align=64")``.

    ``policy`` is what a run takes after ``-p``: a name, a name with options, or the path of a file; or a module, or what
    `memtrace.policy` returns. It runs the policy's
    own text, uncompiled: for teaching and notebooks, not for speed. A request that does not fit is answered with None,
    and changes nothing.
    """

    def __init__(
        self, policy: str | Policy | ModuleType = "first-fit", capacity: int | None = None, **options: int | bool | str
    ) -> None:
        from memtrace.contract.policy import function_of
        from memtrace.engine.binding import bind
        from memtrace.engine.registry import policy as policy_of

        self.policy = policy_of(policy, options=options)
        if function_of(self.policy.module, "plan") is not None:
            raise UsageError(f"{self.policy.name} has to know all requests beforehand; a Heap takes one at a time")
        self.capacity = None if capacity is None else size_of(capacity, "capacity")
        self._bound = bind(self.policy.module)
        self._log: list[dict[str, int]] = []
        self._slots = FIRST_BLOCKS
        self._spare = list(range(FIRST_BLOCKS - 1, -1, -1))
        self._live: list[Block] = []
        self._made = 0
        self._tags: dict[str, int] = {}
        self._start()

    def allocate(self, size: int, align: int = 0, stream: int = 0, tag: str | None = None) -> Block | None:
        """A block of ``size`` bytes, at an address that is a multiple of ``align`` (0: the policy's own); None if none fits."""
        size, align = size_of(size), size_of(align, "align")
        if align & (align - 1):
            raise UsageError(f"align {align} is no power of two")
        if not self._spare:
            self._enlarge()
        slot = self._spare.pop()
        code = -1 if tag is None else self._tags.setdefault(tag, len(self._tags))
        address = self._do(op=0, block=slot, size=size, align=align, stream=stream, tag=code)
        if address == -1:
            self._spare.append(slot)
            return None
        block = Block(self._made, size, address if address >= 0 else None, slot, tag)
        self._made += 1
        self._live.append(block)
        return block

    def free(self, block: Block) -> None:
        self._check(block)
        self._do(op=1, block=block.slot)
        self._forget(block)

    def realloc(self, block: Block, size: int) -> Block | None:
        """Resize; the block is the same object, moved or not. None if it does not fit: the block is as it was.

        To 0 bytes it is a free, and gives None too.
        """
        self._check(block)
        size = size_of(size)
        if size == 0:
            self.free(block)
            return None
        address = self._do(op=2, block=block.slot, size=size)
        if address == -1:
            return None
        block.address, block.size = (address if address >= 0 else None), size
        return block

    def copy(self, source: Block, target: Block, size: int | None = None) -> int:
        """Copy bytes (default: all of the smaller block) from one block to another; the bytes moved."""
        return self._move(3, source, target, min(source.size, target.size) if size is None else size)

    def swap(self, one: Block, other: Block, size: int | None = None) -> int:
        """Exchange bytes (default: all of the smaller block) through a scratch block; the bytes moved, 0 if it had no room."""
        return self._move(4, one, other, min(one.size, other.size) if size is None else size)

    def trim(self) -> None:
        """Give free memory at the top back, if the policy can."""
        self._do(op=6, block=-1)

    @property
    def blocks(self) -> list[Block]:
        """The live blocks, by age."""
        return list(self._live)

    @property
    def live(self) -> int:
        """Requested bytes of the live blocks."""
        return sum(block.size for block in self._live)

    @property
    def allocated(self) -> int:
        """Bytes of the live blocks, with rounding and headers."""
        return self._booked("ALLOCATED")

    @property
    def reserved(self) -> int:
        """Bytes held from the system."""
        return self._booked("RESERVED")

    @property
    def holes(self) -> int:
        """How many holes there are."""
        return self._booked("HOLES")

    @property
    def largest_hole(self) -> int:
        return int(self._bound.largest_hole(self._run.state))

    @property
    def moved(self) -> int:
        """Bytes moved so far by realloc, copy and swap."""
        from memtrace.engine.recorder import MOVED

        return int(self._run.recorder.totals[MOVED])

    def map(self, width: int = 64) -> str:
        """The address range in ``width`` cells: a block's letter where it has any of the cell, `.` free, `_` not reserved.

        Of a policy with VIRTUAL it is not known which addresses are reserved: its map goes from the lowest block to the highest,
        and what is in no block is left blank.
        """
        from memtrace.contract.policy import constants_of

        if width < 1:
            raise UsageError(f"a map of width {width} shows nothing; it has 1 cell at least")
        drawn = [(block.address, block.address + block.size, block) for block in self._live if block.address is not None]
        low, high = 0, max(self.capacity if self.capacity is not None else self.reserved, 1)
        cells = [FREE if i * high // width < self.reserved else BEYOND for i in range(width)]
        if constants_of(self.policy.module).VIRTUAL:
            low, high = min((start for start, _, _ in drawn), default=0), max((end for _, end, _ in drawn), default=0)
            cells = [UNKNOWN] * width
        for start, end, block in drawn:
            if end > start:
                first = (start - low) * width // (high - low)
                last = max(first + 1, -(-(end - low) * width // (high - low)))
                cells[first:last] = block.letter * (min(last, width) - first)
        return f"{low} {''.join(cells)} {high}"

    def _move(self, op: int, one: Block, other: Block, size: int) -> int:
        self._check(one)
        self._check(other)
        size, room = size_of(size), min(one.size, other.size)
        if size > room:
            raise UsageError(f"blocks {one.letter} and {other.letter} have {room} bytes in common, not {size}")
        before = self.moved
        self._do(op=op, block=one.slot, dst=other.slot, size=size)
        return self.moved - before

    def _check(self, block: Block) -> None:
        if block not in self._live:
            raise UsageError(f"block {block.letter} is not live in this heap: it was freed, or is another heap's")

    def _forget(self, block: Block) -> None:
        self._live.remove(block)
        self._spare.append(block.slot)
        block.address = None

    def _booked(self, name: str) -> int:
        from memtrace.contract import ledger

        return int(self._run.state.ledger[getattr(ledger, name)])

    def _start(self) -> None:
        from memtrace.engine.blocks import new_blocks
        from memtrace.engine.driver import Run, initial_state, interpreted_loop, limit_of, started
        from memtrace.engine.explanation import blamed, check_state
        from memtrace.engine.recorder import new_recorder
        from memtrace.engine.serving import Mode

        limit = limit_of(self.policy, self.capacity)
        with blamed(self.policy.module):
            state = initial_state(self.policy, self._bound, self.capacity, self._slots + 1)
            check_state(self.policy.module, state, True)
            state = started(self._bound, state, None)
        self._run = Run(
            policy=self.policy,
            trace="",
            bound=self._bound,
            loop=interpreted_loop(self.policy.module, self._bound),
            state=state,
            blocks=new_blocks(self._slots),
            recorder=new_recorder(0, self._slots, 0, 0, False),
            mode=Mode(skip=True, swap_scratch=self.policy.options["swap"] == "scratch", keep=True, limit=limit),
        )

    def _enlarge(self) -> None:
        """Room for twice the blocks: begin anew with larger arrays, and do again what was done."""
        self._spare = list(range(2 * self._slots - 1, self._slots - 1, -1))
        self._slots *= 2
        self._start()
        log, self._log = self._log, []
        for event in log:
            self._do(**event)

    def _do(self, **event: int) -> int:
        """Replay one event, given by the columns of a prepared trace; return the address it gives, -1 or -2."""
        from memtrace.engine.explanation import blamed
        from memtrace.trace.model import Events

        def one(name: str, kind: Any, default: int = 0) -> NDArray[Any]:
            return np.array([event.get(name, default)], kind)

        row = Events(
            op=one("op", np.uint8),
            block=one("block", np.int32),
            size=one("size", np.int64),
            align=one("align", np.int64),
            stream=one("stream", np.int32),
            dst=one("dst", np.int32, -1),
            tag=one("tag", np.int32, -1),
        )
        address, reserved = np.zeros(1, np.int64), np.zeros(1, np.int64)
        with blamed(self.policy.module):
            self._run.replay(row, address, reserved)
        self._run.places.clear()
        for block in self._live if self._bound.address_of else ():
            if block.address is not None:
                block.address = int(self._run.blocks[block.slot].address)
        self._log.append(event)
        return int(address[0])


def size_of(value: int, what: str = "size") -> int:
    """The value as an int; UsageError unless it is 0 to 2^60."""
    number = index(value)
    if not 0 <= number <= LARGEST:
        raise UsageError(f"{what} {number} is {'negative' if number < 0 else 'more than 2^60'}")
    return number
