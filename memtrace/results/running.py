"""Replay every trace of a run through every policy, in this process or in several, and build the results.

A cell is one trace replayed through one policy. With more than one job, each trace is written to a file that the worker
processes read, and each worker replays one cell at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from memtrace import temporary
from memtrace.errors import PolicyError, PoolTooSmallError, UsageError
from memtrace.processes import safe_path, signals_deferred
from memtrace.sweeps import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.sharedctypes import SynchronizedArray
    from types import ModuleType

    from memtrace.engine.registry import Policy
    from memtrace.results.gather import Part
    from memtrace.results.settings import Settings
    from memtrace.results.tables import Results
    from memtrace.trace import Trace

# Events of all cells together from which on it pays to start processes, where all loops are compiled and where not.
WORTH_PROCESSES, WORTH_INTERPRETING = 4_000_000, 40_000
POLL_SECONDS = 0.1  # between two reports of progress

Progress = Callable[[int, int], None]  # called with the index of a cell and the number of its events replayed so far


@dataclass(frozen=True)
class Cell:
    """One replay of a run: a trace, a policy, and the settings of the run."""

    trace: Trace
    policy: Policy
    settings: Settings
    expected: int = 0  # events of all cells that the same process is likely to replay; 0: not known
    background: bool = True  # a processor is idle, on which another process may compile


def run(
    traces: Sequence[Trace],
    policies: Sequence[Policy],
    settings: Settings,
    jobs: int | None = None,
    progress: Progress | None = None,
    capacities: Sequence[int] = (),
) -> Results:
    """Replay every trace through every policy, and return the results of the run.

    With ``capacities``, in bytes, each trace is replayed within each of them, in place of that of the settings, and is called
    `name@capacity`. ``jobs`` is the number of processes, None for as many as pay; the results do not depend on it. Raise
    UsageError if two traces have the same name.
    """
    from memtrace.engine.registry import file_texts
    from memtrace.results.gather import distributions
    from memtrace.results.schema import manifest
    from memtrace.results.tables import build

    check_names(traces)
    started = time.perf_counter()
    within = [(trace, settings) for trace in traces]
    if capacities:
        within = [(sized(trace, each), replace(settings, capacity=each)) for trace in traces for each in capacities]
    cells = cells_of(within, policies, jobs)
    parts = replay_cells(cells, jobs_for(cells, jobs), progress or (lambda cell, events: None))
    sources = {trace.name: trace.source for trace, _ in within}
    about = manifest(sources, time.perf_counter() - started, file_texts(policies))
    if settings.tags != "auto":
        about["tags"] = settings.tags  # as tables and figures of these results are to group tags
    return build(parts, [distributions(trace) for trace, _ in within], about)


def sized(trace: Trace, capacity: int) -> Trace:
    """Return the trace under the name that results have for it with this capacity in bytes."""
    return replace(trace, name=f"{trace.name}@{size_text(capacity)}")


def cells_of(traces: Sequence[tuple[Trace, Settings]], policies: Sequence[Policy], jobs: int | None) -> list[Cell]:
    """Return the cells of a run: every trace, with its settings, and every policy."""
    from memtrace.engine.handover import processors

    cells = [Cell(trace, policy, settings) for trace, settings in traces for policy in policies]
    used = jobs_for(cells, jobs)
    expected = sum(cell.trace.facts.events for cell in cells) // used
    return [replace(cell, expected=expected, background=used < processors()) for cell in cells]


def check_names(traces: Sequence[Trace]) -> None:
    """Raise UsageError if two traces have the same name, since results tell traces apart by their names."""
    names = [trace.name for trace in traces]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two traces are called {name}; results tell traces apart by name, so rename one")


def check_options(policies: Sequence[Policy], capacity: int | None) -> None:
    """Raise UsageError for policy options that contradict each other or do not fit the capacity.

    A pool that is too small for a heap is an error only if it is so for all of them. Nothing is read or compiled for this, so the
    error comes at once.
    """
    from memtrace.engine.binding import bind
    from memtrace.engine.driver import initial_state
    from memtrace.engine.explanation import blamed
    from memtrace.engine.replay import check_required

    refused = []
    for policy in policies:
        check_required(policy)
        try:
            with blamed(policy.module):
                initial_state(policy, bind(policy.module), capacity, 1)
        except PoolTooSmallError as error:
            refused.append(error)
    if refused and len(refused) == len(policies):
        raise refused[0]


def shortage(policy: Policy, capacity: int | None) -> PoolTooSmallError | None:
    """Return the error of a pool that is too small for its heap; None if it is large enough, or if the policy takes no pool."""
    from memtrace.contract.policy import constants_of
    from memtrace.engine.binding import bind
    from memtrace.engine.driver import initial_state

    if constants_of(policy.module).TAKES_POOL:
        try:
            initial_state(policy, bind(policy.module), capacity, 1)
        except PoolTooSmallError as error:
            return error
    return None


def settled(policy: Policy, capacity: int | None) -> Policy:
    """Return the policy, or what refuses every request under its label if the pool is too small for it."""
    from memtrace.policies.pool_kinds import too_small

    return policy if shortage(policy, capacity) is None else replace(policy, module=too_small)


def jobs_for(cells: Sequence[Cell], jobs: int | None) -> int:
    """Return the number of processes to use, at least 1 and at most one per cell.

    If ``jobs`` is None, use all processors if the replays may take seconds, else this process alone.
    """
    from memtrace.engine.handover import processors

    if any(cell.policy.text is None for cell in cells):
        return 1  # a policy made of functions is known to this process alone
    if jobs is None:
        events = sum(cell.trace.facts.events for cell in cells)
        jobs = processors() if events >= (WORTH_PROCESSES if all_compiled(cells) else WORTH_INTERPRETING) else 1
    return max(1, min(jobs, len(cells)))


def all_compiled(cells: Sequence[Cell]) -> bool:
    """Return whether code of the loops of all policies is on disk; it may be for arguments of other types."""
    from memtrace.engine.binding import bind
    from memtrace.engine.compile import was_compiled

    modules = {cell.policy.module for cell in cells}
    return all(was_compiled(module, bind(module)) for module in modules)


def replay_cell(cell: Cell, progress: Callable[[int, int], None] | None = None) -> Part:
    """Replay one cell, measure it, and return its part of the results.

    ``progress`` is called with events done and events in all. Raise PolicyError if the validator finds an offence.
    """
    from memtrace.engine.binding import bind
    from memtrace.engine.handover import Handover
    from memtrace.engine.replay import Hooks, replay
    from memtrace.measures.occupancy import Contents
    from memtrace.results.gather import gather
    from memtrace.results.holders import AtPeak, Together

    settings = cell.settings
    cell = replace(cell, policy=settled(cell.policy, settings.capacity))
    watcher = None
    if settings.locality is not None:
        from memtrace.measures.locality.counting import Watcher

        watcher = Watcher(cell.trace, cell.policy, settings.locality)
    contents, peak = Contents(cell.trace, cell.policy, settings.samples, settings.tags), AtPeak(cell.trace, cell.policy)
    loop = Handover(
        cell.policy,
        bind(cell.policy.module),
        cell.trace.facts.events,
        expected=cell.expected,
        background=cell.background,
    )
    placement = replay(
        cell.trace,
        cell.policy,
        settings.capacity,
        on_oom=settings.on_oom,
        samples=settings.samples,
        keep=settings.validate or settings.placements,
        hooks=Hooks(progress=progress, watch=watcher, look=Together(contents, peak), loop=loop),
    )
    if settings.validate:
        from memtrace.validation.placements import validate

        offence = validate(placement)
        if offence is not None:
            raise PolicyError(f"{cell.policy.label} on {cell.trace.name}: {offence.text}")
    part = gather(placement, contents, settings.placements, peak)
    if watcher is not None:
        part.tables["locality"] = {"trace": cell.trace.name, "policy": cell.policy.label, **watcher.found().columns()}
    return part


def replay_cells(cells: Sequence[Cell], jobs: int, progress: Progress) -> list[Part]:
    """Replay all cells, in this process or in ``jobs`` processes, and return their parts in the order of the cells."""
    if jobs == 1:
        return [replay_cell(cell, partial(_advance, progress, i)) for i, cell in enumerate(cells)]
    announce_compiling(cells)
    with temporary.folder() as directory:
        # A trace with several capacities is several traces of one storage, which is written once.
        shared = {id(cell.trace.prepared): cell.trace for cell in cells}
        files = {key: trace.share(directory).prepared for key, trace in shared.items()}
        sent = [replace(cell, trace=replace(cell.trace, prepared=files[id(cell.trace.prepared)])) for cell in cells]
        return replay_in_processes(sent, jobs, progress)


def announce_compiling(cells: Sequence[Cell]) -> None:
    """Say which policies worker processes will have to compile, because their events take longer to interpret."""
    from memtrace.engine.binding import bind
    from memtrace.engine.compile import was_compiled
    from memtrace.engine.handover import COMPILING_SECONDS, PACE, say

    events: dict[ModuleType, int] = {}
    names = {cell.policy.module: cell.policy.name for cell in cells}
    for cell in cells:
        events[cell.policy.module] = events.get(cell.policy.module, 0) + cell.trace.facts.events
    long = [module for module, count in events.items() if count * PACE > COMPILING_SECONDS]
    missing = [names[module] for module in long if not was_compiled(module, bind(module))]
    if missing:
        say(f"compiling {', '.join(missing)}, once for this version")


def _advance(progress: Progress, cell: int, done: int, _: int) -> None:
    """Report the events done of a cell that this process replays."""
    progress(cell, done)


def replay_in_processes(cells: Sequence[Cell], jobs: int, progress: Progress) -> list[Part]:
    """Replay cells in ``jobs`` worker processes, and return their parts in the order of the cells.

    The cells' traces are in shared files. The workers count their events in shared memory; ``progress`` is called with
    the counts every POLL_SECONDS. An exception of a worker is raised here, after all workers were terminated.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, wait

    # The workers are spawned, not forked: a fork would not copy the threads that arrow runs.
    context = multiprocessing.get_context("spawn")
    with safe_path():
        counts: SynchronizedArray[int] = context.Array("q", len(cells))
        pool = ProcessPoolExecutor(jobs, context, initializer=_start_worker, initargs=(counts,))
        with _terminating(pool):
            with signals_deferred():
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
def _terminating(pool: Any) -> Iterator[None]:
    """Shut the pool down at the end of the block; on an exception, Ctrl-C included, terminate its processes first."""
    try:
        yield
    except BaseException:
        stop(pool)
        raise
    pool.shutdown()


