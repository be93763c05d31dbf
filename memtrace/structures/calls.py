"""How the compiler treats a call: hot paths are one piece of code, the rest is compiled apart."""

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def apart(function: Function) -> Function:
    """Mark a function that is called seldom: it is compiled once, and not into each of its callers."""
    function.apart = True  # type: ignore[attr-defined]
    return function


def hold(value):
    """A NamedTuple to be handed on by its address, as an argument of a call and nowhere else; see ``engine.held``."""
    return value


def prefetch(records, i):
    """Ask for the cache line of ``records[i]`` ahead of its use; compiled to one instruction, and nothing interpreted.

    The events to come are known, so the lines they need can be on their way while earlier events are served.
    """
