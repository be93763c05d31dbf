"""Opt-in: random programs through PyTorch's own allocator, which does the same, event by event.

pip download --no-deps torch==2.14.1 nvidia-cuda-runtime==13.0.* nvidia-cuda-crt==13.0.*     and unpack them
tests/torch_oracle/build.sh UNPACKED/torch UNPACKED/nvidia/cu13/include /tmp/torch-oracle
MEMTRACE_TORCH_DRIVER=/tmp/torch-oracle/drv MEMTRACE_SEEDS=3000 pytest tests/policies/test_pytorch_library.py
"""

from __future__ import annotations

import os

import pytest
from pytorch_programs import random_program, through_policy
from torch_oracle.driver import through_library

DRIVER = os.environ.get("MEMTRACE_TORCH_DRIVER", "")
SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "1000"))


@pytest.mark.skipif(not DRIVER, reason="MEMTRACE_TORCH_DRIVER names no driver of PyTorch's allocator")
@pytest.mark.parametrize("streams", [3, 8, 31])
def test_random_programs_do_the_same_in_the_library(streams: int) -> None:
    for seed in range(SEEDS // 3):
        program = random_program(seed, 400, streams)
        found, wanted = through_policy(program), through_library(program, DRIVER)
        assert found["events"] == wanted["events"], f"seed {seed}: {program.conf}"
        assert wanted["last"].items() <= found["last"].items(), f"seed {seed}: {program.conf}"
