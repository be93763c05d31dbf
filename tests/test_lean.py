"""Compiling under `lean`: the same results as numba's own compiling, numba as it was afterwards, and numba as it is where it must."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import pytest
from conftest import ROOT
from numba.core import codegen, targetconfig
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import register_jitable

from memtrace import code_cache, lean
from memtrace.kernels import jit


def njit(function: Any) -> Any:
    """The function as the package has kernels compiled."""
    return jit()(function)


# What makes a trace comes from the cache of the package, since only the policy's loop is looked at here.
RUN = """
import hashlib, json, sys
import numba, numpy
from memtrace.engine.binding import bind
from memtrace.engine.compile import loop_kernel
from memtrace.engine.registry import parse_policy
from memtrace.engine.replay import replay
from memtrace.validation.policies import random_trace
trace = random_trace(4, 1500)
policy = parse_policy(sys.argv[1])
found = hashlib.sha256()
for capacity in (None, 1 << 14):
    placement = replay(trace, policy, capacity, on_oom="skip", samples=50, keep=True, interpret=sys.argv[2] == "interpret")
    for array in (placement.addresses, placement.reserved, placement.ledger, *placement.recorder):
        if isinstance(array, numpy.ndarray):
            found.update(array.tobytes())
loop = loop_kernel(policy.module, bind(policy.module)).compiled
kinds = sorted({type(each.library).__name__ for each in loop.overloads.values()})
print(json.dumps([found.hexdigest(), sum(loop.stats.cache_hits.values()), kinds]))
"""


def run(policy: str, folder: Path, switch: str, how: str = "compile") -> tuple[str, int, list[str]]:
    """The digest of a replay's results in a process of its own, loops loaded from the cache, and the classes of the loop's code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), lean.SWITCH: switch, code_cache.FOLDER: str(folder)}
    command = [sys.executable, "-c", RUN, policy, how]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    digest, hits, kinds = json.loads(done.stdout)
    return digest, hits, kinds


@pytest.mark.parametrize("policy", ["buddy"])
def test_a_policy_places_as_compiled_plainly_and_interpreted(policy: str, tmp_path: Path) -> None:
    interpreted, _, _ = run(policy, tmp_path, "1", "interpret")
    compiled, hits, kinds = run(policy, tmp_path / "lean", "1")
    assert (compiled, hits, kinds) == (interpreted, 0, ["Library"])
    plain, hits, kinds = run(policy, tmp_path / "plain", "0")
    assert (plain, hits, kinds) == (interpreted, 0, ["JITCodeLibrary"])
    loaded, hits, _ = run(policy, tmp_path / "lean", "1")
    assert (loaded, hits) == (interpreted, 1)


def numba_now() -> list[Any]:
    """What `lean` replaces in numba, as it is now."""
    return [vars(owner)[name] for owner, name, _ in lean._replacements()]


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test numba is as it was before it, and compiling starts anew. Nothing is kept on disk."""
    monkeypatch.setenv(code_cache.FOLDER, os.devnull)
    lean.is_usable.cache_clear()
    before, collects = numba_now(), gc.isenabled()
    yield
    assert numba_now() == before and gc.isenabled() == collects and not global_compiler_lock.is_locked()
    lean.is_usable.cache_clear()


@register_jitable
def third(number):  # type: ignore[no-untyped-def]
    """Raises for a number that 3 does not divide."""
    if number % 3:
        raise ValueError("not divisible")
    return number // 3


@register_jitable(no_cfunc_wrapper=True, forceinline=True)
def ninth(number):  # type: ignore[no-untyped-def]
    return third(third(number))


def kinds_of(function: Any) -> set[str]:
    return {type(each.library).__name__ for each in function.overloads.values()}


def test_nested_functions_are_not_emitted_and_work_after_lean(monkeypatch: pytest.MonkeyPatch) -> None:
    emitted = []
    finalize = codegen.JITCodeLibrary._finalize_specific
    monkeypatch.setattr(codegen.JITCodeLibrary, "_finalize_specific", lambda self: (emitted.append(self.name), finalize(self)))
    assert lean.is_usable()
    emitted.clear()
    kernel = njit(lambda number: ninth(number) + third(number))
    assert kernel(18) == 8 and kinds_of(kernel) == {"Library"}
    assert [name for name in emitted if name in ("third", "ninth")] == []
    with pytest.raises(ValueError, match="not divisible"):
        kernel(6)
    plain = numba.njit(lambda number: ninth(number) - third(number))
    assert plain(18) == -4 and kinds_of(plain) == {"JITCodeLibrary"}
    assert njit(lambda number: third(number) + 1)(9) == 4, "it calls what was compiled without lean"


def test_closures_recursion_and_calls_from_python() -> None:
    @jit(error_model="numpy")
    def called(number):  # type: ignore[no-untyped-def]
        return number + 1

    @njit
    def factorial(number):  # type: ignore[no-untyped-def]
        return 1 if number < 2 else number * factorial(number - 1)

    by = 5
    kernel = njit(lambda number: called(number) * by + factorial(number))
    assert kernel(4) == 49
    assert called(4) == 5 and factorial(5) == 120, "compiled for the kernel, called by Python too"


def test_an_error_inside_restores_numba() -> None:
    before = numba_now()
    with pytest.raises(RuntimeError, match="inside"), lean.lean():
        with lean.lean():
            assert all(now is not then for now, then in zip(numba_now(), before, strict=True)) and not gc.isenabled()
        assert numba_now() != before and global_compiler_lock.is_locked(), "the inner block ended, the outer did not"
        raise RuntimeError("inside")
    assert numba_now() == before and gc.isenabled()
    with pytest.raises(numba.TypingError):
        njit(lambda number: number.nothing)(1)
    assert numba_now() == before


def works_plainly() -> bool:
    """Whether nothing is replaced under lean, and a function is compiled without it."""
    before = numba_now()
    with lean.lean():
        unchanged = numba_now() == before and gc.isenabled()
    kernel = njit(lambda number: ninth(number) + 2)
    return unchanged and kernel(27) == 5 and kinds_of(kernel) == {"JITCodeLibrary"}


def test_an_environment_variable_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not works_plainly()
    monkeypatch.setenv(lean.SWITCH, "0")
    assert works_plainly()


def test_without_an_internal_of_numba_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(targetconfig.TargetConfig, "discard")
    assert not lean.has_internals() and works_plainly()


def test_with_another_signature_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    original = codegen.JITCodeLibrary._optimize_final_module
    monkeypatch.setattr(codegen.JITCodeLibrary, "_optimize_final_module", lambda self, level=3: original(self))
    assert not lean.has_internals() and works_plainly()


def test_where_the_probe_fails_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    library = next(new for _, name, new in lean._replacements() if name == "_library_class")

    def fails(self: Any) -> None:
        raise RuntimeError("not linked")

    monkeypatch.setattr(library, "_optimize_final_module", fails)
    assert lean.has_internals() and not lean.is_usable() and works_plainly()
