"""Checks whether a module is a sound policy: traces through it, in the interpreter first, and a verdict in words.

The same checks serve ``memtrace policies --check ./mine.py``, a policy author's own tests, and those of the package. Each step
tries one thing that policies get wrong (``probes``); in each of them everything is watched (``watch``), so the first fault that
shows is the one reported, with its event, its request and the blocks concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from memtrace.contract.policy import constants_of, function_of, has_ledger
from memtrace.engine.form import hints
from memtrace.engine.registry import Policy
from memtrace.engine.registry import policy as policy_of
from memtrace.errors import MemtraceError
from memtrace.trace import Trace
from memtrace.validation import probes
from memtrace.validation.guard import Guard
from memtrace.validation.offences import Fault
from memtrace.validation.probes import random_trace
from memtrace.validation.trials import Trials

__all__ = ["Check", "Report", "check_policy", "random_trace"]

CAPACITIES = (None, 1 << 16, 8191)  # bytes; None is no limit, the last is odd and too small for most traces
EVENTS = 150  # of each short trace
FEWER = 100  # of a short trace for one thing
FEWEST = 60
LONG_EVENTS = 1000  # of the long trace, for the compiled policy
QUICK_TRACES = 2


@dataclass(frozen=True)
class Check:
    """One property that a policy has to have, and the first fault found, if any."""

    name: str
    fault: str | None
    kind: str | None = None  # of the fault: one of memtrace.validation.offences.KINDS

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return self.fault is None


@dataclass(frozen=True)
class Report:
    """The checks of one policy; after a check that fails, no later check is made."""

    policy: str
    checks: tuple[Check, ...]
    trusted: tuple[str, ...] = field(default=())  # what the checks cannot tell, in words
    hints: tuple[str, ...] = field(default=())  # names that look misspelt, each in a sentence

    @property
    def ok(self) -> bool:
        """Whether no check found a fault."""
        return all(check.ok for check in self.checks)

    @property
    def kind(self) -> str | None:
        """The kind of the fault; None if there is none."""
        return next((check.kind for check in self.checks if not check.ok), None)

    def text(self) -> str:
        """Return the verdict in words: a line for each check, its fault if any, the result, and what is taken on trust."""
        lines = [
            f"{'ok  ' if check.ok else 'FAIL'}  {check.name}"
            + (f"\n{check.fault}".replace("\n", "\n      ") if check.fault else "")
            for check in self.checks
        ]
        lines.append(f"{self.policy}: {'a sound policy' if self.ok else 'not a sound policy'}")
        if self.ok and self.trusted:
            lines += ["taken on trust:", *(f"      {each}" for each in self.trusted)]
        lines += [f"note: {each}" for each in self.hints]
        return "\n".join(lines)


def check_policy(policy: str | Path | ModuleType | Policy, *, traces: int = 8, seed: int = 0, quick: bool = False) -> Report:
    """Check a policy on random traces and on one for each common mistake, and return a report.

    ``policy`` is a name with options, the path of a file, a module, or what `memtrace.policy` returns. ``traces`` is the number
    of random traces, which are the same for the same ``seed``. ``quick`` leaves out what needs the compiler or another process,
    and most random traces.
    """
    try:
        found = policy_of(str(policy) if isinstance(policy, Path) else policy)
    except MemtraceError as error:
        return Report(str(policy), (Check("it can be loaded", str(error), "error"),))
    with Guard() as guard:
        trials = Trials(found, guard)
        checks = tuple(_checks(trials, min(traces, QUICK_TRACES) if quick else traces, seed, quick))
        return Report(found.label, checks, tuple(_trusted(trials, quick)), tuple(hints(found.module)))


def _checks(trials: Trials, traces: int, seed: int, quick: bool) -> Iterator[Check]:
    """Yield the results of the checks in order, up to the first that fails."""
    for name, step in _steps(trials, traces, seed, quick):
        fault = trials.guarded(step)
        yield Check(name, None) if fault is None else Check(name, fault.text, fault.kind)
        if fault is not None:
            return


def _steps(trials: Trials, traces: int, seed: int, quick: bool) -> Iterator[tuple[str, Callable[[], Fault | None]]]:
    """Yield the name of each check and a function that returns its first fault."""
    module = trials.policy.module
    mixed = [probes.mixed(seed + i, EVENTS) for i in range(traces)]
    n = FEWER if not quick else FEWEST

    streams = probes.streams(seed, FEWER)
    resizing = probes.resizing(seed, n)

    def over(*traces: Trace, capacities: tuple[int | None, ...] = CAPACITIES) -> Callable[[], Fault | None]:
        return lambda: trials.first(traces, capacities)

    yield "its state is made", trials.made
    yield "its text can be compiled, as far as reading it tells", trials.read_text
    yield "random requests", over(*mixed)
    yield "requests of about the capacity", lambda: trials.first([probes.edges(8191)], (8191,))
    yield "alignments from 1 to 8192 bytes", over(probes.aligned(seed, n))
    yield "sizes of 0 to 3 bytes", over(probes.small(seed, n))
    yield "reallocs", over(resizing)
    yield "streams, tags, copies, swaps and trims", over(streams, probes.recorded(seed, FEWER))
    yield "as many blocks as there may be", over(probes.many(seed, 60), capacities=(None, 1 << 13))
    yield "all is freed, and again", over(probes.repeated(seed, 2 * n), probes.pairs(100, n), capacities=(None, 1 << 14))
    if constants_of(module).COALESCES:
        yield "when all is freed, all can be had again", lambda: trials.recovers(mixed[: 1 if quick else 8], 1 << 14)
    yield "addresses beyond 2^31", lambda: trials.beyond(probes.huge(seed, n))
    yield "options at their extremes", lambda: trials.options(probes.mixed(seed, 30 if quick else 60), 1 << 16)
    yield "the same trace gives the same placement", lambda: trials.repeats(mixed[: 1 if quick else 2])
    if quick:
        return
    if trials.policy.text is not None and trials.policy.name.endswith(".py"):
        yield "another process gives the same placement", lambda: trials.elsewhere(mixed[:2])
    others = [*mixed[:6], streams, resizing]
    long = probes.mixed(seed + traces, LONG_EVENTS)
    yield "compiled, it places as interpreted", lambda: trials.compiles(others, CAPACITIES) or trials.compiles([long], (1 << 16,))
    yield "in pieces, it places as in one run", lambda: trials.batches(long)


def _trusted(trials: Trials, quick: bool) -> Iterator[str]:
    """Yield what no check can tell of a policy that passed all of them, in words."""
    module = trials.policy.module
    constants = constants_of(module)
    ledger = has_ledger(module)
    yield "traces of other kinds than those tried: validate a run with memtrace run --validate"
    if constants.FOOTPRINT_ONLY:
        yield "all that is reported of holes is left out"
    elif ledger or function_of(module, "survey") is not None:
        yield "numbers and sizes of holes within the bounds that the blocks set"
    if ledger:
        yield "SPLITS, MERGES, and INSPECTED where there are holes"
    if function_of(module, "releasable") is not None:
        yield "releasable"
    if constants.UNUSABLE:
        yield "reserved bytes in no block and no hole, since UNUSABLE is set"
    if constants.VIRTUAL:
        yield "addresses beyond the reserved bytes, since VIRTUAL is set"
    if function_of(module, "first_piece") is not None:
        yield "alignment, which is that of the address under which the pieces are mapped"
    if not constants.COALESCES:
        yield "that neighbouring holes are joined; COALESCES = True has it checked"
    if trials.failed:
        yield f"that requests have to fail without a limit of capacity, first {trials.failed}"
    yield from trials.skipped
    if quick:
        yield "that it compiles, and places the same when it is compiled and in another process: --check without --quick"
