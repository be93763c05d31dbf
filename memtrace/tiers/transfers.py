"""Bytes over links, and the modelled time that transfers take.

The link of a tier leads to the tier above. A transfer between two tiers crosses every link between them, at the pace of
the slowest, after the latencies of all: ns = sum of latencies + bytes * ns per byte, and the time of packing and unpacking.
The bytes cross in the form, packed or not, that they have in the lower of the two tiers.
Without overlap the program waits for every transfer. With overlap each link has a queue each way: a transfer begins when
its links are free, and the program waits only for a transfer that brings the bytes, or makes the room, that it needs.
"""

from memtrace.contract.calls import out_of_line
from memtrace.tiers.records import BUSY, CLOCK, CODEC, LATENCY, PACKS, RESIDENT, STALL, STALLED, STORED

DOWNWARDS, UPWARDS = 0, 1  # columns of Books.queues


def stored_bytes(books, tier, tag, born, size):
    """Return the bytes that a block of ``size`` bytes takes in ``tier``: ``size``, or fewer where the tier compresses.

    The ratio is one of those of the block's ``tag`` (-1: no tag), chosen by a hash of ``born``, the event of its alloc.
    """
    if books.tiers[tier, PACKS] == 0:
        return size
    row = tag if tag >= 0 else books.ratio_counts.shape[1] - 1
    ratio = books.ratios[tier, row, ((born * 2654435761) & 0xFFFFFFFF) % books.ratio_counts[tier, row]]
    whole, rest = size // ratio, size % ratio
    return min(size, whole * 1000 + (rest * 1000 + ratio - 1) // ratio)


def codec_ns(books, upper, lower, size, upper_bytes, lower_bytes, down):
    """Return the ns that it takes to unpack a block of ``size`` bytes at one end of a transfer and to pack it at the other.

    ``upper`` and ``lower`` are the tiers, ``upper_bytes`` and ``lower_bytes`` what the block takes there; ``down``: it goes from
    upper to lower. A block that does not shrink is stored unpacked: that costs the attempt to pack it, and no unpacking.
    """
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


@out_of_line
def transfer(t, world, source, target, size, source_bytes, target_bytes, carried, begin):
    """Carry a block of ``size`` bytes from tier ``source`` to ``target``; return when that ends, in ns of the modelled clock.

    It takes ``source_bytes`` and ``target_bytes`` in the two tiers, and ``carried`` bytes cross the links. The transfer begins at
    ``begin`` or later. Without overlap the program waits, so the clock is at the end; with overlap the clock stays.
    """
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
    """Advance the modelled clock to ``until`` (ns), if that is later: the program waits for a transfer, and the wait is a stall.

    ``tier``: the lower end of the transfer, which the stall is counted for.
    """
    late = until - books.totals[CLOCK]
    if late > 0:
        books.totals[CLOCK] = until
        books.totals[STALL] += late
        books.tiers[tier, STALLED] += late


def count_in(books, tier, b, sign):
    """Add the bytes of block record ``b`` to the counts of ``tier`` (``sign`` 1), or subtract them (``sign`` -1)."""
    books.tiers[tier, RESIDENT] += sign * b.requested
    books.tiers[tier, STORED] += sign * b.stored
