"""Opt-in: the rows of `memtrace whatif` are what PyTorch's own allocator does with the same requests under the same settings.

The driver is built as tests/policies/test_pytorch_library.py says.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import ROOT
from torch_oracle.driver import figures_of

from memtrace.gpu.answer import Question, answer
from memtrace.gpu.settings import GRID

DRIVER = os.environ.get("MEMTRACE_TORCH_DRIVER", "")
DATA = ROOT / "tests" / "data"
SNAPSHOTS = (
    *(DATA / "gpu" / f"{name}.pickle.gz" for name in ("thrash", "flushes", "really_full", "midrun_gain")),
    DATA / "torch" / "24" / "snapshot.pickle.gz",
    ROOT.parent / "shared" / "data" / "torch-oracle" / "11_two_streams_record" / "snapshot.pickle.gz",
)
COLLECTED = "garbage_collection_threshold:0.8,per_process_memory_fraction:0.9"
AS_MUCH_AS_NEEDED = 1 << 46  # bytes


@pytest.mark.skipif(not DRIVER, reason="MEMTRACE_TORCH_DRIVER names no driver of PyTorch's allocator")
@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_rows_are_what_the_library_does(path: Path) -> None:
    if not path.exists():
        pytest.skip("needs ../shared")
    found = answer(str(path), Question(confs=(*GRID, COLLECTED)))
    capacity = found.capacity.bytes or AS_MUCH_AS_NEEDED
    wanted = {row.conf: figures_of(found.trace, DRIVER, row.conf, capacity) for row in found.rows}
    assert {row.conf: (row.peak_reserved, row.flushes, row.ooms) for row in found.rows} == wanted
    assert len(wanted) > 12
