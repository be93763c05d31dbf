"""The policy contract: every function and every constant that a policy module may have.

A policy is a module of plain functions over a NamedTuple of numpy arrays, its state. ``Policy`` declares the functions and
``Constants`` the constants; both say what an entry means, when the engine uses it, and what happens where a policy leaves it
out. The body of an optional function is the default that the replay loop calls in its place. The engine, ``memtrace policies``
and docs/policies.md read the declarations here, and no other file asks a policy module which names it has.

Units are bytes. A handle is the index by which a policy knows a block: 0 <= handle <= max_live, used again after the
block is freed. Functions marked "compiled" run inside the compiled loop, so they must be what numba compiles.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from memtrace.contract.request import NOTHING, NOWHERE, Request

State = Any  # a NamedTuple of numpy arrays and numbers, of the policy's own type
Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """When the engine calls a function of a policy, at what cost, and what happens where it is missing."""

    called: str
    cost: str
    missing: str
    compiled: bool = True
    default: bool = False  # the body in ``Policy`` stands in for a missing function


class PlanRequest(NamedTuple):
    """What ``plan`` is told beside the trace."""

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
    """The functions of a policy module. ``init``, ``alloc`` and ``free`` are required."""

    # The five functions of the simplest policy.

    @entry(called="once, before the first event", cost="any", missing="the file is refused", compiled=False)
    @staticmethod
    def init(capacity: int, max_live: int, **options: Any) -> State:
        """Return the state of an empty heap: `capacity` bytes at most (2^62: no limit), `max_live` blocks live at once at most.

        Further parameters are the policy's options, with their defaults: an int, a bool, a str, or a Literal of words. A policy
        with `**options` takes the common options of the heap policies too. Raises ValueError for values that cannot be.
        """

    @entry(called="for each request", cost="O(1) or O(log n)", missing="the file is refused")
    @staticmethod
    def alloc(state: State, request: Request) -> int:
        """Return the address of a new block for `request`.

        -1 (NOWHERE): the request fails. -2 (NOTHING): the request gets no block, which is no failure (a request of 0 bytes, for
        instance). -3 (ENLARGE): the arrays of the state are too small and nothing has changed; the engine calls `enlarge` and
        asks again.
        """

    @entry(called="for each block that is freed", cost="O(1) or O(log n)", missing="the file is refused")
    @staticmethod
    def free(state: State, request: Request, address: int) -> None:
        """Free the block at `address`; the fields of `request` are those of the block's last alloc or realloc."""

    @entry(called="after each call, where the state has no ledger", cost="O(1)", missing="refused, where the state has no ledger")
    @staticmethod
    def reserved(state: State) -> int:
        """Return the bytes held from the system."""

    @entry(
        called="after each call, where the state has no ledger", cost="O(1)",
        missing="allocated is the sum of the sizes, free is reserved - allocated, holes are unknown",
    )  # fmt: skip
    @staticmethod
    def survey(state: State) -> tuple[int, int, int, int]:
        """Return (allocated bytes, free bytes in holes, number of holes, bytes of the largest hole)."""

    # What a policy may do beyond alloc and free.

    @entry(
        called="for each realloc of a block that has an address",
        cost="O(1) or O(log n)",
        missing="a realloc always moves the block",
        default=True,
    )
    @staticmethod
    def resize(state: State, request: Request, address: int, old_size: int) -> int:
        """Resize a block in place and return its address.

        -1 (NOWHERE): the engine allocs, copies and frees instead. -3 (ENLARGE): as in `alloc`.
        """
        return NOWHERE

    @entry(called="for each trim event", cost="any", missing="trim events do nothing", default=True)
    @staticmethod
    def trim(state: State) -> None:
        """Give free memory back to the system."""

    @entry(
        called="after -3 (ENLARGE), before the same event is served again", cost="any, amortised", compiled=False,
        missing="-3 ends the run with an error",
    )  # fmt: skip
    @staticmethod
    def enlarge(state: State) -> State:
        """Return the state with the same contents in larger arrays."""

    @entry(called="before each free", cost="O(1)", missing="nothing", default=True)
    @staticmethod
    def freed_by(state: State, request: Request, stream: int) -> None:
        """Note that `stream` is about to free the block of `request` (whose `stream` is the one that allocated it)."""

    @entry(called="for each record event", cost="O(1) or O(log n)", missing="record events do nothing", default=True)
    @staticmethod
    def record(state: State, request: Request, stream: int, address: int) -> int:
        """Note that `stream` uses the block: return -2 (NOTHING), or -3 (ENLARGE) as in `alloc`."""
        return NOTHING

    @entry(called="for each complete event", cost="any", missing="complete events do nothing", default=True)
    @staticmethod
    def complete(state: State, request: Request, stream: int, address: int) -> None:
        """Note that the recorded stream work of a freed block is done; of all freed blocks if `request.block` is -1."""

    @entry(called="for each access event", cost="O(1)", missing="access events do nothing", default=True)
    @staticmethod
    def access(state: State, request: Request, address: int) -> None:
        """Note that the block is used."""

    # What the measures read.

    @entry(
        called="at samples and peaks, where the state has a ledger", cost="O(log n)",
        missing="refused, where the state has a ledger",
    )  # fmt: skip
    @staticmethod
    def largest_hole(state: State) -> int:
        """Return the bytes of the largest hole; 0 if there is none."""

    @entry(called="at samples and peaks", cost="O(log n)", missing="not known", default=True)
    @staticmethod
    def releasable(state: State) -> int:
        """Return the free bytes that could go back to the system without moving a block; -1: not known."""
        return -1

    @entry(
        called="at samples and peaks, with a row of as many values as COUNTERS names",
        cost="O(1)",
        missing="nothing",
        default=True,
    )
    @staticmethod
    def write_counters(state: State, row: Any) -> None:
        """Write the policy's own counters into `row`, int64[counter], in the order of COUNTERS."""

    @entry(
        called="once, after init, where the state has a ledger", cost="any", compiled=False,
        missing="the sizes are read off the ledger's size classes, of which each but one hole is a power of two",
    )  # fmt: skip
    @staticmethod
    def first_holes(state: State) -> Iterable[int]:
        """Return the sizes of the holes that there are before the first event."""

    @entry(
        called="after an out-of-memory, by the report",
        cost="any",
        compiled=False,
        missing="neighbours are told by address",
        default=False,
    )
    @staticmethod
    def neighbours(state: State, handles: Any) -> Any:
        """Return int64[block]: the free bytes that border each of the blocks `handles` (int64[block]) in its own segment."""

    # Prefetching: the compiled loop knows the events to come.

    @entry(called="some 16 events before a block is freed", cost="one prefetch", missing="nothing", default=True)
    @staticmethod
    def expect(state: State, handle: int) -> None:
        """Prefetch what `free` will read of the block; changes nothing."""

    @entry(called="some 8 events before a block is freed", cost="one prefetch", missing="nothing", default=True)
    @staticmethod
    def expect_soon(state: State, handle: int) -> None:
        """Prefetch what lies behind that which `expect` fetched; changes nothing."""

    # Blocks that move or come in pieces. Both need a ledger.

    @entry(
        called="for each live block after an event in which ledger[MOVED] changed",
        cost="O(1)",
        missing="blocks do not move",
        default=False,
    )
    @staticmethod
    def address_of(state: State, handle: int) -> int:
        """Return the address at which the block lies now. The policy adds the bytes that it moves to ledger[MOVED]."""

    @entry(
        called="after each alloc and resize, where addresses are kept", cost="O(1)", missing="each block is one range of bytes"
    )
    @staticmethod
    def first_piece(state: State, handle: int) -> int:
        """Return the number of the block's first piece; -1 if it has none. The four functions of pieces go together."""

    @entry(called="as first_piece", cost="O(1)", missing="each block is one range of bytes")
    @staticmethod
    def next_piece(state: State, handle: int, piece: int) -> int:
        """Return the number of the piece after `piece`; -1 after the last."""

    @entry(called="as first_piece", cost="O(1)", missing="each block is one range of bytes")
    @staticmethod
    def piece_at(state: State, handle: int, piece: int) -> tuple[int, int]:
        """Return the address and the bytes of a piece."""

    @entry(called="as first_piece", cost="O(1)", missing="each block is one range of bytes")
    @staticmethod
    def most_pieces(state: State) -> int:
        """Return an upper bound of the pieces of any block."""

    # Policies that know the whole trace, and policies around others.

    @entry(called="once, before a replay is planned", cost="any", missing="nothing", compiled=False)
    @staticmethod
    def require(options: Options) -> None:
        """Raise UsageError where this machine lacks what the policy needs for these options."""

    @entry(called="once, after init", cost="any", missing="the policy is told one event at a time", compiled=False)
    @staticmethod
    def plan(trace: Any, request: PlanRequest) -> Any:
        """Look at the whole trace and return a plan, which `follow` takes.

        The plan's `seconds` are the time of the replay where the policy's own work is done here, else None.
        """

    @entry(called="once, after plan", cost="any", missing="refused, where there is plan", compiled=False)
    @staticmethod
    def follow(state: State, plan: Any) -> State:
        """Return the state with the plan in it."""

    @entry(called="when the policy's text is read", cost="any", missing="the policy is used alone", compiled=False)
    @staticmethod
    def over(inner: Any, options_of: Callable[[str], dict[str, Any]]) -> dict[str, Callable[..., Any]]:
        """Return the policy's functions by name, made around the functions of another policy, `inner`.

        The option named by INNER says which policy; `options_of` gives that policy's options for the option's text.
        """


