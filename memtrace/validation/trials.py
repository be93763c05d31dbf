"""One policy, tried on one trace after the other with everything watched."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from memtrace.contract.policy import function_of, has_ledger
from memtrace.engine.driver import UNBOUNDED
from memtrace.engine.explanation import fields_of, strange_field
from memtrace.engine.options import Option, Value, options_of, text_of
from memtrace.engine.registry import Policy
from memtrace.engine.replay import Hooks, Placement, replay
from memtrace.errors import MemtraceError, PolicyError, UsageError
from memtrace.trace import Trace, from_events
from memtrace.validation.figures import MOST_RESERVED
from memtrace.validation.guard import Endless, Guard, bounded_memory
from memtrace.validation.offences import Fault, Offence
from memtrace.validation.watch import Watch

MOST_STATE = 1 << 30  # bytes of a state for at most some hundred blocks
MOST_LIVE = 64
COMPILED_SECONDS = 60.0  # of the compiled replay of a short trace, after it is compiled
SAMPLES = 1 << 62  # every event is sampled


class Trials:
    """Replays of one policy, each with a limit for every call."""

    def __init__(self, policy: Policy, guard: Guard) -> None:
        """Try ``policy``; ``guard`` interrupts calls that do not come back."""
        self.policy, self.guard = policy, guard
        self._kept: dict[tuple[int, int | None], tuple[Trace, Placement]] = {}
        self.state: Any = None  # the policy's state as it is made
        self.failed = ""  # the first request that failed though capacity had no limit
        self.skipped: list[str] = []  # what could not be tried, in words

    def guarded(self, step: Callable[[], Fault | None]) -> Fault | None:
        """Run one step and return its fault, or None; an exception of the policy is a fault too, with its line."""
        from memtrace.engine.explanation import said_of

        try:
            with np.errstate(over="raise", divide="raise", invalid="raise"):
                return step()
        except Offence as offence:
            return Fault(offence.kind, offence.text)
        except Endless as error:
            return Fault("endless", said_of(error, self.policy.module, "a call does not come back from here"))
        except MemtraceError as error:
            return Fault("arrays" if isinstance(error.__cause__, MemoryError) else "error", str(error))
        except Exception as error:
            return Fault("error", said_of(error, self.policy.module))

    def kept(self, trace: Trace, capacity: int | None) -> Placement:
        """Return the placement of a trace, of the first replay if it was replayed before."""
        if (id(trace), capacity) not in self._kept:
            self.watched(trace, capacity)
        return self._kept[id(trace), capacity][1]

    def watched(self, trace: Trace, capacity: int | None, policy: Policy | None = None) -> tuple[Placement, Watch]:
        """Replay a trace in the interpreter, every event sampled and watched; raise Offence, naming the case, for a fault."""
        from memtrace.engine.binding import bind

        own = policy is None

        policy = policy or self.policy
        watch = Watch(policy, bind(policy.module), capacity, self.guard)
        try:
            with bounded_memory():
                placement = replay(
                    trace,
                    policy,
                    capacity,
                    on_oom="skip",
                    samples=SAMPLES,
                    keep=True,
                    interpret=True,
                    hooks=Hooks(loop=watch.loop()),
                )
        except Offence as offence:
            raise Offence(offence.kind, f"{_case(trace, capacity)}: {offence.text}") from None
        except PolicyError as error:
            where = watch.at("") if watch.events is not None else "at the start"
            kind = "arrays" if isinstance(error.__cause__, MemoryError) else "error"
            cause = watch.unjoined()
            if cause:
                kind, where = "unfree", f"{where}: {cause}, which ends in this"
            raise Offence(kind, f"{_case(trace, capacity)}: {where}:\n{error}") from error
        if own:
            self._kept.setdefault((id(trace), capacity), (trace, placement))
        return placement, watch

    def made(self) -> Fault | None:
        """Return a fault if the state cannot be made, is no NamedTuple, or is as large as a capacity without limit."""
        from memtrace.engine.explanation import blamed

        with blamed(self.policy.module):
            return self._made()

    def _made(self) -> Fault | None:
        """Do what `made` says."""
        from memtrace.engine.binding import bind
        from memtrace.engine.driver import initial_state
        from memtrace.validation.figures import reader

        bound = bind(self.policy.module)
        refused: UsageError | None = None
        for capacity in (None, 1 << 16):
            self.guard.enter()
            try:
                with bounded_memory():
                    state = initial_state(self.policy, bound, capacity, MOST_LIVE)
            except UsageError as error:
                refused = error
                continue
            finally:
                self.guard.leave()
            self.state = getattr(state, "inner", state)
            fault = _of_state(self.state, capacity)
            if fault is None and "ledger" in self.state._fields and not has_ledger(self.policy.module):
                text = "the state has a ledger, but its class is not called State, by which a policy with a ledger is known"
                fault = Fault("error", text)
            if fault is not None:
                return fault
            reserved = reader(self.policy, bound)(state).reserved
            if capacity is None and reserved > MOST_RESERVED:
                text = (
                    f"without a limit of capacity ({UNBOUNDED} bytes) it reserves {reserved} bytes before the first event\n"
                    "what is reserved is counted and drawn, so reserve what is used, or a range that an option bounds"
                )
                return Fault("arrays", text)
        return None if refused is None or self._with_limit() else Fault("error", str(refused))

    def _with_limit(self) -> bool:
        """Return whether the policy takes a limit of capacity, or does without; a policy may need the one or the other."""
        from memtrace.engine.binding import bind
        from memtrace.engine.driver import initial_state

        for capacity in (1 << 16, None):
            try:
                initial_state(self.policy, bind(self.policy.module), capacity, MOST_LIVE)
            except UsageError:
                continue
            return True
        return False

    def read_text(self) -> Fault | None:
        """Return a fault if the text of the policy has something that cannot be said in a compiled function."""
        from memtrace.engine.explanation import first_problem

        found = first_problem(self.policy.module, self.state)
        return None if found is None else Fault("compiler", found)

    def first(self, traces: Iterable[Trace], capacities: Sequence[int | None]) -> Fault | None:
        """Try all traces within all capacities that the policy takes; return a fault if a request failed without need."""
        for trace in traces:
            for capacity in capacities:
                try:
                    _, watch = self.watched(trace, capacity)
                except UsageError:
                    continue  # the policy refuses this capacity
                if capacity is None and watch.failures:
                    self.failed = self.failed or f"{watch.failures[0]} of {trace.name}"
                    if not self._chosen() or len(watch.failures) == watch.asked:
                        text = "the request failed though the capacity has no limit"
                        hint = "" if self._chosen() else " (if the policy has a limit of its own, raise it by its option)"
                        return Fault("fails", f"{_case(trace, capacity)}: {watch.failures[0]}: {text}{hint}")
        return None

    def _chosen(self) -> bool:
        """Return whether an option of the policy differs from its default."""
        return any(self.policy.options[name] != option.default for name, option in options_of(self.policy.module).items())

    def recovers(self, traces: Sequence[Trace], capacity: int) -> Fault | None:
        """Return a fault unless all that is reserved can be had as one block after all blocks of a trace are freed.

        What a block needs beside its bytes is known from the largest block that fits a new heap. A policy that searches classes
        of sizes may not find a hole for all of its bytes: if it says that there is but one hole, more than half of it will do.
        """
        fits = self._largest(capacity)
        for trace in traces if 2 * fits > capacity else ():  # where a block is far smaller, it may lie anywhere
            before = self.kept(trace, capacity)
            assert before.reserved is not None
            reserved = int(before.reserved[-1]) - (capacity - fits)
            # Some policies join holes only when they would fail, so all of the capacity does as well as all that is reserved.
            faults = [self._again(trace, capacity, size) for size in (reserved, fits) if size > 0]
            half = 1 << max(reserved, 1).bit_length() - 1
            if all(faults) and not (self._is_one_hole(before) and self._again(trace, capacity, half) is None):
                return faults[0]
        return None

    def _is_one_hole(self, placement: Placement) -> bool:
        """Return whether the policy says that there is one hole at the end of a replay, or it is known not to have more."""
        from memtrace.engine.known import HOLES, known_of
        from memtrace.engine.recorder import ROW

        return HOLES in known_of(placement) and int(placement.recorder.samples[-1][ROW.index("holes")]) <= 1

    def _again(self, trace: Trace, capacity: int, size: int) -> Fault | None:
        """Return a fault unless a block of ``size`` bytes is placed after a trace as it is in a new heap."""
        rows = [*_rows(trace), ("alloc", trace.facts.events + 1, size)]
        after, _ = self.watched(from_events(rows, name=trace.name), capacity)
        new, _ = self.watched(from_events([("alloc", 1, size)], name="one block"), capacity)
        assert after.addresses is not None and new.addresses is not None
        if after.addresses[-1] == new.addresses[0]:
            return None
        again = "no room" if after.addresses[-1] < 0 else f"address {after.addresses[-1]}"
        text = f"all is freed, but a block of {size} bytes gets {again}, and address {new.addresses[0]} in a new heap"
        return Fault("unfree", f"{_case(trace, capacity)}: event {after.events - 1}: {text}")

    def _largest(self, capacity: int) -> int:
        """Return the bytes of the largest block that fits a new heap; 0 if none fits."""
        low, high = 0, capacity
        while low < high:
            middle = high if high == capacity else (low + high + 1) // 2  # most policies need nothing beside a block's bytes
            placement, _ = self.watched(from_events([("alloc", 1, middle)], name="one block"), capacity)
            assert placement.addresses is not None
            low, high = (middle, high) if placement.addresses[0] >= 0 else (low, middle - 1)
        return low

    def beyond(self, trace: Trace) -> Fault | None:
        """Try a trace whose addresses are beyond 2^31; a policy that would take too long for such blocks is let off."""
        if function_of(self.policy.module, "first_piece") is not None:
            self.skipped.append("addresses beyond 2^31, where blocks of so many pieces take too long in the interpreter")
            return None
        try:
            self.watched(trace, None)
        except UsageError:
            return None
        except Endless:
            self.skipped.append("addresses beyond 2^31, where one call takes too long in the interpreter")
        return None

    def options(self, trace: Trace, capacity: int) -> Fault | None:
        """Try each option alone at the values at its ends; init may refuse them with a ValueError."""
        for name, option in options_of(self.policy.module).items():
            if name in ("swap", self._inner()):
                continue
            for value in _extremes(option):
                policy = replace(self.policy, options={**self.policy.options, name: value})
                try:
                    self.watched(trace, capacity, policy)
                except UsageError:
                    continue
                except Offence as offence:
                    if offence.kind == "arrays":
                        continue
                    hint = "\n(init raises ValueError for a value that cannot be)" if offence.kind == "error" else ""
                    return Fault(offence.kind, f"with {name}={text_of(value)}: {offence.text}{hint}")
        return None

    def _inner(self) -> str:
        """Return the name of the option that names another policy, which is text; empty if there is none."""
        from memtrace.contract.policy import constants_of

        return constants_of(self.policy.module).INNER

    def repeats(self, traces: Sequence[Trace]) -> Fault | None:
        """Return a fault if a second replay of a trace gives another placement."""
        for trace in traces:
            for capacity in (None, 1 << 13):
                try:
                    one, other = self.kept(trace, capacity), self.watched(trace, capacity)[0]
                except UsageError:
                    continue
                difference = _difference(one, other)
                if difference is not None:
                    hint = "something outlives the state, such as a variable of the module, or is random"
                    return Fault("differs", f"{_case(trace, capacity)}: {difference}: {hint}")
        return None

    def elsewhere(self, traces: Sequence[Trace]) -> Fault | None:
        """Return a fault if another process, which hashes texts otherwise, gives another placement."""
        code = (
            "import sys; from memtrace.validation.trials import fingerprint; "
            "print(fingerprint(sys.argv[1], [int(each) for each in sys.argv[2:]]))"
        )
        seeds = [trace.name.rpartition(" ")[2] for trace in traces]
        hashing = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
        environment = {**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code, str(self.policy.text), *seeds]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        if done.returncode:
            return Fault("differs", f"in a process of its own: {done.stderr.strip().splitlines()[-1]}")
        if done.stdout.strip() != digest_of(self.kept(trace, None) for trace in traces):
            return Fault("differs", "two processes place the same trace differently: the order of a set or a hash of text counts")
        return None

    def compiles(self, traces: Sequence[Trace], capacities: Sequence[int | None]) -> Fault | None:
        """Return a fault if the compiled policy places otherwise than the interpreted one."""
        from memtrace.engine.replay import warm

        warm(self.policy)
        for trace in traces:
            for capacity in capacities:
                try:
                    watched = self.kept(trace, capacity)
                except UsageError:
                    continue
                compiled = self.in_time(lambda t=trace, c=capacity: _compiled(self.policy, t, c))  # type: ignore[misc]
                if compiled is None:
                    return Fault("endless", f"{_case(trace, capacity)}: compiled, it does not come back")
                difference = _difference(watched, compiled, "interpreted", "compiled")
                if difference is not None:
                    return Fault("compiled", f"{_case(trace, capacity)}: {difference}")
        return None

    def in_time(self, job: Callable[[], Placement]) -> Placement | None:
        """Run compiled code, which cannot be interrupted, in a thread; None if it takes more than COMPILED_SECONDS."""
        found: list[Placement] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                found.append(job())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(COMPILED_SECONDS)
        if failed:
            raise failed[0]
        return found[0] if found else None

    def batches(self, trace: Trace) -> Fault | None:
        """Return a fault if the compiled policy places otherwise when the trace comes in batches of 7 rows."""
        capacity = 1 << 16
        one, other = (_compiled(self.policy, trace, capacity, rows) for rows in (1 << 20, 7))
        difference = _difference(one, other, "in one run", "in pieces")
        return None if difference is None else Fault("compiled", f"{_case(trace, capacity)}: {difference}")


def fingerprint(policy: str, seeds: Sequence[int]) -> str:
    """Return a digest of where a policy places random traces, for a comparison between processes."""
    from memtrace.engine.registry import parse_policy
    from memtrace.validation.policies import EVENTS
    from memtrace.validation.probes import mixed

    found = parse_policy(policy)
    return digest_of(replay(mixed(seed, EVENTS), found, on_oom="skip", keep=True, interpret=True) for seed in seeds)


def digest_of(placements: Iterable[Placement]) -> str:
    """Return a digest of where blocks were placed, and of what was reserved."""
    text = hashlib.sha256()
    for placement in placements:
        assert placement.addresses is not None and placement.reserved is not None
        text.update(placement.addresses.tobytes() + placement.reserved.tobytes())
    return text.hexdigest()


def _of_state(state: Any, capacity: int | None) -> Fault | None:
    """Return a fault if a state is no NamedTuple of arrays and numbers, or too large."""
    strange = strange_field(state)
    if strange is not None:
        return Fault("type", strange)
    size = sum(getattr(value, "nbytes", 0) for _, value in fields_of(state))
    if size > MOST_STATE:
        within = "without a limit of capacity" if capacity is None else f"within {capacity} bytes"
        text = f"{within} and for {MOST_LIVE} blocks, init makes arrays of {size} bytes"
        return Fault("arrays", f"{text}; let them have an entry per block (max_live), or let an option bound them")
    return None


def _compiled(policy: Policy, trace: Trace, capacity: int | None, rows: int = 1 << 20) -> Placement:
    """Replay a trace compiled, every event sampled and every address kept."""
    return replay(trace, policy, capacity, on_oom="skip", samples=SAMPLES, keep=True, batch_rows=rows)


def _difference(one: Placement, other: Placement, first: str = "first", then: str = "then") -> str | None:
    """Return the first event at which two placements differ, and in what, as text; None if they are equal."""
    for name, left, right in (
        ("the address", one.addresses, other.addresses),
        ("reserved", one.reserved, other.reserved),
        ("what is counted", one.recorder.samples, other.recorder.samples),
    ):
        assert left is not None and right is not None
        if left.shape != right.shape or not np.array_equal(left, right):
            event = int(np.argwhere(left != right)[0][0]) if left.shape == right.shape else min(len(left), len(right))
            return f"event {event}: {name} is {left[event].tolist()} {first}, {right[event].tolist()} {then}"
    return None


def _extremes(option: Option) -> list[Value]:
    """Return values at the ends of what an option may be, without its default."""
    values: list[Value] = list(option.choices or ())
    if isinstance(option.default, bool):
        values = [not option.default]
    elif isinstance(option.default, int):
        values = [-1, 0, 1, 2 * option.default + 1]
    return [value for value in values if value != option.default]


def _rows(trace: Trace) -> list[tuple[Any, ...]]:
    """Return the rows of a short trace of allocs, frees and reallocs, by slot."""
    rows: list[tuple[Any, ...]] = []
    for events in trace.batches():
        for i in range(events.op.size):
            align = int(events.align[i if events.align.size > 1 else 0]) or None
            rows.append((("alloc", "free", "realloc")[int(events.op[i])], int(events.block[i]), int(events.size[i]), None, align))
    return rows


def _case(trace: Trace, capacity: int | None) -> str:
    """Return the name of a trace and the capacity as text."""
    return f"{trace.name}, {'no limit of capacity' if capacity is None else f'capacity {capacity}'}"
