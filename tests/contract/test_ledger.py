"""The ledger's counts of hole sizes, and the largest hole that is followed, equal a plain list of holes after every change."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from memtrace.contract import largest, ledger
from memtrace.contract.largest import begin_search, end_search, follow, follow_largest, largest_kept, offer


def counted(book: Any) -> dict[str, int]:
    """Return the counts of hole sizes that a ledger has."""
    ledger.settle(book)
    counts = {name: int(book[getattr(ledger, name)]) for name in ("HOLES", "FREE", "BELOW_MEDIAN", "BELOW_P99")}
    for size_class in range(64):
        counts[f"holes {size_class}"] = int(book[ledger.CLASS_HOLES + size_class])
        counts[f"bytes {size_class}"] = int(book[ledger.CLASS_BYTES + size_class])
    return {**counts, "squares": ledger.sum_of_squares(book)}


def expected(holes: list[int], median: int, p99: int) -> dict[str, int]:
    """Return the same counts of a list of holes."""
    counts = {
        "HOLES": len(holes),
        "FREE": sum(holes),
        "BELOW_MEDIAN": sum(size for size in holes if size < median),
        "BELOW_P99": sum(size for size in holes if size < p99),
    }
    for size_class in range(64):
        alike = [size for size in holes if size.bit_length() - 1 == size_class]
        counts[f"holes {size_class}"] = len(alike)
        counts[f"bytes {size_class}"] = sum(alike)
    return {**counts, "squares": sum(size * size for size in holes)}


@pytest.mark.parametrize("bits", [6, 20, 31, 32, 55])
def test_counts(bits: int) -> None:
    """Sizes below and above 2^31 bytes, where the square of a size no longer fits 62 bits."""
    dice, holes, book = random.Random(bits), list[int](), ledger.new_ledger(0)
    median, p99 = 1 << bits // 2, 1 << bits - 1
    ledger.set_detail(book, median, p99, True, True)
    for _ in range(300):
        size, what = np.int64(dice.randrange(1, 1 << dice.randrange(1, bits + 1))), dice.randrange(5)
        if what == 0 and holes:
            old = holes.pop(dice.randrange(len(holes)))
            ledger.resize_hole(book, np.int64(old), size)
            holes.append(int(size))
        elif what == 1 and holes:
            ledger.close_hole(book, np.int64(holes.pop(dice.randrange(len(holes)))))
        elif what == 2:
            ledger.open_holes(book, size, np.int64(3))
            holes += [int(size)] * 3
        else:
            ledger.open_hole(book, size)
            holes.append(int(size))
        assert counted(book) == expected(holes, median, p99)


def test_tail() -> None:
    """The tail is in the counts with the size that it has when they are read."""
    book = ledger.new_ledger(0)
    ledger.open_hole(book, np.int64(48))
    book[ledger.HOLES] += 1
    for tail in (1000, 7, 1 << 40):
        book[ledger.TAIL] = tail
        assert counted(book) == expected([48, tail], 0, 0)
    book[ledger.HOLES] -= 1
    book[ledger.TAIL] = 0
    assert counted(book) == expected([48], 0, 0)


@pytest.mark.parametrize(("sizes", "keep"), [(5, 3), (40, 60), (1000, 60), (1000, 600), (100_000, 300)])
def test_largest(sizes: int, keep: int) -> None:
    """Few sizes and many, more and fewer than are kept; asked after each change, now and then, or after too many for the notes."""
    dice, holes, book, searches = random.Random(sizes + keep), list[int](), ledger.new_ledger(0), 0
    follow_largest(book)
    for step in range(12_000):
        if holes and dice.random() < (0.6 if len(holes) > keep else 0.4):
            place = max(range(len(holes)), key=holes.__getitem__) if dice.random() < 0.1 else dice.randrange(len(holes))
            follow(book, np.int64(holes.pop(place)), -1)
        else:
            holes.append(dice.randrange(1, sizes + 1))
            follow(book, np.int64(holes[-1]), 1)
        if step > 6000 or (step > 3000 and step % 50 == 0):
            most = largest_kept(book)
            if most == 0 and holes:
                searches += 1
                begin_search(book)
                for size in holes:
                    offer(book, np.int64(size))
                most = end_search(book, 1)
            assert most == max(holes, default=0)
    assert searches < 6000 / 4


def test_largest_of_some() -> None:
    """A search that offers only holes from some size on knows nothing of smaller ones, and does not say so later."""
    book = ledger.new_ledger(0)
    follow_largest(book)
    for size in (100, 90, 20):
        follow(book, np.int64(size), 1)
    begin_search(book)
    offer(book, np.int64(100))
    offer(book, np.int64(90))
    assert end_search(book, 64) == 100
    follow(book, np.int64(100), -1)
    assert largest_kept(book) == 90
    follow(book, np.int64(90), -1)
    assert largest_kept(book) == 0  # not known: that of 20 bytes was not offered
    follow(book, np.int64(30), 1)
    assert largest_kept(book) == 0


def test_too_many_notes() -> None:
    """More changes than there is room for notes: the largest is not known."""
    book = ledger.new_ledger(0)
    follow_largest(book)
    for size in range(1, largest.ROOM + 10):
        follow(book, np.int64(size), 1)
    assert largest_kept(book) == 0


def test_not_followed() -> None:
    """A ledger that follows no largest hole, or leaves hole sizes out, notes nothing."""
    book, bare = ledger.new_ledger(0), ledger.new_ledger(0)
    follow_largest(bare)
    ledger.set_detail(bare, 1, 1, False, False)
    for each in (book, bare):
        follow(each, np.int64(1 << 50), 1)
        assert each[largest.NOTES] == 0


def test_the_documented_entries_and_functions_are_there() -> None:
    text = (ROOT / "docs" / "policies.md").read_text().partition("### The ledger")[2].partition("### The check")[0]
    names = {name for name in re.findall(r"`([A-Za-z_]+)(?:\(|`)", text) if name in dir(ledger) or name.isupper()}
    assert {"RESERVED", "ALLOCATED", "HOLES", "FREE", "INSPECTED", "new_ledger", "open_hole", "resize_hole"} <= names
    assert [name for name in sorted(names - {"NOT_COUNTED"}) if not hasattr(ledger, name)] == []
