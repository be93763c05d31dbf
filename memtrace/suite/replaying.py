"""Replay the cells of a plan into the store, through local processes or any executor."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from memtrace.suite.cell import Attempt
from memtrace.suite.dispatch import Finish, through_executor, through_processes
from memtrace.suite.planning import Plan, Task
from memtrace.suite.store import Store


@dataclass
class Ran:
    """The outcome of a suite's replays."""

    skipped: int = 0  # cells that an earlier run had finished
    replayed: int = 0  # cells
    errors: dict[Task, str] = field(default_factory=dict)  # failed cells, and why


Note = Callable[[Task, Attempt], None]  # called as each cell ends


def replay_cells(
    plan: Plan,
    store: Store,
    *,
    resume: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    note: Note = lambda task, attempt: None,
) -> Ran:
    """Replay the cells of a plan, and put the finished ones into the store; with ``resume`` skip those that are there.

    ``executor`` is any executor of concurrent.futures whose workers have this version of memtrace and see the traces
    under the same paths. Without it, ``jobs`` processes of this machine are used (None: one for each core). ``note`` is
    called as each cell ends. A cell that fails is listed in ``errors`` of the result and does not affect other cells.
    """
    ran = Ran()
    todo = [task for task in plan.tasks if not (resume and store.has(task.key))]
    ran.skipped = len(plan.tasks) - len(todo)

    def finish(i: int, result: Attempt) -> None:
        """Store the outcome of task ``i``, or write down its error."""
        if result.data is None:
            ran.errors[todo[i]] = result.error or "it failed without a word"
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
