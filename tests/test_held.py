"""What is held is handed on by its address: compiled code reads the same through it as the interpreter reads by value."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from memtrace.contract.bits import lowest_set
from memtrace.contract.calls import by_reference, out_of_line


class Inner(NamedTuple):
    counts: Any
    step: int


class Outer(NamedTuple):
    first: Inner
    several: Any  # a tuple of Inner
    matrix: Any
    scale: float
    on: bool


def outer(members: int, seed: int = 0) -> Outer:
    random = np.random.default_rng(seed)

    def inner() -> Inner:
        return Inner(random.integers(0, 9, 5), int(random.integers(1, 9)))

    return Outer(inner(), tuple(inner() for _ in range(members)), random.integers(0, 9, (3, 4)), 1.5, True)


@out_of_line
def bump(one, by):  # type: ignore[no-untyped-def]
    """Counted up in place, by a call that is not compiled in."""
    for i in range(one.counts.size):
        one.counts[i] += by * one.step


@out_of_line
def weigh(whole):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for i in range(len(whole.several)):
        bump(whole.several[i], i + 1)
        total += whole.several[i].counts.sum() * (i + 1)
    return total


def work(whole, rounds):  # type: ignore[no-untyped-def]
    return held(by_reference(whole), rounds)


@out_of_line
def held(whole, rounds):  # type: ignore[no-untyped-def]
    total = 0.0
    for number in range(rounds):
        bump(whole.first, number)
        total += whole.scale * weigh(whole) if whole.on else 0.0
        whole.several[len(whole.several) - 1].counts[number % 5] += lowest_set(
            number + 1
        )  # a write that nothing here reads again
        for row in range(whole.matrix.shape[0]):
            whole.matrix[row, number % whole.matrix.shape[1]] += whole.first.step
            total += whole.matrix[row].sum()
    return total


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("counted", [False, True], ids=["as the loops are compiled", "with arrays counted"])
def test_reads_and_writes_are_the_interpreters(members: int, counted: bool) -> None:
    from numba import njit

    from memtrace.engine.compile import FAST, make_jitable

    make_jitable({bump, weigh, held})
    compiled = njit(error_model="numpy", **({} if counted else FAST))(work)
    plain, compiled_with = outer(members), outer(members)
    assert compiled(compiled_with, 7) == work(plain, 7)
    assert compiled_with.first.counts.tolist() == plain.first.counts.tolist()
    assert compiled_with.matrix.tolist() == plain.matrix.tolist()
    assert [one.counts.tolist() for one in compiled_with.several] == [one.counts.tolist() for one in plain.several]


def test_a_field_that_is_not_there_is_refused() -> None:
    from numba import njit
    from numba.core.errors import TypingError

    from memtrace.engine.compile import use_instructions

    use_instructions()
    with pytest.raises(TypingError, match="nowhere"):
        njit(lambda whole: by_reference(whole).nowhere)(outer(1))
