"""Replay a trace through a policy; the result is a placement: where every block would have lived, and what was counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from types import ModuleType

    from memtrace.engine.driver import Loop, Run
    from memtrace.engine.recorder import Recorder
    from memtrace.engine.registry import Policy
    from memtrace.trace import Events, Trace

DEFAULT_SAMPLES = 2000
ALL_SAMPLES = 1 << 62
Detail = Literal["bare", "search", "full"]
OnOom = Literal["stop", "skip"]
Progress = Callable[[int, int], None]  # events replayed, events in all
Watch = Callable[["Events", NDArray[np.int64], NDArray[np.int64]], None]  # events replayed, addresses, rows of places
Begin = Callable[[Any, Any], tuple[Any, int]]  # state, blocks by slot -> the state to begin with, and the first event


class Look(Protocol):
    """A function that is shown a replay's live blocks after some of the events."""

    events: NDArray[np.int64]  # the events after which it is called, ascending

    def __call__(self, events: Events, came: int, blocks: Any, state: Any) -> Any:
        """Look at `blocks` (a record for each slot) and at the policy's `state` after the first `came` of these `events`.

        Return None, or the state with which the replay is to go on.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class Hooks:
    """What a caller adds to a replay."""

    progress: Progress | None = None  # called after each batch
    begin: Begin | None = None  # sets the state and the live blocks up for a replay that starts at an event of the first batch
    watch: Watch | None = None  # shown each batch with the addresses that `keep` would keep
    look: Look | None = None  # shown the live blocks after each of its events
    loop: Loop | None = None  # the policy's loop, from `loop_of`, for a caller that replays often


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """One trace replayed through one policy. ``measure`` turns it into a row of the summary."""

    trace: Trace
    policy: Policy
    capacity: int | None  # bytes; None: no limit
    recorder: Recorder
    ledger: NDArray[np.int64]
    addresses: NDArray[np.int64] | None  # per event: of an alloc or realloc; -1 where it failed, -2 where there is none
    places: NDArray[np.int64] | None  # rows (event, block, address, bytes): pieces and moves of blocks (engine.places)
    reserved: NDArray[np.int64] | None  # per event: bytes reserved after it
    batch_cpu_seconds: tuple[float, ...]
    seconds: float  # in the loop alone; of a real allocator: in its own calls
    interpreted: int  # events that the interpreter replayed, and not compiled code
    blocks: Any  # a record for each slot, as they are at the end (engine.blocks.BLOCK)
    state: Any  # the policy's state at the end

    @property
    def events(self) -> int:
        """Events replayed: all, or up to and with the one at which memory ran out."""
        return int(self.recorder.totals[0])

    @property
    def oom_event(self) -> int | None:
        """The event at which memory ran out; None if it did not."""
        from memtrace.engine.recorder import OOM_EVENT

        event = int(self.recorder.totals[OOM_EVENT])
        return None if event < 0 else event

    @property
    def status(self) -> str:
        """The word of the summary: ok, or oom if memory ran out."""
        return "ok" if self.oom_event is None else "oom"

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of this thread in the loop, over all batches."""
        return sum(self.batch_cpu_seconds)

    @property
    def peak_reserved_bytes(self) -> int:
        """The most bytes reserved after any event."""
        from memtrace.engine.recorder import PEAK_RESERVED

        return int(self.recorder.totals[PEAK_RESERVED])


def replay(
    trace: Trace,
    policy: Policy | str | ModuleType,
    capacity: int | None = None,
    *,
    on_oom: OnOom = "stop",
    samples: int = DEFAULT_SAMPLES,
    detail: Detail = "full",
    keep: bool = False,
    interpret: bool | None = None,
    batch_rows: int = 1 << 20,
    hooks: Hooks = Hooks(),
) -> Placement:
    """Replay ``trace`` through ``policy`` within ``capacity`` bytes (None: the heap grows as needed).

    ``samples`` events are sampled. With ``detail="bare"`` only addresses, live bytes and the peak of reserved bytes are known at
    the end: nothing else is written down, and the other measures are None. With ``"search"`` the policy also counts the holes
    that it inspects, and the counts are not written down either: this is for benchmarks of the counting.
    ``keep`` keeps every event's address. ``interpret=True`` runs the policy's own text, uncompiled, and ``False`` only compiled
    code; None, whichever is sooner done (`engine.handover`), with the same results. ``batch_rows`` events are replayed at a time.
    Raises UsageError for options that do not go together, PolicyError for a policy that cannot be compiled or fails.
    """
    from memtrace.engine.explanation import blamed
    from memtrace.engine.registry import policy as policy_of

    policy = policy_of(policy)
    with blamed(policy.module):
        run, plan_seconds = assembled(trace, policy, capacity, on_oom, samples, detail, keep, interpret, hooks)
        kept = Kept(keep=keep, interpreted=interpret is True)
        first = begun(run, hooks.begin) if hooks.begin is not None else 0
        for events in batches(trace, batch_rows, hooks.look):
            ended = replay_batch(run, events, first, kept, hooks)
            first = 0
            if hooks.progress is not None:
                hooks.progress(kept.done, trace.facts.events)
            if ended:
                break
    return finished(trace, policy, capacity, run, kept, plan_seconds)


