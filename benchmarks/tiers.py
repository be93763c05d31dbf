"""Speed of a replay over tiers: a GPT 6.7B training trace on three sizes of HBM, with eviction by the thousand.

    python -m benchmarks.tiers [RULE] [STEPS] [REPEATS]

Prints, for each size, the best of some repeats by processor time of the compiled loop (other work on the machine counts less
than by the clock), and the process's peak of resident memory. Needs no data; a first run compiles.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from unittest.mock import patch

from memtrace.reading import read
from memtrace.tiers import replay as replaying
from memtrace.tiers.description import tiers_from_options
from memtrace.tiers.tier import Plan, Tier
from memtrace.trace import Trace

SIZES = (24, 40, 80)  # GiB
BELOW = ("dram=96GiB@60GB/s,10us", "nvme=8TiB@7GB/s,80us")


def main(rule: str = "lru", steps: str = "60", repeats: str = "8") -> None:
    trace = read(f"gpt-train:preset=gpt3-6.7b,batch=1,steps={steps}")
    for size in SIZES:
        tiers = tiers_from_options((f"hbm={size}GiB@3.35TB/s", *BELOW), None, None)
        found = replaying.replay_tiers(trace, tiers, Plan(rule))  # compiles, and works the uses out
        best = float("inf")
        for _ in range(int(repeats)):
            best = min(best, processor_seconds(trace, tiers, rule, found))
        evicted = int(found.count("EVICTIONS").sum())
        print(
            f"{rule}, hbm {size} GiB: {found.events:,} events, {evicted:,} evictions, {found.events / best / 1e6:.2f} M events/s"
        )
    print(f"peak resident {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def processor_seconds(trace: Trace, tiers: Sequence[Tier], rule: str, found: replaying.TierReplay) -> float:
    """Of the loop of one replay, whose clock is exchanged for that of the processor."""
    with patch("memtrace.tiers.replay.time.perf_counter", time.process_time):
        return replaying.replay_tiers(trace, tiers, Plan(rule), known=found.uses).seconds


if __name__ == "__main__":
    main(*sys.argv[1:])
