"""Groups of cells: up to 64 adjacent cells of one size and a word of their free bits, and lists of groups with a free cell.

    | cell | cell | cell | cell | ...      bit i of the group's word is set while cell i is free

The cells of a run (see ``runs``) form one or more groups, which are linked as siblings; the first group stands for the run.
Each size class has a doubly linked list of the groups that have a free cell; the group that was full last is the head.
The tables are flat arrays of rows: column c of group g is the entry (g << ROW) + c of ``groups``.
"""

from typing import NamedTuple

import numpy as np

from memtrace.contract.calls import prefetch

GROUP = 64  # upper bound of the cells of a group
BITS = 6  # log2 of GROUP

# Columns of groups, which has a row per group; row 0 is no group. ADDRESS: of the first cell. SIZE: bytes of a cell. WORD: bit i
# is set while cell i is free. ALL: the word when all cells are free. NEXT, PREVIOUS: groups in the class's list, 0 at its end;
# PREVIOUS has no meaning in the head of a list and in row 0; NEXT also links the spare groups. CLASS: number of the class.
# FIRST: the run's first group.
ADDRESS, SIZE, WORD, ALL_FREE, NEXT, PREVIOUS, CLASS, FIRST = range(8)
ROW = 3  # log2 of the columns

# Columns of owners, which has a row per group; all but SIBLING are kept for a run's first group only. BLOCK: node of the run.
# LIVE: groups of the run in which a cell is in use. SIBLING: the run's next group. AFTER: the class's next empty run.
BLOCK, LIVE, SIBLING, AFTER = range(4)
OWNER = 2  # log2 of the columns

# Columns of classes, which has a row per class. CELL: bytes of a cell. CELLS: cells of a run. BYTES: bytes of a run. EMPTY: first
# group of the first empty run that is kept, 0 if there is none. EMPTIES: number of these runs. WIDTH: number of columns.
CELL, CELLS, BYTES, EMPTY, EMPTIES, WIDTH = range(6)

# Entries of counts; entry 0 is page_index.PAGE_HOLES.
SPARE = 1  # head of the list of spare groups; 0 if it is empty
FRESH = 2  # the first group never used
ROOM = 3  # number of groups that are spare or were never used
KEPT = 4  # number of empty runs that are kept, over all classes
OPEN = 5  # number of runs: full, partly free, or empty and kept
COUNTS = 6  # number of entries

FIRST_GROUPS = 64  # rows for groups at the start; more if a run needs them
UNLIMITED = 1 << 62  # stands for no limit to the number of runs


class Runs(NamedTuple):
    """Tables of the runs, groups and size classes of a heap."""

    groups: np.ndarray  # [(group << ROW) + column]
    owners: np.ndarray  # [(group << OWNER) + column]
    home: np.ndarray  # home[handle]: the block's group and cell, as group * GROUP + cell; 0 for a block without a cell
    heads: np.ndarray  # heads[class]: head of the list of groups that have a free cell; 0 if the list is empty
    classes: np.ndarray  # [class * WIDTH + column]
    counts: np.ndarray  # see PAGE_HOLES and SPARE to OPEN
    align: int  # alignment of a run's address, in bytes
    keep: int  # upper bound of the empty runs that a class keeps
    most: int  # upper bound of the number of runs
    scratch: int  # handle under which the heap places a run


def new_runs(max_live, cells, align, keep, most=UNLIMITED):
    """Return the tables of a heap that has no runs yet.

    ``max_live`` is the largest number of blocks alive at once. ``cells`` has a row per class: bytes of a cell, cells of a
    run, bytes of a run. ``align``, ``keep`` and ``most`` are fields of ``Runs``.
    """
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
    """Return the number of rows that there are for groups, in use or not."""
    return runs.groups.size >> ROW


def group_entry(group, column):
    """Return the index of a ``column`` of ``group`` in ``groups``; unsigned, so compiled code need not check its sign."""
    return np.uint64((group << ROW) + column)


