"""Reading speed of each text format: `python -m benchmarks.formats [EVENTS]` writes files, reads them, prints events/s.

Each format is read in a process of its own, once on a small file, which compiles, and once on the large one; the time is
that of `memtrace.read`, checks and renumbering included; where other work shares the cores, events per second of CPU time
say more. The peak is of that process's resident memory, the prepared events (some 25 bytes each) included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

EVENTS = 5_000_000
LIVE = 20_000  # blocks live at a time
MAPPINGS = 500  # the same of strace: a process has some hundreds of mappings, and each takes time for those behind it
SMALL = 1000

CHILD = """
import sys, time
from memtrace import reading
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
format = sys.argv[3] or None
reading.read(sys.argv[1], format=format)
before = peak()
began, cpu = time.perf_counter(), time.process_time()
found = reading.read(sys.argv[2], format=format)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
after = peak()
print(found.facts.events, seconds, cpu, before // 1024, after // 1024)
"""

Call = tuple[bool, int, int]  # free, block, size


def calls(count: int, live: int) -> Iterator[Call]:
    """A stream that keeps `live` blocks: each call frees the block of its place, or allocates a new one there."""
    random = np.random.default_rng(1)
    places = random.integers(0, live, count).tolist()
    sizes = random.integers(1, 4096, count).tolist()
    blocks = [-1] * live
    for number, (place, size) in enumerate(zip(places, sizes, strict=True)):
        if blocks[place] >= 0:
            yield True, blocks[place], 0
            blocks[place] = -1
        else:
            blocks[place] = number
            yield False, number, size


def pointer(block: int) -> str:
    return f"0x{0x7F0000000000 + 16 * (block % 4_000_000):x}"


Lines = tuple[Callable[[int, str, int], str], Callable[[int, str, int], str]]  # of an alloc, of a free
KERNEL = "      app-100     [001] ..... 37986.462553:"
AT = "@ ./a.out:[0x4011be]"
LINES: dict[str, Lines] = {
    "mtrace": (lambda block, at, size: f"{AT} + {at} {size:#x}", lambda block, at, size: f"{AT} - {at}"),
    "rep": (lambda block, at, size: f"a {block} {size}", lambda block, at, size: f"f {block}"),
    "android": (lambda block, at, size: f"{block % 40}: malloc {at} {size}", lambda block, at, size: f"{block % 40}: free {at}"),
    "logalloc": (
        lambda block, at, size: f"1 {block % 40} malloc({size})={at}",
        lambda block, at, size: f"1 {block % 40} free({at})",
    ),
    "heaptrack": (lambda block, at, size: f"+ {size:x} 1 {at[2:]}", lambda block, at, size: f"- {at[2:]}"),
    "rmm": (
        lambda block, at, size: f"1,12:00:00.000000,allocate,{at},{size},0x2",
        lambda block, at, size: f"1,12:00:00.000000,free,{at},{size},0x2",
    ),
    "valgrind": (lambda block, at, size: f"--7-- malloc({size}) = {at}", lambda block, at, size: f"--7-- free({at})"),
    "kmem": (
        lambda block, at, size: f"{KERNEL} kmalloc: call_site=f+0x10/0x49 ptr={at} bytes_req={size} bytes_alloc=4096 gfp_flags=G",
        lambda block, at, size: f"{KERNEL} kfree: call_site=g+0x20/0x50 ptr={at}",
    ),
    "kmem:pages": (
        lambda block, at, size: f"{KERNEL} mm_page_alloc: page={at} pfn=0x1{at[-8:]} order=0 migratetype=1 gfp_flags=GFP_KERNEL",
        lambda block, at, size: f"{KERNEL} mm_page_free: page={at} pfn=0x1{at[-8:]} order=0",
    ),
    "ltrace": (
        lambda block, at, size: f"{block % 40} prog->malloc({size})                 = {at}",
        lambda block, at, size: f"{block % 40} prog->free({at})       = <void>",
    ),
    "strace": (
        lambda block, at, size: f"7 mmap(NULL, {size}, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = {at}000",
        lambda block, at, size: f"7 munmap({at}000, 4096) = 0",
    ),
    "utrace": (
        lambda block, at, size: f"<jemalloc>:utrace: 7 {at} = malloc({size})",
        lambda block, at, size: f"<jemalloc>:utrace: 7 free({at})",
    ),
    "cmt": (lambda block, at, size: f"malloc({size}) = {at}<{block}>", lambda block, at, size: f"free({at}<{block}>)"),
    "vma": (
        lambda block, at, size: f"7,1.500,0,vmaAllocateMemory,{size},256,7,0,1,0,0,7,0000000000000000,{at[2:]},",
        lambda block, at, size: f"7,1.500,0,vmaFreeMemory,{at[2:]}",
    ),
    "freertos": (lambda block, at, size: f"traceMALLOC({at}, {size})", lambda block, at, size: f"traceFREE({at}, {size})"),
    "template": (lambda block, at, size: f"alloc {at} {size}", lambda block, at, size: f"free {at}"),
    "csv": (lambda block, at, size: f"alloc,{block},{size}", lambda block, at, size: f"free,{block},"),
}
ASKED = {"kmem:pages": "kmem:pages", "template": "template:alloc {ptr} {size}\nfree {ptr}"}  # what --format takes, if anything
HEADS = {
    "vma": "Vulkan Memory Allocator,Calls recording\n1,8\n",
    "rep": "1\n1\n1\n1\n",
    "heaptrack": "v 10550 3\nX a\n",
    "mtrace": "= Start\n",
    "csv": "op,id,size\n",
}


def write(path: Path, name: str, count: int) -> None:
    alloc, free = LINES[name]
    with path.open("w") as file:
        file.write(HEADS.get(name, ""))
        for gone, block, size in calls(count, MAPPINGS if name == "strace" else LIVE):
            file.write((free if gone else alloc)(block, pointer(block), size) + "\n")


def main(events: int) -> None:
    print("format         events     events/s    per CPU s  CPU ns/event  MiB before  MiB peak")
    with tempfile.TemporaryDirectory() as folder:
        for name in LINES:
            large, small = Path(folder) / "large", Path(folder) / "small"
            write(large, name, events)
            write(small, name, SMALL)
            done = subprocess.run(
                [sys.executable, "-c", CHILD, small, large, ASKED.get(name, "")], capture_output=True, text=True, check=True
            )
            found, seconds, cpu, before, after = (float(part) for part in done.stdout.split())
            print(
                f"{name:<10} {found:>10,.0f} {found / seconds:>12,.0f} {found / cpu:>12,.0f} {cpu / found * 1e9:>13.0f}"
                f" {before:>11,.0f} {after:>9,.0f}"
            )
            large.unlink()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS)
