"""The memory planners of inference runtimes, which know all lifetimes as memtrace's packings do: where they put each block.

ExecuTorch, greedy (1.5.1): sizes are rounded up to 16 bytes and fall; of equals the last request goes first. A block goes into
buckets, the first ones made first: the first bucket none of whose blocks lives at the same time takes it at its start; else the
first in which it fits behind the highest block that lives at the same time; else a new bucket of its size. A bucket never
grows, gaps below are not used, and buckets lie one behind another.

TensorFlow Lite, arena planner (2.20): blocks that live as long as the program first (requested before any free, and never
freed), in the order of the requests, then by falling size, of equals the earlier request. A block goes to the smallest gap
between those that live at the same time, the lowest of equals, else behind them; addresses are multiples of 64 bytes, and sizes
are not rounded.

What the programs do not determine, and is a choice here: the order of equal blocks in ExecuTorch, which takes them from a set,
and of those of one step in TensorFlow Lite. Tensors that share memory because one is a view of the other are not modelled.

Source: executorch 1.5.1, exir/memory_planning.py; tensorflow/lite/arena_planner.cc and simple_memory_arena.cc: by their
behaviour, in words of our own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.kernels import jit
from memtrace.packing.buffers import buffers_of, count_pairs, overlaps

if TYPE_CHECKING:
    from memtrace.packing.buffers import Buffers, Overlaps
    from memtrace.packing.packing import Packing, Plan
    from memtrace.trace import Trace

Ints = NDArray[np.int64]


def packing_of(trace: Trace, planner: str, align: int = 1) -> tuple[Buffers, Packing]:
    """Return the buffers of a trace as a planner sees them, and where it puts them.

    ``planner`` is one of PLANNERS. Its alignment is its own, or ``align`` bytes, or the largest that an event asks for, whichever
    is most. Raises UsageError where too many blocks live at once.
    """
    from memtrace.packing.packing import MOST_PAIRS, packed

    started = time.perf_counter()
    least, rounds, place = PLANNERS[planner]
    buffers = buffers_of(trace, 1)
    unit = max(align, least, int(buffers.align.max(initial=1)))
    size = -(-buffers.size // unit) * unit if rounds else buffers.size
    buffers = replace(buffers, size=size, align=np.full(len(buffers), unit))
    if count_pairs(buffers.lower, buffers.upper) > MOST_PAIRS:
        raise UsageError(f"{trace.name}: too many blocks live at once for {planner}")
    addresses = place(buffers, overlaps(buffers.lower, buffers.upper))
    return buffers, packed(planner, addresses, buffers, time.perf_counter() - started)


def plan_of(trace: Trace, planner: str, align: int) -> Plan:
    """Return what a planner does as a plan for policy ``optimum``; arguments as of `packing_of`."""
    from memtrace.packing.packing import Plan

    buffers, packing = packing_of(trace, planner, align)
    return Plan(packing.addresses, buffers.follows)


def executorch(buffers: Buffers, neighbours: Overlaps) -> Ints:
    """Return the addresses that ExecuTorch's greedy planner gives, by buffer."""
    requests = np.arange(len(buffers))
    order = np.lexsort((-requests, -buffers.size))
    addresses: Ints = _buckets(order, neighbours.first, neighbours.others, buffers.size)
    return addresses


@jit()
def _buckets(order: Any, first: Any, others: Any, size: Any) -> Any:
    """Put the buffers into buckets in ``order``; return their addresses.

    The neighbours of buffer b are ``others[first[b]:first[b + 1]]``. A bucket is tried in constant time: ``top[k]`` is the
    highest end, in bucket k, of the neighbours of the buffer in turn.
    """
    n = order.size
    bucket, offset = np.full(n, -1, np.int64), np.zeros(n, np.int64)
    extent, top = np.zeros(n, np.int64), np.zeros(n, np.int64)
    count = 0
    for b in order:
        top[:count] = 0
        for q in range(first[b], first[b + 1]):
            other = others[q]
            if bucket[other] >= 0:
                top[bucket[other]] = max(top[bucket[other]], offset[other] + size[other])
        found = -1
        for k in range(count):
            if top[k] == 0:
                found = k
                break
        if found < 0:
            for k in range(count):
                if top[k] + size[b] <= extent[k]:
                    found = k
                    offset[b] = top[k]
                    break
        if found < 0:
            found = count
            extent[found] = size[b]
            count += 1
        bucket[b] = found
    base = np.zeros(n + 1, np.int64)
    for k in range(count):
        base[k + 1] = base[k] + extent[k]
    return base[bucket] + offset


def tflite(buffers: Buffers, neighbours: Overlaps) -> Ints:
    """Return the addresses that TensorFlow Lite's arena planner gives, by buffer."""
    requests = np.arange(len(buffers))
    end = buffers.upper.max(initial=0)
    freed = buffers.upper[buffers.upper < end].min(initial=end)
    whole = (buffers.lower < freed) & (buffers.upper == end)
    size = np.where(whole, np.iinfo(np.int64).max, buffers.size)
    order = np.lexsort((requests, -size))
    addresses: Ints = _smallest_gaps(order, neighbours.first, neighbours.others, buffers.size, buffers.align)
    return addresses


@jit()
def _smallest_gaps(order: Any, first: Any, others: Any, size: Any, align: Any) -> Any:
    """Place the buffers in ``order``, each in the smallest gap between its neighbours, or behind them; return their addresses.

    The neighbours of buffer b are ``others[first[b]:first[b + 1]]``. The size of a gap that is compared counts from the aligned
    address, and the size that is kept from the end of the neighbour before it, as in the arena planner.
    """
    addresses = np.full(order.size, -1, np.int64)
    starts, ends = np.empty(order.size, np.int64), np.empty(order.size, np.int64)
    for b in order:
        count = 0
        for q in range(first[b], first[b + 1]):
            other = others[q]
            if addresses[other] >= 0:
                starts[count] = addresses[other]
                ends[count] = addresses[other] + size[other]
                count += 1
        best, least, end = np.int64(-1), np.int64(1) << 62, np.int64(0)
        for q in np.argsort(starts[:count]):
            address = (end + align[b] - 1) & -align[b]
            if address + size[b] <= starts[q] and starts[q] - address < least:
                best, least = address, starts[q] - end
            end = max(end, ends[q])
        addresses[b] = best if best >= 0 else (end + align[b] - 1) & -align[b]
    return addresses


# name -> (bytes of its own alignment, whether it rounds sizes up to it, the function that places)
PLANNERS: dict[str, tuple[int, bool, Callable[[Any, Any], Ints]]] = {
    "executorch-greedy": (16, True, executorch),
    "tflite-greedy": (64, False, tflite),
}
