"""Keep the pages of key-value caches as vLLM's block pool does: a queue of free pages, and pages found again by their content.

A page holds the keys and values of a fixed number of tokens. It is used by any number of requests at once, or free. A full
page has a key, which stands for all tokens up to its end; equal keys mean equal contents. A free page keeps its key and its
content until it is taken for other tokens (an eviction), so that a request that begins with the same tokens can use it (a
hit). Page 0 is never used; here it is both ends of the queue. All functions are compiled.

Rules: vLLM 0.33.0 with prefix caching (vllm/v1/core/block_pool.py), found by running it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from memtrace.kernels import jit
from memtrace.trace.model import Int64s

NO_KEY = -1
# Indices in `BlockPool.counts`: free pages, hits so far, hits of pages that were free, evictions, pages with a key.
FREE_PAGES, HITS, FREE_HITS, EVICTIONS, CACHED = range(5)


class BlockPool(NamedTuple):
    """Keep the state of the pool. A bucket lists its pages with a key in the order in which they got their keys."""

    before: Int64s  # [page] the free page before this one in the queue; of page 0 the last
    after: Int64s  # [page] the free page after this one in the queue; of page 0 the first
    users: Int64s  # [page] number of requests that use it
    key: Int64s  # [page] NO_KEY if it has none
    older: Int64s  # [page] the page before this one in its bucket, 0 for none
    newer: Int64s  # [page] the page after this one in its bucket, 0 for none
    oldest: Int64s  # [bucket] its first page, 0 for none
    newest: Int64s  # [bucket] its last page, 0 for none
    counts: Int64s


def new_pool(pages: int) -> BlockPool:
    """Return a pool of ``pages`` pages, page 0 included; the others are free in the order of their numbers."""
    buckets = 1 << max(4, (2 * pages - 1).bit_length())
    numbers = np.arange(pages)
    counts = np.zeros(5, np.int64)
    counts[FREE_PAGES] = pages - 1
    return BlockPool(
        before=np.roll(numbers, 1),
        after=np.roll(numbers, -1),
        users=np.zeros(pages, np.int64),
        key=np.full(pages, NO_KEY),
        older=np.zeros(pages, np.int64),
        newer=np.zeros(pages, np.int64),
        oldest=np.zeros(buckets, np.int64),
        newest=np.zeros(buckets, np.int64),
        counts=counts,
    )


@jit(error_model="numpy")
def bucket_of(pool, key):  # type: ignore[no-untyped-def]
    """Return the bucket of a key. Keys of successive pages differ by 1, so their bits are mixed first."""
    mixed = key * np.int64(-7046029254386353131)  # 2^64 divided by the golden ratio, made odd
    return (mixed ^ (mixed >> 29)) & (pool.oldest.size - 1)


@jit(error_model="numpy")
def found(pool, key):  # type: ignore[no-untyped-def]
    """Return the page that got this key first of those that have it; 0 if there is none."""
    page = pool.oldest[bucket_of(pool, key)]
    while page != 0 and pool.key[page] != key:
        page = pool.newer[page]
    return page


@jit(error_model="numpy")
def set_key(pool, page, key):  # type: ignore[no-untyped-def]
    """Give a page, which has no key, this one."""
    bucket = bucket_of(pool, key)
    last = pool.newest[bucket]
    pool.key[page], pool.older[page], pool.newer[page] = key, last, 0
    if last == 0:
        pool.oldest[bucket] = page
    else:
        pool.newer[last] = page
    pool.newest[bucket] = page
    pool.counts[CACHED] += 1


@jit(error_model="numpy")
def drop_key(pool, page):  # type: ignore[no-untyped-def]
    """Take the key from a page that has one."""
    bucket, older, newer = bucket_of(pool, pool.key[page]), pool.older[page], pool.newer[page]
    if older == 0:
        pool.oldest[bucket] = newer
    else:
        pool.newer[older] = newer
    if newer == 0:
        pool.newest[bucket] = older
    else:
        pool.older[newer] = older
    pool.key[page] = NO_KEY
    pool.counts[CACHED] -= 1


@jit(error_model="numpy")
def leave_queue(pool, page):  # type: ignore[no-untyped-def]
    """Take a free page out of the queue, wherever it is."""
    pool.after[pool.before[page]] = pool.after[page]
    pool.before[pool.after[page]] = pool.before[page]
    pool.counts[FREE_PAGES] -= 1


@jit(error_model="numpy")
def enter_queue(pool, page, behind):  # type: ignore[no-untyped-def]
    """Put a page into the queue behind the free page ``behind``; 0 is its head."""
    after = pool.after[behind]
    pool.before[page], pool.after[page] = behind, after
    pool.after[behind] = page
    pool.before[after] = page
    pool.counts[FREE_PAGES] += 1


@jit(error_model="numpy")
def take(pool):  # type: ignore[no-untyped-def]
    """Return the free page at the head of the queue, for one request; there must be one. Its key is dropped."""
    page = pool.after[0]
    leave_queue(pool, page)
    if pool.key[page] != NO_KEY:
        drop_key(pool, page)
        pool.counts[EVICTIONS] += 1
    pool.users[page] = 1
    return page


@jit(error_model="numpy")
def use_again(pool, page):  # type: ignore[no-untyped-def]
    """Count one more request that uses a page with a key; return whether the page was free."""
    was_free = pool.users[page] == 0
    if was_free:
        leave_queue(pool, page)
        pool.counts[FREE_HITS] += 1
    pool.users[page] += 1
    pool.counts[HITS] += 1
    return was_free


@jit(error_model="numpy")
def let_go(pool, page, behind):  # type: ignore[no-untyped-def]
    """Count one request less that uses a page; return (whether it is free now, what to give for ``behind`` next).

    A request lets its pages go one after the other, the last one first, and gives 0 for ``behind`` at first. Pages without a
    key go to the head of the queue, all of a request in this order; those with a key go to its tail.
    """
    pool.users[page] -= 1
    if pool.users[page] > 0:
        return False, behind
    if pool.key[page] != NO_KEY:
        enter_queue(pool, page, pool.before[0])
        return True, behind
    enter_queue(pool, page, behind)
    return True, page
