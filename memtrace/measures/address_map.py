"""Count the bytes of live blocks by page of addresses, tag and age, with rows only for pages that ever had a block.

A row is a page of 2^shift bytes. When more rows are needed than there are, pages twice as large take the place of the old
ones, and all that was counted so far is folded: the rows follow the bytes that are used, not the span of the addresses. The
functions are compiled, as those of policies are: plain functions over a NamedTuple of arrays. None allocates memory.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import out_of_line
from memtrace.kernels import compiled_as

ALLOC, FREE, REALLOC = 0, 1, 2  # codes of memtrace.trace.Op
PLACED = 1  # status of a block that has an address, as in engine.blocks
SHIFT, ROWS, COLUMN = range(3)  # entries of Grid.counts
UNUSED = -1  # no page, no row


class Grid(NamedTuple):
    """Bytes counted by column (an event of the replay), row (a page of addresses) and kind (a class of tags)."""

    counts: np.ndarray  # SHIFT: log2 of a page's bytes; ROWS: rows in use; COLUMN: the current column, which is being filled
    pages: np.ndarray  # [row] address >> shift
    keys: np.ndarray  # [entry] hash table with open addressing: pages, UNUSED where there is none
    places: np.ndarray  # [entry] their rows
    live: np.ndarray  # [column, row, kind] bytes
    born: np.ndarray  # [column, row] sum over the bytes of the event in which each was allocated


def note_births(op, block, start, births):
    """Write to ``births`` the event of the last alloc of each slot.

    ``op`` and ``block`` are columns of a batch whose first event has number ``start``.
    """
    for i in range(op.size):
        if op[i] == ALLOC:
            births[block[i]] = start + i


def put(grid, address, size, kind, birth):
    """Count ``size`` bytes from ``address`` on into the rows of the current column; fold the grid if it has too few rows.

    ``kind`` is the class of the block's tag, ``birth`` the event of its alloc.
    """
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


@out_of_line
def row_of(grid, page):
    """Return the row of ``page`` (address >> shift); a new one if it has none, UNUSED if there is no room for it."""
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


@out_of_line
def fold(grid):
    """Double the bytes of a page: merge the rows of every two pages into one, in all columns up to the current one."""
    counts = grid.counts
    rows = counts[ROWS]
    grid.keys[:] = UNUSED
    counts[SHIFT] += 1
    counts[ROWS] = 0
    for row in range(rows):
        # The new row is never after the old one, and the row that was there before has been moved or merged already.
        to = row_of(grid, grid.pages[row] >> 1)
        if to != row:
            merge_rows(grid, row, to)


def merge_by_loops(grid, row, to):
    """Add a row to another in all columns up to the current one, and clear it: what compiled code does for `merge_rows`."""
    for column in range(grid.counts[COLUMN] + 1):
        for kind in range(grid.live.shape[2]):
            grid.live[column, to, kind] += grid.live[column, row, kind]
            grid.live[column, row, kind] = 0
        grid.born[column, to] += grid.born[column, row]
        grid.born[column, row] = 0.0


def compile_merging():
    """Have `merge_rows` compiled as loops, which allocate nothing."""
    from numba.extending import overload

    overload(merge_rows, strict=False)(lambda grid, row, to: merge_by_loops)


@compiled_as(compile_merging)
def merge_rows(grid, row, to):
    """Add a row to another in all columns up to the current one, and clear it; in the interpreter a column at once."""
    upto = grid.counts[COLUMN] + 1
    grid.live[:upto, to] += grid.live[:upto, row]
    grid.live[:upto, row] = 0
    grid.born[:upto, to] += grid.born[:upto, row]
    grid.born[:upto, row] = 0.0


def fill_column(blocks, births, kind_of_tag, grid):
    """Fill the current column with the live blocks, each of which is one range, and go on to the next column.

    ``blocks`` are records by slot, ``births`` the events of their allocs; ``kind_of_tag`` has the kind of each tag code, that of
    -1 last.
    """
    for slot in range(blocks.size):
        b = blocks[slot]
        if b.status == PLACED:
            put(grid, b.address, b.requested, kind_of_tag[b.tag], births[slot])
    grid.counts[COLUMN] += 1


def specialise(policy):
    """Return `fill_column` for a policy whose blocks come in pieces, with the policy's state as one more argument.

    ``policy`` is the module that ``engine.binding.bind`` makes of the policy's own.
    """

    def take_pieces(blocks, births, kind_of_tag, grid, state):
        """Fill the current column with the pieces of the live blocks, and go on to the next column; see `fill_column`.

        The pieces of a block may be larger than it is, in which case only the bytes that it asked for count.
        """
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


def weigh(events, start, slots, bytes_of, weights):
    """Add to ``weights``, by tag code, the bytes x events of each block that a batch frees or resizes, since its alloc or resize.

    Code -1 is last. ``start`` is the number of the first event. ``slots`` has the tag and the event since which a live block has
    its size, ``bytes_of`` its bytes; both are kept up to date, in place.
    """
    op, block, size, tag = events.op, events.block, events.size, events.tag
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
