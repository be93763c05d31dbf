"""Random settings of PyTorch's allocator: as numbers, for an oracle, and as the text that PyTorch itself takes."""

from __future__ import annotations

import random

from oracle_pytorch import MIB, Settings

LISTS = {
    "off": [0] * 16,
    "2": [2] * 16,
    "8": [8] * 16,
    "[1:8,4:2,>:4]": [8, 0, 2] + [4] * 13,
    "[256:1,512:2,1024:4,>:8]": [1] * 9 + [2, 4] + [8] * 5,
    "[2:4,32:16]": [4, 4, 0, 0, 0, 16] + [0] * 10,
    "[>:4]": [0] + [4] * 15,
}
# What changes nothing about where blocks lie.
IDLE = (
    "backend:native",
    "release_lock_on_cudamalloc:True",
    "graph_capture_record_stream_reuse:True",
    "pinned_use_cuda_host_register:True",
    "pinned_num_register_threads:8",
    "pinned_use_background_threads:True",
    "pinned_max_round_threshold_mb:64",
    "pinned_free_catch_all:True",
    "expandable_segments:False",
)


def random_settings(chance: random.Random) -> tuple[Settings, str]:
    """Settings, and the divisions by which they round as text."""
    pick = chance.choice
    large = pick([20, 20, 20, 20, 11, 12, 21, 32, 64, 100, chance.randrange(11, 200)])
    divisions, table = random_divisions(chance)
    max_split = pick([None, None, None, large, large + 1, 32, 64, 128, 200, 256, 512, chance.randrange(20, 600)])
    rounding = pick([None, None, None, large, large + 1, 32, 64, 500, chance.randrange(20, 300)])
    return Settings(
        capacity=random_capacity(chance),
        max_split=None if max_split is None else max(max_split, large),
        rounding=None if rounding is None else max(rounding, large),
        divisions=table,
        threshold=pick([0.0, 0.0, 0.3, 0.6, 0.8, 0.01, 0.99, round(chance.uniform(0.001, 0.999), 3)]),
        expandable=pick([False, False, True]),
        large=large,
        fraction=pick([1.0, 1.0, 0.5, 0.9, 0.0, round(chance.uniform(0.001, 0.999), 3)]),
        throw=pick([False, False, False, True]),
        first_fit=pick([False, False, True]),
        manual=pick([False, True]),
    ), divisions


def random_capacity(chance: random.Random) -> int:
    """Bytes of the device; now and then no multiple of anything."""
    small = chance.choice([2, 20, 22, 41, 64, chance.randrange(1, 300)])
    mib = chance.choice([100, 300, 1000, 1001, 4000, 10_000, 80 << 10, small, chance.randrange(300, 5000)])
    return mib * MIB + chance.choice([0, 0, 0, 1 << 19, -1, 1, chance.randrange(2 * MIB)])


def random_divisions(chance: random.Random) -> tuple[str, list[int]]:
    """A text and its table: one of those worked out by hand, one number, or a list in any order."""
    kind = chance.randrange(6)
    if kind < 3:
        return chance.choice([("off", LISTS["off"]), *LISTS.items()])
    if kind == 3:
        steps = 1 << chance.randrange(12)
        return str(steps), [steps] * 16
    doublings = chance.sample(range(18), chance.randrange(1, 6))
    if chance.random() < 0.7:
        doublings.sort()
    pairs: list[tuple[int | None, int]] = [(k, chance.choice([0, 1, 2, 4, 8, 16, 64])) for k in doublings]
    if chance.random() < 0.5:
        at = len(pairs) if chance.random() < 0.7 else chance.randrange(len(pairs) + 1)
        pairs.insert(at, (None, chance.choice([0, 1, 2, 4, 8])))
    text = ",".join(f"{'>' if k is None else 1 << k}:{steps}" for k, steps in pairs)
    return f"[{text}]", table_of(pairs)


def table_of(pairs: list[tuple[int | None, int]]) -> list[int]:
    """Divisions by doubling. A pair says it of one doubling, the first one of all below too, and `>` (None) of all above."""
    table: dict[int, int] = {}
    numbered = [min(k, 15) for k, _ in pairs if k is not None]
    before = 0
    for k, steps in pairs:
        if k is None:
            table |= dict.fromkeys(range(before + 1, 16), steps)
            continue
        before = min(k, 15)
        table[before] = steps
        if numbered and before == numbered[0]:
            table |= dict.fromkeys(range(before), steps)
            numbered = []
    return [table.get(k, 0) for k in range(16)]


def conf_of(settings: Settings, divisions: str, chance: random.Random) -> str:
    """The settings in PyTorch's own grammar, in any order, with some that change nothing and with spaces here and there."""
    words = {
        "max_split_size_mb": settings.max_split,
        "max_non_split_rounding_mb": settings.rounding,
        "garbage_collection_threshold": settings.threshold or None,
        "large_segment_size_mb": settings.large if settings.large != 20 else None,
        "per_process_memory_fraction": settings.fraction if settings.fraction < 1 else None,
        "roundup_power2_divisions": divisions if divisions != "off" else None,
        "expandable_segments": settings.expandable or None,
        "throw_on_cudamalloc_oom": settings.throw or None,
    }
    parts = [f"{name}:{value}" for name, value in words.items() if value is not None]
    idle = [part for part in IDLE if not (settings.expandable and part.startswith("expandable"))]
    parts += chance.sample(idle, chance.choice([0, 0, 0, 1, 2]))
    if chance.random() < 0.3:
        first = [part for part in parts if part.startswith("large_segment")]  # which the limits of others depend on
        rest = [part for part in parts if part not in first]
        chance.shuffle(rest)
        parts = first + rest
    return ", ".join(parts) if chance.random() < 0.1 else ",".join(parts)
