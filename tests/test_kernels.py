"""Kernels that have functions of the same names and types, but other code."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from memtrace import code_cache, kernels
from memtrace.contract.calls import out_of_line
from memtrace.kernels import Kernel


def made(name: str, step: int) -> Kernel:
    """Return a kernel whose inner function, too long to be inlined, adds ``step`` to every number of an array some times."""

    def outer(numbers):
        return inner(numbers)

    @out_of_line
    def inner(numbers):
        for i in range(numbers.size):
            while numbers[i] % 7 != 3:
                numbers[i] += step
            for j in range(i):
                if numbers[j] > numbers[i]:
                    numbers[i], numbers[j] = numbers[j], numbers[i]
                elif numbers[j] % 5 == 1:
                    numbers[j] += 3 * step
        for i in range(numbers.size - 1):
            while numbers[i] > numbers[i + 1]:
                numbers[i + 1] += 2 * step
            if numbers[i] % 11 == 4:
                numbers[i] -= step
        return numbers.sum()

    module = sys.modules[name] = ModuleType(name)
    exec(f"STEP = {step}", vars(module))
    vars(module)["__code__"] = compile(f"STEP = {step}", name, "exec")
    return Kernel(outer, name=name, modules=lambda: [module], functions=[inner], fast=True)


def test_kernels_of_two_processes_do_not_share_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is compiled with numba's count of functions as a new process has it; both are then in one process."""
    from numba.core.bytecode import FunctionIdentity

    monkeypatch.setenv(code_cache.FOLDER, str(tmp_path / "kernels"))
    for number, step in enumerate((1, 2, 4)):
        monkeypatch.setattr(FunctionIdentity, "_unique_ids", itertools.count(1))
        kernel, numbers = made(f"kernel_of_{step}", step), np.array([5, 1, 30, 8, 2], np.int64)
        expected = numbers.copy()
        assert kernel(numbers) == kernel.function(expected), number
        assert numbers.tolist() == expected.tolist()


def test_without_numba_s_numbers_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.bytecode import FunctionIdentity

    monkeypatch.setenv(code_cache.FOLDER, str(tmp_path / "kernels"))
    ids = FunctionIdentity._unique_ids
    monkeypatch.setattr(kernels, "knows_numbers", lambda: False)
    kernel = made("kernel_that_is_not_kept", 1)
    assert kernel(np.array([5, 1], np.int64)) == kernel.function(np.array([5, 1], np.int64))
    assert not list(tmp_path.rglob("*.kernel")) and FunctionIdentity._unique_ids is ids
