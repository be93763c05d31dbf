"""Compile a bound policy's loop to machine code, and cache it on disk so that another process starts at once.

Numba names a cache file after the function's qualified name, and watches only the file that defines it. The qualified name
here carries the digest of every source behind the loop, so an edited policy or structure is compiled anew, and an unchanged one
is found.
"""

import glob
from collections.abc import Callable
from functools import cache
from importlib import import_module
from inspect import getclosurevars
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from memtrace.contract import bits, calls
from memtrace.engine import loop, places, recorder
from memtrace.engine.digests import digest, plain_functions, reachable_modules
from memtrace.engine.policy_objects import UNSAVED

# ``_nrt=False`` drops the reference counting that numba leaves in functions that are handed arrays: 6 times faster.
# The loop allocates nothing, so there is nothing to count. It is undocumented: where numba lacks it, it is left out.
FAST = {"_nrt": False}
OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}

_jitable: set[Callable[..., Any]] = set()
_loops: dict[str, Callable[..., Any]] = {}


def compiled(policy: ModuleType, bound: ModuleType) -> Callable[..., Any]:
    """Return the compiled loop of ``policy``; it is compiled at its first call, or loaded from the cache."""
    if bound.__name__ not in _loops:
        _loops[bound.__name__] = _compile(policy, bound)
    return _loops[bound.__name__]


def _compile(policy: ModuleType, bound: ModuleType) -> Callable[..., Any]:
    """Return the loop of a policy as a function that numba will compile."""
    sources = reachable_modules(policy, loop, recorder, places)
    return closed(loop.specialise(bound), policy.__name__.rpartition(".")[2], sources, [bound])


def closed(function: Callable[..., Any], name: str, sources: list[ModuleType], bounds: list[ModuleType]) -> Callable[..., Any]:
    """Return a function that is closed over the modules ``bounds``, for numba to compile under the digest of ``sources``."""
    from memtrace.lean import njit

    make_jitable({f for module in [*sources, *bounds] for f in plain_functions(module)})
    make_jitable({f for bound in bounds for f in own_functions(bound)})
    make_jitable({f for f in getclosurevars(function).nonlocals.values() if isinstance(f, FunctionType)})
    function.__qualname__ = f"{name}.{digest(sources)}"
    kept = not any(vars(module).get(UNSAVED) for module in sources)
    return njit(**{**OPTIONS, "cache": OPTIONS["cache"] and kept}, **(FAST if knows_fast() else {}))(function)


def knows_fast() -> bool:
    """Return whether this numba has the options of ``FAST``."""
    from numba.core.registry import cpu_target

    return all(hasattr(cpu_target.options, name) for name in FAST)


@cache
def knows_references() -> bool:
    """Return whether this numba has the internals that ``engine.references`` is made of."""
    try:
        import_module("memtrace.engine.references")
    except (ImportError, AttributeError, TypeError):
        return False
    return True


def is_cached(policy: ModuleType, bound: ModuleType) -> bool:
    """Return whether the policy's loop was compiled before, by this version, for this text."""
    loop = compiled(policy, bound)
    if vars(policy).get(UNSAVED):
        return False
    names = glob.escape(loop.__qualname__)
    return any(Path(loop.stats.cache_path).glob(f"*{names}*.nbi"))  # type: ignore[attr-defined]


def own_functions(bound: ModuleType) -> list[FunctionType]:
    """Return the functions of a bound module."""
    return [f for f in vars(bound).values() if isinstance(f, FunctionType)]


def make_jitable(functions: set[Callable[..., Any]]) -> None:
    """Make plain functions callable from compiled code, each once in a process."""
    from numba.extending import register_jitable

    use_instructions()
    for function in functions - _jitable:
        register_jitable(forceinline=not getattr(function, "out_of_line", False), no_cfunc_wrapper=True)(function)
    _jitable.update(functions)


def use_instructions() -> None:
    """Have bit scans, prefetches and references compiled to machine instructions rather than from their Python text."""
    if bits.lowest_set in _jitable:
        return
    import numpy as np
    from numba.cpython.unsafe.numbers import leading_zeros, trailing_zeros
    from numba.extending import overload

    prefetch_line = prefetch_intrinsic()

    # Numba compares the two signatures, annotations included, so neither has any.
    @overload(bits.lowest_set, inline="always")
    def lowest_set(word):  # type: ignore[no-untyped-def]
        return lambda word: np.int64(trailing_zeros(np.uint64(word)))

    @overload(bits.highest_set, inline="always")
    def highest_set(word):  # type: ignore[no-untyped-def]
        return lambda word: np.int64(63) - np.int64(leading_zeros(np.uint64(word)))

    @overload(calls.prefetch, inline="always")
    def prefetch(records, i):  # type: ignore[no-untyped-def]
        return lambda records, i: prefetch_line(records, i)

    _jitable.update({bits.lowest_set, bits.highest_set, calls.prefetch})
    if not knows_references():
        return  # `by_reference` is compiled from its text, which hands the value on: slower, with the same results
    from memtrace.engine.references import keep

    @overload(calls.by_reference, inline="always")
    def hold(value):  # type: ignore[no-untyped-def]
        return lambda value: keep(value)

    _jitable.add(calls.by_reference)


def prefetch_intrinsic() -> Any:
    """Return LLVM's prefetch of an array's element, for reading, into all cache levels; it cannot fault for any index."""
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    @intrinsic
    def prefetch_line(typingctx, records, i):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            array_type = signature.args[0]
            array = context.make_array(array_type)(context, builder, arguments[0])
            index = context.cast(builder, arguments[1], signature.args[1], types.intp)
            line = builder.bitcast(builder.gep(array.data, [index]), cgutils.voidptr_t)
            word = ir.IntType(32)
            form = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
            function = cgutils.get_or_insert_function(builder.module, form, "llvm.prefetch.p0")
            builder.call(function, [line, word(0), word(3), word(1)])
            return context.get_dummy_value()

        return types.void(records, i), codegen

    return prefetch_line
