"""The Linux kernel's kmem events, as text of `perf script`, ftrace or `trace-cmd report`: of the slab or of the page allocator.

Slab events (kmalloc, kmalloc_node, kmem_cache_alloc, kmem_cache_alloc_node, kfree, kmem_cache_free) are read if the file has any,
with bytes_req as size (or bytes_alloc: `--format kmem:bytes_alloc`) and the cache's name as tag. Else, or by `kmem:pages`, those
of the page allocator: mm_page_alloc, mm_page_free and mm_page_free_batched; a block has 4,096 << order bytes, its pointer is
4,096 times the pfn and is kept as its offset, its tag is the migratetype. The stream is the CPU. A recording begins on a running
kernel. Source: Linux, include/trace/events/kmem.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from memtrace.errors import UsageError
from memtrace.formats._logs import LogFormat, read_log
from memtrace.formats._patterns import Line

if TYPE_CHECKING:
    from memtrace.trace.batches import Batch
    from memtrace.trace.sources import Source

NAME = "kmem"
SUFFIXES = (".txt", ".log", ".perf")

SLAB, BYTES_ALLOC, PAGES = "slab", "bytes_alloc", "pages"  # what `--format kmem:` takes

_SLAB = re.compile(rb"\b(kmalloc(_node)?|kmem_cache_alloc(_node)?): .*ptr=|\b(kfree|kmem_cache_free): .*ptr=")
_PAGES = re.compile(rb"\bmm_page_(alloc|free(_batched|_direct)?): .*pfn=")

# Before an event: the command and the thread, the CPU, flags of ftrace, seconds; perf names the subsystem too, and leaves out
# what its option -F leaves out.
HEADS = ("{*}[{thread}] {time}: {?kmem:}", "{*}[{thread}] {any} {time}: {?kmem:}", "{*} {time}: {?kmem:}", "{*}kmem:", "{ }")
SLABS = ("kmalloc", "kmalloc_node", "kmem_cache_alloc", "kmem_cache_alloc_node")
EVENTS = ("kmalloc", "kmem_cache_", "kfree:", "mm_page_", "mm_", "rss_stat:")


def slab_lines(size: str) -> tuple[Line, ...]:
    """Return the lines of the slab allocator's events; `size` is the pattern of the two sizes."""
    named = [Line("alloc", f"{name}: {{*}}ptr={{ptr}} name={{tag}} {size}") for name in SLABS[2:]]
    plain = [Line("alloc", f"{name}: {{*}}ptr={{ptr}} {size}", tag="kmalloc") for name in SLABS[:2]]
    unnamed = [Line("alloc", f"{name}: {{*}}ptr={{ptr}} {size}") for name in SLABS[2:]]
    return (
        Line("free", "kfree: {*}ptr={ptr}"),
        *plain,
        *named,
        Line("free", "kmem_cache_free: {*}ptr={ptr}"),
        Line("free", "kmem_cache_free: {*}ptr={ptr} {*}"),
        Line("free", "kfree: {*}ptr={ptr} {*}"),
        *unnamed,
        Line("skip", "mm_page_{*}", note=1),
        Line("skip", "mm_{*}", note=2),
        Line("skip", "rss_stat: {*}", note=2),
        Line("bad", "kmalloc{*}"),
        Line("bad", "kmem_cache_{*}"),
        Line("bad", "kfree: {*}"),
    )


SLAB_FORMAT = LogFormat(
    NAME,
    slab_lines("bytes_req={size} bytes_alloc={*}"),
    heads=HEADS,
    columns=("op", "id", "size", "time", "stream", "tag"),
    notes=(
        f"events of the page allocator, left out (--format {NAME}:{PAGES} reads them)",
        "events that move no memory, left out",
    ),
    always=("the recording began on a running kernel: what was live before is missing",),
    counted="cpus",
    code_threads=False,
)
ALLOC_FORMAT = replace(SLAB_FORMAT, lines=slab_lines("bytes_req={word} bytes_alloc={size} {*}"))
PAGE_FORMAT = replace(
    SLAB_FORMAT,
    addresses=True,
    lines=(
        Line("alloc", "mm_page_alloc: page={old} pfn={pfn} order={order} migratetype={tag} {*}", pages=True),
        Line("alloc", "mm_page_alloc: page={old} pfn={pfn} order={order} migratetype={tag}", pages=True),
        Line("free", "mm_page_free: page={old} pfn={pfn} order={order}", pages=True),
        Line("again", "mm_page_free_batched: page={old} pfn={pfn} order={order}", pages=True),
        Line("again", "mm_page_free_batched: page={old} pfn={pfn} {*}", pages=True),
        Line("free", "mm_page_free: page={old} pfn={pfn} order={order} {*}", pages=True),
        # The names before Linux 3.3.
        Line("free", "mm_page_free_direct: page={old} pfn={pfn} order={order}", pages=True),
        Line("again", "mm_pagevec_free: page={old} pfn={pfn} {*}", pages=True),
        Line("skip", "mm_page_alloc_extfrag: {*}", note=3),
        Line("skip", "k{*}", note=1),
        Line("bad", "mm_page_alloc: {*}"),
        Line("bad", "mm_page_free{*}"),
        Line("skip", "mm_{*}", note=2),
        Line("skip", "rss_stat: {*}", note=2),
    ),
    notes=(
        f"events of the slab allocator, left out (--format {NAME}:{SLAB} reads them)",
        "events that move no memory, left out",
        "requests that another migratetype's pages served (mm_page_alloc_extfrag), not events of their own",
    ),
)
FORMATS = {SLAB: SLAB_FORMAT, BYTES_ALLOC: ALLOC_FORMAT, PAGES: PAGE_FORMAT}


def sniff(head: bytes, path: str) -> bool:
    """Return whether a line is an event of the kernel's allocators."""
    return _SLAB.search(head) is not None or _PAGES.search(head) is not None


def read(source: Source, part: str = "") -> Iterator[Batch]:
    """Yield events of numbered blocks; `part` says of which allocator, by default of the slab's if the file begins with any."""
    if part and part not in FORMATS:
        raise UsageError(f"format {NAME!r} takes {', '.join(FORMATS)} behind its colon, not {part!r}")
    chosen = part or (SLAB if _SLAB.search(source.head()) else PAGES)
    return read_log(source, FORMATS[chosen])
