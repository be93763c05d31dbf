"""Marks for the compiler: which functions are compiled out of line, what is passed by reference, what is prefetched.

The compiler inlines a function into each of its callers unless the function is marked with ``out_of_line``, so a hot path is one
piece of machine code. In the interpreter none of the marks has an effect.
"""

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def out_of_line(function: Function) -> Function:
    """Mark a function that is called seldom: it is compiled once, out of line, and not inlined into its callers. Return it."""
    function.out_of_line = True  # type: ignore[attr-defined]
    return function


def by_reference(value):
    """Return a NamedTuple that compiled code passes by reference; the result is only for use as an argument of a call.

    The compiler stores the tuple in memory once and passes its address, not a copy at every call (``engine.references``).
    """
    return value


def prefetch(records, i):
    """Prefetch the cache line of ``records[i]``; compiled to one instruction, which never faults, and nothing in the interpreter.

    The events to come are known, so the cache lines that they need can be loaded while earlier events are served.
    """
