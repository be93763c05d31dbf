"""Zones of pages with free lists by order and migratetype, as the Linux kernel's page allocator has them.

Pages are numbered from the first page of memory on. A free block of order k is 2^k pages, aligned to its size, and is in the
list of its zone, order and migratetype: the last one added at the head, or some at the tail. Each pageblock, 512 pages, has a
migratetype, and every free block is in a list of the type of the pageblock in which it begins. Zones begin at multiples of the
largest block, so that buddies are of one zone.

All free memory is counted in the ledger, a hole for each free block. Functions that change lists are given ``zones``, a Zones.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import HOLE_TAKEN, INSPECTED, MERGES, SPLITS, close_hole, open_hole

PAGE = 4096  # bytes
MAX_ORDER = 10
ORDERS = MAX_ORDER + 1
BLOCK_ORDER = 9  # of a pageblock
BLOCK_PAGES = 1 << BLOCK_ORDER
UNMOVABLE, MOVABLE, RECLAIMABLE = range(3)  # migratetypes
TYPES = 3
CPU_ORDERS = 4  # orders of blocks in lists of a CPU: 0 to 3
CPU_LISTS = CPU_ORDERS * TYPES
# The types whose pageblocks serve a request of each type when its own lists are empty, in this order.
FALLBACKS = np.array([[RECLAIMABLE, MOVABLE], [RECLAIMABLE, UNMOVABLE], [UNMOVABLE, MOVABLE]], np.int64)
# What Zones.marks has of the first page of a block, plus the block's order; other pages have 0.
FREE, USED_MOVABLE, USED, KEPT = 1, 16, 32, 48  # KEPT: in a list of a CPU
HEAD, TAIL = 0, 1


class Zones(NamedTuple):
    """The pages of memory, and the lists that blocks of them are in. A link is the number of a page plus 1; 0 is none."""

    marks: np.ndarray  # marks[page]: int8
    after: np.ndarray  # after[page]: int32, link to the next block of the list
    before: np.ndarray  # before[page]: int32, link to the previous one
    types: np.ndarray  # types[pageblock]: int8
    ends: np.ndarray  # ends[list, HEAD or TAIL]: int64, links
    counts: np.ndarray  # counts[zone, order]: free blocks
    starts: np.ndarray  # starts[zone]: the first page of the zone; one more entry: the number of pages
    blocks: np.ndarray  # blocks[type]: pageblocks of this type
    ledger: np.ndarray


def new_zones(pages, starts, cpus, ledger):
    """Return zones of ``pages`` free pages that begin at ``starts``, with lists of ``cpus`` CPUs; all pageblocks are movable."""
    zones = len(starts)
    pageblocks = -(-pages // BLOCK_PAGES)
    made = Zones(
        np.zeros(pages, np.int8),
        np.zeros(pages, np.int32),
        np.zeros(pages, np.int32),
        np.full(pageblocks, MOVABLE, np.int8),
        np.zeros((zones * (ORDERS * TYPES + cpus * CPU_LISTS), 2), np.int64),
        np.zeros((zones, ORDERS), np.int64),
        np.array([*starts, pages], np.int64),
        np.array([0, pageblocks, 0], np.int64),
        ledger,
    )
    for zone in range(zones):
        page, end = int(made.starts[zone]), int(made.starts[zone + 1])
        while page < end:
            order = MAX_ORDER
            while page % (1 << order) or page + (1 << order) > end:
                order -= 1
            add_free(made, zone, np.int64(page), order, MOVABLE, True)
            page += 1 << order
    return made


def free_list(zone, order, kind):
    """Return the number of a zone's list of free blocks."""
    return (zone * ORDERS + order) * TYPES + kind


def zone_of(zones, page):
    """Return the zone of a page."""
    zone = zones.starts.size - 2
    while page < zones.starts[zone]:
        zone -= 1
    return zone


