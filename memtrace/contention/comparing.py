"""Arena counts side by side: the model's conflicts, and the memory that the placement in so many arenas needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.contention.simulating import Contention, Timing, contend

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy
    from memtrace.trace import Trace


@dataclass(frozen=True)
class Row:
    """``blow_up``: peak reserved over that of one arena (Berger et al. 2000)."""

    contention: Contention
    peak_reserved_bytes: int
    blow_up: float


def policies_for(inner: str, counts: Sequence[int], page: int) -> list[Policy]:
    """Policy `arenas` over one policy, once per count. Raises UsageError for what arenas cannot be made of."""
    from memtrace.engine.registry import parse_policy

    return [parse_policy(f"arenas:policy=[{inner}],count={count},page={page}") for count in counts]


def compare(
    trace: Trace,
    counts: Sequence[int],
    inner: str = "best-fit",
    timing: Timing | None = None,
    cache: int = 0,
    page: int = 65536,
    jobs: int = 1,
) -> list[Row]:
    """A row per arena count, the same for any ``jobs``. Placement is by the trace's order, and knows of no thread caches."""
    from memtrace.running import Cell, Settings, replay_cells

    modelled = [contend(trace, count, timing or Timing(), cache) for count in counts]
    wanted = [*counts] if 1 in counts else [1, *counts]
    settings = Settings(samples=2)
    cells = [Cell(trace, policy, settings) for policy in policies_for(inner, wanted, page)]
    parts = replay_cells(cells, min(jobs, len(cells)), lambda cell, events: None)
    peaks = {count: int(part.summary["peak_reserved_bytes"]) for count, part in zip(wanted, parts, strict=True)}
    return [Row(one, peaks[one.arenas], peaks[one.arenas] / peaks[1] if peaks[1] else 1.0) for one in modelled]
