"""Make the plan that policy ``native`` follows: the addresses and the memory footprint that a real allocator gave to a trace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.errors import UsageError
from memtrace.native.driving import DriverResult, run_driver
from memtrace.native.settings import parse_settings
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.trace import Trace

Ints = NDArray[np.int64]
REGION_SHIFT = 16  # addresses move by multiples of 2^16 bytes = 64 KiB, so alignments up to 64 KiB stay


class Plan(NamedTuple):
    """What an allocator did with a trace, by request and by reading of the footprint.

    A request is an alloc or realloc. The last reading is a sentinel, whose number of calls is never reached.
    """

    addresses: Ints  # [request] -1 where it failed
    usable: Ints  # [request] bytes that the block has for the program; 0 where it failed
    calls: Ints  # [reading] calls that had been made by then
    reserved: Ints  # [reading] bytes, as `Serving.footprint` says
    resident: Ints  # [reading] bytes in RAM
    seconds: float  # time of all calls, with the touching and without the readings


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How an allocator is to serve a trace; all but ``footprint`` is as in `driving.run_driver`."""

    library: str  # known name, or path
    env: str  # variables of the allocator's environment, as `settings.parse_settings` reads them
    footprint: str  # which bytes are called reserved: "mapped", "resident" or "heap", glibc's own count
    touch: bool  # every page of every block is written to
    threads: bool  # each stream has a thread of its own
    capacity: int | None  # bytes, of the mapped bytes
    stop: bool  # the run ends at the first request that fails


def plan(trace: Trace, samples: Ints, how: Serving) -> Plan:
    """Run ``trace`` through an allocator and return its answers as a plan.

    The footprint is read after the events ``samples`` (numbers), at the peak of live bytes, and where allocated bytes pass their
    peak. Raises UsageError or PolicyError as `driving.run_driver` does, and as `check_room` does.
    """
    if how.touch:
        check_room(trace.facts.peak_live_bytes)
    wanted = np.unique(np.append(samples, trace.facts.peak_live_event)).astype(np.int64)
    driven = run_driver(
        trace,
        how.library,
        wanted,
        capacity=how.capacity,
        touch=how.touch,
        threads=how.threads,
        stop=how.stop,
        heap=how.footprint == "heap",
        settings=parse_settings(how.env, how.library),
    )
    readings = driven.readings
    return Plan(
        addresses=compact_addresses(driven, driven.usable),
        usable=driven.usable,
        calls=np.append(readings["calls"], np.iinfo(np.int64).max),
        reserved=np.append(readings[how.footprint], 0),
        resident=np.append(readings["resident"], 0),
        seconds=driven.nanoseconds / 1e9,
    )


def check_room(peak_live_bytes: int) -> None:
    """Raise UsageError if touching ``peak_live_bytes`` of blocks would take more than half of the physical memory."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if peak_live_bytes > pages // 2:
        need, have = format_size(peak_live_bytes), format_size(pages)
        raise UsageError(
            f"native: {need} of blocks live at once are too many to touch on a machine of {have}"
            "\ntry: native:LIBRARY,touch=false,footprint=mapped"
        )


def compact_addresses(driven: DriverResult, sizes: Ints) -> Ints:
    """Return the addresses of ``driven`` with the parts of the address space left out that no block ever lies in.

    ``sizes`` are the bytes that each block covers, by request. The used ranges, in units of 2^REGION_SHIFT bytes, are put end to
    end from 0 on, in ascending order. Requests that failed keep address -1.
    """
    served = driven.addresses >= 0
    start = driven.addresses[served] >> REGION_SHIFT
    end = (driven.addresses[served] + np.maximum(sizes[served], 1) - 1 >> REGION_SHIFT) + 1
    if not start.size:
        return driven.addresses
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    opens = np.append(True, start[1:] > reach[:-1])  # a region begins where all earlier ranges have ended
    begins, ends = start[opens], np.append(reach[:-1][opens[1:]], reach[-1])
    before = np.append(0, np.cumsum(ends - begins))[:-1]
    found = driven.addresses.copy()
    region = np.searchsorted(begins, driven.addresses[served] >> REGION_SHIFT, side="right") - 1
    found[served] += (before - begins)[region] << REGION_SHIFT
    return found
