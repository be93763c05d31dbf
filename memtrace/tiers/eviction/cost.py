"""Cost-aware: the block that costs least to bring back in time, size / (events until its next use).

That is the rate at which its bytes must come back. A block never used again costs nothing and goes first; of equals the
larger one, then the one that came first. It knows the future, as a framework that owns its schedule does.
Cost: O(n) per eviction in the n blocks of the tier, since the order changes with every event; 20 bytes per use.
Source: as Capuchin's ranking by bytes and by the time in which a swap can be hidden (Peng et al. 2020), in one number.
"""

from typing import NamedTuple

import numpy as np

FORESEES = True
NEVER = 1 << 62


class Order(NamedTuple):
    members: np.ndarray  # members[tier, i]: a slot, in no order
    filled: np.ndarray
    place: np.ndarray
    entry: np.ndarray
    entries: np.ndarray


def init(tiers, slots):
    place, entry = np.zeros(slots, np.int32), np.zeros(slots, np.int64)
    return Order(np.zeros((tiers, slots), np.int32), np.zeros(tiers, np.int64), place, entry, np.zeros(1, np.int64))


def enter(order, blocks, tier, slot):
    order.entry[slot] = order.entries[0]
    order.entries[0] += 1
    i = order.filled[tier]
    order.filled[tier] = i + 1
    order.members[tier, i] = slot
    order.place[slot] = i


def touch(order, blocks, tier, slot):
    pass


def leave(order, blocks, tier, slot):
    end = order.filled[tier] - 1
    order.filled[tier] = end
    i = np.int64(order.place[slot])
    moved = np.int64(order.members[tier, end])
    order.members[tier, i] = moved
    order.place[moved] = i


def cost(blocks, slot, event):
    if blocks[slot].next == NEVER:
        return 0.0
    return blocks[slot].stored / max(blocks[slot].next - event, 1)


def victim(order, blocks, tier, one, other, event):
    found, least = np.int64(-1), 0.0
    for i in range(order.filled[tier]):
        slot = np.int64(order.members[tier, i])
        if slot == one or slot == other:
            continue
        price = cost(blocks, slot, event)
        if found < 0 or price < least or (price == least and before(order, blocks, slot, found)):
            found, least = slot, price
    return found


def before(order, blocks, a, b):
    if blocks[a].stored != blocks[b].stored:
        return blocks[a].stored > blocks[b].stored
    return order.entry[a] < order.entry[b]
