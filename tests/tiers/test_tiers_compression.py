"""Tiers that compress."""

from __future__ import annotations

import random
from pathlib import Path

from strategies import random_events
from tier_cases import figures, tagged, trace_of

from memtrace.tiers.replay import replay_tiers
from memtrace.tiers.tier import Compression, Plan, Tier, measured


def test_with_ratio_1_nothing_changes_but_cost() -> None:
    trace = trace_of(tagged(random_events(3, 300), 3))
    plain = [Tier("a", 2000, 1e9), Tier("b", 3000, 1e8), Tier("c", 1 << 40, 1e7)]
    packed = [plain[0], Tier("b", 3000, 1e8, 0, "best-fit", Compression({"*": (1000,)}, 1e7, 1e7)), plain[2]]
    before, after = (
        figures(replay_tiers(trace, tiers, Plan(uses="lifetimes"), keep=True, interpret=True)) for tiers in (plain, packed)
    )
    assert after.pop("STALL") > before.pop("STALL")
    assert after.pop("CLOCK") > before.pop("CLOCK")
    assert before == after


def test_compression_saves_room() -> None:
    trace = trace_of(tagged(random_events(3, 300, max_size=4000), 3))
    tiers = [Tier("a", 2000, 1e9), Tier("b", 1 << 20, 1e8, 0, "best-fit", Compression({"weight": (4000,), "*": (1000,)}))]
    found = replay_tiers(trace, tiers, Plan(uses="lifetimes"), interpret=True)
    assert found.count("PEAK_STORED")[1] < found.count("PEAK_LIVE")[1]
    assert found.count("PEAK_STORED")[0] == found.count("PEAK_LIVE")[0]


def test_ratios_are_measured_on_a_sample(tmp_path: Path) -> None:
    sample = tmp_path / "sample.bin"
    sample.write_bytes(random.Random(1).randbytes(1 << 16) + bytes(1 << 16))
    random_piece, empty_piece = measured(sample)
    assert random_piece == 1000 and empty_piece > 50_000
