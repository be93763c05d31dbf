"""What is timed: memtrace's policies, the C++ twins, the C library's malloc."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np

from benchmarks import native
from benchmarks.cache import TraceFile
from benchmarks.measure import BATCH, Sample, steady_from
from benchmarks.workloads import Columns

CLASSIC = ("best-fit", "first-fit", "next-fit", "worst-fit")
POOL: Final = "pool:cell=64KiB"  # every block but those of skewed fits a cell
POLICIES = (*CLASSIC, "buddy", "tlsf", "stack", "size-class", "segregated", "slab", POOL)
Detail = Literal["bare", "search", "full"]
BARE: Final = "bare"
SEARCH: Final = "search"
FULL: Final = "full"


class Placement(Protocol):
    """The part of memtrace.replay's answer that is read here."""

    @property
    def cpu_seconds(self) -> float: ...

    @property
    def batch_cpu_seconds(self) -> Sequence[float]: ...

    @property
    def peak_reserved_bytes(self) -> int: ...


Replay = Callable[[Any, str, Detail], Placement]  # (trace, policy, detail)
MakeTrace = Callable[[Columns], Any]


def memtrace_replay(trace: Any, policy: str, detail: Detail) -> Placement:
    """memtrace's own replay, with an unbounded heap."""
    from memtrace.engine.replay import replay

    return replay(trace, policy, detail=detail, interpret=False)


def memtrace_trace(columns: Columns) -> Any:
    """A generated trace as memtrace holds it."""
    from memtrace.trace import from_columns

    return from_columns(columns.op, columns.block.astype(np.int64), columns.size)


@lru_cache(maxsize=1)  # the columns take their turns on one trace after the other
def _load(trace: TraceFile, make_trace: MakeTrace) -> Any:
    return make_trace(trace.columns())


def column_name(policy: str, detail: Detail) -> str:
    """A policy's name in the tables."""
    return policy if detail == BARE else f"{policy} +{detail}"


@dataclass(frozen=True)
class PolicyColumn:
    """One of memtrace's policies, at some detail of what is counted besides."""

    policy: str
    detail: Detail = BARE
    replay: Replay = memtrace_replay
    make_trace: MakeTrace = memtrace_trace

    @property
    def name(self) -> str:
        """What the table calls it."""
        return column_name(self.policy, self.detail)

    def warm_up(self) -> None:
        """Compile the policy outside of any timing; raises where memtrace has no such policy."""
        few = Columns(np.array([0, 1], np.uint8), np.zeros(2, np.int32), np.array([64, 0], np.int64), 0)
        self.replay(self.make_trace(few), self.policy, self.detail)

    def measure(self, trace: TraceFile, min_seconds: float) -> Sample:
        """The kernel's user CPU time, over as many replays as it takes."""
        events = _load(trace, self.make_trace)
        total = steady = 0.0
        replays = 0
        while not replays or total < min_seconds:
            placement = self.replay(events, self.policy, self.detail)
            total += placement.cpu_seconds
            steady += sum(placement.batch_cpu_seconds[steady_from(trace) // BATCH :])
            replays += 1
        return _sample(trace, replays, total, steady, placement.peak_reserved_bytes)


@dataclass(frozen=True)
class NativeColumn:
    """A C++ twin, or the C library, in a process of its own."""

    allocator: str
    program: Path

    @property
    def name(self) -> str:
        """What the table calls it."""
        return TITLES[self.allocator]

    def measure(self, trace: TraceFile, min_seconds: float) -> Sample:
        """The program's own account of its replays."""
        start = steady_from(trace)
        ran = native.run(self.program, self.allocator, trace.path, steady_from=start, min_seconds=min_seconds)
        if self.allocator == native.GLIBC:
            return _sample(trace, ran.replays, ran.seconds, ran.steady_seconds, None)
        placed = (ran.peak_reserved_bytes, ran.holes, ran.address_sum)
        return _sample(trace, ran.replays, ran.seconds, ran.steady_seconds, *placed)


TITLES = {
    native.GLIBC: "glibc malloc",
    native.BEST_FIT_MAP: "C++ best fit, map",
    native.BEST_FIT_SET: "C++ best fit, set+map",
    native.FIRST_FIT_TREAP: "C++ first fit, treap",
}


def _sample(
    trace: TraceFile,
    replays: int,
    total: float,
    steady: float,
    peak: int | None,
    holes: int | None = None,
    address_sum: int | None = None,
) -> Sample:
    steady_events = trace.events - steady_from(trace)
    each = 1e9 / replays
    return Sample(
        ns=total * each / trace.events,
        steady_ns=steady * each / steady_events if steady_events > 0 else float("nan"),
        peak_reserved_bytes=peak,
        holes=holes,
        address_sum=address_sum,
    )