def owner_entry(group, column):
    """Return the index of a ``column`` of ``group`` in ``owners``; unsigned, so compiled code need not check its sign."""
    return np.uint64((group << OWNER) + column)


def push_front_if(runs, group, joins):
    """Make ``group``, which has a free cell again, the head of its class's list if ``joins``; else leave the list unchanged.

    The processor cannot predict whether a group joins, so there is no branch: the function reads everything first and writes
    as much in either case. PREVIOUS has no meaning in the head of a list, so it may be overwritten.
    """
    groups = runs.groups
    number = np.uint64(groups[group_entry(group, CLASS)])
    front, after = runs.heads[number], groups[group_entry(group, NEXT)]
    groups[group_entry(front, PREVIOUS)] = group
    groups[group_entry(group, NEXT)] = front if joins else after
    runs.heads[number] = group if joins else front


def pop_front_if(runs, number, group, leaves):
    """Remove ``group``, the head of the list of class ``number``, from it if ``leaves``: no cell is free any more.

    There is no branch. The next group is prefetched in either case: if it were only read when the group leaves, the compiler
    would make a branch.
    """
    after = runs.groups[group_entry(group, NEXT)]
    prefetch(runs.groups, group_entry(after, PREVIOUS))
    runs.heads[np.uint64(number)] = after if leaves else group


def leave_list(runs, group):
    """Unlink ``group`` from its class's list, wherever in the list it is."""
    groups, number = runs.groups, runs.groups[group_entry(group, CLASS)]
    before, after = groups[group_entry(group, PREVIOUS)], groups[group_entry(group, NEXT)]
    if runs.heads[number] == group:
        runs.heads[number] = after
    else:
        groups[group_entry(before, NEXT)] = after
    groups[group_entry(after, PREVIOUS)] = before


def new_groups(runs, number, address):
    """Make the groups of a new run of class ``number`` at ``address``, with all cells free; return the first group.

    The other groups are its siblings, in order of address. The groups are not yet in the list of the class.
    """
    cells, size = runs.classes[number * WIDTH + CELLS], runs.classes[number * WIDTH + CELL]
    sibling = np.int64(0)
    last = (cells - 1) // GROUP
    first = new_group(runs)
    for i in range(last, -1, -1):
        group = new_group(runs) if i > 0 else first
        groups, count = runs.groups, min(cells - i * GROUP, GROUP)
        word = np.int64(-1) if count == GROUP else (np.int64(1) << count) - 1
        groups[group_entry(group, ADDRESS)] = address + i * GROUP * size
        groups[group_entry(group, SIZE)] = size
        groups[group_entry(group, WORD)] = word
        groups[group_entry(group, ALL_FREE)] = word
        groups[group_entry(group, CLASS)] = number
        groups[group_entry(group, FIRST)] = first
        runs.owners[owner_entry(group, SIBLING)] = sibling
        sibling = group
    return first


def new_group(runs):
    """Return a spare group, or the first group never used; there must be one (ROOM is above 0). Its row is not initialised."""
    counts = runs.counts
    counts[ROOM] -= 1
    group = counts[SPARE]
    if group != 0:
        counts[SPARE] = runs.groups[group_entry(group, NEXT)]
    else:
        group = counts[FRESH]
        counts[FRESH] = group + 1
    return group


def join_run(runs, first):
    """Put all groups of the run whose first group is ``first`` at the front of their class's list, in order of address."""
    group = first
    before, after = np.int64(0), runs.heads[runs.groups[group_entry(first, CLASS)]]
    while group != 0:
        runs.groups[group_entry(group, PREVIOUS)] = before
        if before == 0:
            runs.heads[runs.groups[group_entry(first, CLASS)]] = group
        else:
            runs.groups[group_entry(before, NEXT)] = group
        before = group
        group = runs.owners[owner_entry(group, SIBLING)]
    runs.groups[group_entry(before, NEXT)] = after
    runs.groups[group_entry(after, PREVIOUS)] = before
