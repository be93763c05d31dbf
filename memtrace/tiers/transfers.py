"""Bytes over links, and the modelled time that takes.

The link of a tier is the one to the tier above. A transfer between two tiers crosses every link between them, at the pace of
the slowest, after the latencies of all: ns = sum of latencies + bytes * ns per byte, and what packing and unpacking take. What
crosses has the form, packed or not, that it has in the lower of the two tiers. Without overlap everything waits for every
transfer. With overlap each link has a queue each way: a transfer begins when its links are free, and only those wait that
need what it brings, or the room that it makes.
"""

from memtrace.structures.calls import apart
from memtrace.tiers.books import (
    BUSY,
    CLOCK,
    CODEC,
    LATENCY,
    PACKS,
    RESIDENT,
    STALL,
    STALLED,
    STORED,
)

DOWNWARDS, UPWARDS = 0, 1


def stored_bytes(books, tier, tag, born, size):
    """Bytes that a block of ``size`` has in a tier: of the ratios of its tag one is drawn by the event of its alloc."""
    if books.tiers[tier, PACKS] == 0:
        return size
    row = tag if tag >= 0 else books.ratio_counts.shape[1] - 1
    ratio = books.ratios[tier, row, ((born * 2654435761) & 0xFFFFFFFF) % books.ratio_counts[tier, row]]
    whole, rest = size // ratio, size % ratio
    return min(size, whole * 1000 + (rest * 1000 + ratio - 1) // ratio)


def codec_ns(books, upper, lower, size, upper_bytes, lower_bytes, down):
    """What it takes to pack at the one end and unpack at the other. What would not shrink is stored as it is."""
    nanoseconds = 0.0
    if down:
        if books.tiers[lower, PACKS] != 0:
            nanoseconds += size * books.speed[lower, 1]
        if books.tiers[upper, PACKS] != 0 and upper_bytes < size:
            nanoseconds += size * books.speed[upper, 2]
    else:
        if books.tiers[upper, PACKS] != 0:
            nanoseconds += size * books.speed[upper, 1]
        if books.tiers[lower, PACKS] != 0 and lower_bytes < size:
            nanoseconds += size * books.speed[lower, 2]
    return int(nanoseconds + 0.5)


@apart
def transfer(t, world, source, target, size, source_bytes, target_bytes, carried, begin):
    """Carry a block; returns when it is there, in ns of the modelled clock. Without overlap the clock has come that far."""
    books = world.books
    down = source < target
    upper, lower = min(source, target), max(source, target)
    way = DOWNWARDS if down else UPWARDS
    pace, nanoseconds = 0.0, 0
    for link in range(upper + 1, lower + 1):
        pace = max(pace, books.speed[link, 0])
        nanoseconds += books.tiers[link, LATENCY]
    moving = nanoseconds + int(carried * pace + 0.5)
    upper_bytes, lower_bytes = (source_bytes, target_bytes) if down else (target_bytes, source_bytes)
    packing = codec_ns(books, upper, lower, size, upper_bytes, lower_bytes, down)
    books.tiers[lower, CODEC] += packing
    nanoseconds = moving + packing
    start = max(begin, books.totals[CLOCK])
    if books.overlap:
        for link in range(upper + 1, lower + 1):
            start = max(start, books.queues[link, way])
    end = start + nanoseconds
    for link in range(upper + 1, lower + 1):
        books.queues[link, way] = end
        books.tiers[link, BUSY] += moving
    if not books.overlap:
        wait(books, lower, end)
    return end


def wait(books, tier, until):
    """The program waits for a transfer whose lower end is ``tier``."""
    late = until - books.totals[CLOCK]
    if late > 0:
        books.totals[CLOCK] = until
        books.totals[STALL] += late
        books.tiers[tier, STALLED] += late


def count_in(books, tier, b, sign):
    books.tiers[tier, RESIDENT] += sign * b.requested
    books.tiers[tier, STORED] += sign * b.stored
