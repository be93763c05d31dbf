"""PyTorch's statistics, under PyTorch's names: nine by pool, each with its current value, peak, sum of rises and of falls."""

from memtrace.structures.calls import apart

ALLOCATION, ALLOCATED_BYTES, ACTIVE, ACTIVE_BYTES, REQUESTED_BYTES = 0, 12, 24, 36, 48
SEGMENT, RESERVED_BYTES, INACTIVE_SPLIT, INACTIVE_SPLIT_BYTES = 60, 72, 84, 96
OVERSIZE_ALLOCATIONS, OVERSIZE_SEGMENTS = 108, 112
ALLOC_RETRIES, OOMS, SYNC_ALL_STREAMS, DEVICE_ALLOC, DEVICE_FREE, OOM_REJECTIONS, MAX_SPLIT_SIZE = range(116, 123)
LENGTH = 123
CURRENT, PEAK, ALLOCATED, FREED = range(4)

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
    now = stats[i] + amount
    stats[i] = now
    stats[i + ALLOCATED] += amount
    stats[i + PEAK] = max(stats[i + PEAK], now)


def rise(stats, name, pool, amount):
    """Add to a statistic of a pool (0 small, 1 large). Of both together only the peak is kept: the rest follows from them."""
    rise_one(stats, name + 4 + 4 * pool, amount)
    stats[name + PEAK] = max(stats[name + PEAK], stats[name + 4] + stats[name + 8])


def fall(stats, name, pool, amount):
    stats[name + 4 + 4 * pool] -= amount


def change(stats, name, pool, amount):
    """One net change, up or down."""
    if amount > 0:
        rise(stats, name, pool, amount)
    else:
        fall(stats, name, pool, -amount)


@apart
def write_statistics(stats, row):
    """The row of counters; all pools are the sum of both, and freed is what rose and is no longer there."""
    for i in range(LENGTH):
        row[i] = stats[i]
    for i in range(0, OVERSIZE_ALLOCATIONS, 12):
        row[i] = stats[i + 4] + stats[i + 8]
        row[i + ALLOCATED] = stats[i + 4 + ALLOCATED] + stats[i + 8 + ALLOCATED]
    for i in range(0, ALLOC_RETRIES, 4):
        row[i + FREED] = row[i + ALLOCATED] - row[i]
