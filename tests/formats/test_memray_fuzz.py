"""Damaged captures of memray: an answer or one message, whatever memray's own reader makes of them.

MEMTRACE_FUZZ_SECONDS=600 makes the run as long as that.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from test_format_fuzz import SECONDS, damaged, survives

memray = pytest.importorskip("memray")


def capture(path: Path, packed: bool) -> bytes:
    """Of blocks that come and go, in and out of order."""
    with memray.Tracker(destination=memray.FileDestination(path, compress_on_exit=packed)):
        blocks = [bytearray(1000 * size) for size in range(1, 60)]
        del blocks[::3]
        blocks += [bytearray(2 << 20) for _ in range(3)]
        blocks.clear()
    return path.read_bytes()


def fuzz(folder: Path, examples: int) -> None:
    captures = [capture(folder / f"{packed}.memray", packed) for packed in (False, True)]

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged(captures))
    def run(content: bytes) -> None:
        survives("memray", content or b"\n", folder / "damaged")

    run()


def test_damaged_captures(tmp_path: Path) -> None:
    fuzz(tmp_path, 8)


@pytest.mark.skipif(not SECONDS, reason="MEMTRACE_FUZZ_SECONDS says how long")
def test_damaged_captures_for_long(tmp_path: Path) -> None:
    until = time.monotonic() + SECONDS
    for number in range(1_000_000):
        if time.monotonic() > until:
            break
        (folder := tmp_path / str(number)).mkdir()
        fuzz(folder, 40)
