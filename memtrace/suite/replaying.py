"""The cells of a plan -> finished cells in the store, through local processes or any executor."""

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
    """What became of the cells."""

    skipped: int = 0  # finished before
    replayed: int = 0
    errors: dict[Task, str] = field(default_factory=dict)


Note = Callable[[Task, Attempt], None]


def replay_cells(
    plan: Plan,
    store: Store,
    *,
    resume: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    note: Note = lambda task, attempt: None,
) -> Ran:
    """Replay the cells, with ``resume`` those that are not in the store.

    ``executor`` is any of concurrent.futures whose workers have this version of memtrace and see the traces under the
    same paths; without it, ``jobs`` processes of this machine (None: one for each core). ``note`` is called as each
    cell ends. A cell that fails is in ``errors``, and loses no other.
    """
    ran = Ran()
    todo = [task for task in plan.tasks if not (resume and store.has(task.key))]
    ran.skipped = len(plan.tasks) - len(todo)

    def finish(i: int, result: Attempt) -> None:
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
    if executor is not None:
        through_executor(todo, executor, finish)
    elif todo:
        through_processes(todo, jobs, finish)
