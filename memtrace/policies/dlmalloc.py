"""Doug Lea's malloc as wasi-libc has it, for WebAssembly: best fit in bins, a designated victim, memory in pages of 64 KiB.

A chunk is the request and a header of a word, rounded up to `align` (16), at least 16 bytes (32 with `bits=64`). A chunk below
256 bytes is taken from the bin of its size, the newest first, or, with `align=8`, of the next size, whole. Else the victim serves
it, the rest of the last split, if that is large enough; else the smallest free chunk, the newest of equals below 256 bytes, the
oldest above. What is left of that is the new victim, and the old one goes to its bin. A larger chunk is taken from the
smallest free chunk that is large enough, unless the victim is as good or better; what is left goes to its bin. Then come the
victim, and the top: all above the highest chunk. A rest that is no chunk goes with the block. A freed chunk joins its free
neighbours at once, the victim and the top included.

realloc cuts the chunk, or grows it into the top, the victim or the free chunk behind; else alloc, copy, free.

If the top is too small, the memory grows by whole pages (memory.grow), and never shrinks. Reserved is what it has grown to; the
capacity, or `pool`, bounds it. Once it could not grow, requests ask for what they need without what is left at the top, as the
real one does. The heap begins at the start of a page: what a linker leaves between __heap_base and __heap_end is not
modelled. 0 bytes get the smallest chunk.

Cost: O(log n) in the number of free chunks. The search is not counted: the real one walks a tree.
Source: dlmalloc 2.8.6 in wasi-libc 476bd3c (August 2026), dlmalloc/src/malloc.c and dlmalloc.c.
"""

from typing import Literal

import numpy as np

from memtrace.contract.bits import align_up
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import (
    ALLOCATED,
    BLOCK_SIZE,
    HOLE_TAKEN,
    MERGES,
    RESERVE_CALLS,
    RESERVED,
    SPLITS,
    close_hole,
    open_hole,
    resize_hole,
)
from memtrace.contract.request import NOWHERE
from memtrace.structures import ordered_holes
from memtrace.structures.free_tail import releasable
from memtrace.structures.heap import drop_node, expect, expect_soon, link, new_node, request_block_size, unlink
from memtrace.structures.ordered_holes import BINS, LARGE, State, first_of_size, new_state
from memtrace.structures.program_break import break_limit

ORDER = 92
GROUPS = ("embedded",)
KNOWN_AS = {"wasm": "", "wasi": "", "wasi-libc": "", "webassembly": "", "emscripten": ""}
UNUSABLE = True
MAX_ALIGN = 8
NOT_COUNTED = ("searches",)
CONTROL = "8 bytes at the start and 56 at the end of the memory (0 and 80 with bits=64)"
VERSION = "dlmalloc 2.8.6 of wasi-libc 476bd3c"

PAGE = 65536  # bytes by which the memory grows
VICTIM, TOP, REFUSED, FOOT, WORD = 4, 5, 6, 7, 8  # in tree: two nodes, 0 if there is none; 1 if growth failed once; bytes
ENTRIES = 9


def init(capacity, max_live, align=16, bits: Literal["32", "64"] = "32", pool=0):
    word = int(bits) // 8
    if align not in (8, 16):
        raise ValueError(f"align={align} is neither 8 nor 16")
    if bits == "64" and align == 8:
        raise ValueError("with bits=64 chunks are aligned to 16\ntry: align=16")
    least = align_up(4 * word, align)
    state = new_state(break_limit(capacity, pool), max_live, True, BINS, align=align, min_block=least, header=word)
    tree = np.zeros(ENTRIES, np.int64)
    tree[:4] = state.tree
    tree[FOOT] = -2 * word % align + align_up(4 * word + word, align) + least
    tree[WORD] = word
    return state._replace(tree=tree)


