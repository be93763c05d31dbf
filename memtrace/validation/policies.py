"""Checks whether a module is a sound policy: random traces through it, in the interpreter first, and a verdict in words.

The same checks serve ``memtrace policies --check ./mine.py``, a policy author's own tests, and those of the package.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.contract.policy import constants_of
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.engine.replay import Placement
    from memtrace.trace import Trace

CAPACITIES = (None, 1 << 16, 1 << 13)  # bytes; None is unbounded, the last is too small for most traces
EVENTS = 150  # of each short trace
COMPILED_EVENTS = 2000  # of the long trace, for the compiled policy


@dataclass(frozen=True)
class Check:
    """One property that a policy has to have, and the first fault found, if any."""

    name: str
    fault: str | None

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return self.fault is None


@dataclass(frozen=True)
class Report:
    """The checks of one policy; after a check that fails, no later check is made."""

    policy: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check found a fault."""
        return all(check.ok for check in self.checks)

    def text(self) -> str:
        """Return the verdict in words: a line for each check, its fault if any, and the result."""
        lines = [
            f"{'ok  ' if check.ok else 'FAIL'}  {check.name}" + (f"\n      {check.fault}" if check.fault else "")
            for check in self.checks
        ]
        return "\n".join([*lines, f"{self.policy}: {'a sound policy' if self.ok else 'not a sound policy'}"])


def check_policy(policy: str | Path | ModuleType, *, traces: int = 30, seed: int = 0) -> Report:
    """Check a policy on random traces, and return a report.

    ``policy`` is a name with options, the path of a file, or a module. ``traces`` is the number of random traces, which are
    the same for the same ``seed``.
    """
    try:
        found = _policy(policy)
    except MemtraceError as error:
        return Report(str(policy), (Check("it can be loaded", str(error)),))
    samples = [random_trace(seed + i, EVENTS) for i in range(traces)]
    return Report(found.label, tuple(_checks(found, samples, seed)))


def _policy(policy: str | Path | ModuleType) -> Policy:
    """Return the policy that a name, a path or a module stands for; a module gets the default options."""
    from memtrace.engine.registry import Policy, options_of, parse_policy

    if isinstance(policy, ModuleType):
        options = {option.name: option.default for option in options_of(policy).values()}
        return Policy(policy.__name__, policy.__name__, policy, options)
    return parse_policy(str(policy))


def _checks(policy: Policy, samples: list[Trace], seed: int) -> Iterator[Check]:
    """Yield the results of the checks of a policy in order, up to the first that fails.

    ``samples`` are short random traces; ``seed`` makes the long one that the compiled checks use.
    """
    long = random_trace(seed + len(samples), COMPILED_EVENTS)
    steps: list[tuple[str, Callable[[], str | None]]] = [
        ("it runs in the interpreter", lambda: _first(samples, lambda t, c: _runs(policy, t, c))),
        ("every block is in range, aligned, and overlaps no other", lambda: _first(samples, lambda t, c: _sound(policy, t, c))),
        ("what it reports holds together", lambda: _first(samples, lambda t, c: _consistent(policy, t, c))),
        ("the same trace gives the same placement", lambda: _first(samples[:5], lambda t, c: _repeats(policy, t, c))),
        ("compiled, it places as interpreted", lambda: _first([*samples[:10], long], lambda t, c: _compiles(policy, t, c))),
        ("in pieces, it places as in one run", lambda: _first([long], lambda t, c: _batches(policy, t, c))),
    ]
    if constants_of(policy.module).COALESCES:
        steps.insert(4, ("when all is freed, all can be had again", lambda: _recovers(policy, samples)))
    for name, step in steps:
        fault = _guarded(step, policy)
        yield Check(name, fault)
        if fault is not None:
            return


def _guarded(step: Callable[[], str | None], policy: Policy) -> str | None:
    """Run one check and return its fault, or None; an exception of the policy is a fault too, with its line."""
    try:
        return step()
    except MemtraceError as error:
        return str(error)
    except Exception as error:
        file = policy.module.__file__
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: " if frames else ""
        return f"{where}{type(error).__name__}: {error}"


def _first(samples: list[Trace], find: Callable[[Trace, int | None], str | None]) -> str | None:
    """Return the first fault that ``find(trace, capacity)`` finds over all samples and CAPACITIES, naming the case; else None."""
    for trace in samples:
        for capacity in CAPACITIES:
            fault = find(trace, capacity)
            if fault is not None:
                return f"{trace.name}, capacity {capacity or 'unbounded'}: {fault}"
    return None


def _replay(policy: Policy, trace: Trace, capacity: int | None, **how: Any) -> Placement:
    """Replay a trace with every event sampled and every address kept, in the interpreter unless ``how`` says otherwise."""
    from memtrace.engine.replay import replay

    how = {"interpret": True, **how}
    return replay(trace, policy, capacity, on_oom="skip", samples=1 << 62, keep=True, **how)


def _runs(policy: Policy, trace: Trace, capacity: int | None) -> str | None:
    """Return a fault if a request fails though memory is unbounded."""
    placement = _replay(policy, trace, capacity)
    if capacity is None and placement.recorder.totals[2]:
        return "a request failed though memory is unbounded"
    return None


