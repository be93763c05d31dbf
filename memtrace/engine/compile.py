"""Compile a bound policy's loop to machine code, or load it from disk, where it is kept under the digest of all its sources."""

import dis
from collections.abc import Callable
from inspect import getclosurevars
from types import CodeType, FunctionType, ModuleType
from typing import Any

from memtrace.code_cache import is_any_kept
from memtrace.contract.calls import knows_references
from memtrace.contract.policy import constants_of, functions_of, has_ledger
from memtrace.digests import plain_functions, reachable_modules
from memtrace.engine import adapted, gaps, loop, offences, places, recorder
from memtrace.kernels import Kernel

_loops: dict[str, Kernel] = {}
INTERPRETED = ("init", "start", "enlarge")  # functions of a separable policy that are never compiled
SEPARABLE = ("survey", "resize", "trim", "next_event")  # functions that a policy may have beside those that it needs


def loop_kernel(policy: ModuleType, bound: ModuleType) -> Kernel:
    """Return the loop of ``policy`` as a kernel; there is one for each bound module."""
    if bound.__name__ not in _loops:
        name = policy.__name__.rpartition(".")[2]
        sources = [*sources_of(policy), loop, recorder, places, offences]
        _loops[bound.__name__] = closed(loop.specialise(bound), name, sources, [bound])
    return _loops[bound.__name__]


def sources_of(policy: ModuleType) -> list[ModuleType]:
    """Return the modules that a bound policy begins with: its own, and those by which the engine counts holes for it."""
    return [policy] if has_ledger(policy) else [policy, adapted, gaps]


def closed(function: Callable[..., Any], name: str, sources: list[ModuleType], bounds: list[ModuleType]) -> Kernel:
    """Return a kernel of a function that is closed over the modules ``bounds``, and compiled from what ``sources`` reach."""
    called = [f for bound in bounds for f in [*plain_functions(bound), *own_functions(bound)]]
    called += [f for f in getclosurevars(function).nonlocals.values() if isinstance(f, FunctionType)]
    return Kernel(function, name=name, modules=lambda: reachable_modules(*sources), functions=called, fast=True)


def is_separable(policy: ModuleType) -> bool:
    """Return whether a policy can be compiled alone: it is a file, has no ledger and no other functions than an entry has.

    It raises nothing, since an entry cannot hand on an exception.
    """
    known = {*INTERPRETED, "alloc", "free", "reserved", *SEPARABLE}
    if (
        policy.__name__.startswith("memtrace.")
        or policy.__file__ is None
        or has_ledger(policy)
        or not set(functions_of(policy)) <= known
    ):
        return False
    found = {
        f for module in reachable_modules(policy) for f in plain_functions(module) if not f.__module__.startswith("memtrace.")
    }
    called = found - {vars(policy).get(name) for name in INTERPRETED}
    return not constants_of(policy).COUNTERS and not any(raises(function.__code__) for function in called)


def raises(code: CodeType) -> bool:
    """Return whether a function, or one inside it, has a ``raise`` or an ``assert``."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return any(each.opname in ("RAISE_VARARGS", "RERAISE") for each in dis.get_instructions(code)) or any(map(raises, inner))


def code_of(policy: ModuleType, bound: ModuleType) -> Any:
    """Return what replays a policy as compiled code: its loop, or a loop that many policies share and that calls it."""
    if not is_separable(policy) or not knows_references():
        return loop_kernel(policy, bound)
    if policy not in _separate:
        from memtrace.engine.separate import Separate

        _separate[policy] = Separate(policy, loop_kernel(policy, bound))
    return _separate[policy]


_separate: dict[ModuleType, Any] = {}


def was_compiled(policy: ModuleType, bound: ModuleType) -> bool:
    """Return whether compiled code of a policy is on disk, for arguments of any types. The compiler is not imported for this."""
    if is_separable(policy):  # the module's name has the digest of its code
        return is_any_kept(policy.__name__, "entry")
    return loop_kernel(policy, bound).was_compiled()


def own_functions(bound: ModuleType) -> list[FunctionType]:
    """Return the functions of a bound module."""
    return [f for f in vars(bound).values() if isinstance(f, FunctionType)]
