"""The handles by which a policy knows a block: what it is called with when a realloc moves it, fails, or is served in place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import memtrace
from memtrace.engine.registry import Policy
from memtrace.trace import from_events


class Log(NamedTuple):
    """What a policy was called with: rows[0] has the number of calls; a row is function, handle, size, address."""

    rows: np.ndarray


ALLOC, FREE, RESIZE = 1, 2, 3


def logged(resizes: bool, fails_from: int = 1 << 60) -> Policy:
    """Return a policy that writes down its calls, and places blocks above one another; requests of 0 bytes get no block."""

    def init(capacity, max_live):
        rows = np.zeros((40, 4), np.int64)
        rows[0, 1] = max_live
        return Log(rows)

    def note(state, what, request, address):
        state.rows[0, 0] += 1
        state.rows[state.rows[0, 0]] = (what, request.block, request.size, address)

    def alloc(state, request):
        address = -2 if request.size == 0 else -1 if request.size >= fails_from else 1000 * state.rows[0, 0]
        note(state, ALLOC, request, address)
        return address

    def free(state, request, address):
        note(state, FREE, request, address)

    def resize(state, request, address, old_size):
        note(state, RESIZE, request, address)
        return address if request.size <= old_size else -1

    def reserved(state):
        return 1 << 20

    pieces = {"init": init, "alloc": alloc, "free": free, "reserved": reserved, "State": Log}
    return memtrace.policy(**pieces, **({"resize": resize} if resizes else {}), name="log")


def calls(rows: list[tuple[object, ...]], policy: Policy) -> list[tuple[int, ...]]:
    """Return what the policy was called with for a trace; requests that fail are skipped."""
    found = memtrace.replay(from_events(rows), policy, on_oom="skip", interpret=True).state.inner.rows
    made = [tuple(row) for row in found[1 : found[0, 0] + 1].tolist()]
    assert all(0 <= handle < found[0, 1] for _, handle, _, _ in made)
    return made


def test_a_realloc_that_moves_has_two_handles() -> None:
    rows = [("alloc", 1, 50), ("realloc", 1, 40), ("realloc", 1, 60), ("realloc", 1, 70), ("free", 1)]
    assert calls(rows, logged(resizes=True)) == [
        (ALLOC, 0, 50, 0),
        (RESIZE, 0, 40, 0),
        *((RESIZE, 0, 60, 0), (ALLOC, 1, 60, 3000), (FREE, 0, 40, 0)),  # the old block, its handle, last size and address
        *((RESIZE, 1, 70, 3000), (ALLOC, 0, 70, 6000), (FREE, 1, 60, 3000)),  # the spare handle is the one freed last
        (FREE, 0, 70, 6000),
    ]
    assert calls(rows[:2], logged(resizes=False)) == [(ALLOC, 0, 50, 0), (ALLOC, 1, 40, 1000), (FREE, 0, 50, 0)]


def test_a_realloc_that_fails_leaves_the_block_its_handle() -> None:
    rows = [("alloc", 1, 50), ("realloc", 1, 99), ("free", 1)]
    assert calls(rows, logged(resizes=True, fails_from=99)) == [
        (ALLOC, 0, 50, 0),
        *((RESIZE, 0, 99, 0), (ALLOC, 1, 99, -1)),
        (FREE, 0, 50, 0),
    ]


def test_a_block_without_an_address_keeps_its_handle() -> None:
    rows = [("alloc", 1, 0), ("realloc", 1, 9), ("free", 1)]
    assert calls(rows, logged(resizes=True)) == [(ALLOC, 0, 0, -2), (ALLOC, 0, 9, 1000), (FREE, 0, 9, 1000)]


def test_the_scratch_block_of_a_swap_has_the_spare_handle() -> None:
    rows = [("alloc", 1, 50), ("alloc", 2, 30), ("swap", 1, None, None, None, None, 2), ("free", 1)]
    assert calls(rows, logged(resizes=True))[2:4] == [(ALLOC, 2, 30, 2000), (FREE, 2, 30, 2000)]
