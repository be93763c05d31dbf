"""tlsf places every block where the C implementations of Matthew Conte and of Miguel Masmano place it.

Opt in, with one or both of them (github.com/mattconte/tlsf; TLSF 2.4.6) compiled to shared objects:

    cc -O2 -shared -fPIC -DNDEBUG -o libtlsf.so tlsf.c
    MEMTRACE_TLSF_CONTE=./libtlsf.so MEMTRACE_TLSF_MASMANO=./libtlsf-2.4.6.so pytest tests/policies/test_tlsf_reference.py -s
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from strategies import random_events

import memtrace
from memtrace.engine.replay import replay
from memtrace.trace import Op, Trace, from_columns, from_events

RECORDED = ("sqlite-catalogue.parquet", "gcc-recorder.parquet", "cpython-objects.parquet", "arrow-query.parquet")
GPT = "gpt-6x512-fp32.csv"
MOST_EVENTS = 400_000

Pointer, Size = ctypes.c_void_p, ctypes.c_size_t


class Pool:
    """A pool of ``size`` bytes in a C library, in pages that are only touched where it writes."""

    variable: str
    options: str
    most: int  # bytes of the largest pool

    def __init__(self, size: int) -> None:
        self.library = ctypes.CDLL(os.path.abspath(os.environ[self.variable]))
        self.open(size)

    def open(self, size: int) -> None:
        raise NotImplementedError

    def function(self, name: str, arguments: list[Any], result: Any) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(self.library, name)
        found.argtypes, found.restype = arguments, result  # type: ignore[attr-defined]
        return found

    def pages(self, size: int) -> int:
        self.memory = mmap.mmap(-1, size)
        return ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def malloc(self, size: int) -> int | None:
        raise NotImplementedError

    def realloc(self, pointer: int | None, size: int) -> int | None:
        raise NotImplementedError

    def free(self, pointer: int | None) -> None:
        raise NotImplementedError

    def replay(self, trace: Trace) -> list[int]:
        """Per event: the block's address, -1 where a request failed, -2 where there was none."""
        pointers: dict[int, int | None] = {}
        failed: set[int] = set()
        addresses = []
        for op, block, size in rows(trace):
            address = -2
            if op == Op.ALLOC:
                pointers[block] = pointer = self.malloc(size)
                if pointer is not None:
                    address = pointer - self.first
                elif size:
                    failed.add(block)
                    address = -1
            elif block in failed:
                failed -= {block} if op == Op.FREE else set()
            elif op == Op.FREE:
                self.free(pointers.pop(block))
            elif op == Op.REALLOC:
                moved = self.realloc(pointers[block], size)
                address = -1 if moved is None else moved - self.first
                pointers[block] = moved or pointers[block]
            addresses.append(address)
        return addresses

    first: int  # what malloc returns for the block at 0


class Conte(Pool):
    """8 bytes of header in use, blocks cut to the request; 0 bytes get nothing."""

    variable = "MEMTRACE_TLSF_CONTE"
    options = "tlsf:header=8,align=8,min_block=32,sl=5,fl=32,zero=null"
    most = 1 << 32

    def open(self, size: int) -> None:
        control = self.function("tlsf_size", [], Size)()
        create = self.function("tlsf_create_with_pool", [Pointer, Size], Pointer)
        self._malloc = self.function("tlsf_malloc", [Pointer, Size], Pointer)
        self._realloc = self.function("tlsf_realloc", [Pointer, Pointer, Size], Pointer)
        self._free = self.function("tlsf_free", [Pointer, Pointer], None)
        start = self.pages(control + size + 8)  # 8: the header behind the last block
        self.pool = create(start, control + size + 8)
        self.first = start + control + 8

    def malloc(self, size: int) -> int | None:
        return self._malloc(self.pool, size)  # type: ignore[no-any-return]

    def realloc(self, pointer: int | None, size: int) -> int | None:
        return self._realloc(self.pool, pointer, size)  # type: ignore[no-any-return]

    def free(self, pointer: int | None) -> None:
        self._free(self.pool, pointer)


class Masmano(Pool):
    """16 bytes of header, blocks of the class's size. Its realloc in place has rules of its own; it is not called."""

    variable = "MEMTRACE_TLSF_MASMANO"
    options = "tlsf:header=16,align=16,min_block=32,sl=5,small=128,fl=30,cut=class,realloc=move"
    most = 1 << 29

    def open(self, size: int) -> None:
        self._malloc = self.function("malloc_ex", [Size, Pointer], Pointer)
        self._free = self.function("free_ex", [Pointer, Pointer], None)
        create = self.function("init_memory_pool", [Size, Pointer], Size)
        overhead = (1 << 16) - create(1 << 16, self.pages(1 << 16))
        self.pool = self.pages(size - 16 + overhead)
        assert create(size - 16 + overhead, self.pool) == size - 16
        self.first = self._malloc(1, self.pool)
        self._free(self.first, self.pool)

    def malloc(self, size: int) -> int | None:
        return self._malloc(size, self.pool)  # type: ignore[no-any-return]

    def realloc(self, pointer: int | None, size: int) -> int | None:
        moved = self.malloc(size)
        if moved is not None:
            self.free(pointer)
        return moved

    def free(self, pointer: int | None) -> None:
        self._free(pointer, self.pool)


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


def compare(library: type[Pool], trace: Trace, room: float) -> tuple[int, int]:
    """Requests, and how many failed, in a pool of ``room`` times what first fit reserves."""
    tight = replay(trace, "first-fit:header=8,align=8,min_block=32").peak_reserved_bytes
    size = min(int(room * tight) // 16 * 16, library.most)
    ours = replay(trace, f"{library.options},initial={size}", size, on_oom="skip", keep=True)
    assert ours.addresses is not None
    theirs = np.array(library(size).replay(trace), np.int64)
    assert np.array_equal(ours.addresses, theirs), f"event {int(np.argmax(ours.addresses != theirs))}"
    return int((theirs > -2).sum()), int((theirs == -1).sum())


@pytest.mark.parametrize("room", [1.5, 0.8])
@pytest.mark.parametrize(
    ("library", "trace"), [*((one, trace) for one in (Conte, Masmano) for trace in (*RECORDED, 0, 1, 2)), (Conte, GPT)]
)
def test_placements_are_equal(library: type[Pool], trace: str | int, room: float) -> None:
    if library.variable not in os.environ:
        pytest.skip(f"{library.variable} does not name a compiled library")
    requests, failed = compare(library, recorded(trace) if isinstance(trace, str) else drawn(trace), room)
    print(f"{library.__name__}, {trace}, pool {room} x: {requests:,} requests, {failed:,} failed, all addresses equal")
    assert requests > 1000
    assert room > 1 or failed > 0
