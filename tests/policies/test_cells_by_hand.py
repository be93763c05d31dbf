"""Cell policies against figures worked out by hand, and against the bounds that their texts claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from comparison import spec

import memtrace
from memtrace.engine.replay import Placement, replay
from memtrace.errors import UsageError
from memtrace.trace import from_events

Row = tuple[Any, ...]


def run(policy: str, *rows: Row, capacity: int | None = None, **options: Any) -> Placement:
    return replay(
        from_events(list(rows)), spec(policy, options), capacity, samples=1 << 62, keep=True, on_oom="skip", interpret=True
    )


def alloc(*sizes: int) -> list[Row]:
    return [("alloc", number, size) for number, size in enumerate(sizes)]


def addresses(placement: Placement) -> list[int]:
    assert placement.addresses is not None
    return [address for address in placement.addresses.tolist() if address != -2]


def column(placement: Placement, name: str) -> list[int]:
    from memtrace.engine.recorder import ROW

    return [int(value) for value in placement.recorder.samples[:, ROW.index(name)]]


def internal(placement: Placement) -> float:
    """1 - L/A after the last event."""
    return 1 - column(placement, "live")[-1] / column(placement, "allocated")[-1]


def block_sizes(policy: str, sizes: Sequence[int], **options: Any) -> list[int]:
    """What each request is given when it is alone."""
    rows = [row for size in sizes for row in (("alloc", 1, size), ("free", 1))]
    return column(run(policy, *rows, **options), "allocated")[::2]


def test_classes() -> None:
    assert block_sizes("size-class", (1, 16, 17, 64, 65, 80, 81, 129, 161, 16384, 16385, 20481)) == [
        *(16, 16, 32, 64, 80, 80, 96, 160, 192),
        *(16384, 20480, 24576),
    ]
    assert block_sizes("size-class", (1, 17, 33, 65, 4096, 4097), spacing=1) == [16, 32, 64, 128, 4096, 8192]
    assert block_sizes("size-class", (129, 257, 5), spacing=8, header=8, min_block=48) == [144, 288, 48]


@pytest.mark.parametrize("policy", ["size-class", "slab"])
@pytest.mark.parametrize("spacing", [1, 2, 4, 8])
def test_waste_is_within_its_bound(policy: str, spacing: int) -> None:
    """Every size of five doublings, and sizes around the change to whole pages."""
    first, small = 16 * spacing, 1024 * spacing
    sizes = [*range(first + 1, min(32 * first, small) + 1, 7), *range(small - 40, small + 3000, 13)]
    blocks = block_sizes(policy, sizes, spacing=spacing, page=1024)
    assert all(block >= size for block, size in zip(blocks, sizes, strict=True))
    assert max(1 - size / block for block, size in zip(blocks, sizes, strict=True)) < 1 / (spacing + 1)


@pytest.mark.parametrize("spacing", [1, 2, 4, 8])
def test_mean_waste_of_uniform_sizes(spacing: int) -> None:
    """Each size of a doubling once. In (S, 2S], classes are S/s apart: S/2s is wasted of S(3s + 1)/2s bytes, in the mean."""
    low = 1024
    placement = run("size-class", *alloc(*range(low + 1, 2 * low + 1)), spacing=spacing)
    step = low // spacing
    mean_block = low * (3 * spacing + 1) / (2 * spacing)
    exact = (step - 1) / 2 / mean_block  # sizes are whole bytes: a class is given to `step` of them, with 0 to step - 1 to spare
    found = internal(placement)
    assert found == pytest.approx(exact, rel=1e-12)
    assert found == pytest.approx(1 / (3 * spacing + 1), abs=0.001)


def test_powers_of_two_waste_a_quarter() -> None:
    placement = run("segregated", *alloc(*range(1025, 2049)))
    assert internal(placement) == pytest.approx(1 / 4, abs=0.001)


def test_a_run_wastes_little_at_its_end() -> None:
    """1536 bytes: a page of 4096 would leave a quarter; two pages leave 512 of 8192."""
    placement = run("size-class", ("alloc", 0, 1536))
    assert (placement.peak_reserved_bytes, column(placement, "free")) == (8192, [4 * 1536])
    assert run("size-class", ("alloc", 0, 1536), tail=1).peak_reserved_bytes == 4096


def test_an_empty_run_is_given_back() -> None:
    rows = [*alloc(*[1000] * 5), *(("free", n) for n in range(4)), ("alloc", 9, 4096), ("free", 9), ("free", 4)]
    placement = run("size-class", *rows)
    assert addresses(placement) == [0, 1024, 2048, 3072, 4096, 0]
    assert column(placement, "holes")[4:] == [3, 4, 5, 6, 4, 3, 4, 1]
    assert column(placement, "largest")[4:] == [1024, 1024, 1024, 1024, 4096, 1024, 4096, 8192]


def test_slabs_keep_empty_ones() -> None:
    rows = [*alloc(*[1000] * 8), *(("free", n) for n in range(8)), ("alloc", 9, 1000), ("alloc", 8, 100)]
    kept = run("slab", *rows)
    assert column(kept, "holes")[-3:] == [5, 4, 38]  # a slab of 4 and a page; one less; 3 of 1000 and 35 of 36 of 112
    assert addresses(kept)[-2:] == [0, 4096]
    assert addresses(run("slab", *rows, capacity=8192, empty=5))[-2:] == [4096, 0], "the last one emptied; then one is given back"
    trimmed = run("slab", *rows[:16], ("trim",), empty=5)
    assert column(trimmed, "reserved")[-1] == 0


def test_slabs_are_given_back_when_room_is_needed() -> None:
    rows = [("alloc", 1, 1000), ("free", 1), ("alloc", 2, 8192)]
    assert addresses(run("slab", *rows, capacity=8192)) == [0, 0]


def test_segregated_never_merges() -> None:
    rows = [*alloc(16, 30, 16), ("free", 0), ("free", 2), ("alloc", 7, 9), ("alloc", 8, 9), ("alloc", 9, 16), ("free", 1)]
    placement = run("segregated", *rows, page=64)
    assert addresses(placement) == [0, 64, 16, 16, 0, 32]
    assert column(placement, "holes")[:4] == [3, 4, 3, 4]
    assert column(placement, "largest")[:3] == [16, 32, 32]
    assert run("segregated", ("alloc", 1, 64), ("free", 1), ("alloc", 2, 32), page=64).addresses.tolist() == [0, -2, 64]  # type: ignore[union-attr]


def test_pool_and_what_does_not_fit() -> None:
    rows = alloc(64, 65, 10, 1)
    assert addresses(run("pool", *rows, cells=2)) == [0, 128, 64, 256]
    assert addresses(run("pool", *rows, cells=2, pools=1)) == [0, 128, 64, 208]
    assert addresses(run("pool", *rows, cells=2, fallback="none", swap="inplace")) == [0, -1, 64, 128]
    assert column(run("pool", *rows, cells=2, pools=1), "allocated")[-1] == 64 + 80 + 64 + 16
    assert addresses(run("pool", *rows, cells=2, capacity=240)) == [0, 128, 64, 208], "no room for another pool"


def test_aligned_cells() -> None:
    placement = run("size-class", ("alloc", 1, 40, None, 64), ("alloc", 2, 0, None, 128), ("alloc", 3, 10, None, 8192))
    assert column(placement, "allocated") == [64, 192, 192 + 4096]
    assert [address % align for address, align in zip(addresses(placement), (64, 128, 8192), strict=True)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("size-class:spacing=3", "spacing=3"),
        ("slab:page=100", "page=100 is not a power of two"),
        ("slab:page=8", "page=8 is below align=16"),
        ("size-class:tail=0", "tail=0"),
        ("slab:empty=-1", "empty"),
        ("segregated:page=24", "page=24"),
        ("pool:cells=0", "cells=0 is below 1"),
        ("pool:cell=1099511627776,cells=16777216", "too large"),
    ],
)
def test_options_that_cannot_be(policy: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        memtrace.Heap(policy)