def _sound(policy: Policy, trace: Trace, capacity: int | None) -> str | None:
    """Return the first offence that the validator finds in a placement by the policy, as text."""
    from memtrace.validation.placements import validate

    offence = validate(_replay(policy, trace, capacity))
    return None if offence is None else offence.text


def _consistent(policy: Policy, trace: Trace, capacity: int | None) -> str | None:
    """Return a fault if the counts of bytes contradict each other after some event.

    Sound counts have live <= allocated, allocated + free <= reserved <= capacity, largest hole and releasable <= free, and
    none is negative.
    """
    from memtrace.engine.recorder import ROW

    rows = _replay(policy, trace, capacity).recorder.samples
    at = {name: rows[:, i] for i, name in enumerate(ROW)}
    limit = (1 << 62) if capacity is None else capacity
    rules = {
        "live bytes are more than allocated": at["live"] > at["allocated"],
        "allocated and free bytes are more than reserved": at["allocated"] + at["free"] > at["reserved"],
        "reserved bytes are more than the capacity": at["reserved"] > limit,
        "the largest hole is larger than all free bytes": at["largest"] > at["free"],
        "what could go back is more than is free": at["releasable"] > at["free"],
        "a count is negative": (np.delete(rows, ROW.index("releasable"), axis=1) < 0).any(axis=1),
    }
    for text, broken in rules.items():
        if broken.any():
            event = int(np.argmax(broken))
            figures = [f"{name} {at[name][event]}" for name in ("live", "allocated", "free", "reserved", "largest")]
            return f"event {event}: {text} ({', '.join(figures)})"
    return None


def _repeats(policy: Policy, trace: Trace, capacity: int | None) -> str | None:
    """Return a fault if a second replay of the trace gives another placement."""
    return _difference(_replay(policy, trace, capacity), _replay(policy, trace, capacity))


def _compiles(policy: Policy, trace: Trace, capacity: int | None) -> str | None:
    """Return a fault if the compiled policy places otherwise than the interpreted one."""
    return _difference(_replay(policy, trace, capacity), _replay(policy, trace, capacity, interpret=False))


def _batches(policy: Policy, trace: Trace, capacity: int | None) -> str | None:
    """Return a fault if the compiled policy places otherwise when the trace comes in batches of 7 rows."""
    whole = _replay(policy, trace, capacity, interpret=False)
    return _difference(whole, _replay(policy, trace, capacity, interpret=False, batch_rows=7))


def _difference(one: Placement, other: Placement) -> str | None:
    """Return the first event at which two placements differ, and in what, as text; None if they are equal."""
    assert one.addresses is not None and other.addresses is not None
    for name, left, right in (
        ("address", one.addresses, other.addresses),
        ("reserved", one.reserved, other.reserved),
        ("what is counted", one.recorder.samples, other.recorder.samples),
    ):
        assert left is not None and right is not None
        if left.shape != right.shape or not np.array_equal(left, right):
            event = int(np.argwhere(left != right)[0][0]) if left.shape == right.shape else min(len(left), len(right))
            return f"event {event}: {name} is {left[event].tolist()}, then {right[event].tolist()}"
    return None


def _recovers(policy: Policy, samples: list[Trace]) -> str | None:
    """Return a fault unless one block of the whole capacity fits after all blocks of a trace are freed.

    For each sample a random trace of EVENTS events is replayed, extended by frees of all its blocks and one request.
    """
    from memtrace.trace import from_events

    capacity = 1 << 16
    for i, trace in enumerate(samples):
        rows = random_rows(i, EVENTS)
        live: dict[int, None] = {}
        for op, block, *_ in rows:
            if op == "alloc":
                live[block] = None
            elif op == "free":
                live.pop(block, None)
        rows += [("free", block) for block in live] + [("alloc", 10**6, capacity)]
        placement = _replay(policy, from_events(rows, name=trace.name), capacity)
        assert placement.addresses is not None
        if placement.addresses[-1] != 0:
            return f"{trace.name}: {capacity} bytes are free, but a block of that size gets {placement.addresses[-1]}"
    return None


def random_trace(seed: int, events: int) -> Trace:
    """Return a valid random trace of so many events; the same for the same seed."""
    from memtrace.trace import from_events

    return from_events(random_rows(seed, events), name=f"random trace {seed}")


def random_rows(seed: int, events: int) -> list[tuple[Any, ...]]:
    """Return rows (op, id, size, time, align) of a valid trace that grows, churns and shrinks by turns."""
    chance = random.Random(seed)
    rows: list[tuple[Any, ...]] = []
    live: list[int] = []
    most = chance.choice((4, 30, 120))
    for event in range(events):
        grow = 0.75 if (event // 40) % 2 == 0 else 0.35
        if not live or (len(live) < most and chance.random() < grow):
            live.append(event)
            align = chance.choice((None, None, None, 16, 256))
            rows.append(("alloc", event, _size(chance), None, align))
        elif chance.random() < 0.12:
            rows.append(("realloc", chance.choice(live), _size(chance) + 1))
        else:
            rows.append(("free", live.pop(chance.randrange(len(live)))))
    return rows


def _size(chance: random.Random) -> int:
    """Return a random size in bytes: small, medium or a power of two from 16."""
    return chance.choice((chance.randrange(0, 64), chance.randrange(1, 2000), 16 << chance.randrange(6)))
