"""Free sets: the free blocks of a queue (stream and pool) in order of (size, number, address).

A block's number is the age rank of its segment or of itself, or 0 if ages do not count. Sizes are divided into size classes, 16
to a doubling; each class
has a treap, and a two-level bitmap says which classes are not empty. A class seldom has more than a few blocks, so most calls
look at one or two nodes, and at O(log n) nodes (expected) at most. One more treap per queue holds the unmapped ranges of
expandable segments, by address. The largest free block of all queues is found from their last classes.

Source: Seidel and Aragon 1996, "Randomized search trees". A node's priority is its index, scrambled.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.bits import highest_set, lowest_set
from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import close_hole, open_hole
from memtrace.structures.caching.state import CLASSES, COUNT, FILLED, FREE, ROOTS, ROW, SEARCHES, STREAMS

BY_SIZE, BY_ADDRESS = -1, 0  # masks for size and number in the order of a treap: compare them, or ignore them


class Key(NamedTuple):
    """A place in the order of a treap. In the order BY_ADDRESS, size and number are 0."""

    size: int  # bytes
    number: int  # age rank, 0 if ages do not count
    address: int


def priority(x):
    """Return node x's priority in a treap, a number of 32 bits; a parent's is higher than its children's."""
    return (np.int64(x) * 2654435761) & 0xFFFFFFFF


def less(nodes, key, y, by):
    """Return whether a key comes before node y. ``by`` is the order of the treap: BY_SIZE, or BY_ADDRESS."""
    other = nodes[y].extent & by
    if key.size != other:
        return key.size < other
    other = nodes[y].number & by
    if key.number != other:
        return key.number < other
    return key.address < nodes[y].addr


def key_of(nodes, x, by):
    """Return the key of node x in the order ``by``."""
    return Key(nodes[x].extent & by, nodes[x].number & by, nodes[x].addr)


def insert_node(nodes, root, x, by):
    """Insert node x into the treap with this root, and return the new root.

    ``root`` is a node, 0 for an empty treap. ``by`` is the order: BY_SIZE or BY_ADDRESS.
    """
    key = key_of(nodes, x, by)
    parent, left, y = np.int64(0), False, np.int64(root)
    rank = priority(x)
    while y != 0 and priority(y) > rank:
        parent = y
        left = less(nodes, key, y, by)
        y = np.int64(nodes[y].left if left else nodes[y].right)
    split(nodes, y, x, key, by)
    if parent == 0:
        return x
    if left:
        nodes[parent].left = x
    else:
        nodes[parent].right = x
    return root


def split(nodes, y, x, key, by):
    """Split the treap with root y into the children of node x: nodes before its ``key`` to its left, the others to its right.

    y may be 0. ``by`` is the order of the treap.
    """
    nodes[x].left = 0
    nodes[x].right = 0
    low, high = x, x
    while y != 0:
        if less(nodes, key, y, by):
            if high == x:
                nodes[x].right = y
            else:
                nodes[high].left = y
            high = y
            y = np.int64(nodes[y].left)
        else:
            if low == x:
                nodes[x].left = y
            else:
                nodes[low].right = y
            low = y
            y = np.int64(nodes[y].right)
    if high != x:
        nodes[high].left = 0
    if low != x:
        nodes[low].right = 0


def remove_node(nodes, root, x, by):
    """Remove node x from the treap with this root, and return the new root (0: the treap is empty).

    Node x has to be in the treap. ``by`` is the order of the treap.
    """
    key = key_of(nodes, x, by)
    parent, left, y = np.int64(0), False, np.int64(root)
    while y != x:
        parent = y
        left = less(nodes, key, y, by)
        y = np.int64(nodes[y].left if left else nodes[y].right)
    joined = join(nodes, np.int64(nodes[x].left), np.int64(nodes[x].right))
    if parent == 0:
        return joined
    if left:
        nodes[parent].left = joined
    else:
        nodes[parent].right = joined
    return root


def join(nodes, a, b):
    """Merge two treaps, with roots a and b (0: empty), and return the root; all nodes of a come before all of b."""
    if a == 0:
        return b
    if b == 0:
        return a
    if priority(a) > priority(b):
        root, last, right, a = a, a, True, np.int64(nodes[a].right)
    else:
        root, last, right, b = b, b, False, np.int64(nodes[b].left)
    while a != 0 and b != 0:
        if priority(a) > priority(b):
            set_child(nodes, last, right, a)
            last, right, a = a, True, np.int64(nodes[a].right)
        else:
            set_child(nodes, last, right, b)
            last, right, b = b, False, np.int64(nodes[b].left)
    set_child(nodes, last, right, a if a != 0 else b)
    return root


