"""Native: a real allocator of this machine, called through its own malloc and free in a process of its own.

`native:glibc`, `native:jemalloc`, `native:mimalloc`, `native:tcmalloc`, or the path of any library that defines malloc.
Addresses are the library's, with unused parts of the address space left out. Allocated are the blocks' usable sizes
(malloc_usable_size). Reserved is what the system says that the process holds: `footprint=resident`, its pages in RAM, or
`mapped`, its writable private mappings; read at the samples, at the peak of live bytes, and whenever allocated bytes pass
their peak by 1/256. `touch=true` writes to every page of every block. `threads=true` gives each stream a thread of its own,
which take turns in the trace's order. A capacity limits the mapped bytes (RLIMIT_DATA). Holes and searches are the
library's own affair: those measures are empty.
Cost: the library's own; the replay's time is that of its calls, with the touching, without the readings.
Source: glibc ptmalloc2 (Gloger); Evans 2006, jemalloc; Leijen, Zorn and de Moura 2019, mimalloc; Ghemawat, TCMalloc.
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.engine.request import NOWHERE
from memtrace.structures.ledger import ALLOCATED, BLOCK_SIZE, MOVED, RESERVED, new_ledger

ORDER = 90
SWAPS = ("inplace",)  # the library has served the trace's requests, and no scratch blocks
FORESEES = "native"  # the engine hands it what the library did, before the first event
BARE = "library"  # the option that may be given as a word alone
FOOTPRINT_ONLY = True  # how it keeps its free memory is not to be seen
VIRTUAL = True  # addresses are of an address space, of which it holds some pages
COUNTERS = ("resident_bytes",)

REQUEST, CALL, READING = 0, 1, 2  # in at: what comes next


class State(NamedTuple):
    addresses: np.ndarray  # by request
    usable: np.ndarray
    calls: np.ndarray  # by reading: the calls made by then; the last never comes
    reserved: np.ndarray
    resident: np.ndarray
    held: np.ndarray  # by block: its usable bytes
    at: np.ndarray
    ledger: np.ndarray


def init(
    capacity,
    max_live,
    library="glibc",
    footprint: Literal["resident", "mapped"] = "resident",
    touch=True,
    threads=True,
):
    empty = np.zeros(0, np.int64)
    return State(empty, empty, empty, empty, empty, np.zeros(max_live + 1, np.int64), np.zeros(3, np.int64), new_ledger(0))


def follow(state, plan):
    """The state with what the library did."""
    return state._replace(
        addresses=plan.addresses,
        usable=plan.usable,
        calls=plan.calls,
        reserved=plan.reserved,
        resident=plan.resident,
    )


def alloc(state, request):
    return serve(state, request, 0)


def serve(state, request, old_usable):
    """The library's next answer; a block of its own size takes the place of ``old_usable`` bytes."""
    k = state.at[REQUEST]
    address = state.addresses[k]
    state.at[REQUEST] = k + 1
    if address != NOWHERE:
        state.ledger[BLOCK_SIZE] = state.usable[k]
        state.ledger[ALLOCATED] += state.usable[k] - old_usable
        state.held[request.block] = state.usable[k]
    called(state)
    return address


def called(state):
    """One more call was made: the footprint is as it was read after it."""
    call = state.at[CALL] + 1
    state.at[CALL] = call
    while state.calls[state.at[READING]] <= call:
        state.ledger[RESERVED] = state.reserved[state.at[READING]]
        state.at[READING] += 1


def free(state, request, address):
    state.ledger[ALLOCATED] -= state.held[request.block]
    called(state)


def resize(state, request, address, old_size):
    """A realloc that failed is answered by ``alloc``, as the engine asks for that next."""
    k = state.at[REQUEST]
    if state.addresses[k] == NOWHERE:
        return NOWHERE
    if state.addresses[k] != address:
        state.ledger[MOVED] += min(old_size, request.size)
    return serve(state, request, state.held[request.block])


def trim(state):
    called(state)


def write_counters(state, row):
    row[0] = state.resident[max(state.at[READING] - 1, np.int64(0))]


def largest_hole(state):
    return np.int64(0)  # not known