def push(zones, number, page, tail):
    """Add a block to a list, at the tail or at the head."""
    ends = zones.ends
    side = TAIL if tail else HEAD
    other = ends[number, side]
    zones.after[page] = 0 if tail else other
    zones.before[page] = other if tail else 0
    if other == 0:
        ends[number, 1 - side] = page + 1
    elif tail:
        zones.after[other - 1] = page + 1
    else:
        zones.before[other - 1] = page + 1
    ends[number, side] = page + 1


def remove(zones, number, page):
    """Take a block out of its list."""
    after, before = zones.after[page], zones.before[page]
    if before == 0:
        zones.ends[number, HEAD] = after
    else:
        zones.after[before - 1] = after
    if after == 0:
        zones.ends[number, TAIL] = before
    else:
        zones.before[after - 1] = before


def add_free(zones, zone, page, order, kind, tail):
    """Make a block a free one, in the list of this type."""
    push(zones, free_list(zone, order, kind), page, tail)
    zones.marks[page] = FREE + order
    zones.counts[zone, order] += 1
    open_hole(zones.ledger, np.int64(PAGE) << order)


def take_free(zones, zone, page, order, kind):
    """Take a free block out of its list of this type."""
    remove(zones, free_list(zone, order, kind), page)
    zones.marks[page] = 0
    zones.counts[zone, order] -= 1
    close_hole(zones.ledger, np.int64(PAGE) << order)


def is_free(zones, page, order):
    """Return whether a free block of this very order begins at a page, which may lie behind the end of memory."""
    return page + (1 << order) <= zones.marks.size and zones.marks[page] == FREE + order


def set_type(zones, page, order, kind):
    """Give the pageblocks of a block of at least a pageblock a migratetype."""
    for block in range(page >> BLOCK_ORDER, (page + (1 << order)) >> BLOCK_ORDER):
        zones.blocks[zones.types[block]] -= 1
        zones.blocks[kind] += 1
        zones.types[block] = kind


@out_of_line
def free_block(zones, zone, page, order, kind):
    """Free a block whose pageblock has this type, and merge it with its buddies as far as they are free.

    It goes to the tail of its list if the buddy of the next merge is free, so that it is taken late, and to the head otherwise.
    Where pageblocks merge, the buddy's gets this type.
    """
    while order < MAX_ORDER:
        buddy = page ^ (1 << order)
        if not is_free(zones, buddy, order):
            break
        of_buddy = np.int64(zones.types[buddy >> BLOCK_ORDER]) if order >= BLOCK_ORDER else kind
        take_free(zones, zone, buddy, order, of_buddy)
        if of_buddy != kind:
            set_type(zones, buddy, order, kind)
        zones.ledger[MERGES] += 1
        page &= buddy
        order += 1
    above = page & ~(1 << order)
    tail = order < MAX_ORDER - 1 and is_free(zones, above ^ (2 << order), order + 1)
    add_free(zones, zone, page, order, kind, tail)


def split(zones, zone, page, order, found, kind):
    """Cut a block of order ``found``, which is in no list, down to ``order``; the upper halves go to the heads of lists.

    It is noted as the hole that serves the request.
    """
    zones.ledger[HOLE_TAKEN] = np.int64(PAGE) << found
    zones.ledger[INSPECTED] = 1
    while found > order:
        found -= 1
        add_free(zones, zone, page + (1 << found), found, kind, False)
        zones.ledger[SPLITS] += 1


def smallest(zones, zone, order, kind):
    """Take the head of the first list of a type that is not empty, from ``order`` on; return its page, -1 for none."""
    for found in range(order, ORDERS):
        link = zones.ends[free_list(zone, found, kind), HEAD]
        if link != 0:
            page = link - 1
            take_free(zones, zone, page, found, kind)
            split(zones, zone, page, order, found, kind)
            return page
    return np.int64(-1)


def fallback(zones, zone, order, kind):
    """Return the first other type that has a free block of this very order, -1 for none."""
    if zones.counts[zone, order] > 0:
        for i in range(TYPES - 1):
            other = FALLBACKS[kind, i]
            if zones.ends[free_list(zone, order, other), HEAD] != 0:
                return other
    return np.int64(-1)


