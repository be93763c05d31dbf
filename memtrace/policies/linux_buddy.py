"""The Linux kernel's page allocator: binary buddies in zones, with free lists by migratetype and pageblocks.

Memory is the capacity, or `pool`, in pages of 4,096 bytes; a request gets a block of 2^k pages, k from 0 to 10, aligned to its
size. Its migratetype (unmovable, movable, reclaimable, or the kernel's number 0, 1, 2) is the first word of its tag; another
tag, or none, means `default`. Each order has a list of free blocks for each migratetype. The block at the head of the first
list that is not empty, from the request's order on, is halved down, keeping the low halves. A freed block goes to the lists of
its pageblock's type (512 pages, all movable at first) and merges with its buddies; it comes to the head of its list, or to the
tail where the next merge is near.

If the request's type has no block, others are looked at in the kernel's order. First a whole pageblock is claimed, from the
largest free block down: it becomes the request's type if half of it is free or fits. Movable requests claim none for blocks
below order 4. Else a block is stolen, the smallest that is enough. `zones=x86`: 16 MiB (DMA), up to 4 GiB (DMA32) and the rest
(Normal). The highest is asked first; stealing, and claims of less than a pageblock, wait until all were asked. `first_pfn`:
memory's first page.

`cpus=N`: each of N CPUs (the stream modulo N) keeps blocks of up to 8 pages in lists by order and type. An empty one is filled
with `batch` pages; from `high` pages on, `batch` of them go back. All lists are emptied where a request would fail.

Counters, of the highest zone: the external fragmentation index (-1000: a block of the order is free) and the unusable free
space index for each order, in thousandths, as in /sys/kernel/debug/extfrag; claims, steals, pageblocks by type, pages that CPUs
keep.

Not modelled: reclaim, compaction and migration, watermarks and reserves (lowmem_reserve, high atomic), NUMA nodes, CMA and
isolated pageblocks, shuffled lists, huge pages in lists of CPUs, and that `batch` and `high` follow the load. A movable page in
use counts as movable from its request on; in the kernel, while it is on an LRU list or has its own functions. A hole is a free
block. A search looks at the block that it takes. There is no realloc.

Cost: the orders and types, at most 33 lists; a claim reads a pageblock.
Source: Linux 6.18, mm/page_alloc.c (`__rmqueue`, `try_to_claim_block`, `__free_one_page`), mm/vmstat.c for the indices, by
behaviour; Gorman and Whitcroft 2006, "The What, The Why and the Where To of Anti-Fragmentation".
"""

from typing import Literal, NamedTuple

import numpy as np

from memtrace.contract.bits import highest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import ALLOCATED, BLOCK_SIZE, HOLE_TAKEN, INSPECTED, new_ledger
from memtrace.contract.request import NOWHERE
from memtrace.structures.page_zones import (
    BLOCK_ORDER,
    CPU_LISTS,
    CPU_ORDERS,
    HEAD,
    KEPT,
    MAX_ORDER,
    MOVABLE,
    ORDERS,
    PAGE,
    RECLAIMABLE,
    TAIL,
    TYPES,
    UNMOVABLE,
    USED,
    USED_MOVABLE,
    Zones,
    claim,
    fragmentation_index,
    free_block,
    free_list,
    new_zones,
    push,
    remove,
    smallest,
    steal,
    unusable_index,
    zone_of,
)
from memtrace.structures.whole_pool import pool_bytes

ORDER = 6
GROUPS = ("kernel",)
UNUSABLE = True  # a rest below a page, and what CPUs keep
TAKES_POOL = True
MAX_ALIGN = PAGE << MAX_ORDER
CONTROL = "none in the pool"
VERSION = "Linux 6.18"
COUNTERS = (
    *(f"extfrag_index_order_{order}" for order in range(ORDERS)),
    *(f"unusable_index_order_{order}" for order in range(ORDERS)),
    *("claims", "steals", "unmovable_pageblocks", "movable_pageblocks", "reclaimable_pageblocks", "kept_pages"),
)
NAMES = {"unmovable": UNMOVABLE, "movable": MOVABLE, "reclaimable": RECLAIMABLE, "0": UNMOVABLE, "1": MOVABLE, "2": RECLAIMABLE}
X86_ZONES = (0, 1 << 12, 1 << 20)  # first pages of DMA, DMA32 and Normal
# Places in State.at: claims, steals, the stream that frees; whether the last block of a batch was stolen.
CLAIMS, STEALS, FREED_BY, STEALING = range(4)


