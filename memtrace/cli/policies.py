"""The policies that a command replays if none is named, and what is said while they are compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Trace

DEFAULT_POLICIES = ("default",)  # groups of policies
GPU_POLICIES = ("classic", "gpu")  # groups for a trace that is known to come from a GPU
GPU_FORMATS = ("torch-snapshot", "torch-timeline", "rmm")  # formats whose traces come from a GPU


def default_policies(traces: Sequence[Trace]) -> tuple[str, ...]:
    """Return the groups of policies to compare if no policy is named: those for GPUs if a trace comes from a GPU."""
    return GPU_POLICIES if any(comes_from_gpu(trace.metadata) for trace in traces) else DEFAULT_POLICIES


def comes_from_gpu(metadata: Mapping[str, str]) -> bool:
    """Return whether a trace's metadata say that it was recorded on a GPU, or from a program written for one."""
    if not metadata.get("device", "cpu").startswith("cpu"):
        return True  # the device of a Chrome trace, such as cuda:0
    return metadata.get("format") in GPU_FORMATS or metadata.get("recorded", "").startswith("torch ")


def say_hints(policies: Sequence[Policy], quiet: bool) -> None:
    """Print a line for each name in the policies' files that looks misspelt, unless ``quiet``."""
    from memtrace.engine.form import hints

    for policy in [] if quiet else policies:
        for hint in hints(policy.module):
            echo(f"note: {policy.label}: {hint}", err=True)


def say_settings(seen: Iterable[tuple[str, str]]) -> None:
    """Say which settings of real allocators are set outside, as names and values; results depend on them."""
    for name, value in dict(seen).items():
        echo(f"note: {name}={value} is set outside, and real allocators see it; unset it, or give it in env=[...]", err=True)


def say_compiling(quiet: bool) -> None:
    """Have lines about what is being compiled printed, unless ``quiet``: of a new version that is the one long wait."""
    from memtrace import code_cache
    from memtrace.engine import handover

    handover.tell = code_cache.tell = None if quiet else partial(echo, err=True)
