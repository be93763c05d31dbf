"""Marks for the compiler: which functions are compiled out of line, what is passed by reference, what is prefetched.

The compiler inlines a function into each of its callers unless the function is marked with ``out_of_line``, so a hot path is one
piece of machine code. In the interpreter none of the marks has an effect.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from memtrace.kernels import compiled_as

Function = TypeVar("Function", bound=Callable[..., object])


def out_of_line(function: Function) -> Function:
    """Mark a function that is called seldom: it is compiled once, out of line, and not inlined into its callers. Return it."""
    function.out_of_line = True  # type: ignore[attr-defined]
    return function


@cache
def knows_references() -> bool:
    """Return whether this numba has the internals that ``contract.references`` is made of."""
    try:
        import_module("memtrace.contract.references")
    except (ImportError, AttributeError, TypeError):
        return False
    return True


def compile_references():
    """Have ``by_reference`` compiled to an address; without the internals of numba, it hands the value on, which is slower."""
    from numba.extending import overload, register_jitable

    if not knows_references():
        register_jitable(forceinline=True, no_cfunc_wrapper=True)(by_reference)
        return
    from memtrace.contract.references import keep

    @overload(by_reference, inline="always")
    def hold(value):
        return lambda value: keep(value)


def compile_prefetch():
    """Have ``prefetch`` compiled to one instruction."""
    from numba.extending import overload

    prefetch_line = prefetch_intrinsic()

    @overload(prefetch, inline="always")
    def line(records, i):
        return lambda records, i: prefetch_line(records, i)


def prefetch_intrinsic() -> Any:
    """Return LLVM's prefetch of an array's element, for reading, into all cache levels; it cannot fault for any index."""
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    @intrinsic
    def prefetch_line(typingctx, records, i):
        def codegen(context, builder, signature, arguments):
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


@compiled_as(compile_references)
def by_reference(value):
    """Return a NamedTuple that compiled code passes by reference; the result is only for use as an argument of a call.

    The compiler stores the tuple in memory once and passes its address, not a copy at every call (``contract.references``).
    """
    return value


@compiled_as(compile_prefetch)
def prefetch(records, i):
    """Prefetch the cache line of ``records[i]``; compiled to one instruction, which never faults, and nothing in the interpreter.

    The events to come are known, so the cache lines that they need can be loaded while earlier events are served.
    """