class State(NamedTuple):
    """The zones, and what the policy counts and is set to."""

    zones: Zones
    kinds: np.ndarray  # kinds[tag]: the migratetype; the last entry is for no tag
    kept: np.ndarray  # kept[zone * cpus + cpu]: pages in the lists of a CPU
    at: np.ndarray  # CLAIMS, STEALS, FREED_BY, STEALING
    ledger: np.ndarray
    cpus: int
    batch: int  # pages
    high: int  # pages


def init(
    capacity,
    max_live,
    pool=0,
    zones: Literal["one", "x86"] = "one",
    default: Literal["movable", "unmovable", "reclaimable"] = "movable",
    first_pfn=0,
    cpus=0,
    batch=63,
    high=512,
):
    size = pool_bytes(capacity, pool, least=PAGE)
    if first_pfn < 0 or first_pfn % (1 << MAX_ORDER):
        raise ValueError(f"first_pfn={first_pfn} is no multiple of {1 << MAX_ORDER}")
    if not 0 <= cpus <= 1 << 12 or not 1 <= batch <= high:
        raise ValueError(f"cpus={cpus}, batch={batch}, high={high}: cpus is from 0 to 4096, batch from 1 to high")
    pages = size // PAGE
    if pages >= 1 << 31:
        raise ValueError(f"{size} bytes are too many pages; 8 TiB less a page is the most")
    starts = [0]
    if zones == "x86":
        starts += [start - first_pfn for start in X86_ZONES if first_pfn < start < first_pfn + pages]
    ledger = new_ledger(size)
    made = new_zones(pages, starts, cpus, ledger)
    kept = np.zeros(max(len(starts) * cpus, 1), np.int64)
    return State(made, np.array([NAMES[default]], np.int64), kept, np.zeros(4, np.int64), ledger, cpus, batch, high)


def start(state, facts):
    """Return the state with the migratetype of each tag: its first word, or the default that the only entry so far has."""
    default = int(state.kinds[-1])
    kinds = [NAMES.get((tag.split() or [""])[0].lower(), default) for tag in facts.tags]
    return state._replace(kinds=np.array([*kinds, default], np.int64))


def order_of(request):
    """Return the order of the block for a request: enough pages, and aligned as it asks."""
    pages = (max(request.size, 1, min(request.align, MAX_ALIGN)) + PAGE - 1) // PAGE
    return highest_set(2 * pages - 1)


def kind_of(state, request):
    """Return the migratetype of a request."""
    tag = request.tag
    return state.kinds[tag] if 0 <= tag < state.kinds.size - 1 else state.kinds[state.kinds.size - 1]


def alloc(state, request):
    """Place a block of whole pages; return its address, NOWHERE if it needs more than 1,024 pages or no block is large enough."""
    order = order_of(request)
    ledger = state.ledger
    ledger[BLOCK_SIZE] = np.int64(PAGE) << min(order, 40)
    if order > MAX_ORDER:
        return NOWHERE
    kind = kind_of(state, request)
    cpu = request.stream % state.cpus if state.cpus > 0 and order < CPU_ORDERS else -1
    page = find(state, order, kind, cpu)
    if page < 0 and state.cpus > 0 and drain(state):
        page = find(state, order, kind, cpu)
    if page < 0:
        return NOWHERE
    state.zones.marks[page] = (USED_MOVABLE if kind == MOVABLE else USED) + order
    ledger[ALLOCATED] += np.int64(PAGE) << order
    return page * PAGE


def find(state, order, kind, cpu):
    """Take a block from the highest zone that has one; return its page, -1 for none. ``cpu``: -1 for none of the lists of CPUs.

    At first no pageblock of another type is broken, in no zone.
    """
    highest = state.zones.starts.size - 2
    for fragment in range(2):
        for zone in range(highest, -1, -1):
            if cpu >= 0:
                page = from_cpu(state, zone, cpu, order, kind, fragment == 1)
            else:
                state.at[STEALING] = 0
                page = from_zone(state, zone, order, kind, fragment == 1)
            if page >= 0:
                return page
    return np.int64(-1)


def from_zone(state, zone, order, kind, fragment):
    """Take a block of a zone's lists: of the type's own, by a claim or, if ``fragment``, by stealing; return its page or -1."""
    zones, at = state.zones, state.at
    page = np.int64(-1)
    if at[STEALING] == 0:
        page = smallest(zones, zone, order, kind)
        if page < 0:
            page = claim(zones, zone, order, kind, order if fragment else max(order, BLOCK_ORDER))
            if page >= 0:
                at[CLAIMS] += 1
    if page < 0 and fragment:
        page = steal(zones, zone, order, kind)
        if page >= 0:
            at[STEALS] += 1
            at[STEALING] = 1
    return page


def cpu_list(state, zone, cpu, order, kind):
    """Return the number of a CPU's list."""
    zones = state.zones.starts.size - 1
    return zones * ORDERS * TYPES + (zone * state.cpus + cpu) * CPU_LISTS + order * TYPES + kind


