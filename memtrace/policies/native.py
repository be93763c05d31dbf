"""Native: a real allocator of this machine, called through its own malloc and free in a process of its own.

`native:glibc`, `native:jemalloc`, `native:mimalloc`, `native:tcmalloc`, or the path of any library that defines malloc.
Addresses are the library's, with unused parts of the address space left out. Allocated are the blocks' usable sizes
(malloc_usable_size). Reserved is what the process holds of the system's memory: `footprint=resident`, its pages in RAM; `mapped`,
its writable private mappings; or `heap`, what glibc itself counts (mallinfo2). It is read at the samples, at the peak of live
bytes, and whenever allocated bytes pass their peak by 1/256. `touch=true` writes to every page of every block. `threads=true`
gives each stream a thread of its own, which take turns in the trace's order. `env=[NAME=value;NAME=value]` sets variables of the
allocator's environment, such as MALLOC_ARENA_MAX. A capacity limits the mapped bytes (RLIMIT_DATA). Holes and searches are the
library's own affair: those measures are empty.
Cost: the library's own; the replay's time is that of its calls, with the touching, without the readings.
Source: glibc ptmalloc2 (Gloger); Evans 2006, jemalloc; Leijen, Zorn and de Moura 2019, mimalloc; Ghemawat, TCMalloc.
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.ledger import ALLOCATED, BLOCK_SIZE, MOVED, RESERVED, new_ledger
from memtrace.contract.request import NOWHERE

ORDER = 90
SWAPS = ("inplace",)  # the library has served the trace's requests, and no scratch blocks
BARE = "library"  # the option that may be given as a word alone
FOOTPRINT_ONLY = True  # its holes cannot be observed, only its footprint
VIRTUAL = True  # addresses are of an address space of which only some pages are reserved
MAX_ALIGN = 1 << 16  # addresses are told from the library's by multiples of 64 KiB (memtrace.native.plan)
COUNTERS = ("resident_bytes",)

REQUEST, CALL, READING = 0, 1, 2  # places in State.at: the next request; the calls made; the next reading


class State(NamedTuple):
    """What the library did with the trace, and how far the replay has followed it."""

    addresses: np.ndarray  # addresses[request]: what the library returned; NOWHERE if the call failed
    usable: np.ndarray  # usable[request]: the block's usable bytes
    calls: np.ndarray  # calls[reading]: the calls made before the reading; the last entry is never reached
    reserved: np.ndarray  # reserved[reading]: bytes, as the option `footprint` says
    resident: np.ndarray  # resident[reading]: resident bytes
    held: np.ndarray  # held[handle]: the live block's usable bytes
    at: np.ndarray  # REQUEST, CALL, READING
    ledger: np.ndarray


def init(
    capacity,
    max_live,
    library="glibc",
    footprint: Literal["resident", "mapped", "heap"] = "resident",
    touch=True,
    threads=True,
    env="",
):
    empty = np.zeros(0, np.int64)
    return State(empty, empty, empty, empty, empty, np.zeros(max_live + 1, np.int64), np.zeros(3, np.int64), new_ledger(0))


def require(options):
    """Raise UsageError where this machine lacks the library, a setting is none, or the footprint is another allocator's."""
    from memtrace.errors import UsageError
    from memtrace.native.libraries import SYSTEM, find
    from memtrace.native.settings import parse_settings

    find(str(options["library"]))
    parse_settings(str(options["env"]), str(options["library"]))
    if options["footprint"] == "heap" and options["library"] != SYSTEM:
        raise UsageError(f"native:{options['library']}: footprint=heap is glibc's own count\ntry: footprint=mapped")


def plan(trace, request):
    """Have the library serve the trace; return its addresses, and its footprint as it was read."""
    from memtrace.native.plan import Serving
    from memtrace.native.plan import plan as plan_of

    options = {name: request.options[name] for name in ("library", "env", "footprint", "touch", "threads")}
    how = Serving(**options, capacity=request.capacity, stop=request.stop)
    return plan_of(trace, request.sample_events, how)


def follow(state, plan):
    """Return the state with what the library did: `memtrace.native.plan.Plan`."""
    return state._replace(
        addresses=plan.addresses,
        usable=plan.usable,
        calls=plan.calls,
        reserved=plan.reserved,
        resident=plan.resident,
    )


def alloc(state, request):
    """Return the address that the library gave the next request; NOWHERE if its call failed."""
    return next_answer(state, request, 0)


def next_answer(state, request, old_usable):
    """Return the library's answer to the next request, and count the block; NOWHERE if its call failed.

    ``old_usable``: the usable bytes that the block had before, which are no longer allocated (0 for a new block).
    """
    k = state.at[REQUEST]
    address = state.addresses[k]
    state.at[REQUEST] = k + 1
    if address != NOWHERE:
        state.ledger[BLOCK_SIZE] = state.usable[k]
        state.ledger[ALLOCATED] += state.usable[k] - old_usable
        state.held[request.block] = state.usable[k]
    count_call(state)
    return address


def count_call(state):
    """Count one more call of the library, and set the reserved bytes to those of the last reading made by then."""
    call = state.at[CALL] + 1
    state.at[CALL] = call
    while state.calls[state.at[READING]] <= call:
        state.ledger[RESERVED] = state.reserved[state.at[READING]]
        state.at[READING] += 1


def free(state, request, address):
    """Free the block with the handle ``request.block``. ``address`` is not used."""
    state.ledger[ALLOCATED] -= state.held[request.block]
    count_call(state)


def resize(state, request, address, old_size):
    """Return the address that the library gave the next request, a realloc: the old one or another; NOWHERE if it failed.

    The plan does not move past a failed realloc, because the engine asks ``alloc`` for that request next. Bytes that the
    library moved go to the ledger's MOVED.
    """
    k = state.at[REQUEST]
    if state.addresses[k] == NOWHERE:
        return NOWHERE
    if state.addresses[k] != address:
        state.ledger[MOVED] += min(old_size, request.size)
    return next_answer(state, request, state.held[request.block])


def trim(state):
    """Count the call for a trim event, which the library has served before the replay."""
    count_call(state)


def write_counters(state, row):
    """Write the resident bytes of the last reading into ``row``."""
    row[0] = state.resident[max(state.at[READING] - 1, np.int64(0))]


def largest_hole(state):
    """Return 0, because the library's holes are not known."""
    return np.int64(0)  # not known
