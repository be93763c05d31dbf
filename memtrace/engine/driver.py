"""Drive a compiled loop: call it, do what it stopped for, call it again, until the batch is replayed.

A loop allocates nothing. It stops at an event for which an array is too small, and returns how far it came and why. `drive` is
this protocol; replay, Heap and the replay over tiers all use it. `Run` is what replay and Heap drive: one policy's loop with
everything that changes while it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import PolicyError, PoolTooSmallError, UsageError
from memtrace.structures.whole_pool import PoolTooSmall

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    from memtrace.engine.recorder import Recorder
    from memtrace.engine.registry import Policy
    from memtrace.engine.serving import Mode
    from memtrace.trace import Events, Trace

UNBOUNDED = 1 << 62  # bytes: the capacity of a heap without a limit

Loop = Callable[..., tuple[int, int]]  # (events, first event, state, ...) -> events replayed, why it stopped


def drive(step: Callable[[int], tuple[int, int]], remedies: Mapping[int, Callable[[], None]], start: int = 0) -> tuple[int, bool]:
    """Replay one batch from event `start` of it on; return the events replayed and whether the replay ends with this batch.

    `step(event)` calls the loop from an event on. `remedies` has a function for each reason to stop after which it can go on.
    """
    from memtrace.engine.loop import STOPPED

    while True:
        start, why = step(start)
        if why not in remedies:
            return start, why == STOPPED
        remedies[why]()


@dataclass(kw_only=True, eq=False)
class Run:
    """One policy's loop, its state, and what the loop writes down."""

    policy: Policy
    trace: str  # its name, for messages; empty where there is none
    bound: Any  # the module that `engine.binding.bind` makes of the policy
    loop: Loop
    state: Any  # the policy's state; replaced when it is enlarged
    blocks: Any  # a record for each slot (engine.blocks.BLOCK)
    recorder: Recorder  # replaced when its table of places is emptied
    mode: Mode
    places: list[NDArray[np.int64]] = field(default_factory=list)  # rows of places taken from the recorder so far

    def replay(
        self, events: Events, addresses: NDArray[np.int64], reserved: NDArray[np.int64], start: int = 0
    ) -> tuple[int, bool]:
        """Replay a batch from event `start` on; return the events replayed and whether the replay ends here.

        `addresses` and `reserved`, int64[event], are filled where the mode says that they are kept. Raise PolicyError for what a
        policy may not do (`engine.offences`).
        """
        from memtrace.engine.loop import NO_ROOM, OFFENCE, TOO_SMALL
        from memtrace.engine.offences import offence
        from memtrace.engine.serving import Kept

        kept = Kept(addresses=addresses, reserved=reserved)

        def step(event: int) -> tuple[int, int]:
            came, why = self.loop(events, event, self.state, self.blocks, self.recorder, self.mode, kept)
            if why == OFFENCE:
                raise offence(self, events, came)
            return came, why

        return drive(step, {NO_ROOM: self.take_places, TOO_SMALL: self.enlarge}, start)

    def take_places(self) -> None:
        """Move the recorder's rows of places to `places`, and make room for those that one event may add."""
        from memtrace.engine.places import rows_needed
        from memtrace.engine.recorder import empty_places

        rows, self.recorder = empty_places(self.recorder, rows_needed(self.bound, self.state, self.blocks))
        self.places.append(rows)

    def enlarge(self) -> None:
        """Replace the state by one with larger arrays."""
        self.state = enlarged(self.policy, self.bound, self.state)


def enlarged(policy: Policy, bound: Any, state: Any) -> Any:
    """Return the state with larger arrays; PolicyError if the policy has no function for that."""
    if bound.enlarge is None:
        raise PolicyError(f"{policy.label} asks for a larger state, but has no function enlarge")
    return bound.enlarge(state)


def initial_state(policy: Policy, bound: Any, capacity: int | None, max_live: int) -> Any:
    """Return the state that a policy's init makes; UsageError for options that cannot be, PoolTooSmallError for such a pool."""
    options = {name: value for name, value in policy.options.items() if name != "swap"}
    try:
        state = bound.init(UNBOUNDED if capacity is None else capacity, max_live, **options)
    except PoolTooSmall as error:
        raise PoolTooSmallError(f"{policy.label}: {error}") from None
    except ValueError as error:
        raise UsageError(f"{policy.label}: {error}") from None
    check_ledger(policy, state)
    return state


