"""Misses of lru, fifo, clock and belady by libcachesim, which is a third party's: run in an environment of its own.

Arguments: capacity, and how many accesses at the start only warm the cache. Standard input: numbers of blocks.
"""

import sys

import libcachesim

capacity, warm = int(sys.argv[1]), int(sys.argv[2])
numbers = [int(word) for word in sys.stdin.read().split()]
NEVER = 1 << 62
counts = []
for kind in (libcachesim.LRU, libcachesim.FIFO, libcachesim.Clock, libcachesim.Belady):
    cache, misses = kind(cache_size=capacity), 0
    for at, number in enumerate(numbers):
        later = next((n for n in range(at + 1, len(numbers)) if numbers[n] == number), NEVER)
        request = libcachesim.Request(obj_id=number + 1, obj_size=1)
        request.clock_time = at
        request.next_access_vtime = later
        hit = cache.get(request)
        misses += not hit and at >= warm
    counts.append(misses)
print(*counts)