@out_of_line
def from_cpu(state, zone, cpu, order, kind, fragment):
    """Take a block of a CPU's list, which is filled from the zone if it is empty; return its page or -1."""
    number = cpu_list(state, zone, cpu, order, kind)
    zones, ledger = state.zones, state.ledger
    if zones.ends[number, HEAD] == 0:
        state.at[STEALING] = 0
        for _ in range(max(state.batch >> order, 2) if state.batch > 1 else 1):
            page = from_zone(state, zone, order, kind, fragment)
            if page < 0:
                break
            push(zones, number, page, True)
            zones.marks[page] = KEPT + order
            state.kept[zone * state.cpus + cpu] += 1 << order
    ledger[INSPECTED], ledger[HOLE_TAKEN] = 0, 0  # what fills the list is no hole of this request's
    link = zones.ends[number, HEAD]
    if link == 0:
        return np.int64(-1)
    remove(zones, number, link - 1)
    state.kept[zone * state.cpus + cpu] -= 1 << order
    return link - 1


def give_back(state, zone, cpu, number):
    """Free the block at the tail of a CPU's list, which is one of order ``number`` // TYPES; return its pages."""
    zones = state.zones
    order = number // TYPES
    place = cpu_list(state, zone, cpu, order, number % TYPES)
    page = zones.ends[place, TAIL] - 1
    remove(zones, place, page)
    zones.marks[page] = 0
    state.kept[zone * state.cpus + cpu] -= 1 << order
    free_block(zones, zone, page, order, np.int64(zones.types[page >> BLOCK_ORDER]))
    return 1 << order


@out_of_line
def shrink(state, zone, cpu, number, pages):
    """Give back so many pages of a CPU's lists, from list ``number`` on, each list emptied before the next."""
    left = min(pages, state.kept[zone * state.cpus + cpu])
    while left > 0:
        while state.zones.ends[cpu_list(state, zone, cpu, number // TYPES, number % TYPES), TAIL] == 0:
            number = (number + 1) % CPU_LISTS
        left -= give_back(state, zone, cpu, number)


@out_of_line
def drain(state):
    """Empty the lists of all CPUs; return whether there was anything in them."""
    found = False
    for zone in range(state.zones.starts.size - 1):
        for cpu in range(state.cpus):
            if state.kept[zone * state.cpus + cpu] > 0:
                found = True
                shrink(state, zone, cpu, 0, state.kept[zone * state.cpus + cpu])
    return found


def freed_by(state, request, stream):
    """Note the stream, and so the CPU, that frees the next block."""
    state.at[FREED_BY] = stream


def free(state, request, address):
    """Free a block to the lists of the CPU that frees it, or to its zone's, by the type of its pageblock."""
    zones = state.zones
    order = order_of(request)
    page = np.int64(address // PAGE)
    zone = zone_of(zones, page)
    kind = np.int64(zones.types[page >> BLOCK_ORDER])
    state.ledger[ALLOCATED] -= np.int64(PAGE) << order
    zones.marks[page] = 0
    if state.cpus == 0 or order >= CPU_ORDERS:
        free_block(zones, zone, page, order, kind)
        return
    cpu = state.at[FREED_BY] % state.cpus
    push(zones, cpu_list(state, zone, cpu, order, kind), page, False)
    zones.marks[page] = KEPT + order
    state.kept[zone * state.cpus + cpu] += 1 << order
    if state.kept[zone * state.cpus + cpu] >= state.high:
        shrink(state, zone, cpu, order * TYPES + kind, state.batch)


def trim(state):
    """Empty the lists of all CPUs: memory itself is never given back."""
    if state.cpus > 0:
        drain(state)


def largest_hole(state):
    """Return the bytes of the largest free block of any zone, 0 if there is none."""
    counts = state.zones.counts
    for order in range(MAX_ORDER, -1, -1):
        for zone in range(counts.shape[0]):
            if counts[zone, order] > 0:
                return np.int64(PAGE) << order
    return np.int64(0)


def write_counters(state, row):
    """Write the two indices of the highest zone for each order, and the counts, into ``row``."""
    zones = state.zones
    zone = zones.starts.size - 2
    for order in range(ORDERS):
        row[order] = fragmentation_index(zones, zone, order)
        row[ORDERS + order] = unusable_index(zones, zone, order)
    row[2 * ORDERS] = state.at[CLAIMS]
    row[2 * ORDERS + 1] = state.at[STEALS]
    for kind in range(TYPES):
        row[2 * ORDERS + 2 + kind] = zones.blocks[kind]
    row[2 * ORDERS + 2 + TYPES] = state.kept.sum()
