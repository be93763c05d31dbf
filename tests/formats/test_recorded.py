"""Recordings by the real tools of two small programs of our own, against counts by regular expressions of their lines.

valgrind 3.19, ltrace 0.7, strace 6.1, bpftrace 0.17, and perf 6.1 and ftrace on Linux 6.18. The programs call malloc, calloc, realloc,
memalign and C++'s operators, the second one in two threads.
"""

from __future__ import annotations

import re

from conftest import ROOT

from memtrace import reading
from memtrace.trace import Trace

RECORDINGS = ROOT / "tests" / "data" / "recordings"
BPFTRACE = "template:alloc {ptr} {size}\nfree {ptr}"


def text(name: str) -> str:
    return (RECORDINGS / name).read_text()


def count(name: str, pattern: str) -> int:
    return len(re.findall(pattern, text(name), re.MULTILINE))


def read(name: str, format: str | None = None) -> Trace:
    return reading.read(RECORDINGS / name, format=format)


def said(trace: Trace, sentence: str) -> int:
    """How often an assumption was made."""
    found = re.search(re.escape(sentence) + r".*?: ([\d,]+)$", trace.metadata.get("assumed", ""), re.MULTILINE)
    return int(found[1].replace(",", "")) if found else 0


def test_valgrind_counts_as_valgrinds_own_summary() -> None:
    facts = read("valgrind.log").facts
    summary = re.search(r"total heap usage: ([\d,]+) allocs, ([\d,]+) frees, ([\d,]+) bytes", text("valgrind.log"))
    assert summary is not None
    allocs, frees, size = (int(group.replace(",", "")) for group in summary.groups())
    assert (facts.allocs + facts.reallocs, facts.frees - facts.null_frees, facts.total_bytes) == (allocs, frees, size)
    assert facts.never_freed == 0


def test_ltrace_of_two_threads() -> None:
    trace = read("ltrace.log")
    allocs = count("ltrace.log", r"^\d+ (malloc|calloc|_Zn[aw]\w*)\(")
    assert count("ltrace.log", r"_Zn\w+\(.*<unfinished") > 5  # halves that have to be joined
    assert (trace.facts.allocs, trace.facts.frees) == (allocs, count("ltrace.log", r"^\d+ (free|_Zd[al]Pv\w*)\("))
    assert trace.metadata["threads"] == "2" and trace.facts.never_freed == 0


def test_strace_maps_what_the_pages_say() -> None:
    live: set[int] = set()
    peak, now = 0, 0
    for line in text("strace.log").splitlines():
        mapped = re.search(r"\bmmap\(.*?, (\d+), .*= (0x[0-9a-f]+)", line)
        if mapped:
            live |= set(range(int(mapped[2], 16) // 4096, (int(mapped[2], 16) + int(mapped[1]) + 4095) // 4096))
        if gone := re.search(r"\bmunmap\((0x[0-9a-f]+), (\d+)\)", line):
            live -= set(range(int(gone[1], 16) // 4096, (int(gone[1], 16) + int(gone[2]) + 4095) // 4096))
        if grown := re.search(r"\bbrk\((\S+)\).*= (0x[0-9a-f]+)", line):
            live |= set(range(now, int(grown[2], 16) // 4096)) if now else set()
            now = int(grown[2], 16) // 4096
        peak = max(peak, len(live))
    trace = read("strace.log")
    # Mappings have the size that was asked for, up to a page less than what they take.
    assert 0 <= 4096 * peak - trace.facts.peak_live_bytes < 4096 * count("strace.log", r"\bmmap\(")
    assert trace.facts.allocs == count("strace.log", r"\bmmap\(") + 1 + said(trace, "made two")


def test_kernel_events_of_perf_and_ftrace() -> None:
    for name in ("perf_kmem.txt", "ftrace_kmem.txt"):
        slab, pages = read(name, "kmem:slab"), read(name, "kmem:pages")
        assert slab.facts.allocs == count(name, r"\b(kmalloc|kmem_cache_alloc): ")
        frees = count(name, r"\b(kfree|kmem_cache_free): ")
        reused, unknown = said(slab, "given out again"), said(slab, "never allocates")
        assert slab.facts.frees == frees + reused - unknown
        assert slab.facts.null_frees == count(name, r"kfree: .*ptr=(\(nil\)|0000000000000000)$")
        assert pages.facts.allocs == count(name, r"\bmm_page_alloc: ")
        assert pages.facts.frees == count(name, r"\bmm_page_free: ") - said(pages, "never allocates")
        assert said(pages, "twice") == count(name, r"\bmm_page_free_batched: ")
        assert said(pages, "slab allocator") == slab.facts.allocs + frees


def test_bpftraces_output_by_templates() -> None:
    trace = read("bpftrace.log", BPFTRACE)
    assert trace.facts.allocs == count("bpftrace.log", r"^alloc ")
    unknown, reused = said(trace, "never allocates"), said(trace, "given out again")
    assert trace.facts.frees == count("bpftrace.log", r"^free ") - unknown + reused