@dataclass(kw_only=True)
class Kept:
    """What a replay keeps of its batches."""

    keep: bool  # addresses and reserved bytes of every event are kept
    interpreted: bool  # the interpreter replays all events
    addresses: list[NDArray[np.int64]] = field(default_factory=list)
    reserved: list[NDArray[np.int64]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    seconds: float = 0.0
    done: int = 0  # events replayed
    watched: int = 0  # rows of places that `watch` was shown, in tables


def assembled(
    trace: Trace,
    policy: Policy,
    capacity: int | None,
    on_oom: OnOom,
    samples: int,
    detail: Detail,
    keep: bool,
    interpret: bool | None,
    hooks: Hooks,
) -> tuple[Run, float | None]:
    """Return what the driver needs for a replay, and the seconds of a policy that did its own work in ``plan`` (else None)."""
    from memtrace.contract.ledger import HAS_COMPLETIONS, set_detail
    from memtrace.contract.policy import constants_of, has_ledger
    from memtrace.engine.binding import bind
    from memtrace.engine.blocks import new_blocks
    from memtrace.engine.driver import Run, initial_state, limit_of, started
    from memtrace.engine.explanation import check_state
    from memtrace.engine.recorder import new_recorder
    from memtrace.engine.serving import Mode

    bound, facts = bind(policy.module), trace.facts
    state = initial_state(policy, bound, capacity, facts.max_live + 1)
    check_state(policy.module, state, bool(interpret))
    state, plan_seconds = planned(state, trace, policy, capacity, samples if detail == "full" else 0, on_oom)
    state = started(bound, state, trace)
    holes = bound.first_holes(state) if bound.first_holes else None
    set_detail(state.ledger, facts.median_request, facts.p99_request, detail == "full", detail != "bare", holes)
    if not has_ledger(policy.module):
        set_detail(state.gaps.ledger, facts.median_request, facts.p99_request, detail == "full", False)
    state.ledger[HAS_COMPLETIONS] = facts.completes > 0
    counters = len(constants_of(policy.module).COUNTERS)
    run = Run(
        policy=policy,
        trace=trace.name,
        bound=bound,
        loop=hooks.loop or chosen_loop(policy, bound, facts.events, interpret),
        state=state,
        blocks=new_blocks(facts.max_live),
        recorder=new_recorder(facts.events, facts.max_live, samples, counters, detail == "full"),
        mode=Mode(
            skip=on_oom == "skip",
            swap_scratch=policy.options["swap"] == "scratch",
            keep=keep or hooks.watch is not None,
            limit=limit_of(policy, capacity),
        ),
    )
    return run, plan_seconds


def chosen_loop(policy: Policy, bound: Any, events: int, interpret: bool | None) -> Loop:
    """Return the loop of a policy for a replay of so many events: interpreted, compiled, or whichever is sooner done."""
    from memtrace.engine.driver import compiled_loop, interpreted_loop

    if interpret is None:
        from memtrace.engine.handover import Handover

        return Handover(policy, bound, events)
    return interpreted_loop(policy.module, bound) if interpret else compiled_loop(policy, bound)


def planned(
    state: Any, trace: Trace, policy: Policy, capacity: int | None, samples: int, on_oom: OnOom
) -> tuple[Any, float | None]:
    """Return the state with the plan of a policy that has to know the whole trace, and the plan's seconds."""
    from memtrace.contract.policy import PlanRequest, function_of
    from memtrace.engine.recorder import even_events

    plan, follow = function_of(policy.module, "plan"), function_of(policy.module, "follow")
    if plan is None or follow is None:
        return state, None

    def place(text: str) -> NDArray[np.int64]:
        addresses = replay(trace, text, keep=True).addresses
        assert addresses is not None
        return addresses

    request = PlanRequest(
        options=policy.options,
        capacity=capacity,
        sample_events=even_events(trace.facts.events, samples),
        stop=on_oom == "stop",
        place=place,
    )
    made = plan(trace, request)
    return follow(state, made), made.seconds


def begun(run: Run, begin: Begin) -> int:
    """Let `begin` set up the state and the live blocks; return the first event of the replay, before which none is counted."""
    from memtrace.engine.blocks import DEAD
    from memtrace.engine.recorder import EVENT, HIGHEST_END, LIVE, VARIED

    run.state, first = begin(run.state, run.blocks)
    run.recorder.totals[EVENT] = first
    run.recorder.totals[VARIED] = 1
    live = run.blocks[run.blocks["status"] != DEAD]
    run.recorder.totals[LIVE] = int(live["requested"].sum())
    run.recorder.totals[HIGHEST_END] = int((live["address"] + live["requested"]).max(initial=0))
    return first


def batches(trace: Trace, rows: int, look: Look | None) -> Iterator[Events]:
    """Yield the trace's events in batches of at most `rows`, which end at each event after which `look` is called."""
    from memtrace.trace.model import split_after

    found = trace.batches(rows)
    return found if look is None else split_after(found, look.events)


def replay_batch(run: Run, events: Events, first: int, kept: Kept, hooks: Hooks) -> bool:
    """Replay a batch from its event `first` on, and show it to the hooks; return whether the replay ends with it."""
    from memtrace.contract.request import NOTHING
    from memtrace.engine.recorder import empty_places

    addresses, reserved = (np.full(events.op.size if run.mode.keep else 1, NOTHING) for _ in range(2))
    started, cpu_started = time.perf_counter(), time.thread_time()
    came, ended = run.replay(events, addresses, reserved, first)
    kept.seconds += time.perf_counter() - started
    kept.cpu.append(time.thread_time() - cpu_started)
    kept.done += came
    if kept.keep:
        kept.addresses.append(addresses[:came])
        kept.reserved.append(reserved[:came])
    if hooks.watch is not None:
        rows, run.recorder = empty_places(run.recorder, 0)
        run.places.append(rows)
        hooks.watch(events, addresses[:came], np.concatenate(run.places[kept.watched :]))
        if not kept.keep:
            run.places.clear()
        kept.watched = len(run.places)
    if hooks.look is not None:
        changed = hooks.look(events, came, run.blocks, run.state)
        run.state = run.state if changed is None else changed
    return ended


def finished(trace: Trace, policy: Policy, capacity: int | None, run: Run, kept: Kept, plan_seconds: float | None) -> Placement:
    """Return the placement at the end of a replay."""
    from memtrace.contract.ledger import settle
    from memtrace.engine.recorder import empty_places

    settle(run.state.ledger)
    return Placement(
        trace=trace,
        policy=policy,
        capacity=capacity,
        recorder=run.recorder,
        ledger=run.state.ledger,
        addresses=joined(kept.addresses) if kept.keep else None,
        places=np.concatenate([*run.places, empty_places(run.recorder, 0)[0]]) if kept.keep else None,
        reserved=joined(kept.reserved) if kept.keep else None,
        batch_cpu_seconds=tuple(kept.cpu),
        seconds=kept.seconds if plan_seconds is None else plan_seconds,
        interpreted=kept.done if kept.interpreted else getattr(run.loop, "stepped", 0),
        blocks=run.blocks,
        state=run.state,
    )


def joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the parts as one array; an empty one of no parts."""
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def check_required(policy: Policy) -> None:
    """Raise UsageError where this machine lacks what the policy needs, such as an allocator's library."""
    from memtrace.contract.policy import function_of

    require = function_of(policy.module, "require")
    if require is not None:
        require(policy.options)


WARM_POOLS = (1 << 20, 1 << 40)  # bytes of a pool that a policy takes whole, on the trace of one event


def warm(policy: Policy) -> None:
    """Compile a policy's loop, or load it from the cache, on a trace of one event.

    A policy that refuses to go without a limit, as one that takes a pool whole, gets one: the code is the same for all.
    """
    from memtrace.errors import UsageError
    from memtrace.trace import from_events

    refused: UsageError | None = None
    for capacity in (None, *WARM_POOLS):
        try:
            replay(from_events([("alloc", 1, 1)]), policy, capacity, interpret=False)
            return
        except UsageError as error:
            refused = refused or error
    if refused is not None:
        raise refused
