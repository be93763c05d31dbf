"""How the compiler treats a call: hot paths are one piece of code, the rest is compiled apart."""

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def apart(function: Function) -> Function:
    """Mark a function that is called seldom: it is compiled once, and not into each of its callers."""
    function.apart = True  # type: ignore[attr-defined]
    return function
