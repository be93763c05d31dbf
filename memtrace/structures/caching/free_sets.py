"""Free blocks of a stream and pool by (size, age of the segment, address), and holes of expandable segments by address.

Sizes have classes, 16 to a doubling; each class has a treap, and a bitmap says which classes have any. A class seldom
has more than a few blocks, so most calls look at one or two nodes, and never at more than O(log n).

Source: Seidel and Aragon 1996, "Randomized search trees". A node's priority is its number, scrambled.
"""

import numpy as np

from memtrace.structures.bits import highest_set, lowest_set
from memtrace.structures.caching.model import CLASSES, COUNT, FILLED, FREE, ROOTS, ROW, SEARCHES
from memtrace.structures.calls import apart
from memtrace.structures.ledger import close_hole, open_hole

BY_SIZE, BY_ADDRESS = -1, 0  # what size and age count in the order: all, nothing


def priority(x):
    return (np.int64(x) * 2654435761) & 0xFFFFFFFF


def less(nodes, segments, size, number, address, y, by):
    """Whether (size, number of the segment, address) comes before node y."""
    other = nodes[y].extent & by
    if size != other:
        return size < other
    other = segments[nodes[y].segment].number & by
    if number != other:
        return number < other
    return address < nodes[y].addr


def number_of(nodes, segments, x):
    return segments[nodes[x].segment].number


def insert_node(nodes, segments, root, x, by):
    """Insert into a treap; its root is returned."""
    size, number, address = nodes[x].extent & by, number_of(nodes, segments, x) & by, nodes[x].addr
    parent, left, y = np.int64(0), False, np.int64(root)
    rank = priority(x)
    while y != 0 and priority(y) > rank:
        parent = y
        left = less(nodes, segments, size, number, address, y, by)
        y = np.int64(nodes[y].left if left else nodes[y].right)
    split(nodes, segments, y, x, size, number, address, by)
    if parent == 0:
        return x
    if left:
        nodes[parent].left = x
    else:
        nodes[parent].right = x
    return root


def split(nodes, segments, y, x, size, number, address, by):
    """What is below y becomes what is below x: the lesser nodes to its left, the greater to its right."""
    nodes[x].left = 0
    nodes[x].right = 0
    low, high = x, x
    while y != 0:
        if less(nodes, segments, size, number, address, y, by):
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


def remove_node(nodes, segments, root, x, by):
    """Take a node out of a treap; its root is returned."""
    size, number, address = nodes[x].extent & by, number_of(nodes, segments, x) & by, nodes[x].addr
    parent, left, y = np.int64(0), False, np.int64(root)
    while y != x:
        parent = y
        left = less(nodes, segments, size, number, address, y, by)
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
    """One treap of two, all of a before all of b."""
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
            hang(nodes, last, right, a)
            last, right, a = a, True, np.int64(nodes[a].right)
        else:
            hang(nodes, last, right, b)
            last, right, b = b, False, np.int64(nodes[b].left)
    hang(nodes, last, right, a if a != 0 else b)
    return root


def hang(nodes, parent, right, x):
    if right:
        nodes[parent].right = x
    else:
        nodes[parent].left = x


def first_in(nodes, segments, root, size, number, address, by):
    """The first node of a treap that does not come before (size, number, address - 1); 0 if there is none."""
    found, y = np.int64(0), np.int64(root)
    while y != 0:
        if less(nodes, segments, size, number, address - 1, y, by):
            found = y
            y = np.int64(nodes[y].left)
        else:
            y = np.int64(nodes[y].right)
    return found


def last_in(nodes, segments, root, size, number, address, by):
    """The last node of a treap that comes before (size, number, address); 0 if there is none."""
    found, y = np.int64(0), np.int64(root)
    while y != 0:
        if less(nodes, segments, size, number, address - 1, y, by):
            y = np.int64(nodes[y].left)
        else:
            found = y
            y = np.int64(nodes[y].right)
    return found


def class_of(size):
    """The class of a size, which is a multiple of 512; sizes below 16 KiB have one each."""
    granules = size >> 9
    if granules < 16:
        return granules
    magnitude = highest_set(granules)
    return ((magnitude - 4) << 4) + (granules >> (magnitude - 4))


def class_from(queues, queue, wanted):
    """The first class from ``wanted`` on that has a free block; -1 if there is none."""
    i = wanted >> 6
    word = queues[queue * ROW + i] & (-1 << (wanted & 63))
    if word == 0:
        filled = queues[queue * ROW + FILLED] & (-2 << i)
        if filled == 0:
            return np.int64(-1)
        i = lowest_set(filled)
        word = queues[queue * ROW + i]
    return (i << 6) + lowest_set(word)