def alloc(state, request):
    """Place a chunk by the rules above, or at the top; return its payload's address, NOWHERE if the memory cannot grow so far."""
    size, least, tree = request_block_size(state, request), state.rules.min_block, state.tree
    x = first_of_size(state, size)
    extent, victim = state.nodes[x].extent, state.nodes[tree[VICTIM]].extent
    if size < LARGE:
        if x != 0 and extent < LARGE and extent <= size + 8:
            return serve(state, x, extent, request.block)
        if size > victim and x != 0:
            return serve_and_keep(state, x, size, request.block)
    elif x != 0 and (size > victim or extent < victim):
        return serve(state, x, size, request.block)
    if size <= victim:
        y = tree[VICTIM]
        if victim - size < least:
            tree[VICTIM] = 0
        return split_end(state, y, size if victim - size >= least else victim, request.block)
    if tree[TOP] == 0 or size >= state.nodes[tree[TOP]].extent:
        raise_top(state, size)
        if tree[TOP] == 0 or size >= state.nodes[tree[TOP]].extent:
            return np.int64(NOWHERE)
    return split_end(state, tree[TOP], size, request.block)


def hand_out(state, x, size, handle):
    """Make node x the block ``handle`` of ``size`` bytes; return its payload's address."""
    state.nodes[x].free = 0
    state.nodes[x].extent = size
    state.node_of[handle] = x
    state.ledger[ALLOCATED] += size
    return state.nodes[x].addr + 2 * state.tree[WORD]


def rest_behind(state, x, size):
    """Return a new free node, in no bin, of what is behind the first ``size`` bytes of node x."""
    nodes = state.nodes
    rest = nodes[x].extent - size
    y = np.int64(new_node(state, nodes[x].addr + size, rest))
    link(nodes, y, x, nodes[x].next)
    nodes[y].free = 1
    open_hole(state.ledger, rest)
    state.ledger[SPLITS] += 1
    return y


@out_of_line
def serve(state, x, size, handle):
    """Give the block ``handle`` the first ``size`` bytes of free chunk x, or all of it; the rest goes to its bin."""
    extent = take_out(state, x)
    if extent - size >= state.rules.min_block:
        ordered_holes.insert(state, rest_behind(state, x, size))
    else:
        size = extent
    return hand_out(state, x, size, handle)


@out_of_line
def serve_and_keep(state, x, size, handle):
    """Give the block ``handle`` the first ``size`` bytes of free chunk x, or all of it; the rest is the new victim."""
    tree, extent = state.tree, take_out(state, x)
    if extent - size >= state.rules.min_block:
        if tree[VICTIM] != 0:
            ordered_holes.insert(state, tree[VICTIM])
        tree[VICTIM] = rest_behind(state, x, size)
    else:
        size = extent
    return hand_out(state, x, size, handle)


def take_out(state, x):
    """Take free chunk x out of its bin and the counts; return its bytes."""
    extent = state.nodes[x].extent
    state.ledger[HOLE_TAKEN] = extent
    close_hole(state.ledger, extent)
    ordered_holes.remove(state, x)
    return extent


@out_of_line
def split_end(state, y, size, handle):
    """Give the block ``handle`` the first ``size`` bytes of y, the victim or the top, which goes on behind it, or ends."""
    nodes, ledger = state.nodes, state.ledger
    extent = nodes[y].extent
    ledger[HOLE_TAKEN] = extent
    if extent == size:
        close_hole(ledger, size)
        return hand_out(state, y, size, handle)
    x = np.int64(new_node(state, nodes[y].addr, size))
    link(nodes, x, nodes[y].prev, y)
    resize_hole(ledger, extent, extent - size)
    nodes[y].addr += size
    nodes[y].extent = extent - size
    ledger[SPLITS] += 1
    return hand_out(state, x, size, handle)


@out_of_line
def raise_top(state, size):
    """Grow the memory by the pages that a chunk of ``size`` bytes at the top needs, if the capacity allows it."""
    nodes, ledger, tree = state.nodes, state.ledger, state.tree
    top, limit = tree[TOP], state.rules.limit[0] & -PAGE
    padding = tree[FOOT] + state.rules.align
    whole = align_up(size + padding, PAGE)
    own = nodes[top].extent if top != 0 and tree[REFUSED] == 0 else np.int64(0)
    more = align_up(size - own + padding, PAGE)
    if ledger[RESERVED] + more > limit:
        tree[REFUSED] = 1
        more = whole
        if ledger[RESERVED] + more > limit:
            return
    ledger[RESERVED] += more
    ledger[RESERVE_CALLS] += 1
    if top == 0:
        first = -2 * tree[WORD] % state.rules.align
        top = np.int64(new_node(state, first, more - tree[FOOT] - first))
        link(nodes, top, nodes[0].prev, 0)
        nodes[top].free = 1
        open_hole(ledger, nodes[top].extent)
        tree[TOP] = top
    else:
        resize_hole(ledger, nodes[top].extent, nodes[top].extent + more)
        nodes[top].extent += more


