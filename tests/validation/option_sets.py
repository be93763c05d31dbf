"""Ten sets of options for each policy of memtrace, none of which the check of policies may find a fault with.

`python -m tests.validation.option_sets` runs the quick check over all of them, which takes some minutes, and prints each fault.
"""

from __future__ import annotations

import sys

from memtrace.engine.registry import builtin_policies
from memtrace.validation.policies import check_policy

HEAPS = (
    "",
    "header=8",
    "header=8,align=8,min_block=16,base=16,initial=4096,chunk=4096,extend=full,realloc=move,zero=null",
    "align=64",
    "min_block=128",
    "initial=4096,trim=true",
    "chunk=1024,extend=full",
    "header=16,min_block=48,zero=null",
    "base=4096,chunk=512",
    "realloc=move,align=1,min_block=1,swap=inplace",
)
OWN = {
    "buddy": ("kind=fibonacci", "kind=fibonacci,header=8", "min_block=1024"),
    "segregated": ("page=64", "page=65536", "header=24"),
    "size-class": ("spacing=1", "spacing=8,page=16384", "small=512,tail=2"),
    "tlsf": (
        "sl=1",
        "header=8,align=8,min_block=32,sl=5,fl=32,zero=null,initial=8191",
        "sl=5,small=128,fl=30,cut=class,realloc=move",
    ),
    "quick-fit": ("quick=0", "quick=64,header=8", "coalesce=failure"),
    "slab": ("spacing=1,empty=0", "spacing=8,page=16384,empty=2", "small=512,tail=2"),
    "pool": ("cell=16,cells=4", "pools=1", "cell=256,cells=2,pools=3,fallback=none"),
    "compact": ("when=growth", "when=failure", "threshold=1,header=8"),
    "region": ("page=4096", "page=256,header=8", "page=65536,trim=true"),
}
OTHERS = {
    "pytorch": (
        *("", "max_split_size_mb:64", "expandable_segments:True", "roundup_power2_divisions:[256:1,512:2,>:8]"),
        *("garbage_collection_threshold:0.5", "va=firstfit", "version=2.9", "events=auto", "events=manual", "history=true"),
    ),
    "bfc": (
        *("", "garbage_collection=true", "allow_growth=false", "fragmentation_fraction=1", "swap=inplace"),
        *("allow_growth=false,garbage_collection=true", "garbage_collection=true,fragmentation_fraction=1"),
        *("allow_growth=false,fragmentation_fraction=1", "garbage_collection=true,swap=inplace"),
        "allow_growth=false,garbage_collection=true,fragmentation_fraction=1",
    ),
    "stitch": (
        *(
            "",
            "stitched=1",
            "stitched=2",
            "stitched=3",
            "stitched=8",
            "stitched=64",
            "stitched=100",
            "stitched=4096",
            "swap=inplace",
        ),
        "stitched=5,swap=inplace",
    ),
    "paged": (
        *(
            "",
            "page=4096",
            "order=tail,skip=1",
            "page=512",
            "initial=131072",
            "chunk=131072",
            "realloc=move",
            "zero=null",
            "trim=true",
            "swap=inplace",
        ),
        "page=8192,trim=true,zero=null",
    ),
    "arenas": (
        *("", "count=1", "count=3,page=4096", "by=tag", "policy=first-fit", "policy=[tlsf:sl=3]", "policy=buddy,page=16384"),
        *("policy=[first-fit:header=8]", "policy=segregated", "policy=pool,count=2"),
    ),
    "optimum": tuple(
        f"effort=0{each}" for each in ("", *(f",align={1 << k}" for k in (0, 1, 2, 3, 5, 6, 8, 10)), ",swap=inplace")
    ),
    "freertos": (
        "",
        "heap=5",
        "heap=5,regions=[1KiB,3KiB]",
        "heap=2",
        "heap=1",
        "bits=64",
        "heap=2,bits=64",
        "pool=4KiB",
        "swap=inplace",
    ),
    "newlib-nano": ("", "version=4.1", "version=4.3", "bits=64", "pool=4KiB", "swap=inplace"),
    "picolibc": ("", "align=16", "bits=64", "pool=4KiB", "swap=inplace"),
    "avr-libc": ("", "word=4", "pool=4KiB", "swap=inplace"),
    "umm": ("", "fit=first", "pool=4KiB", "swap=inplace"),
    "o1heap": ("", "bits=64", "pool=4KiB", "swap=inplace"),
    "nuttx": ("", "bits=64", "control=500", "pool=4KiB", "swap=inplace"),
    "dlmalloc": ("", "bits=64", "align=8", "pool=128KiB", "swap=inplace"),
    "rt-thread": ("", "align=8", "bits=64", "control=100", "pool=4KiB", "swap=inplace"),
    "threadx": ("", "bits=64", "pool=4KiB", "swap=inplace"),
    "lwip": ("", "align=8", "pool=4KiB", "swap=inplace"),
    "zephyr": ("", "bits=64", "tries=1", "pool=4KiB", "swap=inplace"),
    "esp-idf": ("", "pool=4KiB", "swap=inplace"),
    "linux-buddy": ("", "zones=x86", "cpus=2,batch=3,high=9", "default=unmovable", "first_pfn=1024,zones=x86", "swap=inplace"),
    "rmm-pool": (
        *("", "initial=4096", "initial=50%", "maximum=none", "maximum=none,initial=1024", "maximum=2MiB", "frees=own"),
        *("initial=100%", "swap=inplace", "initial=25%,maximum=none,frees=own"),
    ),
    "rmm-arena": (
        *("", "size=50%", "size=1MiB", "size=100%", "size=25%", "size=2MiB", "size=75%", "size=3MiB", "swap=inplace"),
        "size=90%,swap=inplace",
    ),
    "ort": (
        *("", "first=256", "first=1000,max_extend=1MiB", "extend=exact", "growth=4096", "waste=1", "waste=1024,extend=exact"),
        *("max_extend=700160", "swap=inplace", "first=4096,max_extend=8192,growth=512,waste=1"),
    ),
    "ggml": (
        *("", "align=128", "align=1", "chunk=4096", "chunk=1", "chunk=100000,align=16", "align=256", "chunk=1MiB"),
        *("swap=inplace", "chunk=2048,align=64"),
    ),
    "cupy": (
        *("", "ties=highest", "ties=oldest", "ties=newest", "limit=8192", "limit=1MiB", "limit=512", "swap=inplace"),
        *("limit=65536,ties=newest", "limit=100000,ties=highest"),
    ),
    "umpire-quick": (
        *("", "first=4096", "first=1,next=1", "align=256", "coalesce=actual,first=1024", "coalesce=never,first=1024"),
        *("blocks=2,first=512,next=512", "blocks=3,first=1,next=1,coalesce=actual", "swap=inplace", "align=1,first=100,next=100"),
    ),
    "native": (
        *("", "footprint=mapped", "touch=false", "threads=false", "footprint=mapped,touch=false", "threads=false,touch=false"),
        *("footprint=mapped,threads=false", "library=glibc", "library=glibc,touch=false", "swap=inplace"),
    ),
}


def option_sets() -> dict[str, tuple[str, ...]]:
    """Return the sets of options of each policy, by its name."""
    found = {}
    for name in builtin_policies():
        own = OWN.get(name, ())
        common = [
            each.removesuffix(",trim=true") if name == "segregated" else each for each in HEAPS
        ]  # it never gives pages back
        found[name] = OTHERS.get(name) or (*common[: 10 - len(own)], *own)
    return found


def specs() -> list[str]:
    """Return all of them as a command takes them."""
    return [f"{name}:{options}" if options else name for name, sets in option_sets().items() for options in sets]


if __name__ == "__main__":
    wanted = sys.argv[1:]
    chosen = [spec for spec in specs() if not wanted or spec.partition(":")[0] in wanted]
    failed = 0
    for spec in chosen:
        report = check_policy(spec, quick=True)
        failed += not report.ok
        print("ok  " if report.ok else "FAIL", spec, flush=True)
        if not report.ok:
            print(report.text(), flush=True)
    print(f"{len(chosen)} checks, {failed} with a fault")
    sys.exit(failed > 0)
