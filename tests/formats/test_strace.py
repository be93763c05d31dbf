"""Mappings in a log of strace, against sets of pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memtrace import reading
from memtrace.trace import Trace


def read(tmp_path: Path, text: str) -> Trace:
    path = tmp_path / "log.txt"
    path.write_text(text)
    return reading.read(path, format="strace")


RANGES = st.tuples(
    st.sampled_from(["mmap", "munmap", "munmap", "mremap", "brk"]), st.integers(1, 30), st.integers(1, 8), st.integers(1, 8)
)


def pages_of(log: str) -> int:
    """The slow twin of strace's mappings: the most pages that were mapped at once."""
    live: set[int] = set()
    peak, first, now = 0, 0, 0
    for line in log.splitlines():
        name, *numbers = re.findall(r"0x[0-9a-f]+|(?<![\w.-])\d+(?!\w)|^\w+", line)
        values = [int(number, 0) for number in numbers]
        if name == "mmap":
            start = values[-1] // 4096
            live |= set(range(start, start + values[-3] // 4096))
        elif name == "munmap":
            live -= set(range(values[0] // 4096, (values[0] + values[1]) // 4096))
        elif name == "mremap":
            live -= set(range(values[0] // 4096, (values[0] + values[1]) // 4096))
            live |= set(range(values[3] // 4096, (values[3] + values[2]) // 4096))
        elif "NULL" in line:
            first = now = values[0] // 4096
        else:
            new = values[1] // 4096
            live = (live | set(range(now, new))) - set(range(new, max(now, new)))
            now = new
        peak = max(peak, len(live))
    assert first or not live
    return peak


@settings(max_examples=60, deadline=None)
@given(made=st.lists(RANGES, max_size=25))
def test_live_bytes_of_mappings_are_the_pages_that_are_mapped(
    made: list[tuple[str, int, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = ["brk(NULL) = 0x10000000", "mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x900000"]
    mapped: dict[int, int] = {}  # mappings that were not cut: only they are given to mremap
    for name, start, count, more in made:
        at = 0x100000 + start * 4096
        if name == "mmap":
            lines.append(f"mmap({at:#x}, {count * 4096}, PROT_READ, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS, -1, 0) = {at:#x}")
        elif name == "munmap":
            lines.append(f"munmap({at:#x}, {count * 4096}) = 0")
        elif name == "brk":
            lines.append(f"brk({0x10000000 + start * 4096:#x}) = {0x10000000 + start * 4096:#x}")
        elif at in mapped:
            lines.append(f"mremap({at:#x}, {mapped[at] * 4096}, {more * 4096}, MREMAP_MAYMOVE) = {at + 0x1000000:#x}")
        touched = range(start, start + count)
        mapped = {
            place: size
            for place, size in mapped.items()
            if name == "brk" or not set(touched) & set(range((place - 0x100000) // 4096, (place - 0x100000) // 4096 + size))
        }
        if name == "mmap":
            mapped[at] = count
    log = "\n".join(lines) + "\n"
    path = tmp_path_factory.getbasetemp() / "mappings.strace"
    path.write_text(log)
    assert reading.read(path, format="strace").facts.peak_live_bytes == 4096 * pages_of(log)


def test_mappings_may_be_more_than_there_is_room_for_at_first(tmp_path: Path) -> None:
    lines = [f"mmap(NULL, 4096, 3, 34, -1, 0) = {0x100000 + 8192 * number:#x}\n" for number in range(1500)]
    found = read(tmp_path, "".join(lines) + "munmap(0x100000, 40000000) = 0\nmunmap(0x100000, 4096) = 0\n")
    assert (found.facts.allocs, found.facts.frees, found.facts.peak_live_bytes) == (1500, 1500, 1500 * 4096)


def test_another_program_ends_the_mappings_of_the_one_before(tmp_path: Path) -> None:
    log = "brk(NULL) = 0x1000000\nbrk(0x1002000) = 0x1002000\nmmap(NULL, 4096, 3, 34, -1, 0) = 0x9000\nbrk(NULL) = 0x5000000\n"
    found = read(tmp_path, log + "brk(0x5001000) = 0x5001000\n")
    assert found.facts.never_freed == 1 and found.facts.peak_live_bytes == 12288
    assert "programs that were started in place of another, whose mappings end there: 1" in found.metadata["assumed"]