def free(state, request, address):
    """Free the block with the handle ``request.block`` and merge it with its free neighbours; ``address`` is not used."""
    release(state, np.int64(state.node_of[request.block]))


@out_of_line
def release(state, x):
    """Free block x: it joins its free neighbours, and goes to its bin unless the victim or the top has taken it in."""
    nodes, ledger, tree = state.nodes, state.ledger, state.tree
    before, after = np.int64(nodes[x].prev), np.int64(nodes[x].next)
    ledger[ALLOCATED] -= nodes[x].extent
    nodes[x].free = 1
    if nodes[before].free == 1:
        if before != tree[VICTIM]:
            ordered_holes.remove(state, before)
        close_hole(ledger, nodes[before].extent)
        nodes[before].extent += nodes[x].extent
        unlink(nodes, x)
        drop_node(state, x)
        ledger[MERGES] += 1
        x = before
    if nodes[after].free == 1:
        end = after == tree[TOP] or after == tree[VICTIM]
        if not end:
            ordered_holes.remove(state, after)
        close_hole(ledger, nodes[after].extent)
        nodes[x].extent += nodes[after].extent
        if x == tree[VICTIM] and after == tree[TOP]:
            tree[VICTIM] = 0
        if after == tree[TOP]:
            tree[TOP] = x
        if after == tree[VICTIM]:
            tree[VICTIM] = x
        unlink(nodes, after)
        drop_node(state, after)
        ledger[MERGES] += 1
    open_hole(ledger, nodes[x].extent)
    if x != tree[TOP] and x != tree[VICTIM]:
        ordered_holes.insert(state, x)


@out_of_line
def resize(state, request, address, old_size):
    """Cut a block, or grow it into what is free behind it; return ``address``, or NOWHERE if it has to move.

    ``request`` has the block's handle and its new size; ``old_size`` is not used.
    """
    nodes, ledger, tree, least = state.nodes, state.ledger, state.tree, state.rules.min_block
    x = np.int64(state.node_of[request.block])
    size, own, after = request_block_size(state, request), nodes[x].extent, np.int64(nodes[x].next)
    if size <= own:
        if own - size >= least:
            nodes[x].extent = size
            rest = np.int64(new_node(state, nodes[x].addr + size, own - size))
            link(nodes, rest, x, after)
            ledger[SPLITS] += 1
            release(state, rest)
        return address
    reach = own + (nodes[after].extent if nodes[after].free == 1 else 0)
    if reach < size or (after == tree[TOP] and reach == size):
        return np.int64(NOWHERE)
    left = reach - size
    end = after == tree[TOP] or after == tree[VICTIM]
    if not end:
        ordered_holes.remove(state, after)
    if left < least and after != tree[TOP]:
        size = reach
        close_hole(ledger, nodes[after].extent)
        if after == tree[VICTIM]:
            tree[VICTIM] = 0
        unlink(nodes, after)
        drop_node(state, after)
        ledger[MERGES] += 1
    else:
        resize_hole(ledger, nodes[after].extent, left)
        nodes[after].addr = nodes[x].addr + size
        nodes[after].extent = left
        ledger[SPLITS] += 1
        if not end:
            ordered_holes.insert(state, after)
    nodes[x].extent = size
    ledger[ALLOCATED] += size - own
    return address


def largest_hole(state):
    """Return the bytes of the largest free chunk, the victim and the top included; 0 if there is none."""
    nodes, tree = state.nodes, state.tree
    ends = max(nodes[tree[VICTIM]].extent, nodes[tree[TOP]].extent)
    return max(np.int64(ordered_holes.largest_hole(state)), np.int64(ends))
