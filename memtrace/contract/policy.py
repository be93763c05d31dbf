"""The policy contract: every function and every constant that a policy module may have.

A policy is a module of plain functions over a NamedTuple of numpy arrays, its state. ``Policy`` declares the functions, and
``contract.constants`` the constants. Both say what an entry means, when it is used, and what happens where a policy leaves it
out. The body of an optional function is the default that the replay loop calls in its place. The engine and docs/policies.md
read these declarations, and no other file asks a policy module which names it has.

Units are bytes. A handle is the index by which a policy knows a block: 0 <= handle < max_live of ``init``, used again after the
block is freed. Functions marked "compiled" run inside the compiled loop, so numba has to be able to compile them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from memtrace.contract.constants import Constants
from memtrace.contract.request import NOTHING, NOWHERE, Request

State = Any  # a NamedTuple of numpy arrays and numbers, of the policy's own type
Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """When a function of a policy is called, what it may cost, and what happens where a policy leaves it out."""

    called: str
    cost: str  # of one call
    missing: str
    compiled: bool = True
    default: bool = False  # the body in ``Policy`` is called in place of a missing function
    ledger: bool = True  # only for a policy whose state has a ledger; another that has it is refused


class TraceFacts(NamedTuple):
    """What ``start`` gets: what is known of the trace before its first event."""

    name: str  # of the trace; empty in a `memtrace.Heap`
    events: int  # number of events; 0 in a `memtrace.Heap`
    tags: tuple[str, ...]  # names of the tags by their codes, which are `request.tag`; none in a `memtrace.Heap`
    times: Callable[[], Any]  # () -> int64[event]: the time of each event in ns; of one element where the trace has no times
    frees_name_streams: Callable[[], bool]  # () -> whether any free names a stream other than 0; it reads the whole trace


class PlanRequest(NamedTuple):
    """What ``plan`` gets beside the trace."""

    options: Options  # the policy's own options, by name
    capacity: int | None  # bytes; None: no limit
    sample_events: Any  # int64[sample]: the events after which the replay will sample the state
    stop: bool  # the replay ends at the first request that fails
    place: Callable[[str], Any]  # policy text -> int64[event]: the addresses at which that policy places the trace


def entry(**about: Any) -> Callable[[Any], Any]:
    """Return a decorator that attaches an ``Entry`` to a static method of ``Policy``."""

    def attach(function: Any) -> Any:
        vars(function.__func__)["entry"] = Entry(**about)
        return function

    return attach


class Policy(Protocol):
    """The functions of a policy module; ``init``, ``alloc`` and ``free`` are required."""

    # The five functions of the simplest policy.

    @entry(
        called="once per replay, before the first event; before a trace is read, once more to check the options",
        cost="any", missing="the file is refused", compiled=False, ledger=False,
    )  # fmt: skip
    @staticmethod
    def init(capacity: int, max_live: int, **options: Any) -> State:
        """Return the state of a heap without blocks, for `max_live` blocks live at once and `capacity` bytes (2^62: no limit).

        `max_live` counts the block that is live beside all others while a realloc moves one, or a swap needs scratch. Further
        parameters are the policy's options. Each has a default: an int, a bool, a str, or a word of a Literal. A policy with
        `**options` takes the common options of the heap policies too. Raises ValueError for values that cannot be.
        """

    @entry(
        called="for an alloc event, for a realloc that `resize` did not serve, for the scratch block of a swap",
        cost="O(1) or O(log n)", missing="the file is refused", ledger=False,
    )  # fmt: skip
    @staticmethod
    def alloc(state: State, request: Request) -> int:
        """Place a block for `request`, and return its address.

        Return -1 (NOWHERE) if the request fails, -2 (NOTHING) if it gets no block and that is no failure (a request of 0 bytes,
        for instance), -3 (ENLARGE) if the arrays of the state are too small; then nothing may have changed, and the engine calls
        `enlarge` and asks again.
        """

    @entry(
        called="for a free event, for the old block of a realloc that moved, for the scratch block of a swap; never for a block "
        "without an address", cost="O(1) or O(log n)", missing="the file is refused", ledger=False,
    )  # fmt: skip
    @staticmethod
    def free(state: State, request: Request, address: int) -> None:
        """Free the block at `address`; the fields of `request` are those of the block's last alloc or realloc."""

    @entry(
        called="after `init` and each call of `alloc`, `free`, `resize` and `trim`, only if the state has no ledger",
        cost="O(1)", missing="the file is refused if the state has no ledger", ledger=False,
    )  # fmt: skip
    @staticmethod
    def reserved(state: State) -> int:
        """Return the bytes held from the system."""

    @entry(
        called="with `reserved`, only if the state has no ledger", cost="O(1)", ledger=False,
        missing="allocated is not known, and holes are what lies between the requested bytes of the blocks",
    )  # fmt: skip
    @staticmethod
    def survey(state: State) -> tuple[int, int, int, int]:
        """Return (allocated bytes, free bytes in holes, number of holes, bytes of the largest hole).

        A block counts with its rounding and headers. The sizes of all holes are worked out by the engine: a hole
        is a range of reserved bytes in no block, and a block has the bytes by which allocated grew when it was placed.
        """

    # What a policy may know of the trace.

    @entry(
        called="once per replay, after `init` and `follow`, before the first event", cost="any", compiled=False, ledger=False,
        missing="the policy knows of the trace what `init` says",
    )  # fmt: skip
    @staticmethod
    def start(state: State, facts: TraceFacts) -> State:
        """Return the state with what the policy keeps of `facts`, such as an array with an entry for each tag."""

    @entry(
        called="before each event, once more if the event is served again after an answer of -3 (ENLARGE)", cost="O(1)",
        missing="nothing is called, and nothing is lost", default=True, ledger=False,
    )  # fmt: skip
    @staticmethod
    def next_event(state: State, number: int) -> None:
        """Note the number of the event that comes, from 0 on; its time is entry `number` of the times that `start` gets."""

    # What a policy may do beyond alloc and free.

    @entry(
        called="for a realloc event of a block that has an address",
        cost="O(1) or O(log n)",
        missing="a realloc always moves the block",
        default=True,
        ledger=False,
    )
    @staticmethod
    def resize(state: State, request: Request, address: int, old_size: int) -> int:
        """Resize the block of `request` from `old_size` to `request.size` bytes in place, and return its address.

        `request.block` is the block's own handle. Return -1 (NOWHERE) if it cannot be resized in place: the engine then calls
        `alloc` with another handle, counts the bytes that a copy moves, and calls `free` with the old one. Return -3 (ENLARGE) as
        `alloc` does.
        """
        return NOWHERE

    @entry(called="for a trim event", cost="any", missing="trim events do nothing", default=True, ledger=False)
    @staticmethod
    def trim(state: State) -> None:
        """Give free memory back to the system."""

    @entry(
        called="after an answer of -3 (ENLARGE), before the same event is served again", cost="any, amortised", compiled=False,
        missing="an answer of -3 ends the replay with an error", ledger=False,
    )  # fmt: skip
    @staticmethod
    def enlarge(state: State) -> State:
        """Return the state with the same contents in larger arrays."""

    @entry(called="before the `free` of a free event", cost="O(1)", missing="nothing is called", default=True, ledger=False)
    @staticmethod
    def freed_by(state: State, request: Request, stream: int) -> None:
        """Note that `stream` is about to free the block of `request`; `request.stream` is the stream that allocated it."""

    @entry(
        called="for a record event of a live block",
        cost="O(1) or O(log n)",
        missing="record events do nothing",
        default=True,
        ledger=False,
    )
    @staticmethod
    def record(state: State, request: Request, stream: int, address: int) -> int:
        """Note that `stream` uses the block of `request`, and return -2 (NOTHING), or -3 (ENLARGE) as `alloc` does.

        `address` is -2 for a block that got no address.
        """
        return NOTHING

    @entry(called="for a complete event", cost="any", missing="complete events do nothing", default=True, ledger=False)
    @staticmethod
    def complete(state: State, request: Request, stream: int, address: int) -> None:
        """Note that the recorded stream work on the freed block `request.block` is done; -1: on all freed blocks.

        Of `request`, only `block` and `stream` count. `address` is where the block was, -2 if it had none or all are meant.
        """

    @entry(
        called="for an access event of a live block", cost="O(1)", missing="access events do nothing", default=True, ledger=False
    )
    @staticmethod
    def access(state: State, request: Request, address: int) -> None:
        """Note that the block of `request` is used; `address` is -2 for a block that got no address."""

    # What the measures read.

    @entry(
        called="at samples and peaks", cost="O(log n)",
        missing="the file is refused if the state has a ledger",
    )  # fmt: skip
    @staticmethod
    def largest_hole(state: State) -> int:
        """Return the bytes of the largest hole; 0 if there is none."""

    @entry(called="at samples and peaks", cost="O(log n)", missing="not known", default=True, ledger=False)
    @staticmethod
    def releasable(state: State) -> int:
        """Return the free bytes that could go back to the system without moving a block; -1 if that is not known."""
        return -1

    @entry(
        called="at samples and peaks",
        cost="O(1)",
        missing="nothing is called",
        default=True,
        ledger=False,
    )
    @staticmethod
    def write_counters(state: State, row: Any) -> None:
        """Write the policy's own counters into `row`, int64[counter], in the order of COUNTERS."""

    @entry(
        called="once, after `init` and `follow`", cost="any", compiled=False,
        missing="the sizes are derived from the ledger: all holes of a size class but one have its lowest size, a power of two",
    )  # fmt: skip
    @staticmethod
    def first_holes(state: State) -> Iterable[int]:
        """Return the sizes of the holes that there are before the first event."""

    @entry(
        called="once, at the end of a replay that ran out of memory",
        cost="any",
        compiled=False,
        missing="all that lies between a block and the next live blocks by address counts as free",
    )
    @staticmethod
    def neighbours(state: State, handles: Any) -> Any:
        """Return the free bytes on both sides of each of the live blocks `handles`, in its own segment; both are int64[block]."""

    @entry(
        called="once, at the end of a replay that ran out of memory", cost="any", compiled=False,
        missing="the memory is one whole, of which `failures` has the sums",
    )  # fmt: skip
    @staticmethod
    def parts(state: State) -> Iterable[tuple[int, int, int, int, int]]:
        """Return (address, bytes, live blocks, free bytes, bytes of the largest hole) of each range that no block crosses."""

    # Prefetching: the compiled loop knows the events to come.

    @entry(
        called="16 events before a free event, if the trace has 4,096 blocks or more live at once",
        cost="one prefetch", missing="nothing is called", default=True,
    )  # fmt: skip
    @staticmethod
    def expect(state: State, handle: int) -> None:
        """Prefetch what `free` reads first of the block; change nothing."""

    @entry(
        called="8 events before a free event, if the trace has 4,096 blocks or more live at once",
        cost="one prefetch", missing="nothing is called", default=True,
    )  # fmt: skip
    @staticmethod
    def expect_soon(state: State, handle: int) -> None:
        """Prefetch what `free` reads next, which is found through what `expect` fetched; change nothing."""

    # Blocks that move or come in pieces. A policy that has `first_piece` too is taken for one whose blocks do not move.

    @entry(
        called="for each live block after an event in which ledger[MOVED] changed",
        cost="O(1)",
        missing="blocks do not move",
    )
    @staticmethod
    def address_of(state: State, handle: int) -> int:
        """Return the address at which the block lies now. The policy adds the bytes that it moves to ledger[MOVED]."""

    @entry(
        called="after a block is placed or resized, if addresses are kept; and where live blocks are counted by address",
        cost="O(1)", missing="each block is one range of bytes",
    )  # fmt: skip
    @staticmethod
    def first_piece(state: State, handle: int) -> int:
        """Return the number of the block's first piece; -1 if it has none. The four functions of pieces go together."""

    @entry(called="with `first_piece`", cost="O(1)", missing="each block is one range of bytes")
    @staticmethod
    def next_piece(state: State, handle: int, piece: int) -> int:
        """Return the number of the piece after `piece`; -1 after the last."""

    @entry(called="with `first_piece`", cost="O(1)", missing="each block is one range of bytes")
    @staticmethod
    def piece_at(state: State, handle: int, piece: int) -> tuple[int, int]:
        """Return the address and the bytes of a piece."""

    @entry(called="before each event, if addresses are kept", cost="O(1)", missing="each block is one range of bytes")
    @staticmethod
    def most_pieces(state: State) -> int:
        """Return an upper bound of the number of pieces that any block has after the next event."""

    # Policies that know the whole trace, and policies around others.

    @entry(
        called="by `memtrace run`, `suite` and `shrink`, before anything is replayed",
        cost="any", missing="nothing is checked", compiled=False, ledger=False,
    )  # fmt: skip
    @staticmethod
    def require(options: Options) -> None:
        """Raise UsageError if this machine lacks what the policy needs for these options, such as a library."""

    @entry(called="once per replay, after `init`", cost="any", missing="the policy sees one event at a time", compiled=False)
    @staticmethod
    def plan(trace: Any, request: PlanRequest) -> Any:
        """Read the whole trace and return a plan: any object, which `follow` takes.

        Its attribute `seconds` is the time that results report if the policy does its work in `plan`; None: the loop's time.
        """

    @entry(called="once per replay, after `plan`", cost="any", missing="`plan` is not called either", compiled=False)
    @staticmethod
    def follow(state: State, plan: Any) -> State:
        """Return the state with the plan in it."""

    @entry(
        called="when a policy's name and options are read", cost="any", missing="the policy takes in no other",
        compiled=False, ledger=False,
    )  # fmt: skip
    @staticmethod
    def over(inner: Any, options_of: Callable[[str], dict[str, Any]]) -> dict[str, Callable[..., Any]]:
        """Return the policy's functions by name, made around the functions of another policy, `inner`.

        The option that INNER names says which policy; `options_of` returns that policy's options for the option's text.
        """


