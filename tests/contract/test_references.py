"""What is held is handed on by its address: compiled code reads the same through it as the interpreter reads by value."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import ROOT

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

    from memtrace.kernels import FAST, make_jitable

    make_jitable({bump, weigh, held, by_reference, lowest_set})
    compiled = njit(error_model="numpy", **({} if counted else FAST))(work)
    plain, compiled_with = outer(members), outer(members)
    assert compiled(compiled_with, 7) == work(plain, 7)
    assert compiled_with.first.counts.tolist() == plain.first.counts.tolist()
    assert compiled_with.matrix.tolist() == plain.matrix.tolist()
    assert [one.counts.tolist() for one in compiled_with.several] == [one.counts.tolist() for one in plain.several]


def test_a_field_that_is_not_there_is_refused() -> None:
    from numba import njit
    from numba.core.errors import TypingError

    from memtrace.kernels import make_jitable

    make_jitable({by_reference})
    with pytest.raises(TypingError, match="nowhere"):
        njit(lambda whole: by_reference(whole).nowhere)(outer(1))


def test_namedtuples_of_one_name_are_told_apart_by_their_fields() -> None:
    """Two policy files may both call their state `State`, with the same kinds of fields in another order."""
    from collections import namedtuple

    from numba import njit

    from memtrace.kernels import make_jitable

    make_jitable({by_reference})
    compiled = njit(lambda state: by_reference(state).top[0])
    for fields in (("top", "step"), ("step", "top"), ("top", "other")):
        kind = namedtuple("State", fields)  # type: ignore[misc]
        arrays = {name: np.full(1, len(name)) for name in fields}
        assert compiled(kind(**arrays)) == 3


WITHOUT = """
import sys
sys.modules["memtrace.contract.references"] = None  # as if this numba lacked the internals that it is made of
import json
from memtrace.contract.calls import knows_references
from memtrace.engine.replay import replay

from memtrace.tiers.replay import replay_tiers
from memtrace.tiers.tier import Plan, Tier
from memtrace.trace import from_events
from memtrace.validation.policies import random_trace

assert not knows_references()
trace = random_trace(3, 400)
placements = [replay(trace, "buddy", keep=True, interpret=how).addresses.tolist() for how in (False, True)]
assert placements[0] == placements[1]
tiers = [Tier("fast", 1 << 12, 1e9, policy="buddy"), Tier("slow", 1 << 20, 1e9, policy="buddy")]
used = from_events([("alloc", i, 1000) for i in range(8)] + [("access", i, None) for i in range(8)])
replays = [replay_tiers(used, tiers, Plan(), keep=True, interpret=how) for how in (False, True)]
assert replays[0].addresses.tolist() == replays[1].addresses.tolist()
assert replays[0].landed.tolist() == replays[1].landed.tolist()
moved = [replayed.count("DOWN_BYTES").tolist() for replayed in replays]
assert moved[0] == moved[1] and sum(moved[0]) > 0
print("equal")
"""


def test_without_the_compilers_internals_values_are_passed_whole(tmp_path: Path) -> None:
    """Numba's internals may change one day; then compiled code is slower, and places the same."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MEMTRACE_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", WITHOUT], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "equal\n"), done.stderr
