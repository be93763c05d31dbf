"""Trees over the chunks of an address range, with eight children a node: of maxima, and of counts.

A tree is a flat array. Entry 0 is the root, and the children of entry i are 8 (i + 1) to 8 (i + 1) + 7, so eight siblings begin
at a multiple of eight and, with ``new_entries``, fill one cache line. With 8^d leaves, the leaf of chunk c is entry
``first_leaf(d) + c``. Siblings are compared all at once, without branches: in a binary tree the processor would predict wrongly
at every second level.
"""

import numpy as np

from memtrace.contract.bits import highest_set, lowest_set

LINE = 64  # bytes of a cache line


def first_leaf(depth):
    """Return the entry of the first leaf of a tree of ``depth`` levels below the root."""
    return (8 ** (depth + 1) - 8) // 7


def depth_for(leaves):
    """Return the least depth, from 1 on, of a tree with at least ``leaves`` leaves."""
    depth = 1
    while 8**depth < leaves:
        depth += 1
    return depth


def new_entries(count, kind):
    """Return ``count`` zeroed entries of a numpy type; the first begins at a cache line."""
    bytes = np.zeros(count * np.dtype(kind).itemsize + LINE, np.uint8)
    start = -bytes.__array_interface__["data"][0] % LINE
    return bytes[start : start + count * np.dtype(kind).itemsize].view(kind)


def parent_of(i):
    """Return the entry above entry ``i``, which is not the root."""
    return (i >> 3) - 1


def large_siblings(most, first, size):
    """Return a mask of the eight siblings from entry ``first`` on: bit k is set if the k-th is at least ``size``."""
    mask = np.int64(0)
    for k in range(8):
        mask |= np.int64(most[np.uint64(first + k)] >= size) << k
    return mask


def raise_maximum(most, i, size):
    """Raise entry ``i`` and those above it to ``size``; stop at the first that is not smaller."""
    while most[np.uint64(i)] < size:
        most[np.uint64(i)] = size
        if i == 0:
            return
        i = parent_of(i)


def set_maximum(most, i, size):
    """Set leaf ``i`` to ``size``, and correct the entries above it as far as they change."""
    while True:
        old = most[np.uint64(i)]
        most[np.uint64(i)] = size
        if i == 0:
            return
        first, i = i & ~7, parent_of(i)
        above = most[np.uint64(i)]
        if size < above:
            if old < above:
                return
            for k in range(8):
                size = max(size, most[np.uint64(first + k)])
        if size == above:
            return


def add_to_counts(counts, i, sign):
    """Add ``sign`` to entry ``i`` and to all above it."""
    while i != 0:
        counts[np.uint64(i)] += sign
        i = parent_of(i)


def lowest_leaf(most, i, leaf, size):
    """Return the lowest leaf below entry ``i`` that is at least ``size``; there must be one. ``leaf``: the first leaf."""
    while i < leaf:
        first = (i + 1) << 3
        i = first + lowest_set(large_siblings(most, first, size))
    return i


def next_large(most, i, size):
    """Return the entry that has the lowest leaf of at least ``size`` above leaf ``i``, or is it; 0 if there is none."""
    while i != 0:
        first = i & ~7
        mask = large_siblings(most, first, size) & (-2 << (i & 7))
        if mask != 0:
            return first + lowest_set(mask)
        i = parent_of(i)
    return np.int64(0)


def last_leaf_before(most, i, leaf):
    """Return the highest leaf below leaf ``i`` that is not 0; -1 if there is none. ``leaf`` is the tree's first leaf."""
    mask = np.int64(0)
    while i != 0 and mask == 0:
        first = i & ~7
        mask = large_siblings(most, first, 1) & ~(-1 << (i & 7))
        if mask == 0:
            i = parent_of(i)
    if mask == 0:
        return np.int64(-1)
    i = first + highest_set(mask)
    while i < leaf:
        first = (i + 1) << 3
        i = first + highest_set(large_siblings(most, first, 1))
    return i


def count_before(counts, i):
    """Return the sum of the leaves below leaf ``i``."""
    below = np.int64(0)
    while i != 0:
        first, place = i & ~7, i & 7
        for k in range(8):
            below += counts[np.uint64(first + k)] if k < place else 0
        i = parent_of(i)
    return below
