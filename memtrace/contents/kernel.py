"""The compiled part: live blocks counted into rows of addresses, of which there are only those that ever held anything.

A row is a page of 2^shift bytes. When more pages than rows are wanted, pages twice as large take their place, and all that
was counted so far is folded: the rows follow the bytes that are used, not the span of the addresses. Plain functions over
a NamedTuple of arrays, as policies are; none allocates.
"""

from typing import NamedTuple

import numpy as np

from memtrace.structures.calls import apart

ALLOC, FREE, REALLOC = 0, 1, 2  # memtrace.trace.Op
PLACED = 1  # engine.blocks
SHIFT, ROWS, COLUMN = range(3)  # of counts
UNUSED = -1


class Grid(NamedTuple):
    counts: np.ndarray  # log2 of a page's bytes; rows in use; the column that is being filled
    pages: np.ndarray  # [row]: address >> shift
    keys: np.ndarray  # an open hash table: pages, UNUSED where there is none
    places: np.ndarray  # and their rows
    live: np.ndarray  # [column, row, class of tag]: bytes
    born: np.ndarray  # [column, row]: the sum over bytes of the event in which each was allocated


def note_births(op, block, start, births):
    """The event of each slot's last alloc; ``start`` is the number of the first of these events."""
    for i in range(op.size):
        if op[i] == ALLOC:
            births[block[i]] = start + i


def put(grid, address, size, kind, birth):
    """Count a range of addresses into the rows that it covers."""
    counts, end = grid.counts, address + size
    while address < end:
        row = row_of(grid, address >> counts[SHIFT])
        if row == UNUSED:
            fold(grid)
            continue
        part = min(end, ((address >> counts[SHIFT]) + 1) << counts[SHIFT]) - address
        grid.live[counts[COLUMN], row, kind] += part
        grid.born[counts[COLUMN], row] += float(part) * float(birth)
        address += part


@apart
def row_of(grid, page):
    """The page's row, a new one if it has none; UNUSED if there is no room."""
    mask = grid.keys.size - 1
    at = (page ^ (page >> 9) ^ (page >> 21)) & mask
    while grid.keys[at] != page:
        if grid.keys[at] == UNUSED:
            row = grid.counts[ROWS]
            if row == grid.pages.size:
                return UNUSED
            grid.keys[at] = page
            grid.places[at] = row
            grid.pages[row] = page
            grid.counts[ROWS] = row + 1
            return row
        at = (at + 1) & mask
    return grid.places[at]


@apart
def fold(grid):
    """Double the bytes of a page."""
    counts = grid.counts
    rows = counts[ROWS]
    grid.keys[:] = UNUSED
    counts[SHIFT] += 1
    counts[ROWS] = 0
    for row in range(rows):
        # A row's new place is never behind its old one, and whoever was there has left.
        to = row_of(grid, grid.pages[row] >> 1)
        if to != row:
            for column in range(counts[COLUMN] + 1):
                for kind in range(grid.live.shape[2]):
                    grid.live[column, to, kind] += grid.live[column, row, kind]
                    grid.live[column, row, kind] = 0
                grid.born[column, to] += grid.born[column, row]
                grid.born[column, row] = 0.0


def take(blocks, births, kind_of_tag, grid):
    """Fill a column with the live blocks, each of one range."""
    for slot in range(blocks.size):
        b = blocks[slot]
        if b.status == PLACED:
            put(grid, b.address, b.requested, kind_of_tag[b.tag], births[slot])
    grid.counts[COLUMN] += 1


def specialise(policy):
    """`take` for a policy whose blocks come in pieces; ``policy`` is the module that ``engine.binding.bind`` makes of it."""

    def take_pieces(blocks, births, kind_of_tag, grid, state):
        for slot in range(blocks.size):
            b = blocks[slot]
            if b.status != PLACED:
                continue
            handle, left, kind, birth = int(b.handle), b.requested, kind_of_tag[b.tag], births[slot]
            piece = policy.first_piece(state, handle)
            while piece >= 0 and left > 0:
                address, extent = policy.piece_at(state, handle, piece)
                put(grid, address, min(extent, left), kind, birth)
                left -= extent
                piece = policy.next_piece(state, handle, piece)
        grid.counts[COLUMN] += 1

    return take_pieces


def weigh(op, block, size, tag, start, slots, bytes_of, weights):
    """Bytes times events by tag: ``slots`` holds the tag and the first event of each live block, ``bytes_of`` its bytes."""
    for i in range(op.size):
        kind, slot = op[i], block[i]
        if slot < 0 or (kind != ALLOC and kind != FREE and kind != REALLOC):
            continue
        if kind != ALLOC:
            weights[slots[slot, 0]] += float(bytes_of[slot]) * float(start + i - slots[slot, 1])
        else:
            slots[slot, 0] = tag[i if tag.size > 1 else 0]
        slots[slot, 1] = start + i
        bytes_of[slot] = 0 if kind == FREE else size[i]