@dataclass(frozen=True)
class Function:
    """A function of the contract, as declared."""

    name: str
    signature: str
    doc: str
    entry: Entry
    required: bool
    default: Callable[..., Any] | None


REQUIRED = ("init", "alloc", "free")


@cache
def functions() -> tuple[Function, ...]:
    """All functions that a policy may have, in the order in which ``Policy`` declares them."""
    found = []
    for name, member in vars(Policy).items():
        if isinstance(member, staticmethod) and hasattr(member.__func__, "entry"):
            made = member.__func__
            about: Entry = made.entry
            shown = f"{name}({', '.join(parameters(made))})"
            found.append(
                Function(name, shown, inspect.getdoc(made) or "", about, name in REQUIRED, made if about.default else None)
            )
    return tuple(found)


def parameters(function: Callable[..., Any]) -> list[str]:
    """The parameters' names as they are written in a call."""
    kinds = inspect.signature(function).parameters.values()
    return [f"**{p.name}" if p.kind is p.VAR_KEYWORD else p.name for p in kinds]


def constants() -> tuple[tuple[str, Any, str], ...]:
    """Name, default and meaning of every constant, in the order in which ``Constants`` declares them."""
    return tuple((each.name, each.default, each.metadata["meaning"]) for each in fields(Constants))


def constants_of(module: ModuleType) -> Constants:
    """The constants of a policy module, with the defaults for those that it leaves out."""
    own = vars(module)
    return Constants(**{each.name: own[each.name] for each in fields(Constants) if each.name in own})


def function_of(module: ModuleType, name: str) -> Callable[..., Any] | None:
    """A policy's function by its name in ``Policy``; None if the policy leaves it out."""
    found = vars(module).get(name)
    return found if callable(found) else None


def functions_of(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The functions of the contract that a policy module defines, by name."""
    return {each.name: own for each in functions() if (own := function_of(module, each.name)) is not None}


def required(module: ModuleType) -> tuple[str, ...]:
    """Return the functions without which a policy is refused: which they are depends on whether its state has a ledger."""
    return (*REQUIRED, "largest_hole" if has_ledger(module) else "reserved")


def has_ledger(module: ModuleType) -> bool:
    """Return whether the policy's state has a ledger (``memtrace.contract.ledger``); the engine keeps one for others."""
    return "ledger" in getattr(vars(module).get("State"), "_fields", ())