def set_child(nodes, parent, right, x):
    """Make node x (0: none) the right child of ``parent`` if ``right`` is true, else its left child."""
    if right:
        nodes[parent].right = x
    else:
        nodes[parent].left = x


def first_in(nodes, root, key, by):
    """Return the first node of a treap that is at or after a key; 0 if there is none. ``by`` is the order of the treap."""
    before = Key(key.size, key.number, key.address - 1)
    found, y = np.int64(0), np.int64(root)
    while y != 0:
        if less(nodes, before, y, by):
            found = y
            y = np.int64(nodes[y].left)
        else:
            y = np.int64(nodes[y].right)
    return found


def last_in(nodes, root, key, by):
    """Return the last node of a treap that comes before a key; 0 if there is none. ``by`` is the order of the treap."""
    before = Key(key.size, key.number, key.address - 1)
    found, y = np.int64(0), np.int64(root)
    while y != 0:
        if less(nodes, before, y, by):
            y = np.int64(nodes[y].left)
        else:
            found = y
            y = np.int64(nodes[y].right)
    return found


def class_of(size):
    """Return the size class of a size in bytes, a multiple of 512; each size below 16 KiB has a class of its own."""
    granules = size >> 9
    if granules < 16:
        return granules
    magnitude = highest_set(granules)
    return ((magnitude - 4) << 4) + (granules >> (magnitude - 4))


def class_from(queues, queue, wanted):
    """Return the first size class of ``queue`` from class ``wanted`` up that has a free block; -1 if there is none.

    ``queues`` is the bitmap of ``State.queues``.
    """
    i = wanted >> 6
    word = queues[queue * ROW + i] & (np.int64(-1) << (wanted & 63))
    if word == 0:
        filled = queues[queue * ROW + FILLED] & (np.int64(-2) << i)
        if filled == 0:
            return np.int64(-1)
        i = lowest_set(filled)
        word = queues[queue * ROW + i]
    return (i << 6) + lowest_set(word)


def class_until(queues, queue, wanted):
    """Return the last size class of ``queue`` up to class ``wanted`` (included) that has a free block; -1 if there is none.

    ``queues`` is the bitmap of ``State.queues``.
    """
    i = wanted >> 6
    word = queues[queue * ROW + i] & ~(np.int64(-2) << (wanted & 63))
    if word == 0:
        filled = queues[queue * ROW + FILLED] & ~(np.int64(-1) << i)
        if filled == 0:
            return np.int64(-1)
        i = highest_set(filled)
        word = queues[queue * ROW + i]
    return (i << 6) + highest_set(word)


def insert_free(state, x):
    """Make block x free and put it into the free set of its queue; the ledger counts a hole more.

    The block's ``since`` is set to the number of searches of its pool so far, from which its age is measured.
    """
    nodes = state.nodes
    queue = np.int64(nodes[x].queue)
    size = nodes[x].extent
    nodes[x].state = FREE
    nodes[x].since = state.at[SEARCHES + (queue & 1)]
    c = class_of(size)
    root = np.int64(state.roots[queue * ROOTS + c])
    if root == 0:
        nodes[x].left = 0
        nodes[x].right = 0
        state.roots[queue * ROOTS + c] = x
        state.queues[queue * ROW + (c >> 6)] |= np.int64(1) << (c & 63)
        state.queues[queue * ROW + FILLED] |= 1 << (c >> 6)
    else:
        state.roots[queue * ROOTS + c] = insert_node(nodes, root, x, BY_SIZE)
    state.queues[queue * ROW + COUNT] += 1
    open_hole(state.ledger, size)


def remove_free(state, x):
    """Take block x out of the free set of its queue; the ledger counts a hole less. The block's state is not changed."""
    remove_free_from_class(state, x, np.int64(state.nodes[x].queue), class_of(state.nodes[x].extent))


