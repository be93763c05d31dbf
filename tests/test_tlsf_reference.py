"""tlsf places every block where Matthew Conte's C implementation places it (github.com/mattconte/tlsf).

Opt in, with that implementation compiled to a shared object:

    cc -O2 -shared -fPIC -DNDEBUG -o libtlsf.so tlsf.c
    MEMTRACE_TLSF=./libtlsf.so pytest tests/test_tlsf_reference.py -s
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from strategies import random_events

import memtrace
from memtrace.replaying import replay
from memtrace.trace import Op, Trace, from_columns, from_events

LIBRARY = os.environ.get("MEMTRACE_TLSF")
OPTIONS = "tlsf:header=8,align=8,min_block=32,sl=5,fl=32,zero=null"
RECORDED = (
    "sqlite-catalogue.parquet",
    "gcc-recorder.parquet",
    "cpython-objects.parquet",
    "arrow-query.parquet",
    "gpt-6x512-fp32.csv",
)
MOST_EVENTS = 400_000

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="MEMTRACE_TLSF does not name a compiled tlsf")


class Pool:
    """A pool of the C implementation's, in pages that are only touched where it writes."""

    def __init__(self, size: int) -> None:
        assert LIBRARY is not None
        library = ctypes.CDLL(os.path.abspath(LIBRARY))
        self.functions = {}
        for name, arguments, result in (
            ("size", [], ctypes.c_size_t),
            ("create_with_pool", [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_void_p),
            ("malloc", [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_void_p),
            ("realloc", [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t], ctypes.c_void_p),
            ("free", [ctypes.c_void_p, ctypes.c_void_p], None),
        ):
            function = getattr(library, f"tlsf_{name}")
            function.argtypes, function.restype = arguments, result
            self.functions[name] = function
        control = self.functions["size"]()
        # One header of the pool's own in front of the first block's, and one behind the last.
        self.memory = mmap.mmap(-1, control + size + 8)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.handle = self.functions["create_with_pool"](start, control + size + 8)
        self.first = start + control + 8  # what malloc returns for the block at 0

    def address(self, pointer: int | None) -> int | None:
        return None if pointer is None else pointer - self.first

    def replay(self, trace: Trace) -> list[int]:
        """Per event: the block's address, -1 where a request failed, -2 where there was none."""
        pointers: dict[int, int | None] = {}
        failed: set[int] = set()
        addresses = []
        malloc, resize, release, handle = (*(self.functions[f] for f in ("malloc", "realloc", "free")), self.handle)
        for op, block, size in rows(trace):
            address = -2
            if op == Op.ALLOC:
                pointers[block] = malloc(handle, size)
                if pointers[block] is None and size:
                    failed.add(block)
                    address = -1
                elif size:
                    address = pointers[block] - self.first
            elif block in failed:
                failed -= {block} if op == Op.FREE else set()
            elif op == Op.FREE and block >= 0:
                release(handle, pointers.pop(block))
            elif op == Op.REALLOC:
                moved = resize(handle, pointers[block], size)
                address = -1 if moved is None else moved - self.first
                pointers[block] = moved or pointers[block]
            addresses.append(address)
        return addresses


def rows(trace: Trace) -> list[tuple[int, int, int]]:
    return [
        row
        for events in trace.batches()
        for row in zip(events.op.tolist(), events.block.tolist(), events.size.tolist(), strict=True)
    ]


def recorded(name: str) -> Trace:
    """The allocs, reallocs and frees of a recorded trace, without alignments: C's align what is behind the header."""
    columns: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for op, block, size in rows(memtrace.read(ROOT / "traces" / name))[:MOST_EVENTS]:
        if op in (Op.ALLOC, Op.FREE, Op.REALLOC) and block >= 0:
            for column, value in zip(columns, (op, block, size), strict=True):
                column.append(value)
    op, block, size = columns
    return from_columns(np.array(op, np.uint8), np.array(block, np.int64), np.array(size, np.int64))


def drawn(seed: int) -> Trace:
    weights = {"alloc": 40, "free": 30, "realloc": 15}
    events = random_events(
        seed, 30_000, max_size=(300, 5_000, 200_000)[seed % 3], max_live=400, aligned_percent=0, weights=weights
    )
    return from_events([{k: v for k, v in event._asdict().items() if v is not None} for event in events])


def compare(trace: Trace, room: float) -> tuple[int, int]:
    """Requests, and how many failed, in a pool of ``room`` times what first fit reserves, and no more than C's can have."""
    pool = int(room * replay(trace, "first-fit:header=8,align=8,min_block=32").peak_reserved_bytes) // 8 * 8
    pool = min(pool, 1 << 32)
    ours = replay(trace, f"{OPTIONS},initial={pool}", pool, on_oom="skip", keep=True)
    assert ours.addresses is not None
    theirs = np.array(Pool(pool).replay(trace), np.int64)
    assert np.array_equal(ours.addresses, theirs), f"event {int(np.argmax(ours.addresses != theirs))}"
    return int((theirs > -2).sum()), int((theirs == -1).sum())


@pytest.mark.parametrize("room", [1.5, 0.8])
@pytest.mark.parametrize("trace", [*RECORDED, 0, 1, 2])
def test_placements_are_equal(trace: str | int, room: float) -> None:
    requests, failed = compare(recorded(trace) if isinstance(trace, str) else drawn(trace), room)
    print(f"{trace}, pool {room} x: {requests:,} requests, {failed:,} failed, all addresses equal")
    assert requests > 1000
    assert room > 1 or failed > 0
