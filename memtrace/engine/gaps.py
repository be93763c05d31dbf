"""The engine's own account of the holes of a policy without a ledger, made from the addresses of its blocks and what it reserves.

A hole is a maximal range of reserved bytes, counted from address 0, that no live block has. The account is exact after every
event. It is the heap of ``structures.heap`` with the index of first fit: a block is cut out of the hole at its address, and given
back when it is freed. A block that does not lie in one hole overlaps another block, or bytes that are not reserved.

The state of an account is that of ``structures.address_tree``; all sizes and addresses are in bytes.
"""

from memtrace.contract.calls import out_of_line
from memtrace.contract.ledger import COUNT_INSPECTED, RESERVED
from memtrace.structures import address_tree
from memtrace.structures.address_tree import hole_at
from memtrace.structures.heap import append, change_hole, drop_hole, place, release

UNBOUNDED = 1 << 62


def new_gaps(max_live):
    """Return an account of no reserved bytes, for ``max_live`` live blocks."""
    gaps = address_tree.init(UNBOUNDED, max_live, align=1, min_block=1)
    gaps.ledger[COUNT_INSPECTED] = 0
    return gaps


@out_of_line
def enter_block(gaps, handle, address, wanted, extent):
    """Cut the block ``handle`` out of the hole at ``address``; return whether all of its ``wanted`` bytes lie in that hole.

    The block has ``extent`` bytes, or fewer where the hole ends before. A block of no bytes is in no hole.
    """
    gaps.node_of[handle] = 0
    if wanted == 0 and extent == 0:
        return True
    x = hole_at(gaps, address)
    if x == 0:
        return wanted == 0
    room = gaps.nodes[x].addr + gaps.nodes[x].extent - address
    if wanted > room:
        return False
    place(gaps, x, address, min(extent, room), handle, address_tree)
    return True


@out_of_line
def extent_of(gaps, handle):
    """Return the bytes that the account has for the block ``handle``; 0 if it has none."""
    x = gaps.node_of[handle]
    return gaps.nodes[x].extent if x != 0 else 0


@out_of_line
def leave_block(gaps, handle):
    """Give the bytes of the block ``handle`` back to the holes."""
    x = gaps.node_of[handle]
    if x != 0:
        release(gaps, x, address_tree)
        gaps.node_of[handle] = 0


@out_of_line
def reserve_up_to(gaps, top):
    """Have the reserved bytes end at ``top``; return whether no block lies above it."""
    nodes, ledger = gaps.nodes, gaps.ledger
    before, tail = ledger[RESERVED], nodes[0].prev
    if top > before:
        ledger[RESERVED] = top
        if nodes[tail].free == 1:
            change_hole(gaps, tail, nodes[tail].addr, nodes[tail].extent + top - before, address_tree)
        else:
            append(gaps, before, top - before, address_tree)
    elif top < before:
        if nodes[tail].free == 0 or nodes[tail].addr > top:
            return False
        if nodes[tail].addr == top:
            drop_hole(gaps, tail, address_tree)
        else:
            change_hole(gaps, tail, nodes[tail].addr, top - nodes[tail].addr, address_tree)
        ledger[RESERVED] = top
    return True