def remove_free_from_class(state, x, queue, c):
    """Do the same as ``remove_free`` for a block whose queue and size class ``c`` are known."""
    nodes = state.nodes
    root = np.int64(state.roots[queue * ROOTS + c])
    if root != x or nodes[x].left != 0 or nodes[x].right != 0:
        state.roots[queue * ROOTS + c] = remove_node(nodes, root, x, BY_SIZE)
    else:
        state.roots[queue * ROOTS + c] = 0
        word = state.queues[queue * ROW + (c >> 6)] & ~(np.int64(1) << (c & 63))
        state.queues[queue * ROW + (c >> 6)] = word
        if word == 0:
            state.queues[queue * ROW + FILLED] &= ~(1 << (c >> 6))
    state.queues[queue * ROW + COUNT] -= 1
    close_hole(state.ledger, nodes[x].extent)


@out_of_line
def insert_free_out_of_line(state, x):
    """Do the same as ``insert_free``, compiled out of line."""
    insert_free(state, x)


@out_of_line
def remove_free_out_of_line(state, x):
    """Do the same as ``remove_free``, compiled out of line."""
    remove_free(state, x)


def lower_bound(nodes, roots, queues, queue, key):
    """Return the first free block of ``queue`` at or after a key, and its size class.

    The block is 0, and the class -1, if there is none.
    """
    c = class_from(queues, queue, class_of(key.size))
    while c >= 0:
        x = first_in(nodes, roots[queue * ROOTS + c], key, BY_SIZE)
        if x != 0:
            return x, c
        c = class_from(queues, queue, c + 1) if c + 1 < CLASSES else np.int64(-1)
    return np.int64(0), c


def last_below(state, queue, key):
    """Return the last free block of ``queue`` that comes before a key in the order of the treap, by size and address; 0 if none
    does.
    """
    c = class_until(state.queues, queue, class_of(key.size))
    while c >= 0:
        x = last_in(state.nodes, state.roots[queue * ROOTS + c], key, BY_SIZE)
        if x != 0:
            return x
        c = class_until(state.queues, queue, c - 1) if c > 0 else np.int64(-1)
    return np.int64(0)


def best_fit(state, queue, size):
    """Return the first free block of ``queue`` with at least ``size`` bytes, and its size class; 0 and -1 if there is none.

    Of blocks of equal size it is the one with the lowest number, and then the lowest address.
    """
    key = Key(size, np.int64(0), np.int64(0))
    return lower_bound(state.nodes, state.roots, state.queues, queue, key)


@out_of_line
def lower_bound_out_of_line(nodes, roots, queues, queue, key):
    """Return the block that ``lower_bound`` finds, without its size class; compiled out of line."""
    return lower_bound(nodes, roots, queues, queue, key)[0]


def following(state, queue, key):
    """Return the first free block of ``queue`` after a key; 0 if there is none.

    The key is that of the block before, which may no longer exist: so a walk can give back blocks on its way.
    """
    after = Key(key.size, key.number, key.address + 1)
    return lower_bound_out_of_line(state.nodes, state.roots, state.queues, queue, after)


def first_of_size(state, queue, size):
    """Return the first free block of ``queue`` with at least ``size`` bytes; 0 if there is none. Compiled out of line."""
    return following(state, queue, Key(size, np.int64(0), np.int64(-1)))


def add_hole(state, x):
    """Put unmapped node x into the treap of unmapped ranges of its queue."""
    root = state.nodes[x].queue * ROOTS + CLASSES
    state.roots[root] = insert_node(state.nodes, np.int64(state.roots[root]), x, BY_ADDRESS)


def take_hole_out(state, x):
    """Remove node x, an unmapped range, from the treap of unmapped ranges of its queue; the treap is ordered by address."""
    root = state.nodes[x].queue * ROOTS + CLASSES
    state.roots[root] = remove_node(state.nodes, np.int64(state.roots[root]), x, BY_ADDRESS)


def first_hole_from(state, queue, address):
    """Return the first unmapped node of ``queue`` at or above ``address``; 0 if there is none."""
    root = state.roots[queue * ROOTS + CLASSES]
    return first_in(state.nodes, root, Key(np.int64(0), np.int64(0), address), BY_ADDRESS)


@out_of_line
def largest_hole(state):
    """Return the bytes of the largest free block of all queues; 0 if there is none."""
    nodes = state.nodes
    most = np.int64(0)
    for queue in range(2 * state.at[STREAMS]):
        c = class_until(state.queues, queue, np.int64(CLASSES - 1))
        if c >= 0:
            x = np.int64(state.roots[queue * ROOTS + c])
            while nodes[x].right != 0:
                x = np.int64(nodes[x].right)
            most = max(most, nodes[x].extent)
    return most
