"""The policies that a command replays if none is named, and the announcement of those that have to be compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Trace

DEFAULT_POLICIES = ("default",)  # groups of policies
GPU_POLICIES = ("classic", "gpu")  # groups for a trace that is known to come from a GPU
GPU_FORMATS = ("torch-snapshot",)  # formats whose traces come from a GPU


def default_policies(traces: Sequence[Trace]) -> tuple[str, ...]:
    """Return the groups of policies to compare if no policy is named: those for GPUs if a trace comes from a GPU."""
    return GPU_POLICIES if any(comes_from_gpu(trace.metadata) for trace in traces) else DEFAULT_POLICIES


def comes_from_gpu(metadata: Mapping[str, str]) -> bool:
    """Return whether a trace's metadata say that it was recorded on a GPU, or from a program written for one."""
    return metadata.get("format") in GPU_FORMATS or metadata.get("recorded", "").startswith("torch ")


def say_compiling(policies: Sequence[Policy]) -> None:
    """Announce the policies that have to be compiled first, which is the one long wait of a new version."""
    from memtrace.results.running import uncompiled

    names = uncompiled(policies)
    if names:
        click.echo(f"compiling {', '.join(names)}, once for this version", err=True)