@out_of_line
def claim(zones, zone, order, kind, least):
    """Take a block of another type's whole pageblock, which becomes this type's; return its page, -1 if there is none.

    The largest blocks are tried first, down to order ``least``. A movable request claims no pageblock for a block of less than
    half the order of a pageblock.
    """
    for found in range(MAX_ORDER, least - 1, -1):
        if kind == MOVABLE and found < BLOCK_ORDER // 2:
            break
        other = fallback(zones, zone, found, kind)
        if other < 0:
            continue
        page = zones.ends[free_list(zone, found, other), HEAD] - 1
        if found >= BLOCK_ORDER:
            take_free(zones, zone, page, found, other)
            set_type(zones, page, found, kind)
            split(zones, zone, page, order, found, kind)
            return page
        if convert(zones, zone, page >> BLOCK_ORDER << BLOCK_ORDER, other, kind):
            return smallest(zones, zone, order, kind)
    return np.int64(-1)


def convert(zones, zone, start, old, kind):
    """Give the pageblock at ``start`` another type if half of its pages are free or fit that type; return whether it was done.

    Of a movable pageblock all pages in use that are not movable fit the other two types; movable ones fit a movable request. A
    pageblock that ends behind its zone stays as it is. The free blocks go to the tails of lists, in the order of their pages.
    """
    end = start + BLOCK_PAGES
    if end > zones.starts[zone + 1]:
        return False
    free, movable = 0, 0
    page = start
    while page < end:
        mark = np.int64(zones.marks[page])
        pages = 1 << (mark - FREE if mark < USED_MOVABLE else mark & 15) if mark > 0 else 1
        if 0 < mark < USED_MOVABLE:
            free += pages
        elif USED_MOVABLE <= mark < USED:
            movable += pages
        page += pages
    alike = movable
    if kind != MOVABLE:
        alike = BLOCK_PAGES - (free + movable) if old == MOVABLE else 0
    if free + alike < BLOCK_PAGES // 2:
        return False
    page = start
    while page < end:
        mark = np.int64(zones.marks[page])
        pages = 1 << (mark - FREE if mark < USED_MOVABLE else mark & 15) if mark > 0 else 1
        if 0 < mark < USED_MOVABLE:
            remove(zones, free_list(zone, mark - FREE, old), page)
            push(zones, free_list(zone, mark - FREE, kind), page, True)
        page += pages
    set_type(zones, start, BLOCK_ORDER, kind)
    return True


@out_of_line
def steal(zones, zone, order, kind):
    """Take the smallest block of other types that is large enough; what is left stays in their lists. Return its page or -1."""
    for found in range(order, ORDERS):
        other = fallback(zones, zone, found, kind)
        if other >= 0:
            page = zones.ends[free_list(zone, found, other), HEAD] - 1
            take_free(zones, zone, page, found, other)
            split(zones, zone, page, order, found, other)
            return page
    return np.int64(-1)


def free_counts(zones, zone, order):
    """Return (free pages, free blocks, blocks of ``order`` that they hold) of a zone."""
    pages, blocks, suitable = np.int64(0), np.int64(0), np.int64(0)
    for found in range(ORDERS):
        count = zones.counts[zone, found]
        blocks += count
        pages += count << found
        if found >= order:
            suitable += count << (found - order)
    return pages, blocks, suitable


def fragmentation_index(zones, zone, order):
    """Return the external fragmentation index in thousandths, -1000 if a block of the order is free, 0 if nothing is.

    Towards 0 a request would fail for lack of memory, towards 1000 for fragmentation.
    """
    pages, blocks, suitable = free_counts(zones, zone, order)
    if blocks == 0:
        return np.int64(0)
    if suitable > 0:
        return np.int64(-1000)
    return 1000 - (1000 + pages * 1000 // (1 << order)) // blocks


def unusable_index(zones, zone, order):
    """Return the unusable free space index in thousandths: the share of free pages in blocks below the order."""
    pages, _, suitable = free_counts(zones, zone, order)
    if pages == 0:
        return np.int64(1000)
    return (pages - (suitable << order)) * 1000 // pages
