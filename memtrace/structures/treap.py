"""Treaps of holes by address, in which each node stores the largest hole size and the number of holes in its subtree.

Nodes are records with the fields ``addr``, ``extent``, ``left``, ``right``, ``up``, ``rank``, ``most`` and ``count``. The rank
is the priority: no child's is above its parent's. Node 0 stands for no node, and all these fields of it are 0; a treap is given
by its root node, 0 if it is empty.

Source: Seidel and Aragon 1996, "Randomized search trees"; maxima for first fit: Wilson et al. 1995, section 3.4.
"""

import numpy as np


def pull(nodes, x):
    """Set the maximum ``most`` of node x from its own size and the maxima of its children."""
    left, right = nodes[x].left, nodes[x].right
    nodes[x].most = max(nodes[x].extent, max(nodes[left].most, nodes[right].most))


def pull_up(nodes, x):
    """Correct the maxima ``most`` of node x and of its ancestors, and stop at the first that does not change."""
    while x != 0:
        most = max(nodes[x].extent, max(nodes[nodes[x].left].most, nodes[nodes[x].right].most))
        if most == nodes[x].most:
            return
        nodes[x].most = most
        x = nodes[x].up


def rotate_up(nodes, x, root):
    """Rotate node x above its parent, with ``most`` and ``count`` kept up to date; return the root of the treap."""
    parent = nodes[x].up
    top = nodes[parent].up
    if nodes[parent].left == x:
        inner = nodes[x].right
        nodes[parent].left = inner
        nodes[x].right = parent
    else:
        inner = nodes[x].left
        nodes[parent].right = inner
        nodes[x].left = parent
    if inner != 0:
        nodes[inner].up = parent
    nodes[parent].up = x
    nodes[x].up = top
    if top == 0:
        root = x
    elif nodes[top].left == parent:
        nodes[top].left = x
    else:
        nodes[top].right = x
    nodes[x].most = nodes[parent].most
    nodes[x].count = nodes[parent].count
    pull(nodes, parent)
    nodes[parent].count = nodes[nodes[parent].left].count + nodes[nodes[parent].right].count + 1
    return root


def insert_node(nodes, root, x):
    """Insert node x into the treap; return its root.

    The fields of x are set: address, size, rank, ``most`` (its size), ``count`` (1), and no children.
    """
    address, size = nodes[x].addr, nodes[x].extent
    y = root
    parent = np.int64(0)
    while y != 0:
        if nodes[y].most < size:
            nodes[y].most = size
        nodes[y].count += 1
        parent = y
        y = nodes[y].left if address < nodes[y].addr else nodes[y].right
    nodes[x].up = parent
    if parent == 0:
        return x
    if address < nodes[parent].addr:
        nodes[parent].left = x
    else:
        nodes[parent].right = x
    while nodes[x].up != 0 and nodes[nodes[x].up].rank < nodes[x].rank:
        root = rotate_up(nodes, x, root)
    return root


def remove_node(nodes, root, x, counted):
    """Remove node x from the treap, with ``most`` of the other nodes kept up to date; return the treap's root.

    ``counted``: ``count`` is kept up to date too, for which the walk goes up to the root.
    """
    while nodes[x].left != 0 and nodes[x].right != 0:
        left, right = nodes[x].left, nodes[x].right
        root = rotate_up(nodes, left if nodes[left].rank > nodes[right].rank else right, root)
    child = nodes[x].left if nodes[x].left != 0 else nodes[x].right
    parent = nodes[x].up
    if child != 0:
        nodes[child].up = parent
    if parent == 0:
        return child
    if nodes[parent].left == x:
        nodes[parent].left = child
    else:
        nodes[parent].right = child
    pull_up(nodes, parent)
    y = parent if counted else np.int64(0)
    while y != 0:
        nodes[y].count -= 1
        y = nodes[y].up
    return root


def lowest_in_treap(nodes, x, size):
    """Return the lowest hole of at least ``size`` bytes in the subtree of node x; 0 if there is none."""
    if nodes[x].most < size:
        return np.int64(0)
    while True:
        left = nodes[x].left
        if nodes[left].most >= size:
            x = left
        elif nodes[x].extent >= size:
            return x
        else:
            x = nodes[x].right


def lowest_in_treap_from(nodes, root, low, size):
    """Return the lowest hole of at least ``size`` bytes that starts at address ``low`` or above; 0 if there is none."""
    candidate = np.int64(0)
    x = root
    while x != 0:
        if nodes[x].addr >= low:
            candidate = x
            x = nodes[x].left
        else:
            x = nodes[x].right
    while candidate != 0:
        if nodes[candidate].extent >= size:
            return candidate
        right = nodes[candidate].right
        if nodes[right].most >= size:
            return lowest_in_treap(nodes, right, size)
        child = candidate
        candidate = nodes[child].up
        while candidate != 0 and nodes[candidate].right == child:
            child = candidate
            candidate = nodes[child].up
    return np.int64(0)


def last_until(nodes, root, address):
    """Return the highest hole of the treap that starts at ``address`` or below; 0 if there is none."""
    found = np.int64(0)
    x = root
    while x != 0:
        if nodes[x].addr <= address:
            found = x
            x = nodes[x].right
        else:
            x = nodes[x].left
    return found
