"""Replay the tasks of a suite, in any order, through an executor or through local worker processes.

Both functions call ``finish`` with the index of a task and its Attempt as soon as it ends. A local process may die, for
example for lack of memory; its cell is tried again, and then counts as failed, without harm to other cells.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from memtrace.suite.cell import Attempt, attempt, warm
from memtrace.suite.planning import Task

Finish = Callable[[int, Attempt], None]  # called with the index of a task and its outcome
MOST_DEATHS = 3  # a cell has failed if so many processes died while they replayed that cell alone


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
    _compile(tasks, count)
    while waiting or suspects:
        alone = bool(suspects)
        queue = deque([suspects.popleft()]) if alone else waiting
        for i in _through_pool(tasks, 1 if alone else count, queue, finish):
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
        from memtrace.running import stop

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


def _compile(tasks: Sequence[Task], count: int) -> None:
    """Compile the replay loop of each policy once, in ``count`` processes.

    Without this two workers would compile the same loop. Nothing is done if fewer than two loops have to be compiled.
    """
    from memtrace.engine.registry import parse_policy
    from memtrace.running import uncompiled

    texts = {parse_policy(text).name: text for text in dict.fromkeys(task.policy for task in tasks)}
    missing = [texts[name] for name in uncompiled([parse_policy(text) for text in texts.values()])]
    if len(missing) < 2:
        return
    with suppress(BrokenProcessPool), _pool(min(count, len(missing))) as pool:
        for future in [pool.submit(warm, text) for text in missing]:
            future.exception()  # wait only: an error of a policy is reported by its cells


def _pool(count: int) -> ProcessPoolExecutor:
    """Return a pool of ``count`` spawned worker processes."""
    # The workers are spawned, not forked: a fork would not copy the threads that arrow runs.
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    """Initialise a worker process: ignore Ctrl-C, since the parent stops the workers, and exit if the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """Wait for the end of the parent process, and then exit at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
