"""Compiled kernel of the cache model: set-associative LRU levels in chains, and the touches of a batch run through them.

A chain is a cache hierarchy or the TLBs of one page size: a line that misses in a level is looked up in the next one, and
every level that was asked then holds the line. The lines of a set are kept in order, the last used first. No function here
allocates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrace.kernels import fast_options, jit
from memtrace.trace import Op

if TYPE_CHECKING:
    from typing import Any

ALLOC, FREE, REALLOC, COPY, SWAP, ACCESS = (int(op) for op in (Op.ALLOC, Op.FREE, Op.REALLOC, Op.COPY, Op.SWAP, Op.ACCESS))
HEADER = 16  # bytes that a free touches: the two links of a free list

# columns of Levels.levels: first entry in lines; sets; lines of a set; log2 of the bytes of a line; the level behind, or -1
FIRST, SETS, WAYS, SHIFT, NEXT = range(5)
LOOKUPS, MISSES = range(2)  # columns of Levels.counts
TOUCHES, BYTES = range(2)  # entries of Levels.touched
ADDRESS, EXTENT, AFTER = range(3)  # columns of Blocks.pieces: address and bytes; the block's next piece, or -1
FAILED, NOTHING = -1, -2  # in place of an address: the request failed; there is no block

compiled = jit(**fast_options())


class Levels(NamedTuple):
    """The levels of all chains of a model, and their counts."""

    chains: NDArray[np.int64]  # [chain]: its first level
    levels: NDArray[np.int64]  # [level, (FIRST, SETS, WAYS, SHIFT, NEXT)]
    lines: NDArray[np.int64]  # line numbers in all sets of all levels; -1: empty
    counts: NDArray[np.int64]  # [level, (LOOKUPS, MISSES)]
    touched: NDArray[np.int64]  # [TOUCHES, BYTES]


class Blocks(NamedTuple):
    """The addresses of the live blocks. The first piece of a block has the number of its slot; further pieces follow it."""

    pieces: NDArray[np.int64]  # [piece, (ADDRESS, EXTENT, AFTER)]; the address of a slot without a block is NOTHING
    sizes: NDArray[np.int64]  # [slot]: bytes requested
    spare: NDArray[np.int64]  # [2]: head of the list of unused pieces, -1 for none; number of unused pieces


class Placed(NamedTuple):
    """What the policy did in one batch of events."""

    first: int  # number of the first event
    addresses: NDArray[np.int64]  # [event] that an alloc or realloc got; FAILED or NOTHING
    rows: NDArray[np.int64]  # [row, (event, slot, address, bytes)] moves of blocks, or with Rules.in_pieces pieces, by event


class Rules(NamedTuple):
    """Which touches are counted."""

    in_pieces: bool  # blocks come in pieces: they lie where the rows say, and only there
    reach: int  # bytes of a block, from its start, beyond which no touch goes
    lifetimes: bool  # an alloc writes the whole block, and a free its first HEADER bytes


@compiled
def look_up(levels: Any, lines: Any, counts: Any, level: Any, line: Any) -> None:
    """Look one line up in a level, and in the levels behind as long as it misses; each level then holds the line.

    ``levels``, ``lines`` and ``counts`` are those of `Levels`; ``level`` is a row of ``levels``, ``line`` a line or page
    number.
    """
    while level >= 0:
        ways = levels[level, WAYS]
        start = levels[level, FIRST] + line % levels[level, SETS] * ways
        counts[level, LOOKUPS] += 1
        way = np.int64(0)
        last = lines[start]
        while last != line and way < ways - 1:
            way += 1
            # The lines passed move one place back, which makes room in front.
            held = lines[start + way]
            lines[start + way] = last
            last = held
        lines[start] = line
        if last == line:
            return
        counts[level, MISSES] += 1
        level = levels[level, NEXT]


@compiled
def look_up_range(levels: Any, lines: Any, counts: Any, level: Any, first: Any, last: Any) -> None:
    """Look the lines ``first`` to ``last`` (inclusive) up in ascending order, from a level of a chain on.

    Once a level has seen as many new lines as it holds, it holds nothing else: every later line of the sweep is a miss, and
    goes to the level behind in the same order. So a sweep costs no more than twice what the levels hold.
    """
    while level >= 0 and first <= last:
        holds = levels[level, SETS] * levels[level, WAYS]
        singly = min(last - first + 1, holds)
        for line in range(first, first + singly):
            look_up(levels, lines, counts, level, line)
        first += singly
        missed = last - first + 1
        counts[level, LOOKUPS] += missed
        counts[level, MISSES] += missed
        for line in range(last - min(missed, holds) + 1, last + 1):
            insert_line(levels, lines, level, line)
        level = levels[level, NEXT]


@compiled
def insert_line(levels: Any, lines: Any, level: Any, line: Any) -> None:
    """Put a line that a level does not hold at the front of its set; the line used least recently is dropped."""
    ways = levels[level, WAYS]
    start = levels[level, FIRST] + line % levels[level, SETS] * ways
    for way in range(ways - 1, 0, -1):
        lines[start + way] = lines[start + way - 1]
    lines[start] = line


@compiled
def touch(all_levels: Any, blocks: Any, slot: Any, first: Any, last: Any) -> None:
    """Touch the bytes [first, last) of the block in a slot, piece by piece, in all chains; nothing happens without a block."""
    pieces, levels = blocks.pieces, all_levels.levels
    if first >= last or pieces[slot, ADDRESS] < 0:
        return
    all_levels.touched[TOUCHES] += 1
    all_levels.touched[BYTES] += last - first
    piece, before = np.int64(slot), np.int64(0)
    while piece >= 0 and before < last:
        address, extent = pieces[piece, ADDRESS], pieces[piece, EXTENT]
        low, high = address + max(first - before, 0), address + min(last - before, extent) - 1
        if low <= high:
            for chain in range(all_levels.chains.size):
                level = all_levels.chains[chain]
                shift = levels[level, SHIFT]
                look_up_range(levels, all_levels.lines, all_levels.counts, level, low >> shift, high >> shift)
        before += extent
        piece = pieces[piece, AFTER]


@compiled
def clear_slot(blocks: Any, slot: Any) -> None:
    """Clear a slot whose block is freed: its further pieces go back to the list of unused ones."""
    pieces = blocks.pieces
    piece = pieces[slot, AFTER]
    while piece >= 0:
        after = pieces[piece, AFTER]
        pieces[piece, AFTER] = blocks.spare[0]
        blocks.spare[0] = piece
        blocks.spare[1] += 1
        piece = after
    pieces[slot, ADDRESS] = NOTHING
    pieces[slot, AFTER] = -1


@compiled
def put(blocks: Any, slot: Any, address: Any, size: Any, rows: Any, row: Any, last: Any) -> None:
    """Record the block of ``size`` bytes in a slot: one piece at ``address``, or the pieces that ``rows[row:last]`` give for it.

    ``rows`` are those of `Placed`. A block that was in the slot is forgotten.
    """
    pieces = blocks.pieces
    clear_slot(blocks, slot)
    blocks.sizes[slot] = size
    pieces[slot, ADDRESS] = address
    pieces[slot, EXTENT] = size
    tail = np.int64(-1)
    for k in range(row, last):
        if rows[k, 1] != slot:
            continue
        piece = np.int64(slot)
        if tail >= 0:
            piece = blocks.spare[0]
            blocks.spare[0] = pieces[piece, AFTER]
            blocks.spare[1] -= 1
            pieces[tail, AFTER] = piece
        pieces[piece, ADDRESS] = rows[k, 2]
        pieces[piece, EXTENT] = rows[k, 3]
        pieces[piece, AFTER] = -1
        tail = piece


@compiled
def move(all_levels: Any, blocks: Any, slot: Any, address: Any, reach: Any) -> None:
    """Move the block in a slot to ``address``, as the policy did: it is read at the old place and written at the new one.

    At most ``reach`` bytes are touched.
    """
    size = min(blocks.sizes[slot], reach)
    touch(all_levels, blocks, slot, 0, size)
    blocks.pieces[slot, ADDRESS] = address
    touch(all_levels, blocks, slot, 0, size)


@compiled
def resize(all_levels: Any, blocks: Any, rules: Any, slot: Any, address: Any, size: Any, rows: Any) -> None:
    """Record a realloc that gave the block in a slot ``size`` bytes at ``address``, or in the pieces that ``rows`` give for it.

    ``rows`` are those of the event. If the block moves, the kept bytes are read at the old place and written at the new one. With
    ``rules.lifetimes`` the added bytes are written too.
    """
    before = blocks.pieces[slot, ADDRESS]
    old = blocks.sizes[slot] if before >= 0 else np.int64(0)
    moves = before >= 0 and before != address
    kept = min(min(old, size), rules.reach)
    if moves:
        touch(all_levels, blocks, slot, 0, kept)
    put(blocks, slot, address, size, rows, 0, rows.shape[0])
    if moves:
        touch(all_levels, blocks, slot, 0, kept)
    if rules.lifetimes:
        touch(all_levels, blocks, slot, old, min(size, rules.reach))


@compiled
def run(events: Any, placed: Any, rules: Any, all_levels: Any, blocks: Any) -> None:
    """Run the touches of a batch of events through all chains."""
    op, block, size, dst, addresses, rows = events.op, events.block, events.size, events.dst, placed.addresses, placed.rows
    pieces, reach, row = blocks.pieces, rules.reach, 0
    for i in range(addresses.size):
        kind, slot = op[i], np.int64(block[i])
        last = row
        while last < rows.shape[0] and rows[last, 0] == placed.first + i:
            last += 1
        if kind == FREE and slot >= 0:
            if rules.lifetimes:
                touch(all_levels, blocks, slot, 0, min(min(blocks.sizes[slot], HEADER), reach))
            clear_slot(blocks, slot)
        if not rules.in_pieces:
            for k in range(row, last):
                if rows[k, 1] != slot or addresses[i] < 0:
                    move(all_levels, blocks, rows[k, 1], rows[k, 2], reach)
            row = last  # the event's own block lies at its address
        if kind == ALLOC and addresses[i] >= 0:
            put(blocks, slot, addresses[i], size[i], rows, row, last)
            if rules.lifetimes:
                touch(all_levels, blocks, slot, 0, min(size[i], reach))
        elif kind == REALLOC and addresses[i] >= 0:
            resize(all_levels, blocks, rules, slot, addresses[i], size[i], rows[row:last])
        elif kind == REALLOC and addresses[i] == NOTHING:
            clear_slot(blocks, slot)
        elif kind == ACCESS:
            touch(all_levels, blocks, slot, 0, min(blocks.sizes[slot], reach))
        elif kind == COPY or kind == SWAP:
            other = np.int64(dst[i if dst.size > 1 else 0])
            if pieces[slot, ADDRESS] >= 0 and pieces[other, ADDRESS] >= 0:
                moved = size[i] if size[i] >= 0 else min(blocks.sizes[slot], blocks.sizes[other])
                touch(all_levels, blocks, slot, 0, min(moved, reach))
                touch(all_levels, blocks, other, 0, min(moved, reach))
        row = last
