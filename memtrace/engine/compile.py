"""Compile a bound policy's loop to machine code, or load it from disk, where it is kept under the digest of all its sources."""

from collections.abc import Callable
from inspect import getclosurevars
from types import FunctionType, ModuleType
from typing import Any

from memtrace.digests import plain_functions, reachable_modules
from memtrace.engine import loop, places, recorder
from memtrace.errors import PolicyError
from memtrace.kernels import Kernel

_loops: dict[str, Kernel] = {}


def loop_kernel(policy: ModuleType, bound: ModuleType) -> Kernel:
    """Return the loop of ``policy`` as a kernel; there is one for each bound module."""
    if bound.__name__ not in _loops:
        name = policy.__name__.rpartition(".")[2]
        _loops[bound.__name__] = closed(loop.specialise(bound), name, [policy, loop, recorder, places], [bound])
    return _loops[bound.__name__]


def closed(function: Callable[..., Any], name: str, sources: list[ModuleType], bounds: list[ModuleType]) -> Kernel:
    """Return a kernel of a function that is closed over the modules ``bounds``, and compiled from what ``sources`` reach."""
    called = [f for bound in bounds for f in [*plain_functions(bound), *own_functions(bound)]]
    called += [f for f in getclosurevars(function).nonlocals.values() if isinstance(f, FunctionType)]
    return Kernel(function, name=name, modules=lambda: reachable_modules(*sources), functions=called, fast=True)


def own_functions(bound: ModuleType) -> list[FunctionType]:
    """Return the functions of a bound module."""
    return [f for f in vars(bound).values() if isinstance(f, FunctionType)]


def explain(error: Exception, policy: ModuleType) -> PolicyError:
    """Return numba's message about a policy that it cannot compile, cut to the lines that name the policy's own text."""
    lines = [line.rstrip() for line in str(error).splitlines()]
    file = policy.__file__ or policy.__name__
    start = next((i for i, line in enumerate(lines) if file in line), 0)
    what = next((line for line in lines if line and not line.startswith("Failed in")), "")
    return PolicyError(
        f"{file} does not compile: {what}\n" + "\n".join(lines[start : start + 8]) + "\n"
        "try: memtrace policies --check FILE, which runs it in the interpreter first"
    )