def class_until(queues, queue, wanted):
    """The last class up to ``wanted`` that has a free block; -1 if there is none."""
    i = wanted >> 6
    word = queues[queue * ROW + i] & ~(-2 << (wanted & 63))
    if word == 0:
        filled = queues[queue * ROW + FILLED] & ~(-1 << i)
        if filled == 0:
            return np.int64(-1)
        i = highest_set(filled)
        word = queues[queue * ROW + i]
    return (i << 6) + highest_set(word)


def add(state, x):
    """Block x is free from now on."""
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
        state.queues[queue * ROW + (c >> 6)] |= 1 << (c & 63)
        state.queues[queue * ROW + FILLED] |= 1 << (c >> 6)
    else:
        state.roots[queue * ROOTS + c] = insert_node(nodes, state.segments, root, x, BY_SIZE)
    state.queues[queue * ROW + COUNT] += 1
    open_hole(state.ledger, size)


def take_out(state, x):
    """Block x is no longer among the free ones."""
    take_out_of(state, x, np.int64(state.nodes[x].queue), class_of(state.nodes[x].extent))


def take_out_of(state, x, queue, c):
    """``take_out`` of a block whose class is known."""
    nodes = state.nodes
    root = np.int64(state.roots[queue * ROOTS + c])
    if root != x or nodes[x].left != 0 or nodes[x].right != 0:
        state.roots[queue * ROOTS + c] = remove_node(nodes, state.segments, root, x, BY_SIZE)
    else:
        state.roots[queue * ROOTS + c] = 0
        word = state.queues[queue * ROW + (c >> 6)] & ~(1 << (c & 63))
        state.queues[queue * ROW + (c >> 6)] = word
        if word == 0:
            state.queues[queue * ROW + FILLED] &= ~(1 << (c >> 6))
    state.queues[queue * ROW + COUNT] -= 1
    close_hole(state.ledger, nodes[x].extent)


@apart
def add_apart(state, x):
    add(state, x)


@apart
def take_out_apart(state, x):
    take_out(state, x)


def first_from(nodes, segments, roots, queues, queue, size, number, address):
    """The first free block of a queue from (size, number of its segment, address) on, 0 if there is none; and its class."""
    c = class_from(queues, queue, class_of(size))
    while c >= 0:
        x = first_in(nodes, segments, roots[queue * ROOTS + c], size, number, address, BY_SIZE)
        if x != 0:
            return x, c
        c = class_from(queues, queue, c + 1) if c + 1 < CLASSES else np.int64(-1)
    return np.int64(0), c


def last_before(state, queue, size, number, address):
    """The last free block of a queue before (size, number of its segment, address); 0 if there is none."""
    c = class_until(state.queues, queue, class_of(size))
    while c >= 0:
        x = last_in(state.nodes, state.segments, state.roots[queue * ROOTS + c], size, number, address, BY_SIZE)
        if x != 0:
            return x
        c = class_until(state.queues, queue, c - 1) if c > 0 else np.int64(-1)
    return np.int64(0)


def best_fit(state, queue, size):
    return first_from(state.nodes, state.segments, state.roots, state.queues, queue, size, np.int64(0), np.int64(0))


@apart
def first_from_apart(nodes, segments, roots, queues, queue, size, number, address):
    return first_from(nodes, segments, roots, queues, queue, size, number, address)[0]


def following(state, queue, size, number, address):
    """The free block of a queue that comes after this one, which may be gone."""
    return first_from_apart(state.nodes, state.segments, state.roots, state.queues, queue, size, number, address + 1)


def first_of_size(state, queue, size):
    """The first free block of a queue that has so many bytes at least."""
    return following(state, queue, size, np.int64(0), np.int64(-1))


def add_hole(state, x):
    root = state.nodes[x].queue * ROOTS + CLASSES
    state.roots[root] = insert_node(state.nodes, state.segments, np.int64(state.roots[root]), x, BY_ADDRESS)


def take_hole_out(state, x):
    root = state.nodes[x].queue * ROOTS + CLASSES
    state.roots[root] = remove_node(state.nodes, state.segments, np.int64(state.roots[root]), x, BY_ADDRESS)


def first_hole_from(state, queue, address):
    root = state.roots[queue * ROOTS + CLASSES]
    return first_in(state.nodes, state.segments, root, np.int64(0), np.int64(0), address, BY_ADDRESS)
