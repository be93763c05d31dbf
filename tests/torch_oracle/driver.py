"""A random program through PyTorch's own allocator: its events and its statistics.

The driver is built by ``build.sh`` from an unpacked wheel of torch 2.14.1 and the CUDA 13 headers.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

from pytorch_programs import Program

BASE = {False: 0x7F0000000000, True: 0x600000000000}  # of the stand-in's addresses: ordinary, expandable


def commands(program: Program) -> str:
    letters = {"alloc": "a {id} {size} {stream}", "free": "f {id}", "record": "r {id} {stream}", "complete": "c", "trim": "e"}
    lines = ["manual"] * program.settings.manual
    lines += [letters[op].format(id=id, size=size, stream=stream) for op, id, size, stream in program.rows]
    return "\n".join(lines) + "\n"


def through_library(program: Program, driver: str) -> dict[str, Any]:
    """The event stream, with addresses from 0 on, and the statistics at the end."""
    environment = {
        **os.environ,
        "FAKE_TOTAL": str(program.settings.capacity),
        "FAKE_VA": "firstfit" if program.settings.first_fit else "bump",
        "PYTORCH_CUDA_ALLOC_CONF": program.conf,
        "TORCH_CUDA_EXPANDABLE_SEGMENTS_IPC": "0",
    }
    done = subprocess.run([driver], input=commands(program), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{program.conf}: {done.returncode} {done.stderr[-2000:]}"
    events, counters = [], {}
    for line in done.stdout.splitlines():
        kind, *words = line.split()
        if kind == "T":
            action, address, size, stream = words[0], *map(int, words[1:])
            events.append((action, address - (0 if action == "oom" else BASE[program.settings.expandable]), size, stream))
        elif kind == "S":
            counters[words[0]] = int(words[1])
    return {"events": events, "last": counters}