def stop(pool: Any) -> None:
    """Terminate the processes of a pool at once, and leave nothing waiting for their results.

    Before Python 3.14 the executor has no public way; where its private names are gone too, the processes end with their work.
    """
    if hasattr(pool, "terminate_workers"):
        pool.terminate_workers()
        return
    processes, results = getattr(pool, "_processes", None) or {}, getattr(pool, "_result_queue", None)
    for process in list(processes.values()):
        process.terminate()
    pool.shutdown(wait=False, cancel_futures=True)
    # A process that is terminated while it sends a result leaves the pool's thread waiting for the rest, and our own exit would
    # wait for that thread. Closing the pipe ends the wait.
    writer = getattr(results, "_writer", None)
    if writer is not None:
        writer.close()


_counts: SynchronizedArray[int] | None = None  # in a worker: events replayed so far, by cell


def _start_worker(counts: SynchronizedArray[int]) -> None:
    """Initialise a worker process, and keep the shared counts."""
    global _counts
    from memtrace.processes import start_worker
    from memtrace.trace.arrow import leave_out_pandas

    start_worker()
    leave_out_pandas()
    _counts = counts


def _work(i: int, cell: Cell) -> Part:
    """Replay the cell of index ``i`` in a worker process, counting its events in shared memory."""

    def note(done: int, _: int) -> None:
        """Write down how many events of the cell are done."""
        assert _counts is not None
        _counts[i] = done

    return replay_cell(cell, note)
