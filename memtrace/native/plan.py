"""What a real allocator did with a trace, as the plan that policy ``native`` follows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.native.driving import Driven, drive
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.trace import Trace

Ints = NDArray[np.int64]

REGION_SHIFT = 16  # address space is laid together in units of 64 KiB, so alignments up to that stay


class Plan(NamedTuple):
    """By request: addresses, usable bytes. By reading: the calls made until then, bytes reserved and resident."""

    addresses: Ints
    usable: Ints
    calls: Ints
    reserved: Ints
    resident: Ints
    seconds: float  # in the library, for all events


def plan(
    trace: Trace,
    samples: Ints,
    *,
    library: str,
    footprint: str,
    touch: bool,
    threads: bool,
    capacity: int | None,
    stop: bool,
) -> Plan:
    """Have the library serve the trace. ``footprint`` says which of both is called reserved: mapped or resident bytes."""
    if touch:
        check_room(trace.facts.peak_live_bytes)
    wanted = np.unique(np.append(samples, trace.facts.peak_live_event)).astype(np.int64)
    driven = drive(trace, library, wanted, capacity=capacity, touch=touch, threads=threads, stop=stop)
    readings = driven.readings
    return Plan(
        laid_together(driven, driven.usable),
        driven.usable,
        np.append(readings["calls"], np.iinfo(np.int64).max),
        np.append(readings[footprint], 0),
        np.append(readings["resident"], 0),
        driven.nanoseconds / 1e9,
    )


def check_room(peak_live_bytes: int) -> None:
    """Raise UsageError where touching the blocks would take more memory than this machine has."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if peak_live_bytes > pages // 2:
        need, have = format_size(peak_live_bytes), format_size(pages)
        raise UsageError(
            f"native: {need} of blocks live at once are too many to touch on a machine of {have}"
            "\ntry: native:LIBRARY,touch=false,footprint=mapped"
        )


def laid_together(driven: Driven, sizes: Ints) -> Ints:
    """The addresses with the parts of the address space left out that no block ever lies in; their order stays."""
    served = driven.addresses >= 0
    start = driven.addresses[served] >> REGION_SHIFT
    end = (driven.addresses[served] + np.maximum(sizes[served], 1) - 1 >> REGION_SHIFT) + 1
    if not start.size:
        return driven.addresses
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    opens = np.append(True, start[1:] > reach[:-1])  # a region begins where the one before has ended
    begins, ends = start[opens], np.append(reach[:-1][opens[1:]], reach[-1])
    before = np.append(0, np.cumsum(ends - begins))[:-1]
    found = driven.addresses.copy()
    region = np.searchsorted(begins, driven.addresses[served] >> REGION_SHIFT, side="right") - 1
    found[served] += (before - begins)[region] << REGION_SHIFT
    return found
