"""Replay the cells of a plan into the store, in any order: through local processes, or an executor such as a dask cluster.

`through_executor` and `through_processes` call ``finish`` with the index of a task and its Attempt as soon as it ends. A local
process may die, for example for lack of memory; its cell is tried again, and then counts as failed, without harm to other cells.
The workers of a cluster have to run this version of memtrace.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field

from memtrace.errors import UsageError
from memtrace.processes import safe_path, signals_deferred, start_worker
from memtrace.suite.cell import Attempt, attempt
from memtrace.suite.planning import Plan, Task, installed_digest
from memtrace.suite.store import Store

EXTRA = "pip install 'memtrace-replay[cluster]'"
WAIT_SECONDS = 30  # for the scheduler to answer, and for a first worker
RETRIES = 3  # how often a cell is replayed again after its worker died
Finish = Callable[[int, Attempt], None]  # called with the index of a task and its outcome
MOST_DEATHS = 3  # a cell has failed if so many processes died while they replayed that cell alone
Note = Callable[[Task, Attempt], None]  # called as each cell ends


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """Provide the executor of the dask cluster at this address while the block runs.

    Raise UsageError if dask is not installed, no scheduler answers, the cluster has no workers, or its workers have
    another version of memtrace.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(f"--scheduler needs an extra: {EXTRA}") from None
    try:
        client = Client(address, timeout=WAIT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"no dask scheduler answers at {address}: {error or type(error).__name__}; `dask scheduler`") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WAIT_SECONDS)
        except TimeoutError:
            raise UsageError(f"the scheduler at {address} has no workers; start one: dask worker {address}") from None
        check_workers(client.run(installed_digest), address)
        # pure=False: dask shall not take two equal cells for one. If a worker dies, dask gives its cells to another worker.
        yield client.get_executor(pure=False, retries=RETRIES)


def check_workers(digests: dict[str, str], address: str) -> None:
    """Raise UsageError if a worker's sources differ from ours. ``digests`` are the workers' `installed_digest` by address."""
    others = [worker for worker, digest in digests.items() if digest != installed_digest()]
    if others:
        named = ", ".join(others[:3])
        what = "another version of memtrace or of its plug-ins"
        raise UsageError(f"{len(others)} of {len(digests)} workers of {address} have {what}: {named}")


def through_executor(tasks: Sequence[Task], executor: Executor, finish: Finish) -> None:
    """Submit all tasks to an executor at once, and call ``finish`` for each as it ends.

    The executor chooses the workers, and decides what happens if one dies.
    """
    futures = {executor.submit(attempt, task): i for i, task in enumerate(tasks)}
    try:
        for future in as_completed(futures):
            finish(futures[future], _result(future))
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _result(future: Future[Attempt]) -> Attempt:
    """Return the attempt of a finished future; an exception of its worker becomes an attempt with an error."""
    error = future.exception()
    return future.result() if error is None else Attempt(None, f"its worker failed: {type(error).__name__}: {error}")


def through_processes(tasks: Sequence[Task], jobs: int | None, finish: Finish) -> None:
    """Replay tasks in ``jobs`` worker processes of this machine (None: one for each core); a single job needs no worker process.

    No more cells are submitted than there are processes, so if a process dies, its cell is one of those that were being
    replayed. These cells are replayed again one at a time, so that a cell that kills its process takes no other cell
    with it.
    """
    count = min(jobs or os.cpu_count() or 1, len(tasks))
    if count == 1:
        for i, task in enumerate(tasks):
            finish(i, attempt(task))
        return
    waiting, suspects, deaths = deque(range(len(tasks))), deque[int](), [0] * len(tasks)
    while waiting or suspects:
        alone = bool(suspects)
        queue = deque([suspects.popleft()]) if alone else waiting
        with safe_path():
            broken = _through_pool(tasks, 1 if alone else count, queue, finish)
        for i in broken:
            deaths[i] += alone
            if deaths[i] < MOST_DEATHS:
                suspects.append(i)
            else:
                finish(i, Attempt(None, f"its process died {MOST_DEATHS} times (too little memory?)"))


def _through_pool(tasks: Sequence[Task], count: int, queue: deque[int], finish: Finish) -> list[int]:
    """Replay the queued tasks through one pool of ``count`` processes, and empty the queue.

    Return the indexes of the tasks that were being replayed when the pool broke, or an empty list if it did not break.
    """
    pool = _pool(count)
    out: dict[Future[Attempt], int] = {}
    try:
        while queue or out:
            while queue and len(out) < count:
                with signals_deferred():
                    out[pool.submit(attempt, tasks[queue[0]])] = queue[0]  # raises BrokenProcessPool if a process died
                queue.popleft()
            for future in wait(out, return_when=FIRST_COMPLETED).done:
                result = future.result()
                finish(out.pop(future), result)
    except BrokenProcessPool:
        lost = _rescue(out, finish)
        pool.shutdown(wait=False, cancel_futures=True)
        return lost
    except BaseException:
        from memtrace.results.running import stop

        stop(pool)
        raise
    pool.shutdown()
    return []


def _rescue(out: dict[Future[Attempt], int], finish: Finish) -> list[int]:
    """Finish the tasks that ended before the pool broke, and return the indexes of the others.

    ``out`` maps futures to the indexes of their tasks.
    """
    lost = []
    for future, i in out.items():
        if future.done() and future.exception() is None:
            finish(i, future.result())
        else:
            lost.append(i)
    return lost


def _pool(count: int) -> ProcessPoolExecutor:
    """Return a pool of ``count`` spawned worker processes."""
    # The workers are spawned, not forked: a fork would not copy the threads that arrow runs.
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=start_worker)


@dataclass
class ReplayOutcome:
    """The outcome of a suite's replays."""

    skipped: int = 0  # cells that an earlier run had finished
    replayed: int = 0  # cells
    errors: dict[Task, str] = field(default_factory=dict)  # failed cells, and why
    broke: bool = False  # a cell failed because its policy broke an invariant


def replay_cells(
    plan: Plan,
    store: Store,
    *,
    resume: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    note: Note = lambda task, attempt: None,
) -> ReplayOutcome:
    """Replay the cells of a plan, and put the finished ones into the store; with ``resume`` skip those that are there.

    ``executor`` is any executor of concurrent.futures whose workers have this version of memtrace and see the traces
    under the same paths. Without it, ``jobs`` processes of this machine are used (None: one for each core). ``note`` is
    called as each cell ends. A cell that fails is listed in ``errors`` of the result and does not affect other cells.
    """
    ran = ReplayOutcome()
    todo = [task for task in plan.tasks if not (resume and store.has(task))]
    ran.skipped = len(plan.tasks) - len(todo)

    def finish(i: int, result: Attempt) -> None:
        """Store the outcome of task ``i``, or write down its error."""
        if result.data is None:
            ran.errors[todo[i]] = result.error or "it failed without a word"
            ran.broke |= result.broke
        else:
            store.put(todo[i].key, result.data)
            ran.replayed += 1
        note(todo[i], result)

    _dispatch(todo, jobs, executor, finish)
    store.tidy()
    return ran


def _dispatch(todo: list[Task], jobs: int | None, executor: Executor | None, finish: Finish) -> None:
    """Replay the tasks through the executor, or through local processes if it is None."""
    if executor is not None:
        through_executor(todo, executor, finish)
    elif todo:
        through_processes(todo, jobs, finish)
