"""The indexes of holes equal a plain list: the tree of chunks, the bins of sizes."""

from __future__ import annotations

import bisect
import random

import numpy as np
import pytest

from memtrace.engine.replay import replay
from memtrace.structures import address_tree, chunk_tree, size_bins
from memtrace.trace import from_columns


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_chunk_tree(depth: int) -> None:
    """Every search and sum in a tree of chunks equals the one over its leaves."""
    dice, count, first = random.Random(depth), 8**depth, chunk_tree.first_leaf(depth)
    most, counts = (chunk_tree.new_entries(first + count, np.int64) for _ in range(2))
    assert most.__array_interface__["data"][0] % chunk_tree.LINE == 0
    assert chunk_tree.depth_for(count) == depth and chunk_tree.depth_for(count + 1) == depth + 1
    leaves, numbers = [0] * count, [0] * count
    for _ in range(400):
        at, size = dice.randrange(count), dice.choice([0, 0, dice.randrange(1, 50)])
        if size > leaves[at]:
            chunk_tree.raise_maximum(most, np.int64(first + at), np.int64(size))
        else:
            chunk_tree.set_maximum(most, np.int64(first + at), np.int64(size))
        chunk_tree.add_to_counts(counts, np.int64(first + at), size - numbers[at])
        leaves[at] = numbers[at] = size
        assert most[0] == max(leaves)
        wanted, start = dice.randrange(1, 50), dice.randrange(count)
        fit = [i for i in range(count) if leaves[i] >= wanted]
        if fit:
            assert chunk_tree.lowest_leaf(most, np.int64(0), first, wanted) == first + fit[0]
        above = chunk_tree.next_large(most, np.int64(first + start), wanted)
        later = [i for i in fit if i > start]
        assert (above == 0) == (not later)
        if later:
            assert chunk_tree.lowest_leaf(most, above, first, wanted) == first + later[0]
        below = [first + i for i in range(start) if leaves[i] > 0]
        assert chunk_tree.last_leaf_before(most, np.int64(first + start), first) == (below[-1] if below else -1)
        assert chunk_tree.count_before(counts, np.int64(first + start)) == sum(numbers[:start])


def test_bins_are_ordered() -> None:
    """Sizes in ascending order have bins in ascending order, and the largest size has one of the last."""
    state = size_bins.init(1 << 62, 4)
    edges = [(1 << k) + d for k in range(4, 62) for d in (-16, 0, 16)]
    bins = [int(size_bins.bin_of(state, np.int64(size))) for size in sorted(set(edges))]
    assert bins == sorted(bins) and bins[-1] < size_bins.BINS
    assert size_bins.bin_of(state, np.int64((size_bins.EXACT - 1) * 16)) == size_bins.EXACT - 1
    assert size_bins.bin_of(state, np.int64(size_bins.EXACT * 16)) == size_bins.EXACT


def test_bitmap_of_bins() -> None:
    """The next bin and the last one that are not empty, as bits come and go."""
    dice, words, marked = random.Random(3), np.zeros(size_bins.LEVEL_2 + 1, np.int64), set[int]()
    for _ in range(600):
        b = dice.choice([dice.randrange(size_bins.BINS), dice.randrange(200), *(marked or {0})])
        (size_bins.unmark if b in marked else size_bins.mark)(words, np.int64(b))
        marked ^= {b}
        start = dice.choice([b, dice.randrange(size_bins.BINS)])
        assert size_bins.next_bin(words, np.int64(start)) == min((m for m in marked if m >= start), default=-1)
        assert size_bins.last_bin(words) == max(marked, default=-1)


@pytest.mark.parametrize("align", [0, 65536])
def test_best_fit_among_large_sizes(align: int) -> None:
    """Holes of many sizes share a bin from 1 MiB on: the hole taken is still the smallest that fits, the lowest of equal ones."""
    dice, base = random.Random(align), 300 << 20
    sizes = [base + dice.choice([0, 16, 64, 16 * dice.randrange(4096)]) for _ in range(120)]
    freed = dice.sample(range(0, 120, 2), 50)
    asked = [base + 16 * dice.randrange(4096) for _ in range(40)]
    op = [0] * 120 + [1] * 50 + [0] * 40
    block, size = [*range(120), *freed, *range(120, 160)], [*sizes, *([0] * 50), *asked]
    aligns = [0] * 170 + [align] * 40
    trace = from_columns(np.array(op, np.uint8), np.array(block), np.array(size), align=np.array(aligns))
    placed = replay(trace, "best-fit", keep=True, interpret=True).addresses
    assert placed is not None
    holes = [(int(placed[i]), -(-sizes[i] // 16) * 16) for i in freed]
    top = sum(-(-size // 16) * 16 for size in sizes)
    for wanted, address in zip(asked, placed[170:].tolist(), strict=True):
        length, step = -(-wanted // 16) * 16, max(align, 16)
        fits = [(extent, start) for start, extent in holes if -(-start // step) * step + length <= start + extent]
        if fits:
            extent, start = min(fits)
            lowest = -(-start // step) * step
            assert address == lowest
            holes.remove((start, extent))
            holes += [(start, lowest - start), (lowest + length, start + extent - lowest - length)]
        else:
            assert address >= top - extent_at_end(holes, top)
            gap = -(-(top - extent_at_end(holes, top)) // step) * step
            holes = [hole for hole in holes if hole[0] + hole[1] != top] + [(top, gap - top)]
            top = gap + length
        holes = [hole for hole in holes if hole[1] > 0]


def extent_at_end(holes: list[tuple[int, int]], top: int) -> int:
    """Return the bytes of the hole that ends at ``top``; 0 if there is none."""
    return sum(extent for start, extent in holes if start + extent == top)


def test_holes_in_a_small_part_of_the_heap() -> None:
    """Huge blocks below and above small ones: the chunks are made for the small part, and first fit is still the lowest that fits."""
    dice = random.Random(7)
    rows = [(0, i, 1 << 30) for i in range(4)] + [(0, i, 16 * dice.randrange(1, 30)) for i in range(4, 1200)]
    rows += [(0, i, 1 << 30) for i in range(1200, 1204)]
    live, spare = list(range(4, 1200)), list[int]()
    for _ in range(4000):
        if not spare or (len(live) > 600 and dice.random() < 0.55):
            spare.append(live.pop(dice.randrange(len(live))))
            rows.append((1, spare[-1], 0))
        else:
            live.append(spare.pop())
            rows.append((0, live[-1], 16 * dice.randrange(1, 30)))
    op, block, size = (np.array(column) for column in zip(*rows, strict=True))
    placed = replay(from_columns(op.astype(np.uint8), block, size), "first-fit", keep=True, interpret=True)
    assert placed.state.shape[address_tree.PART] == 1 and placed.state.shape[address_tree.ORIGIN] > 0
    assert placed.addresses is not None
    blocks: dict[int, tuple[int, int]] = {}
    taken: list[tuple[int, int]] = []  # start and end of the live blocks, ascending
    for (what, number, wanted), address in zip(rows, placed.addresses.tolist(), strict=True):
        if what == 1:
            taken.remove(blocks.pop(number))
            continue
        end = 0
        for start, behind in taken:
            if start - end >= wanted:
                break
            end = behind
        assert address == end
        blocks[number] = (end, end + wanted)
        bisect.insort(taken, blocks[number])
