"""A policy's functions with a check after each call: the first offence ends the replay, before it has consequences.

The replay loop calls the functions made here as it calls the policy's own. They keep a list of the live blocks of their own, in
address order, and compare with it what the policy returned and what it reports. Nothing of the policy's state is trusted.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from memtrace.contract import ledger as entries
from memtrace.contract.policy import constants_of, functions_of, has_ledger
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE
from memtrace.engine.adapted import with_ledger
from memtrace.engine.driver import limit_of
from memtrace.engine.known import known_of_policy
from memtrace.engine.registry import Policy
from memtrace.trace import Op
from memtrace.validation.figures import (
    Figures,
    Search,
    check_counts,
    check_holes,
    check_search,
    check_sizes,
    check_totals,
    reader,
    whole_number,
)
from memtrace.validation.guard import Guard
from memtrace.validation.offences import Offence

MOST_ENLARGED = 64  # times in a row that a policy may ask for larger arrays for one event
FEW = 150  # live ranges up to which the gaps between them are measured after every call, else after every 16th


class Range(NamedTuple):
    """A live range of bytes, [start, end), and the block that it belongs to."""

    start: int
    end: int
    handle: int


@dataclass
class Block:
    """A live block as the policy placed it."""

    size: int  # bytes requested
    event: int
    counted: int | None  # bytes by which ``allocated`` rose for it; None: not known
    ranges: list[Range]


class Watch:
    """The live blocks of one replay, and the policy's functions with checks."""

    def __init__(self, policy: Policy, bound: ModuleType, capacity: int | None, guard: Guard) -> None:
        """Watch a policy, whose functions are ``bound``, within ``capacity`` bytes."""
        constants = constants_of(policy.module)
        self.policy, self.bound, self.guard = policy, bound, guard
        self.capacity = limit_of(policy, capacity)
        self.align = int(policy.options.get("align", 1))
        self.virtual, self.deferred, self.joins = constants.VIRTUAL, constants.DEFERRED, constants.COALESCES
        self.unusable, self.has_ledger = constants.UNUSABLE, has_ledger(policy.module)
        self.known, self.most_align = known_of_policy(policy.module), constants.MAX_ALIGN
        self.moves = bound.address_of is not None and bound.first_piece is None
        self.pieces = bound.first_piece is not None
        self.read = reader(policy, bound)
        self.blocks: dict[int, Block] = {}
        self.ranges: list[Range] = []
        self.live = 0
        self.moved = 0  # bytes that the policy itself had moved when the addresses were read
        self.delayed = False  # a block was recorded as used by a stream, so its bytes may stay allocated after its free
        self.now: Figures | None = None
        self.old: Any = None  # the ledger before the call
        self.slack: int | None = None
        self.enlarged = 0
        self.calls = 0
        self.failures: list[str] = []
        self.asked = 0  # requests that the policy answered
        self.totals: Any = None
        self.events: Any = None

    def loop(self) -> Any:
        """Return the replay loop of the watched functions, for ``Hooks.loop``."""
        from memtrace.engine.loop import specialise

        inner = specialise(self.functions())

        def loop(events: Any, start: int, state: Any, blocks: Any, recorder: Any, mode: Any, kept: Any) -> tuple[int, int]:
            self.events, self.totals = events, recorder.totals
            if self.now is None:
                self.begin(state)
            replayed: tuple[int, int] = inner(events, start, state, blocks, recorder, mode, kept)
            return replayed

        return loop

    def functions(self) -> ModuleType:
        """Return the policy's functions as a module, with a check after each call."""
        bound, watched = self.bound, ModuleType(f"{self.bound.__name__}.watched")
        vars(watched).update(vars(bound))
        if not self.has_ledger:
            bound = ModuleType(bound.__name__)
            vars(bound).update(vars(self.bound) | with_ledger(self.typed()))

        def alloc(state: Any, request: Any) -> Any:
            address = self.call(bound.alloc, state, request)
            self.allocated(state, request, whole_number("alloc", address))
            return address

        def free(state: Any, request: Any, address: Any) -> None:
            self.call(bound.free, state, request, address)
            self.freed(state, request)

        def resize(state: Any, request: Any, address: Any, old_size: Any) -> Any:
            found = self.call(bound.resize, state, request, address, old_size)
            self.resized(state, request, whole_number("resize", found))
            return found

        waits = {"record"} & set(functions_of(self.policy.module))  # after these a free may leave bytes allocated

        def other(name: str) -> Any:
            function = getattr(bound, name)

            def checked(state: Any, *arguments: Any) -> Any:
                found = self.call(function, state, *arguments)
                self.delayed = self.delayed or name in waits
                self.settle(state)
                return found

            return checked

        own = {"alloc": alloc, "free": free, "resize": resize}
        called = {"trim", "record", "complete", "access", "freed_by", "next_event"} & set(functions_of(self.policy.module))
        vars(watched).update(own | {name: other(name) for name in called})
        return watched

    def typed(self) -> ModuleType:
        """Return a policy without a ledger with a test of what its functions return, before the engine makes numbers of it."""
        module = self.policy.module
        typed = ModuleType(module.__name__)
        vars(typed).update(vars(module))
        own = functions_of(module)

        def tested(name: str) -> Any:
            return lambda *arguments: whole_number(name, own[name](*arguments))

        vars(typed).update({name: tested(name) for name in ("alloc", "resize", "reserved") if name in own})
        return typed

    def call(self, function: Any, state: Any, *arguments: Any) -> Any:
        """Call a function of the policy, within the time allowed."""
        if self.has_ledger:
            self.old = state.ledger.copy()
        self.guard.enter()
        try:
            return function(state, *arguments)
        finally:
            self.guard.leave()

    def begin(self, state: Any) -> None:
        """Read the figures before the first event."""
        now = self.read(state)
        if not self.unusable and now.free is not None and now.allocated is not None:
            self.slack = now.reserved - now.allocated - now.free
        self.now = now
        self.guarded(lambda: check_totals(now, 0, self.slack), "at the start")
        self.guarded(lambda: check_holes(now, None), "at the start")

    def allocated(self, state: Any, request: Any, address: int) -> None:
        """Check what ``alloc`` answered."""
        what = f"alloc of {request.size} bytes" + (f" aligned to {request.align}" if request.align else "")
        before = self.now
        assert before is not None
        if address == ENLARGE:
            self.asked_again(state)
            return
        self.enlarged = 0
        self.asked += 1
        if address >= 0:
            self.place(state, request, address, what)
        elif address == NOTHING and request.size > 0:
            raise Offence("fails", f"{self.at(what)}: it got no block (-2), which is for requests of 0 bytes")
        elif address not in (NOTHING, NOWHERE):
            raise Offence("negative", f"{self.at(what)}: the address is {address}, below 0")
        if address == NOWHERE:
            self.failures.append(self.at(what))
        self.settle(state, what)
        now = self.now
        assert now is not None
        if now.allocated is not None and before.allocated is not None:
            rose = now.allocated - before.allocated
            if address >= 0:
                self.blocks[int(request.block)].counted = rose
                if rose < request.size:
                    raise Offence("allocated", f"{self.at(what)}: allocated rose by {rose} bytes only: {now}")
            elif rose != 0:
                raise Offence("allocated", f"{self.at(what)}: it got no block, but allocated changed by {rose} bytes: {now}")
        if self.has_ledger and {"holes", "searches", "fits"} <= self.known:
            self.searched(state, request, address, before, what)
        more = before.largest is not None and request.size > before.largest
        if more and address >= 0 and now.reserved == before.reserved and not (self.deferred or self.unusable):
            text = (
                f"the largest hole was said to have {before.largest} bytes, but the block was placed, and no memory was reserved"
                " (a policy that joins holes only when a request needs it says DEFERRED = True)"
            )
            raise Offence("holes", f"{self.at(what)}: {text}: {now}")

    def searched(self, state: Any, request: Any, address: int, before: Figures, what: str) -> None:
        """Check what the ledger says of the search for a request."""
        ledger, now = state.ledger, self.now
        assert now is not None and before.holes is not None
        found = Search(*(int(ledger[entry]) for entry in (entries.INSPECTED, entries.HOLE_TAKEN, entries.BLOCK_SIZE)))
        if address >= 0:
            self.guarded(lambda: check_search(found, int(request.size), now, before), what)

    def asked_again(self, state: Any) -> None:
        """Check that a policy that asked for larger arrays has changed nothing, and does not ask for ever."""
        self.enlarged += 1
        if self.enlarged > MOST_ENLARGED:
            raise Offence("endless", f"{self.at('')}: -3 (ENLARGE) was returned {self.enlarged} times for the same event")
        if self.read(state) != self.now:
            raise Offence("counts", f"{self.at('')}: -3 (ENLARGE) was returned, but the counts have changed")

    def freed(self, state: Any, request: Any) -> None:
        """Check a free."""
        block = self.blocks.pop(int(request.block))
        start = block.ranges[0].start if block.ranges else 0
        what = f"free of the {block.size} bytes at {start} that event {block.event} placed"
        self.live -= block.size
        self.remove(block)
        before = self.now
        self.settle(state, what)
        now = self.now
        assert now is not None and before is not None
        if now.allocated is None or before.allocated is None or block.counted is None or self.delayed:
            return
        fell = before.allocated - now.allocated
        if fell != block.counted:
            text = f"allocated fell by {fell} bytes, but rose by {block.counted} when the block was placed"
            raise Offence("allocated", f"{self.at(what)}: {text}: {now}")

    def resized(self, state: Any, request: Any, address: int) -> None:
        """Check what ``resize`` answered."""
        block = self.blocks[int(request.block)]
        what = f"realloc of block {request.block} from {block.size} to {request.size} bytes"
        if address == ENLARGE:
            self.asked_again(state)
            return
        self.enlarged = 0
        if address >= 0:
            before, counted = self.now, block.counted
            assert before is not None
            self.remove(self.blocks.pop(int(request.block)))
            self.live -= block.size
            self.place(state, request, address, what)
            self.settle(state, what)
            now = self.now
            assert now is not None
            if counted is not None and now.allocated is not None and before.allocated is not None:
                self.blocks[int(request.block)].counted = counted + now.allocated - before.allocated
            return
        if address != NOWHERE:
            raise Offence("negative", f"{self.at(what)}: resize returned {address}; it returns an address, -1 or -3")
        self.settle(state, what)

    def place(self, state: Any, request: Any, address: int, what: str) -> None:
        """Take a new block into the list, and check where it lies."""
        handle, size = int(request.block), int(request.size)
        align = min(int(request.align), self.most_align) or self.align
        if self.follow(state, what):
            address = int(self.bound.address_of(state, handle))  # it may have moved since it was placed
        block = Block(size=size, event=self.event(), counted=None, ranges=[])
        self.blocks[handle] = block
        self.live += size
        if self.pieces:
            found, piece = [], self.bound.first_piece(state, handle)
            while piece >= 0:
                start, extent = self.bound.piece_at(state, handle, piece)
                found.append(Range(int(start), int(start) + int(extent), handle))
                piece = self.bound.next_piece(state, handle, piece)
            if sum(each.end - each.start for each in found) < size:
                raise Offence("short", f"{self.at(what)}: its pieces have fewer bytes: {found}")
        else:
            found = [Range(address, address + size, handle)]
            if address % align:
                raise Offence("misaligned", f"{self.at(what)}: the address {address} is no multiple of {align}")
        self.sort_in(block, found, what)

    def sort_in(self, block: Block, found: list[Range], what: str) -> None:
        """Insert the ranges of a block; Offence if one is not where a block may be."""
        for each in found:
            shown = f"[{each.start}, {each.end})"
            if each.start < 0:
                raise Offence("negative", f"{self.at(what)}: the block {shown} begins below 0")
            if each.end > self.capacity and not self.virtual:
                raise Offence("capacity", f"{self.at(what)}: the block {shown} reaches beyond the capacity of {self.capacity}")
            block.ranges.append(each)
            if each.start == each.end:
                continue
            i = bisect_left(self.ranges, each)
            for other in self.ranges[max(i - 1, 0) : i + 1]:
                if other.start < each.end and each.start < other.end:
                    placed = f"[{other.start}, {other.end}), which event {self.blocks[other.handle].event} placed"
                    raise Offence("overlap", f"{self.at(what)}: the block {shown} overlaps the live block {placed}")
            insort(self.ranges, each)

    def remove(self, block: Block) -> None:
        """Remove the ranges of a block."""
        for each in block.ranges:
            if each.start < each.end:
                del self.ranges[bisect_left(self.ranges, each)]

    def settle(self, state: Any, what: str = "") -> None:
        """After a call: follow the blocks that moved, and check what the policy reports now."""
        self.calls += 1
        self.follow(state, what)
        if self.has_ledger:
            entries.settle(state.ledger)
        before, now = self.now, self.read(state)
        assert before is not None
        self.now = now
        if now.reserved > self.capacity:
            text = f"{now.reserved} bytes are reserved, more than the capacity of {self.capacity}"
            raise Offence("capacity", f"{self.at(what)}: {text}")
        if self.ranges and not self.virtual and not self.pieces and self.ranges[-1].end > now.reserved:
            last = self.ranges[-1]
            text = f"the block [{last.start}, {last.end}) ends above the {now.reserved} bytes that are reserved"
            raise Offence("outside", f"{self.at(what)}: {text}")
        if "events" in self.known:  # else reserved bytes are known at some events only
            self.guarded(lambda: check_totals(now, self.live, None if self.delayed else self.slack), what)
        if now.free is not None:
            self.guarded(lambda: check_holes(now, self.largest_gap(now.reserved)), what)
        if self.has_ledger and {"holes", "sizes"} <= self.known:
            self.guarded(lambda: check_sizes(state.ledger, now), what)
        if self.has_ledger and not self.virtual:
            self.guarded(lambda: check_counts(state.ledger, now, before, self.old, "calls" in self.known), what)
        if not self.blocks and now.allocated and not self.delayed:
            raise Offence("allocated", f"{self.at(what)}: no block is live, but {now.allocated} bytes are allocated: {now}")

    def follow(self, state: Any, what: str) -> bool:
        """Read the addresses of all live blocks anew if the policy has moved any since they were read; return whether it has."""
        if not self.moves or state.ledger[entries.MOVED] == self.moved:
            return False
        self.moved = int(state.ledger[entries.MOVED])
        self.ranges.clear()
        for handle, block in self.blocks.items():
            address = int(self.bound.address_of(state, handle))
            block.ranges.clear()
            self.sort_in(block, [Range(address, address + block.size, handle)], what)
        return True

    def unjoined(self) -> str:
        """Return that neighbouring holes are not joined, as text, if the policy says that it joins them; else empty."""
        if not self.joins or self.virtual or self.pieces or self.now is None or self.now.holes is None:
            return ""
        ends = [0, *(each.end for each in self.ranges)]
        starts = [*(each.start for each in self.ranges), self.now.reserved]
        gaps = sum(start > end for start, end in zip(starts, ends, strict=True))
        if self.now.holes <= gaps:
            return ""
        return f"there are {self.now.holes} holes in {gaps} gaps between blocks: neighbours are not joined"

    def largest_gap(self, reserved: int) -> int | None:
        """Return the bytes of the largest gap between live blocks within the reserved bytes; None if it is not measured."""
        if self.virtual or self.pieces or (len(self.ranges) > FEW and self.calls % 16):
            return None
        end = largest = 0
        for each in self.ranges:
            largest = max(largest, each.start - end)
            end = each.end
        return max(largest, reserved - end)

    def guarded(self, check: Any, what: str) -> None:
        """Make a check, and name the event in its offence."""
        try:
            check()
        except Offence as offence:
            raise Offence(offence.kind, f"{self.at(what)}: {offence.text}") from None

    def event(self) -> int:
        """Return the number of the event that is being served."""
        return int(self.totals[0])

    def at(self, what: str) -> str:
        """Return the event with its kind and what was asked, as text."""
        event = self.event()
        op = Op(int(self.events.op[event])).name.lower() if event < self.events.op.size else ""
        if what == "at the start":
            return what
        if not what:
            return f"event {event} ({op})"
        return f"event {event} ({what})" if what.startswith(op) else f"event {event} ({op}: {what})"
