"""The recordings of PyTorch's allocator, replayed: a row for each, as docs/policies.md shows them.

python -m tests.recordings
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("", "oracles", "policies")]

from test_pytorch import SHARED, counters_of, recordings, replay_recording, rows_that_differ  # noqa: E402


def table() -> str:
    """Values are the columns of states.csv in all rows, and the statistics at the end."""
    lines = ["| recording | rows | values | differences |", "|---|---:|---:|---:|"]
    for case in recordings():
        if SHARED.is_dir() and case.parent != SHARED:
            continue
        placement = replay_recording(case)
        recorded = json.loads((case / "stats.json").read_text())["memory_stats"]
        last = counters_of(placement)[-1]
        wrong = sum(1 for _ in rows_that_differ(case, placement)) + sum(last[name] != value for name, value in recorded.items())
        lines.append(f"| {case.name} | {placement.events:,} | {9 * placement.events + len(recorded):,} | {wrong} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
