"""bfc places every block where TensorFlow's own BFCAllocator places it, and reserves as much.

Opt in, with a shared object in which that class is reached by C functions; the memory behind it need not be there:

    void *bfc_open(size_t capacity, int allow_growth, int garbage_collection, double fragmentation_fraction)
    int64_t bfc_alloc(void *, size_t)          bytes behind the first address, -1 for none
    void bfc_free(void *, int64_t)
    int64_t bfc_reserved(void *)
    void bfc_close(void *)

Its regions lie one behind another, each at a multiple of 2 MiB; it does not wait for another thread's free.

    MEMTRACE_BFC=./libbfc.so pytest tests/policies/test_bfc_reference.py -s
"""

from __future__ import annotations

import ctypes
import os
import random
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from strategies import random_events

import memtrace
from memtrace.engine.replay import replay
from memtrace.trace import Op, Trace, from_events

LIBRARY = os.environ.get("MEMTRACE_BFC", "")
SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "60"))
RECORDED = (
    "gpt-6x512-fp32.csv",
    "gpt2-small-amp-tight.parquet",
    "arrow-query.parquet",
    "gcc-recorder.parquet",
    "sqlite-catalogue.parquet",
    "cpython-objects.parquet",
)
MIB = 1 << 20
Pointer, Size = ctypes.c_void_p, ctypes.c_size_t
pytestmark = pytest.mark.skipif(not LIBRARY, reason="MEMTRACE_BFC names no compiled library")


class Reference:
    """TensorFlow's allocator."""

    def __init__(self, capacity: int, options: dict[str, Any]) -> None:
        self.library = ctypes.CDLL(os.path.abspath(LIBRARY))
        kinds: dict[str, tuple[list[Any], Any]] = {
            "bfc_open": ([Size, ctypes.c_int, ctypes.c_int, ctypes.c_double], Pointer),
            "bfc_alloc": ([Pointer, Size], ctypes.c_int64),
            "bfc_free": ([Pointer, ctypes.c_int64], None),
            "bfc_reserved": ([Pointer], ctypes.c_int64),
            "bfc_close": ([Pointer], None),
        }
        for name, (arguments, result) in kinds.items():
            function = getattr(self.library, name)
            function.argtypes, function.restype = arguments, result
        growth, collect = options.get("allow_growth", True), options.get("garbage_collection", False)
        self.allocator = self.library.bfc_open(capacity, growth, collect, float(options.get("fragmentation_fraction", "0")))

    def replay(self, rows: list[tuple[int, int, int]]) -> tuple[list[int], list[int]]:
        """Per event the address (-1: it failed, -2: there was none), and the bytes reserved behind it."""
        live: dict[int, int] = {}
        addresses, reserved = [], []
        for op, block, size in rows:
            address = -2
            if op == Op.ALLOC and size > 0:
                address = self.library.bfc_alloc(self.allocator, size)
                if address >= 0:
                    live[block] = address
            elif op == Op.FREE and block in live:
                self.library.bfc_free(self.allocator, live.pop(block))
            addresses.append(address)
            reserved.append(self.library.bfc_reserved(self.allocator))
        self.library.bfc_close(self.allocator)
        return addresses, reserved


def plain(trace: Trace) -> tuple[Trace, list[tuple[int, int, int]]]:
    """The allocs and frees of a trace, without alignments, and the same as rows; a realloc is a free and an alloc."""
    found: list[dict[str, Any]] = []
    names: dict[int, int] = {}
    for events in trace.batches():
        for op, block, size in zip(events.op.tolist(), events.block.tolist(), events.size.tolist(), strict=True):
            if op in (Op.FREE, Op.REALLOC) and block in names:
                found.append({"op": "free", "id": names.pop(block)})
            if op in (Op.ALLOC, Op.REALLOC) and block >= 0:
                names[block] = len(found)
                found.append({"op": "alloc", "id": len(found), "size": size})
    made = from_events(found)
    rows = [
        row
        for events in made.batches()
        for row in zip(events.op.tolist(), events.block.tolist(), events.size.tolist(), strict=True)
    ]
    return made, rows


def compare(trace: Trace, capacity: int, options: dict[str, Any]) -> tuple[int, int]:
    """Requests, and how many failed."""
    made, rows = plain(trace)
    policy = "bfc:" + ",".join(f"{name}={str(value).lower()}" for name, value in options.items()) if options else "bfc"
    ours = replay(made, policy, capacity, on_oom="skip", keep=True)
    theirs, reserved = (np.array(column, np.int64) for column in Reference(capacity, options).replay(rows))
    assert ours.addresses is not None and ours.reserved is not None
    for mine, other in ((ours.addresses, theirs), (ours.reserved, reserved)):
        assert np.array_equal(mine, other), f"{policy} {capacity}: event {int(np.argmax(mine != other))}"
    return int((theirs > -2).sum()), int((theirs == -1).sum())


@pytest.mark.parametrize("room", [3.0, 1.1, 0.8])
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_traces_are_placed_the_same(name: str, room: float) -> None:
    trace = memtrace.read(ROOT / "traces" / name)
    capacity = int(room * trace.facts.peak_live_bytes)
    requests, failed = compare(trace, capacity, {"garbage_collection": True})
    print(f"{name}, {room} x the peak: {requests:,} requests, {failed:,} failed, all addresses and reserved bytes equal")
    assert room > 1 or failed > 0


def test_random_programs_are_placed_the_same() -> None:
    requests = failed = 0
    for seed in range(SEEDS):
        dice = random.Random(seed)
        scale = dice.choice([1, 50, 3001, 100_000, 3_000_000])
        events = random_events(seed, 400, max_live=dice.choice([3, 20, 60]), aligned_percent=0)
        rows = [{k: v for k, v in event._asdict().items() if v is not None} for event in events]
        for row in rows:
            if "size" in row:
                row["size"] *= scale
        options: dict[str, Any] = {"garbage_collection": dice.random() < 0.5, "allow_growth": dice.random() < 0.7}
        options["fragmentation_fraction"] = dice.choice(["0", "0", "0.01", "0.1", "1"])
        capacity = dice.choice([3000, 5 * MIB, 33 * MIB + 100, 300 * MIB, 1 << 33, dice.randrange(1, 1 << 31)])
        found = compare(from_events(rows), capacity, options)
        requests, failed = requests + found[0], failed + found[1]
    print(f"{SEEDS:,} programs: {requests:,} requests, {failed:,} failed, all addresses and reserved bytes equal")
    assert failed > 0
