"""Arena counts side by side: lock conflicts in the timing model, and the memory that the arenas need."""

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
    """The results for one number of arenas. ``blow_up`` is peak reserved bytes over those of one arena (Berger et al. 2000)."""

    contention: Contention
    peak_reserved_bytes: int
    blow_up: float


def policies_for(inner: str, counts: Sequence[int], page: int) -> list[Policy]:
    """Return the policies `arenas` over one inner policy, one for each count of arenas, with pages of ``page`` bytes.

    Raise UsageError for an inner policy that arenas cannot be made of.
    """
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
    """Return a row for each count of arenas, the same for any ``jobs`` (processes).

    ``inner`` is the policy in each arena, ``cache`` the blocks per size class that a thread keeps, ``page`` the bytes of an
    arena's page. The placement follows the trace's order, and knows of no thread caches.
    """
    from memtrace.running import Cell, Settings, replay_cells

    modelled = [contend(trace, count, timing or Timing(), cache) for count in counts]
    wanted = [*counts] if 1 in counts else [1, *counts]
    settings = Settings(samples=2)
    cells = [Cell(trace, policy, settings) for policy in policies_for(inner, wanted, page)]
    parts = replay_cells(cells, min(jobs, len(cells)), lambda cell, events: None)
    peaks = {count: int(part.summary["peak_reserved_bytes"]) for count, part in zip(wanted, parts, strict=True)}
    return [Row(one, peaks[one.arenas], peaks[one.arenas] / peaks[1] if peaks[1] else 1.0) for one in modelled]
