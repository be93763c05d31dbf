"""A random program through PyTorch's own allocator: its events and its statistics.

The driver is built by ``build.sh`` from an unpacked wheel of torch 2.14.1 and the CUDA 13 headers.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

import numpy as np
from pytorch_programs import Program

from memtrace.trace import Trace

BASE = {False: 0x7F0000000000, True: 0x600000000000}  # of the stand-in's addresses: ordinary, expandable


def commands(program: Program) -> str:
    letters = {"alloc": "a {id} {size} {stream}", "free": "f {id}", "record": "r {id} {stream}", "complete": "c", "trim": "e"}
    lines = ["manual"] * program.settings.manual
    lines += [letters[op].format(id=id, size=size, stream=stream) for op, id, size, stream in program.rows]
    return "\n".join(lines) + "\n"


def trace_commands(trace: Trace) -> str:
    """The same for a trace that was read, whose blocks are named by their slots."""
    lines = []
    for events in trace.batches():
        columns = (
            np.broadcast_to(column, events.op.size).tolist() for column in (events.op, events.block, events.size, events.stream)
        )
        for op, slot, size, stream in zip(*columns, strict=True):
            done = "c" if slot < 0 else f"d {slot}"
            lines.append([f"a {slot} {size} {stream}", f"f {slot}", *[""] * 4, "e", f"r {slot} {stream}", done][op])
    return "\n".join(["manual"] * any(line[0] in "cd" for line in lines) + lines) + "\n"


def run(driver: str, program: str, conf: str, capacity: int, first_fit: bool = False) -> list[list[str]]:
    """The lines that the driver prints, as words, for a program of its commands on a device of so many bytes."""
    environment = {
        **os.environ,
        "FAKE_TOTAL": str(capacity),
        "FAKE_VA": "firstfit" if first_fit else "bump",
        "PYTORCH_CUDA_ALLOC_CONF": conf,
        "TORCH_CUDA_EXPANDABLE_SEGMENTS_IPC": "0",
    }
    done = subprocess.run([driver], input=program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{conf}: {done.returncode} {done.stderr[-2000:]}"
    return [line.split() for line in done.stdout.splitlines()]


def through_library(program: Program, driver: str) -> dict[str, Any]:
    """The event stream, with addresses from 0 on, and the statistics at the end."""
    settings = program.settings
    events, counters = [], {}
    for kind, *words in run(driver, commands(program), program.conf, settings.capacity, settings.first_fit):
        if kind == "T":
            action, address, size, stream = words[0], *map(int, words[1:])
            events.append((action, address - (0 if action == "oom" else BASE[settings.expandable]), size, stream))
        elif kind == "S":
            counters[words[0]] = int(words[1])
    return {"events": events, "last": counters}


def figures_of(trace: Trace, driver: str, conf: str, capacity: int) -> tuple[int, int, int]:
    """What a row of `memtrace whatif` says of a trace: peak of reserved bytes, flushes, failed requests."""
    found = {words[1]: int(words[2]) for words in run(driver, trace_commands(trace), conf, capacity) if words[0] == "S"}
    return found["reserved_bytes.all.peak"], found["num_alloc_retries"], found["num_ooms"] + found["num_oom_rejections"]
