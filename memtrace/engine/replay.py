"""Trace and policy -> placement: where every block would have lived, and what was counted on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import PolicyError, UsageError

if TYPE_CHECKING:
    from memtrace.engine.recorder import Recorder
    from memtrace.engine.registry import Policy
    from memtrace.trace import Events, Trace

UNBOUNDED = 1 << 62
DEFAULT_SAMPLES = 2000
ALL_SAMPLES = 1 << 62
Detail = Literal["bare", "search", "full"]
OnOom = Literal["stop", "skip"]
Progress = Callable[[int, int], None]
Loop = Callable[..., tuple[int, int]]
Watch = Callable[["Events", NDArray[np.int64], NDArray[np.int64]], None]  # events replayed, addresses, rows of places
Begin = Callable[[Any, Any], tuple[Any, int]]  # state, blocks by slot -> the state to begin with, and the first event


class Look(Protocol):
    """Is shown a replay's live blocks now and then."""

    events: NDArray[np.int64]  # after which it looks, ascending

    def __call__(self, events: Events, came: int, blocks: Any, state: Any) -> None:
        """These events were replayed up to ``came``; the blocks by slot, and the policy's state."""


@dataclass(frozen=True, eq=False)
class Placement:
    """One trace replayed through one policy. ``measure`` turns it into a row of the summary."""

    trace: Trace
    policy: Policy
    capacity: int | None
    recorder: Recorder
    ledger: NDArray[np.int64]
    addresses: NDArray[np.int64] | None  # per event: of an alloc or realloc; -1 where it failed, -2 where there is none
    places: NDArray[np.int64] | None  # rows (event, block, address, bytes): pieces and moves of blocks (engine.places)
    reserved: NDArray[np.int64] | None  # per event: bytes reserved after it
    batch_cpu_seconds: tuple[float, ...]
    seconds: float  # in the compiled loop alone; of a real allocator: in its own calls
    blocks: Any = None  # a record for each slot, as they are at the end (engine.blocks.BLOCK)
    state: Any = None  # what the policy's init made, as it is at the end

    @property
    def events(self) -> int:
        """Events replayed: all, or up to and with the one at which memory ran out."""
        return int(self.recorder.totals[0])

    @property
    def oom_event(self) -> int | None:
        from memtrace.engine.recorder import OOM_EVENT

        event = int(self.recorder.totals[OOM_EVENT])
        return None if event < 0 else event

    @property
    def status(self) -> str:
        return "ok" if self.oom_event is None else "oom"

    @property
    def cpu_seconds(self) -> float:
        return sum(self.batch_cpu_seconds)

    @property
    def peak_reserved_bytes(self) -> int:
        from memtrace.engine.recorder import PEAK_RESERVED

        return int(self.recorder.totals[PEAK_RESERVED])


