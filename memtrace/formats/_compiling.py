"""Compile the parsers of formats, and cache the machine code on disk under a digest of all sources that they use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

# Files, relative to this folder, whose code is compiled into the parsers.
SHARED = ("_scan.py", "_calls.py", "../trace/kernel.py", "../trace/raw.py", "../trace/model.py")


@cache
def digest() -> str:
    """Return a digest of the sources that all parsers share; numba's own cache checks only the file of the compiled function."""
    found = hashlib.sha256()
    for name in SHARED:
        found.update((Path(__file__).parent / name).read_bytes())
    return found.hexdigest()[:12]


def compiled(function: Callable[..., Any]) -> Any:
    """Return the function compiled at its first call; the compiled code releases Python's global interpreter lock.

    The digest becomes part of the function's qualified name, by which numba looks it up in the cache.
    """
    function.__qualname__ = f"{function.__qualname__}_{digest()}"
    return njit(cache=True, nogil=True, error_model="numpy")(function)
