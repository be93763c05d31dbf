"""Groups: up to 64 neighbouring cells of one size, of which a word tells the free ones; lists of those that have one.

    | cell | cell | cell | cell | ...      bit i of the group's word is set while cell i is free

Each class of cells has a list of the groups that have a free cell, doubly linked, the one that was full last in front. The
groups of one run of cells know each other; the first of them stands for the run.
"""

from typing import NamedTuple

import numpy as np

from memtrace.structures.calls import prefetch

GROUP = 64  # cells, at most ...
BITS = 6  # ... and its log2

# groups: one row per group; row 0 is none. PREVIOUS of the first in a list, and of none, is anything
ADDRESS, SIZE, WORD, ALL, NEXT, PREVIOUS, CLASS, FIRST = range(8)  # FIRST: the run's first group
ROW = 3  # log2 of a row

# owners: one row per group; of a run's first group BLOCK, its node, and LIVE, its groups in which a cell is in use
BLOCK, LIVE, SIBLING, AFTER = range(4)  # SIBLING: the run's next group; AFTER: the next empty run of the class
OWNER = 2  # log2 of a row

# classes: one row per class
CELL, CELLS, BYTES, EMPTY, EMPTIES, WIDTH = range(6)

# counts: PAGE_HOLES, then
SPARE = 1  # the first of the list of spare groups
FRESH = 2  # the first group never used
ROOM = 3  # groups that are spare or fresh
KEPT = 4  # empty runs kept, over all classes
OPEN = 5  # runs, full, partly free and kept
COUNTS = 6

FIRST_GROUPS = 64
UNLIMITED = 1 << 62


class Runs(NamedTuple):
    groups: np.ndarray
    owners: np.ndarray
    home: np.ndarray  # home[handle]: its group and cell, group * GROUP + cell; 0 for a block that is no cell
    heads: np.ndarray  # heads[class]: the first of its groups that have a free cell
    classes: np.ndarray
    counts: np.ndarray
    align: int  # of a run's address
    keep: int  # empty runs kept per class
    most: int  # runs there may be
    scratch: int  # the handle under which the heap places a run


def new_runs(max_live, cells, align, keep, most=UNLIMITED):
    """``cells``: of each class the size of its cells, the cells of a run, and the run's bytes."""
    classes = np.zeros(len(cells) * WIDTH, np.int64)
    for number, row in enumerate(cells):
        classes[number * WIDTH : number * WIDTH + 3] = row
    groups = max(FIRST_GROUPS, 2 + max(count for _, count, _ in cells) // GROUP)
    counts = np.zeros(COUNTS, np.int64)
    counts[FRESH] = 1
    counts[ROOM] = groups - 1
    return Runs(
        np.zeros(groups << ROW, np.int64),
        np.zeros(groups << OWNER, np.int64),
        np.zeros(max_live + 1, np.int64),
        np.zeros(len(cells), np.int64),
        classes,
        counts,
        align,
        keep,
        most,
        max_live + 1,
    )


def group_room(runs):
    """Groups for which there are rows."""
    return runs.groups.size >> ROW


def at(group, column):
    """Unsigned, so that compiled code need not ask whether it is negative."""
    return np.uint64((group << ROW) + column)


def owner(group, column):
    return np.uint64((group << OWNER) + column)


def join_front(runs, group, joins):
    """A group that has a free cell again (``joins``) goes to the front of its class's list; else nothing changes.

    Whether it does cannot be predicted, so there is no branch: all is read first, and as much is written either way. What
    PREVIOUS of the first in a list says is of no account, so it may be written.
    """
    groups = runs.groups
    number = np.uint64(groups[at(group, CLASS)])
    front, after = runs.heads[number], groups[at(group, NEXT)]
    groups[at(front, PREVIOUS)] = group
    groups[at(group, NEXT)] = front if joins else after
    runs.heads[number] = group if joins else front


def leave_front(runs, number, group, leaves):
    """The first group of a class's list leaves it if it has no free cell left (``leaves``); without a branch.

    The one after it is fetched in any case; were it only read if the group leaves, the compiler would branch.
    """
    after = runs.groups[at(group, NEXT)]
    prefetch(runs.groups, at(after, PREVIOUS))
    runs.heads[np.uint64(number)] = after if leaves else group


def leave_list(runs, group):
    groups, number = runs.groups, runs.groups[at(group, CLASS)]
    before, after = groups[at(group, PREVIOUS)], groups[at(group, NEXT)]
    if runs.heads[number] == group:
        runs.heads[number] = after
    else:
        groups[at(before, NEXT)] = after
    groups[at(after, PREVIOUS)] = before


def new_groups(runs, number, address):
    """Groups for a run's cells, all free; the first is returned, the others are its siblings, in order of address."""
    cells, size = runs.classes[number * WIDTH + CELLS], runs.classes[number * WIDTH + CELL]
    sibling = np.int64(0)
    last = (cells - 1) // GROUP
    first = new_group(runs)
    for i in range(last, -1, -1):
        group = new_group(runs) if i > 0 else first
        groups, count = runs.groups, min(cells - i * GROUP, GROUP)
        word = np.int64(-1) if count == GROUP else (np.int64(1) << count) - 1
        groups[at(group, ADDRESS)] = address + i * GROUP * size
        groups[at(group, SIZE)] = size
        groups[at(group, WORD)] = word
        groups[at(group, ALL)] = word
        groups[at(group, CLASS)] = number
        groups[at(group, FIRST)] = first
        runs.owners[owner(group, SIBLING)] = sibling
        sibling = group
    return first


def new_group(runs):
    counts = runs.counts
    counts[ROOM] -= 1
    group = counts[SPARE]
    if group != 0:
        counts[SPARE] = runs.groups[at(group, NEXT)]
    else:
        group = counts[FRESH]
        counts[FRESH] = group + 1
    return group


def join_run(runs, first):
    """All groups of a run come to the front, in order of address."""
    group = first
    before, after = np.int64(0), runs.heads[runs.groups[at(first, CLASS)]]
    while group != 0:
        runs.groups[at(group, PREVIOUS)] = before
        if before == 0:
            runs.heads[runs.groups[at(first, CLASS)]] = group
        else:
            runs.groups[at(before, NEXT)] = group
        before = group
        group = runs.owners[owner(group, SIBLING)]
    runs.groups[at(before, NEXT)] = after
    runs.groups[at(after, PREVIOUS)] = before
