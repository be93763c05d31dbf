"""PyTorch's memory statistics, under PyTorch's names, in one int64 array.

Nine statistics take 12 entries each: for both pools together, the small pool and the large pool, the current value, the peak, the
sum of rises and the sum of falls. Two oversize statistics with these four metrics follow, then single numbers.
"""

from memtrace.contract.calls import out_of_line

# Indices into the array: the first entry of each of the nine, of the two, and the single numbers.
ALLOCATION, ALLOCATED_BYTES, ACTIVE, ACTIVE_BYTES, REQUESTED_BYTES = 0, 12, 24, 36, 48
SEGMENT, RESERVED_BYTES, INACTIVE_SPLIT, INACTIVE_SPLIT_BYTES = 60, 72, 84, 96
OVERSIZE_ALLOCATIONS, OVERSIZE_SEGMENTS = 108, 112
ALLOC_RETRIES, OOMS, SYNC_ALL_STREAMS, DEVICE_ALLOC, DEVICE_FREE, OOM_REJECTIONS, MAX_SPLIT_SIZE = range(116, 123)
LENGTH = 123
CURRENT, PEAK, ALLOCATED, FREED = range(4)  # offsets of the metrics; a pool's are at + 4 (small) and + 8 (large)

NAMES = (
    "allocation",
    "allocated_bytes",
    "active",
    "active_bytes",
    "requested_bytes",
    "segment",
    "reserved_bytes",
    "inactive_split",
    "inactive_split_bytes",
)
POOLS = ("all", "small_pool", "large_pool")
METRICS = ("current", "peak", "allocated", "freed")
SCALARS = (
    "num_alloc_retries",
    "num_ooms",
    "num_sync_all_streams",
    "num_device_alloc",
    "num_device_free",
    "num_oom_rejections",
    "max_split_size",
)
COUNTERS = (
    *(f"{name}.{pool}.{metric}" for name in NAMES for pool in POOLS for metric in METRICS),
    *(f"{name}.{metric}" for name in ("oversize_allocations", "oversize_segments") for metric in METRICS),
    *SCALARS,
)


def rise_one(stats, i, amount):
    """Add ``amount`` to the statistic whose four metrics begin at index i, and update its peak and its sum of rises."""
    now = stats[i] + amount
    stats[i] = now
    stats[i + ALLOCATED] += amount
    stats[i + PEAK] = max(stats[i + PEAK], now)


def rise(stats, name, pool, amount):
    """Add ``amount`` to a statistic of a pool (0 small, 1 large); ``name`` is one of the nine indices, such as ACTIVE_BYTES.

    Of both pools together only the peak is updated: ``write_statistics`` computes the rest.
    """
    rise_one(stats, name + 4 + 4 * pool, amount)
    stats[name + PEAK] = max(stats[name + PEAK], stats[name + 4] + stats[name + 8])


def fall(stats, name, pool, amount):
    """Subtract ``amount`` from a statistic of a pool (0 small, 1 large); ``name`` is one of the nine indices."""
    stats[name + 4 + 4 * pool] -= amount


def change(stats, name, pool, amount):
    """Add ``amount``, which may be negative, to a statistic of a pool (0 small, 1 large).

    It is one net change, so the peak and the sum of rises see only the result.
    """
    if amount > 0:
        rise(stats, name, pool, amount)
    else:
        fall(stats, name, pool, -amount)


@out_of_line
def write_statistics(stats, row):
    """Write all statistics into ``row``, an array of LENGTH, in the order of COUNTERS.

    This computes what is not kept up to date: the sums over both pools, and the sums of falls (the sum of rises less the current
    value).
    """
    for i in range(LENGTH):
        row[i] = stats[i]
    for i in range(0, OVERSIZE_ALLOCATIONS, 12):
        row[i] = stats[i + 4] + stats[i + 8]
        row[i + ALLOCATED] = stats[i + 4 + ALLOCATED] + stats[i + 8 + ALLOCATED]
    for i in range(0, ALLOC_RETRIES, 4):
        row[i + FREED] = row[i + ALLOCATED] - row[i]
