"""Cells go through processes that may die at any time, and none is lost."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from memtrace.suite import dispatch
from memtrace.suite.cell import Attempt


class Pool:
    """A pool of one process that dies as the cell of that number is handed to it."""

    dies_at = -1
    handed = 0

    def __init__(self, count: int) -> None:
        self.broken = False

    def submit(self, _: Any, task: Any) -> Future[Attempt]:
        if Pool.handed == Pool.dies_at:
            self.broken = True
        Pool.handed += 1
        if self.broken:
            raise BrokenProcessPool
        future: Future[Attempt] = Future()
        future.set_result(Attempt(b"%d" % task))
        return future

    def shutdown(self, **_: bool) -> None:
        pass


@pytest.mark.parametrize("dies_at", range(-1, 6))
@pytest.mark.parametrize("count", [2, 3])
def test_no_cell_is_lost_when_a_pool_breaks_at_its_door(dies_at: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_pool", Pool)
    monkeypatch.setattr(Pool, "dies_at", dies_at)
    monkeypatch.setattr(Pool, "handed", 0)
    ended: dict[int, bytes | None] = {}
    dispatch.through_processes(range(5), count, lambda i, attempt: ended.update({i: attempt.data}))  # type: ignore[arg-type]
    assert ended == {i: b"%d" % i for i in range(5)}