def replay(
    trace: Trace,
    policy: Policy | str,
    capacity: int | None = None,
    *,
    on_oom: OnOom = "stop",
    samples: int = DEFAULT_SAMPLES,
    detail: Detail = "full",
    keep: bool = False,
    interpret: bool = False,
    batch_rows: int = 1 << 20,
    loop: Loop | None = None,
    progress: Progress | None = None,
    begin: Begin | None = None,
    watch: Watch | None = None,
    look: Look | None = None,
) -> Placement:
    """Replay ``trace`` through ``policy`` within ``capacity`` bytes (None: the heap grows as needed).

    ``samples`` events are sampled. ``detail="search"`` leaves out all but the counts of work, ``"bare"`` those too.
    ``keep`` keeps every event's address. ``interpret`` runs the policy's own text, uncompiled. ``loop`` is what
    `loop_of` gave, for a caller that replays often. ``progress`` is called with events done and events in all. ``begin``
    sets the state and the live blocks up for a replay that starts in the middle, at an event of the first batch. ``watch``
    is shown every batch with the addresses in it, as ``keep`` would keep them, and nothing is kept. ``look`` is shown the
    live blocks after each of its ``events``. Raises UsageError for options that do not go together, PolicyError for a
    policy that cannot be compiled or fails.
    """
    from memtrace.contract.ledger import TOLD, set_detail
    from memtrace.contract.request import NOTHING
    from memtrace.engine.binding import bind
    from memtrace.engine.blocks import new_blocks
    from memtrace.engine.recorder import drained, new_recorder
    from memtrace.engine.registry import parse_policy
    from memtrace.engine.serving import Mode
    from memtrace.trace.model import cut

    policy = parse_policy(policy) if isinstance(policy, str) else policy
    bound = bind(policy.module)
    facts = trace.facts
    state = initial_state(policy, bound, capacity, facts.max_live + 1)
    foreseen = foresee(trace, policy, capacity, samples if detail == "full" else 0, on_oom)
    if foreseen is not None:
        state = policy.module.follow(state, foreseen)
    holes = bound.first_holes(state) if bound.first_holes else None
    set_detail(state.ledger, facts.median_request, facts.p99_request, detail == "full", detail != "bare", holes)
    state.ledger[TOLD] = facts.completes > 0
    counters = len(getattr(policy.module, "COUNTERS", ()))
    recorder = new_recorder(facts.events, facts.max_live, samples, counters, detail == "full")
    mode = Mode(on_oom == "skip", policy.options["swap"] == "scratch", keep or watch is not None)
    blocks = new_blocks(facts.max_live)
    run = loop or (_interpreted(bound) if interpret else _compiled(policy, bound))
    kept: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    places: list[NDArray[np.int64]] = []
    seconds, cpu, done, stopped = 0.0, [], 0, False
    first, seen = 0, 0
    if begin is not None:
        state, first = begin(state, blocks)
        begun_with(recorder, blocks, first)
    batches = trace.batches(batch_rows)
    for events in batches if look is None else cut(batches, look.events):
        addresses, reserved = (np.full(events.op.size if mode.keep else 1, NOTHING) for _ in range(2))
        started, cpu_started = time.perf_counter(), time.thread_time()
        state, recorder, came, stopped = _replay_batch(
            run, policy, bound, events, state, blocks, recorder, mode, addresses, reserved, places, first
        )
        first = 0
        seconds += time.perf_counter() - started
        cpu.append(time.thread_time() - cpu_started)
        done += came
        if keep:
            kept.append((addresses[:came], reserved[:came]))
        if watch is not None:
            rows, recorder = drained(recorder, 0)
            places.append(rows)
            watch(events, addresses[:came], np.concatenate(places[seen:]))
            if not keep:
                places.clear()
            seen = len(places)
        if look is not None:
            look(events, came, blocks, state)
        if progress is not None:
            progress(done, facts.events)
        if stopped:
            break
    return Placement(
        trace,
        policy,
        capacity,
        recorder,
        state.ledger,
        _joined([a for a, _ in kept]) if keep else None,
        np.concatenate([*places, drained(recorder, 0)[0]]) if keep else None,
        _joined([r for _, r in kept]) if keep else None,
        tuple(cpu),
        getattr(foreseen, "seconds", seconds),
        blocks,
        state,
    )


def begun_with(recorder: Recorder, blocks: Any, first: int) -> None:
    """Count the events that are left out, and the blocks that are there."""
    from memtrace.engine.blocks import DEAD
    from memtrace.engine.recorder import EVENT, LIVE, VARIED

    recorder.totals[EVENT] = first
    recorder.totals[VARIED] = 1
    recorder.totals[LIVE] = int(blocks["requested"][blocks["status"] != DEAD].sum())


def _joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def initial_state(policy: Policy, bound: Any, capacity: int | None, max_live: int) -> Any:
    options = {name: value for name, value in policy.options.items() if name != "swap"}
    try:
        return bound.init(UNBOUNDED if capacity is None else capacity, max_live, **options)
    except ValueError as error:
        raise UsageError(f"{policy.label}: {error}") from None


