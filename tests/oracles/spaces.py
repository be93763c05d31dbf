"""A space of the oracle and a policy, driven by the same events: every figure that both know, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from comparison import found, oracle_counts, oracle_states, replayed
from oracle import Event, Outcome, Replay, read_state
from oracle_space import OutOfMemoryError, Space

from memtrace.engine.replay import Placement


def drive(
    space: Space, events: Sequence[Event], on_oom: str, note: Callable[[Event, int | None], None] = lambda event, address: None
) -> Outcome:
    """Do the events; ``note`` is called after each with the address it gave."""
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
        if address is not None:
            address = getattr(space, "where", {}).get(address, address)  # blocks that move are known by keys
        note(event, address)
        read_state(outcome, replay, address)
        if outcome.status == "oom":
            break
    outcome.fits = space.fits
    outcome.splits, outcome.merges = space.counts["splits"], space.counts["merges"]
    outcome.reserve_calls, outcome.release_calls = space.counts["reserve"], space.counts["release"]
    outcome.moved_bytes, outcome.skipped_events = replay.moved + space.counts["moved"], replay.skipped
    return outcome


def unlike(placement: Placement, outcome: Outcome) -> dict[str, tuple[Any, Any]]:
    """Figure -> what was found and what was expected, where they differ."""
    facts = placement.trace.facts
    want = {**oracle_states(outcome, facts.median_request, facts.p99_request), **oracle_counts(outcome)}
    have = found(placement)
    return {name: (have[name], want[name]) for name in want if have[name] != want[name]}


def twice_the_same(policy: str, case: tuple[Sequence[Event], int | None, str, dict[str, Any]]) -> None:
    """Compiled equals interpreted, and pieces of a trace equal the whole, in every figure and every place."""
    whole = replayed(policy, *case)
    for other in (replayed(policy, *case, interpret=True), replayed(policy, *case, batch_rows=3)):
        assert found(whole) == found(other)
        assert whole.places is not None and other.places is not None and whole.places.tolist() == other.places.tolist()
        assert whole.blocks.tolist() == other.blocks.tolist()
