"""Tasks -> attempts, in any order: through an executor, or through processes that may die."""

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

Finish = Callable[[int, Attempt], None]
MOST_DEATHS = 3  # of the process that replays a cell, after which the cell has failed


def through_executor(tasks: Sequence[Task], executor: Executor, finish: Finish) -> None:
    """All at once to an executor, which knows best whom to give what and what to do when a worker dies."""
    futures = {executor.submit(attempt, task): i for i, task in enumerate(tasks)}
    try:
        for future in as_completed(futures):
            finish(futures[future], _result(future))
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _result(future: Future[Attempt]) -> Attempt:
    error = future.exception()
    return future.result() if error is None else Attempt(None, f"its worker failed: {type(error).__name__}: {error}")


def through_processes(tasks: Sequence[Task], jobs: int | None, finish: Finish) -> None:
    """Processes of this machine; with one job, this process itself.

    As many cells are out as there are processes, so when one dies the cell is among those that were out. These are run
    again one at a time, so that a cell that kills its process takes no other with it.
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
    """Empty the queue through one pool; if the pool breaks, the cells that were out."""
    pool = _pool(count)
    out: dict[Future[Attempt], int] = {}
    try:
        while queue or out:
            while queue and len(out) < count:
                out[pool.submit(attempt, tasks[queue[0]])] = queue[0]  # raises if the pool broke meanwhile
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
    """What was finished when the pool broke is finished; the rest is lost, and listed."""
    lost = []
    for future, i in out.items():
        if future.done() and future.exception() is None:
            finish(i, future.result())
        else:
            lost.append(i)
    return lost


def _compile(tasks: Sequence[Task], count: int) -> None:
    """Each policy's loop once, before two processes compile the same one."""
    from memtrace.engine.registry import parse_policy
    from memtrace.running import uncompiled

    texts = {parse_policy(text).name: text for text in dict.fromkeys(task.policy for task in tasks)}
    missing = [texts[name] for name in uncompiled([parse_policy(text) for text in texts.values()])]
    if len(missing) < 2:
        return
    with suppress(BrokenProcessPool), _pool(min(count, len(missing))) as pool:
        for future in [pool.submit(warm, text) for text in missing]:
            future.exception()  # what is wrong with a policy is said by its cells


def _pool(count: int) -> ProcessPoolExecutor:
    # Spawned, not forked: arrow has threads of its own, which a fork would cut off.
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    """The parent stops us; and if it is killed, we follow it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