def constant(meaning: str, default: Any) -> Any:
    """Return a field of ``Constants`` with what it means."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class Constants:
    """The constants of a policy module."""

    ORDER: int = constant("place in lists of policies, lowest first", 100)
    GROUPS: tuple[str, ...] = constant("groups for `-p` that the policy belongs to, beside `all`", ())
    ALSO_WITH: tuple[str, ...] = constant("option texts with which a group has the policy once more", ())
    BARE: str | None = constant("the option that a word without `key=` is the value of", None)
    SWAPS: tuple[str, ...] = constant("the values that the option `swap` takes; the first is the default", ("scratch", "inplace"))
    COUNTERS: tuple[str, ...] = constant(
        "names of the policy's own columns of timeline.parquet, which `write_counters` fills", ()
    )
    COALESCES: bool = constant("once every block is freed, one block can have the whole capacity; `--check` tests it", False)
    VIRTUAL: bool = constant("addresses may lie beyond the reserved bytes and the capacity", False)
    FOOTPRINT_ONLY: bool = constant("only addresses and footprint are known: measures of holes and searches are null", False)
    VARIANTS: Mapping[str, Mapping[str, ModuleType]] | None = constant(
        "option -> value -> the module that serves this value in the policy's place", None
    )
    INNER: str = constant("the option that names the policy that `over` takes in", "")


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


def has_ledger(module: ModuleType) -> bool:
    """Whether the policy's state has a ledger (``memtrace.contract.ledger``); the engine keeps one for a policy without."""
    return "ledger" in getattr(vars(module).get("State"), "_fields", ())