def foresee(trace: Trace, policy: Policy, capacity: int | None, samples: int, on_oom: OnOom) -> Any:
    """What a policy is to follow that is told every address beforehand; None for one that is not."""
    foresees = getattr(policy.module, "FORESEES", None)
    if foresees == "packing":
        return pack(trace, policy)
    if foresees == "native":
        from memtrace.engine.recorder import evenly
        from memtrace.native.plan import plan

        options: dict[str, Any] = {name: policy.options[name] for name in ("library", "footprint", "touch", "threads")}
        return plan(trace, evenly(trace.facts.events, samples), **options, capacity=capacity, stop=on_oom == "stop")
    return None


def check_foreseen(policy: Policy) -> None:
    """Raise UsageError where a real allocator is asked for that this machine lacks."""
    if getattr(policy.module, "FORESEES", None) == "native":
        from memtrace.native.libraries import find

        find(str(policy.options["library"]))


def pack(trace: Trace, policy: Policy) -> Any:
    """Where every request goes if the future is known: the best of offline packing and two online policies."""
    from memtrace.packing.packing import plan
    from memtrace.trace import Op

    align, effort = int(policy.options["align"]), int(policy.options["effort"])
    requests = np.concatenate([(events.op == Op.ALLOC) | (events.op == Op.REALLOC) for events in trace.batches()])
    online = []
    for name in ("first-fit", "best-fit"):
        placement = replay(trace, f"{name}:align={align},min_block={align}", keep=True)
        assert placement.addresses is not None
        online.append(placement.addresses[requests])
    return plan(trace, align, effort, online)


def loop_of(policy: Policy) -> Loop:
    """A policy's compiled loop, looked up once."""
    from memtrace.engine.binding import bind

    return _compiled(policy, bind(policy.module))


def warm(policy: Policy) -> None:
    """Compile a policy's loop, or load it from the cache, on a trace of one event."""
    from memtrace.trace import from_events

    replay(from_events([("alloc", 1, 1)]), policy)


def _replay_batch(
    run: Callable[..., tuple[int, int]],
    policy: Policy,
    bound: Any,
    events: Events,
    state: Any,
    blocks: Any,
    recorder: Recorder,
    mode: Any,
    addresses: NDArray[np.int64],
    reserved: NDArray[np.int64],
    places: list[NDArray[np.int64]],
    start: int,
) -> tuple[Any, Recorder, int, bool]:
    """Replay one batch from an event on; the state is made larger, and full rows of places are kept, as often as asked."""
    from memtrace.engine.loop import NO_ROOM, STOPPED, TOO_SMALL
    from memtrace.engine.places import rows_needed
    from memtrace.engine.recorder import drained

    while True:
        start, why = run(*events, start, state, blocks, recorder, mode, addresses, reserved)
        if why == NO_ROOM:
            rows, recorder = drained(recorder, rows_needed(bound, state, blocks))
            places.append(rows)
        elif why == TOO_SMALL:
            state = enlarged(policy, bound, state)
        else:
            return state, recorder, start, why == STOPPED


def enlarged(policy: Policy, bound: Any, state: Any) -> Any:
    if bound.enlarge is None:
        raise PolicyError(f"{policy.label} asks for a larger state, but has no function enlarge")
    return bound.enlarge(state)


def _interpreted(bound: Any) -> Callable[..., tuple[int, int]]:
    from memtrace.engine.loop import specialise

    return specialise(bound)


def _compiled(policy: Policy, bound: Any) -> Callable[..., tuple[int, int]]:
    from numba.core.errors import NumbaError

    from memtrace.engine.compile import compiled, explain

    loop = compiled(policy.module, bound)

    def run(*arguments: Any) -> tuple[int, int]:
        try:
            return loop(*arguments)
        except NumbaError as error:
            raise explain(error, policy.module) from error

    return run
