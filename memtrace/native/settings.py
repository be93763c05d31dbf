"""The settings of real allocators: environment variables that a policy sets for its process, and those that are set outside."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from memtrace.errors import UsageError
from memtrace.names import unknown
from memtrace.native.libraries import SYSTEM

# The variables that glibc reads (malloc/arena.c, mallopt(3)); most end with an underscore, and without it nothing happens.
OF_GLIBC = (
    "MALLOC_ARENA_MAX",
    "MALLOC_ARENA_TEST",
    "MALLOC_CHECK_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_PERTURB_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)
# How the variables begin that allocators read: glibc and jemalloc, mimalloc, tcmalloc, glibc's tunables, prefixed jemallocs.
OF_ALLOCATORS = ("MALLOC_", "MIMALLOC_", "TCMALLOC_", "GLIBC_TUNABLES", "_RJEM_MALLOC_CONF", "JE_MALLOC_CONF")


def parse_settings(text: str, library: str) -> dict[str, str]:
    """Return the variables of a text such as `[MALLOC_ARENA_MAX=1;MALLOC_TOP_PAD_=0]` by name; none of an empty text.

    Raises UsageError for what is no variable, is given twice, or glibc does not know.
    """
    inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    found: dict[str, str] = {}
    for part in (each.strip() for each in inside.split(";") if each.strip()):
        name, mark, value = part.partition("=")
        if not mark or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UsageError(
                f"native:{library}: env: {part!r} is not NAME=value\ntry: env=[MALLOC_ARENA_MAX=1;MALLOC_TRIM_THRESHOLD_=131072]"
            )
        if name in found:
            raise UsageError(f"native:{library}: env: {name} is given twice")
        if name.startswith("LD_"):
            raise UsageError(f"native:{library}: env: {name} is the loader's\ntry: native:/path/to/library.so")
        if library == SYSTEM and name.startswith("MALLOC_") and name not in OF_GLIBC:
            raise unknown("setting of glibc", name, OF_GLIBC)
        found[name] = value
    return found


def settings_outside(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that allocators may read and that are set in this process's environment, by name in order."""
    return {name: environment[name] for name in sorted(environment) if name.startswith(OF_ALLOCATORS)}
