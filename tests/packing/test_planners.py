"""The planners of inference runtimes equal what their rules say, in lists; `bound` and `optimum` show them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from memtrace.engine.replay import replay
from memtrace.errors import UsageError
from memtrace.packing.planners import packing_of
from memtrace.trace import Trace, from_events
from memtrace.validation.placements import validate

NAMES = ("executorch-greedy", "tflite-greedy")


def lives(seed: int, count: int = 60) -> tuple[Trace, list[tuple[int, int, int]]]:
    """A trace, and (first event, event of the free, bytes) of each block; some are never freed."""
    dice = random.Random(seed)
    rows: list[tuple[Any, ...]] = []
    blocks: list[list[int]] = []
    live: list[int] = []
    while len(blocks) < count:
        if live and dice.random() < 0.45:
            id = live.pop(dice.randrange(len(live)))
            blocks[id][1] = len(rows)
            rows.append(("free", id))
        else:
            size = dice.choice([1, 16, 64, 100, 100, 256, dice.randrange(1, 1000), dice.randrange(1, 5000)])
            live.append(len(blocks))
            rows.append(("alloc", len(blocks), size))
            blocks.append([len(rows) - 1, -1, size])
    ended = [(begin, len(rows) if end < 0 else end, size) for begin, end, size in blocks]
    return from_events(rows), ended


def meet(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def executorch(blocks: list[tuple[int, int, int]], align: int) -> list[int]:
    sizes = [-(-size // align) * align for _, _, size in blocks]
    order: list[int] = []
    for i in range(len(blocks)):
        at = next((k for k, j in enumerate(order) if sizes[j] > sizes[i]), len(order))  # behind its equals
        order.insert(at, i)
    buckets: list[tuple[int, list[tuple[int, int]]]] = []  # bytes, and (block, offset)
    for i in reversed(order):
        found = None
        for _, inside in buckets:
            if not any(meet(blocks[i], blocks[j]) for j, _ in inside):
                found = inside, 0
                break
        if found is None:
            for extent, inside in buckets:
                end = max(offset + sizes[j] for j, offset in inside if meet(blocks[i], blocks[j]))
                if end + sizes[i] <= extent:
                    found = inside, end
                    break
        if found is None:
            buckets.append((sizes[i], []))
            found = buckets[-1][1], 0
        found[0].append((i, found[1]))
    addresses, base = [0] * len(blocks), 0
    for extent, inside in buckets:
        for i, offset in inside:
            addresses[i] = base + offset
        base += extent
    return addresses


def tflite(blocks: list[tuple[int, int, int]], align: int) -> list[int]:
    last = max(end for _, end, _ in blocks)
    freed = min((end for _, end, _ in blocks if end < last), default=last)
    whole = [i for i, (begin, end, _) in enumerate(blocks) if begin < freed and end == last]
    rest = sorted((i for i in range(len(blocks)) if i not in whole), key=lambda i: (-blocks[i][2], blocks[i][0]))
    placed: dict[int, int] = {}
    for i in whole + rest:
        size, end, best, least = blocks[i][2], 0, None, 1 << 62
        for j in sorted((j for j in placed if meet(blocks[i], blocks[j])), key=lambda j: placed[j]):
            start = -(-end // align) * align
            if start + size <= placed[j] and placed[j] - start < least:
                best, least = start, placed[j] - end
            end = max(end, placed[j] + blocks[j][2])
        placed[i] = -(-end // align) * align if best is None else best
    return [placed[i] for i in range(len(blocks))]


@pytest.mark.parametrize("seed", range(20))
def test_planners_place_as_their_rules_say(seed: int) -> None:
    trace, blocks = lives(seed)
    for planner, twin, align in ((NAMES[0], executorch, 16), (NAMES[1], tflite, 64), (NAMES[0], executorch, 128)):
        buffers, packing = packing_of(trace, planner, align if align == 128 else 1)
        assert packing.addresses.tolist() == twin(blocks, align)
        assert packing.height == max(packing.addresses + buffers.size)


@pytest.mark.parametrize("planner", NAMES)
def test_the_policy_follows_the_planner(planner: str) -> None:
    trace, _ = lives(3)
    placement = replay(trace, f"optimum:planner={planner},align=1", keep=True, interpret=True)
    _, packing = packing_of(trace, planner)
    assert placement.addresses is not None and validate(placement) is None
    assert [address for address in placement.addresses.tolist() if address >= 0] == packing.addresses.tolist()
    if planner == "tflite-greedy":
        assert placement.peak_reserved_bytes <= packing.height
    rounded = replay(trace, f"optimum:planner={planner}", interpret=True)
    assert 0 <= rounded.peak_reserved_bytes - placement.peak_reserved_bytes < 16


def test_a_small_graph_by_hand() -> None:
    # 200 and 160 live at once; then 160 and 80, 80 and 48.
    rows = [
        ("alloc", 1, 200),
        ("alloc", 2, 160),
        ("free", 1),
        ("alloc", 3, 80),
        ("free", 2),
        ("alloc", 4, 48),
        ("free", 3),
        ("free", 4),
    ]
    trace = from_events(rows)
    # ExecuTorch: 200 -> 208 of its own, 160 too; 80 in the first bucket, 48 behind it.
    assert packing_of(trace, NAMES[0])[1].addresses.tolist() == [0, 208, 0, 208]
    # TensorFlow Lite: 160 behind 200, at 256; 80 below it, 48 behind that, at 128.
    assert packing_of(trace, NAMES[1])[1].addresses.tolist() == [0, 256, 0, 128]


def test_bound_says_what_planners_need(memtrace: Run, tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("op,id,size\nalloc,1,200\nalloc,2,160\nfree,1,\nalloc,3,80\nfree,2,\nalloc,4,48\nfree,3,\nfree,4,\n")
    words = ("bound", trace, "--effort", "0", "--planner", NAMES[0], "--planner", NAMES[1])
    assert [(row["planner"], row["height_bytes"]) for row in json.loads(memtrace(*words, "--json").stdout)["planners"]] == [
        (NAMES[0], 368),
        (NAMES[1], 416),
    ]
    shown = memtrace(*words).stdout
    assert "executorch-greedy" in shown and "1.156x" in shown
    assert memtrace(*words, "--capacity", "1KiB").returncode == 2


def test_what_no_planner_is_called_is_refused() -> None:
    with pytest.raises(UsageError, match="planner=naive is none of"):
        replay(lives(1)[0], "optimum:planner=naive")
