"""Compiles what reads a format, and keeps it on disk under a digest of every source that goes into it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

SHARED = ("_scan.py", "_calls.py", "../trace/kernel.py", "../trace/raw.py", "../trace/model.py")


@cache
def digest() -> str:
    """Of the sources that all readers are made of; numba itself looks at the function's own file only."""
    found = hashlib.sha256()
    for name in SHARED:
        found.update((Path(__file__).parent / name).read_bytes())
    return found.hexdigest()[:12]


def compiled(function: Callable[..., Any]) -> Any:
    """The function, compiled when it is first called; it runs without the interpreter's lock."""
    function.__qualname__ = f"{function.__qualname__}_{digest()}"
    return njit(cache=True, nogil=True, error_model="numpy")(function)
