"""Traces x policies -> results: the cells of a run, replayed one after the other or in processes of their own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.errors import PolicyError, UsageError
from memtrace.replaying import DEFAULT_SAMPLES, OnOom

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.sharedctypes import SynchronizedArray

    from memtrace.engine.registry import Policy
    from memtrace.locality.model import Model
    from memtrace.results.gather import Part
    from memtrace.results.tables import Results
    from memtrace.trace import Trace

WORTH_PROCESSES = 4_000_000  # events over all cells from which starting processes pays
POLL_SECONDS = 0.1

Progress = Callable[[int, int], None]  # cell, events done in it


@dataclass(frozen=True)
class Settings:
    """What all cells of a run share."""

    capacity: int | None = None
    on_oom: OnOom = "stop"
    samples: int = DEFAULT_SAMPLES
    validate: bool = False
    placements: bool = False
    locality: Model | None = None  # caches and TLBs that the addresses are run through


@dataclass(frozen=True)
class Cell:
    trace: Trace
    policy: Policy
    settings: Settings


def run(
    traces: Sequence[Trace],
    policies: Sequence[Policy],
    settings: Settings,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Results:
    """Replay every trace through every policy and measure. The same results for any ``jobs`` (None: as many as pay)."""
    from memtrace.results.building import build
    from memtrace.results.gather import distributions
    from memtrace.results.manifest import manifest

    check_names(traces)
    started = time.perf_counter()
    cells = [Cell(trace, policy, settings) for trace in traces for policy in policies]
    parts = replay_cells(cells, jobs_for(cells, jobs), progress or (lambda cell, events: None))
    sources = {trace.name: trace.source for trace in traces}
    return build(parts, [distributions(t) for t in traces], manifest(sources, time.perf_counter() - started))


def check_names(traces: Sequence[Trace]) -> None:
    names = [trace.name for trace in traces]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two traces are called {name}; results tell traces apart by name, so rename one")


def check_options(policies: Sequence[Policy], capacity: int | None) -> None:
    """Raise UsageError for options that do not go together or do not fit the capacity, before anything is read or compiled."""
    from memtrace.engine.binding import bind
    from memtrace.replaying import check_foreseen, initial_state

    for policy in policies:
        check_foreseen(policy)
        initial_state(policy, bind(policy.module), capacity, 1)


def jobs_for(cells: Sequence[Cell], jobs: int | None) -> int:
    import os

    if jobs is None:
        worth = sum(cell.trace.facts.events for cell in cells) >= WORTH_PROCESSES
        jobs = (os.cpu_count() or 1) if worth or len(uncompiled([cell.policy for cell in cells])) > 1 else 1
    return max(1, min(jobs, len(cells)))


def uncompiled(policies: Sequence[Policy]) -> list[str]:
    """The policies whose loops have to be compiled first, by label."""
    from memtrace.engine.binding import bind
    from memtrace.engine.compile import is_cached

    modules = {policy.module: policy.name for policy in policies}
    return [name for module, name in modules.items() if not is_cached(module, bind(module))]


def replay_cell(cell: Cell, progress: Callable[[int, int], None] | None = None) -> Part:
    """One cell, measured. Raises PolicyError if the validator finds an offence."""
    from memtrace.contents.watching import Contents
    from memtrace.replaying import replay
    from memtrace.results.gather import gather

    settings = cell.settings
    watcher = None
    if settings.locality is not None:
        from memtrace.locality.counting import Watcher

        watcher = Watcher(cell.trace, cell.policy, settings.locality)
    contents = Contents(cell.trace, cell.policy, settings.samples)
    placement = replay(
        cell.trace,
        cell.policy,
        settings.capacity,
        on_oom=settings.on_oom,
        samples=settings.samples,
        keep=settings.validate or settings.placements,
        progress=progress,
        watch=watcher,
        look=contents,
    )
    if settings.validate:
        from memtrace.validate import validate

        offence = validate(placement)
        if offence is not None:
            raise PolicyError(f"{cell.policy.label} on {cell.trace.name}: {offence.text}")
    part = gather(placement, contents, settings.placements)
    if watcher is not None:
        part.tables["locality"] = {"trace": cell.trace.name, "policy": cell.policy.label, **watcher.found().columns()}
    return part


def replay_cells(cells: Sequence[Cell], jobs: int, progress: Progress) -> list[Part]:
    if jobs == 1:
        return [replay_cell(cell, lambda done, _, i=i: progress(i, done)) for i, cell in enumerate(cells)]  # type: ignore[misc]
    with tempfile.TemporaryDirectory(prefix="memtrace-") as directory:
        shared = {id(cell.trace): cell.trace for cell in cells}
        files = {key: trace.share(Path(directory)) for key, trace in shared.items()}
        sent = [Cell(files[id(cell.trace)], cell.policy, cell.settings) for cell in cells]
        return replay_in_processes(sent, jobs, progress)


def replay_in_processes(cells: Sequence[Cell], jobs: int, progress: Progress) -> list[Part]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, wait

    # Spawned, not forked: arrow has threads of its own, which a fork would cut off.
    context = multiprocessing.get_context("spawn")
    counts: SynchronizedArray[int] = context.Array("q", len(cells))
    pool = ProcessPoolExecutor(jobs, context, initializer=_start_worker, initargs=(counts,))
    with _stopped_at_once(pool):
        futures = [pool.submit(_work, i, cell) for i, cell in enumerate(cells)]
        pending: Iterable[Any] = futures
        while pending:
            done, pending = wait(pending, POLL_SECONDS)
            for future in done:
                future.result()
            for i in range(len(cells)):
                progress(i, counts[i])
    return [future.result() for future in futures]


@contextmanager
def _stopped_at_once(pool: Any) -> Iterator[None]:
    """Leave no process behind when one fails, or on Ctrl-C."""
    try:
        yield
    except BaseException:
        stop(pool)
        raise
    pool.shutdown()


def stop(pool: Any) -> None:
    """Stop the processes of a pool, whatever they are at."""
    results = pool._result_queue
    for process in list((pool._processes or {}).values()):
        process.terminate()
    pool.shutdown(wait=False, cancel_futures=True)
    # One that is stopped in the middle of a result would leave the pool's thread, and so our own end, waiting for the rest.
    results._writer.close()


_counts: SynchronizedArray[int] | None = None


def _start_worker(counts: SynchronizedArray[int]) -> None:
    global _counts
    import signal

    _counts = counts
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops us


def _work(i: int, cell: Cell) -> Part:
    def note(done: int, _: int) -> None:
        assert _counts is not None
        _counts[i] = done

    return replay_cell(cell, note)