def check_ledger(policy: Policy, state: Any) -> None:
    """Raise PolicyError if the ledger in a state is not one that `contract.ledger.new_ledger` returns."""
    from memtrace.contract.ledger import LENGTH

    ledger = getattr(state, "ledger", None)
    if isinstance(ledger, np.ndarray) and (ledger.dtype != np.int64 or ledger.shape != (LENGTH,)):
        raise PolicyError(
            f"{policy.label}: the ledger in the state is {ledger.dtype} of shape {ledger.shape}, not int64 of ({LENGTH},)\n"
            "try: make it with new_ledger(reserved) of memtrace.contract.ledger"
        )


def started(bound: Any, state: Any, trace: Trace | None) -> Any:
    """Return the state with what the policy's ``start``, if it has one, keeps of the trace (None: there is no trace)."""
    from memtrace.contract.ops import FREE
    from memtrace.contract.policy import TraceFacts

    if bound.start is None:
        return state
    if trace is None:
        no_times, no_streams = lambda: np.zeros(1, np.int64), lambda: False
        return bound.start(state, TraceFacts(name="", events=0, tags=(), times=no_times, frees_name_streams=no_streams))

    def times() -> NDArray[np.int64]:
        """Return the time of each event in ns; one element where the trace has no times."""
        known = "time" in trace.columns
        return trace.times(np.arange(trace.facts.events)) if known else np.zeros(1, np.int64)

    def frees_name_streams() -> bool:
        """Return whether any free names a stream other than 0."""
        return "stream" in trace.columns and any(bool(((e.op == FREE) & (e.stream != 0)).any()) for e in trace.batches())

    facts = TraceFacts(
        name=trace.name,
        events=trace.facts.events,
        tags=tuple(trace.tags),
        times=times,
        frees_name_streams=frees_name_streams,
    )
    return bound.start(state, facts)


def limit_of(policy: Policy, capacity: int | None) -> int:
    """Return the bytes that a policy may reserve; the footprint of a real allocator is its own, and has no limit here."""
    from memtrace.contract.policy import constants_of

    return UNBOUNDED if capacity is None or constants_of(policy.module).FOOTPRINT_ONLY else capacity


def interpreted_loop(policy: ModuleType, bound: Any) -> Loop:
    """Return a policy's loop as plain Python.

    The records of the package's own policies are views that the interpreter reads fast, as Python's integers. Others keep
    numpy's, which wrap round as compiled code does.
    """
    from memtrace.engine.loop import specialise
    from memtrace.records import viewed

    loop, known = specialise(bound), policy.__name__.startswith("memtrace.")

    def view(state: Any) -> Any:
        """Return the state for the interpreter; the engine's own part of it is a view for all policies."""
        if known:
            return viewed(state)
        return state._replace(gaps=viewed(state.gaps)) if "gaps" in getattr(state, "_fields", ()) else state

    def run(events: Events, start: int, state: Any, blocks: Any, *others: Any) -> tuple[int, int]:
        """Replay a batch; warnings of numpy about numbers that wrap round are left out, as in compiled code."""
        with np.errstate(over="ignore"):
            return loop(events, start, view(state), viewed(blocks), *others)

    return run


def compiled_loop(policy: Policy, bound: Any) -> Loop:
    """Return a policy's loop as machine code; a policy that does not compile raises PolicyError at the first call."""
    from memtrace.engine.compile import code_of
    from memtrace.engine.explanation import explain

    loop = code_of(policy.module, bound)

    def run(*arguments: Any) -> tuple[int, int]:
        try:
            return loop(*arguments)
        except Exception as error:  # for what it does not know, the compiler raises more kinds than NumbaError
            raise explain(error, policy.module) from error

    return run


def loop_of(policy: Policy) -> Loop:
    """Return a policy's compiled loop, for a caller that replays often."""
    from memtrace.engine.binding import bind

    return compiled_loop(policy, bind(policy.module))
