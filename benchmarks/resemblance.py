"""Which simulated policy is most like which real allocator: `python -m benchmarks.resemblance RESULTS`, a results folder.
With `--heaps TRACE...` instead: what glibc held for each recorded program, and what native:glibc finds for its trace: by the same
count at as many moments, by the same count at more, and as what is mapped.

A distance is the mean over traces of the mean over samples of the difference of two policies' bytes, as a share of the
trace's peak of live bytes. Reserved bytes are taken above those at the first sample, so that what a library takes at its
start, however short the program, does not count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

SHOWN = 3
LOOK = 4096  # calls between two looks of `memtrace record native` at a program's heap


def curves(timeline: pd.DataFrame, column: str) -> dict[str, Any]:
    """Policy -> the column at the events that all policies of a trace have sampled."""
    table = timeline.pivot_table(index="event", columns="policy", values=column).dropna()
    return {name: table[name].to_numpy() for name in table.columns}


def distances(timeline: pd.DataFrame, column: str) -> Iterator[tuple[str, str, float]]:
    """(real, simulated, distance) on each trace."""
    for _, part in timeline.groupby("trace"):
        peak, found = part["live_bytes"].max(), curves(part, column)
        for real in [name for name in found if name.startswith("native:") and "," not in name]:
            start = found[real][0] if column == "reserved_bytes" else 0
            for simulated in [name for name in found if not name.startswith("native:")]:
                difference = np.abs(found[real] - start - found[simulated])
                yield real, simulated, float(difference.mean() / peak)


def table(timeline: pd.DataFrame, column: str) -> list[str]:
    rows = pd.DataFrame(distances(timeline, column), columns=["real", "simulated", "distance"])
    mean = rows.groupby(["real", "simulated"])["distance"].mean()
    lines = []
    for real in sorted(set(rows["real"])):
        nearest = mean[real].nsmallest(SHOWN)
        lines.append(f"| {real} | " + " | ".join(f"{name} {100 * value:.1f} %" for name, value in nearest.items()) + " |")
    return lines


def costs(summary: pd.DataFrame, timing: pd.DataFrame) -> list[str]:
    """Mean over traces of peak reserved above the lower bound, of internal fragmentation; nanoseconds an event."""
    joined = summary.merge(timing, on=["trace", "policy"])
    joined["above"] = joined["peak_reserved_bytes"] / joined["lower_bound_bytes"]
    joined["ns"] = 1e9 * joined["replay_seconds"] / joined["events"]
    mean = joined.groupby("policy")[["above", "internal_frag_at_peak", "ns"]].mean().sort_values("above")
    return [
        f"| {name} | {row.above:.2f}x | {100 * row.internal_frag_at_peak:.1f} % | {row.ns:.0f} |" for name, row in mean.iterrows()
    ]


def heaps(paths: list[str]) -> Iterator[str]:
    """A row for each trace that says what glibc held for its program."""
    from memtrace import read, replay
    from memtrace.engine.replay import DEFAULT_SAMPLES

    columns = ("trace", "threads", "the program's own heap", "read as seldom", "read at 2,000 samples", "mapped")
    yield f"| {' | '.join(columns)} |\n|---{'|---:' * 5}|"
    for path in paths:
        trace = read(path)
        own = int(trace.metadata.get("heap_peak_bytes", 0))
        if own:
            looks = max(2, trace.facts.events // LOOK)  # as seldom as the recorder looked
            counts = [
                replay(trace, f"native:glibc,footprint={footprint},touch=false", samples=samples).peak_reserved_bytes
                for footprint, samples in (("heap", looks), ("heap", DEFAULT_SAMPLES), ("mapped", DEFAULT_SAMPLES))
            ]
            beside = " | ".join(f"{count:,} ({100 * (count / own - 1):+.2f} %)" for count in counts)
            yield f"| {trace.name} | {trace.metadata['threads']} | {own:,} | {beside} |"


def main() -> None:
    if sys.argv[1] == "--heaps":
        print("\n".join(heaps(sys.argv[2:])))
        return
    folder = sys.argv[1]
    timeline, summary, timing = (pd.read_parquet(f"{folder}/{name}.parquet") for name in ("timeline", "summary", "timing"))
    print(f"| policy | peak reserved | internal | ns an event |\n|---|---:|---:|---:|\n{chr(10).join(costs(summary, timing))}\n")
    for column in ("reserved_bytes", "allocated_bytes"):
        print(f"{column}\n\n| real | nearest | second | third |\n|---|---|---|---|\n{chr(10).join(table(timeline, column))}\n")


if __name__ == "__main__":
    main()
