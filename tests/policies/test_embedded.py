"""The heaps of embedded systems place every block where the real code does, and refuse what it refuses.

The recorded placements in tests/data/heaps were made by the products' own code. Where they end, lists of blocks that are searched
from one end to the other say what is right.
"""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from oracle_bins import EspIdf, O1heap, Zephyr, Zephyr64
from oracle_breaks import AvrLibc, AvrLibc2, NewlibNano, NewlibNano41, NewlibNano43, Picolibc
from oracle_dlmalloc import Dlmalloc, Dlmalloc8, Dlmalloc64
from oracle_embedded import (
    Heap,
    Heap1,
    Heap2,
    Heap5,
    Lwip,
    Nuttx,
    Nuttx64,
    RtThread,
    RtThread8,
    ThreadX,
    Umm,
    UmmFirst,
)

import memtrace
from memtrace.contract.policy import constants_of
from memtrace.engine.registry import builtin_policies, group, parse_policy
from memtrace.errors import UsageError
from memtrace.questions.mincap import first_refusal
from memtrace.trace import from_events

PRODUCTS = {
    "freertos-heap_1": "freertos:heap=1",
    "freertos-heap_2": "freertos:heap=2",
    "freertos-heap_4": "freertos",
    "lwip-mem": "lwip",
    "newlib-3": "newlib-nano",
    "picolibc-1": "picolibc:align=16",
    "avr-libc-2": "avr-libc:word=4",
    "umm_malloc-best": "umm",
    "umm_malloc-first": "umm:fit=first",
    "o1heap-32bit": "o1heap",
    "rtthread-small-mem-align4": "rt-thread",
    "rtthread-small-mem-align8": "rt-thread:align=8",
    "threadx-byte-pool": "threadx",
    "zephyr-sys_heap-32bit": "zephyr",
    "espressif-tlsf": "esp-idf",
    "nuttx-mm_heap": "nuttx",
    "dlmalloc-wasi": "dlmalloc",
}
RECORDED = sorted(path for path in (ROOT / "tests" / "data" / "heaps").glob("*.csv") if path.name.startswith(tuple(PRODUCTS)))
TWINS: dict[str, type[Heap]] = {
    "freertos": Heap,
    "freertos:heap=5,regions=[3kB,5kB]": Heap5,
    "freertos:heap=1": Heap1,
    "freertos:heap=2": Heap2,
    "lwip": Lwip,
    "newlib-nano": NewlibNano,
    "newlib-nano:version=4.1": NewlibNano41,
    "newlib-nano:version=4.3": NewlibNano43,
    "picolibc:align=16": Picolibc,
    "avr-libc": AvrLibc2,
    "avr-libc:word=4": AvrLibc,
    "umm": Umm,
    "umm:fit=first": UmmFirst,
    "o1heap": O1heap,
    "rt-thread": RtThread,
    "rt-thread:align=8": RtThread8,
    "threadx": ThreadX,
    "zephyr": Zephyr,
    "zephyr:bits=64": Zephyr64,
    "esp-idf": EspIdf,
    "nuttx": Nuttx,
    "nuttx:bits=64": Nuttx64,
    "dlmalloc": Dlmalloc,
    "dlmalloc:align=8": Dlmalloc8,
    "dlmalloc:bits=64": Dlmalloc64,
}
Row = tuple[str, int, int | None]


def placed(policy: str, rows: list[Row], pool: int, interpret: bool = True) -> list[int | None]:
    """The address of each alloc and realloc, None where it was refused or got no block; of other events None too."""
    placement = memtrace.replay(from_events(rows), policy, pool, keep=True, interpret=interpret, on_oom="skip")
    assert placement.addresses is not None
    return [address if address >= 0 else None for address in placement.addresses.tolist()]


def told(heap: Heap, rows: list[Row]) -> list[int | None]:
    """What a heap of lists answers; a block of 0 bytes is none, and its realloc is an alloc."""
    live: dict[int, int | None] = {}
    dead: set[int] = set()
    answers: list[int | None] = []
    for op, id, size in rows:
        answer = None
        if op == "alloc":
            answer = live[id] = heap.alloc(size or 0)
            if answer is None and size:
                dead.add(id)
        elif op == "free":
            address = live.pop(id)
            if address is not None:
                heap.free(address)
        elif id not in dead:
            old = live[id]
            answer = heap.alloc(size or 0) if old is None else heap.realloc(old, size or 0)
            live[id] = old if answer is None else answer
        answers.append(answer)
    return answers


def product(path: Path) -> str:
    return next(policy for name, policy in PRODUCTS.items() if path.name.startswith(name))


def recorded(path: Path) -> tuple[list[Row], list[int | None]]:
    """The requests of a recording, and the addresses."""
    with path.open() as file:
        found = list(csv.DictReader(file))
    rows: list[Row] = [(row["op"], int(row["id"]), int(row["size"]) if row["size"] else None) for row in found]
    return rows, [int(row["address_or_null"]) if row["address_or_null"] not in ("", "null") else None for row in found]


def requests(seed: int, count: int, pool: int) -> list[Row]:
    """Random requests of sizes that fill a pool over and over; one in three streams has no 0 bytes, for there is no block then."""
    dice = random.Random(seed)
    live: list[int] = []
    rows: list[Row] = []
    kinds = ((0, *range(1, 40)), (1, 4, 8, 12, 16, 24, 60, 100, 250, 500), tuple(int(1.3**k) for k in range(1, 28)))
    sizes = kinds[seed % 3]
    most = 2 * pool // (sum(sizes) // len(sizes) + 12)
    for id in range(count):
        dice_says = dice.random()
        if live and dice_says < 0.15:
            rows.append(("realloc", dice.choice(live), dice.choice(sizes) or 1))
        elif live and (dice_says < 0.5 or len(live) > most):
            rows.append(("free", live.pop(dice.randrange(len(live))), None))
        else:
            rows.append(("alloc", id, dice.choice(sizes)))
            live.append(id)
    return rows


@pytest.mark.parametrize("policy", sorted(set(PRODUCTS.values())))
def test_recorded_placements_of_the_real_code(policy: str) -> None:
    files = [path for path in RECORDED if product(path) == policy] if policy in PRODUCTS.values() else []
    compared = differences = 0
    for path in files:
        rows, addresses = recorded(path)
        found = placed(policy, rows, int(path.stem.rpartition("-")[2]))
        compared += sum(row[0] != "free" for row in rows)
        differences += sum(one != other for one, other in zip(found, addresses, strict=True))
    assert (len(files) in (2, 3), compared >= 345, differences) == (True, True, 0), (policy, compared, differences)


@pytest.mark.parametrize("policy", TWINS)
def test_random_requests_are_placed_as_by_lists(policy: str) -> None:
    for seed in range(9):
        pool = 8000 if "regions" in policy else (2048, 4096, 8000, 3001)[seed % 4]
        rows = requests(seed, 220, pool)
        if policy.startswith(
            "dlmalloc"
        ):  # whose memory has pages of 64 KiB: twice as many requests, and three in a hundred large
            pool = (65536, 131072, 262144)[seed % 3]
            rows = [(op, id, size and size * (97 if id % 33 == 0 else 1)) for op, id, size in requests(seed, 440, 16000)]
        assert placed(policy, rows, pool) == told(TWINS[policy](pool), rows), seed


def test_the_last_bytes_of_pools_of_all_sizes() -> None:
    """Whether a block fits a pool is a matter of bytes: of the pool's size, and of the request's."""
    for policy, twin in TWINS.items():
        if "regions" in policy:
            continue
        for pool in (760, 761, 762, 764, 767, 771):
            rows: list[Row] = [("alloc", 0, 1)]
            for id in range(1, 90):
                rows += [("alloc", id, id * 8 + id % 7), ("free", id, None)]
            assert placed(policy, rows, pool) == told(twin(pool), rows), (policy, pool)


@pytest.mark.parametrize("pool", [64_000, 64_004, 262_144, 262_152, 400_000])
def test_pools_at_which_a_heap_changes_its_structures(pool: int) -> None:
    rows: list[Row] = [("alloc", 0, pool // 3), ("alloc", 1, 1), ("alloc", 2, 0), ("free", 0, None)]
    rows += [("alloc", id, pool // 50 + id) for id in range(3, 40)] + [("free", id, None) for id in range(3, 30, 3)]
    rows += [("alloc", id, pool // 60 + id) for id in range(40, 60)]
    for policy in ("lwip", "zephyr", "esp-idf", "freertos"):
        assert placed(policy, rows, pool) == told(TWINS[policy](pool), rows), policy


GENERAL = [
    ("freertos", "first-fit:header=8,align=8,min_block=16,split=24,zero=null,realloc=move,initial=4088", 8),
    (
        "freertos:heap=2",
        "first-fit:order=size,coalesce=never,header=8,align=8,min_block=16,split=17,zero=null,realloc=move,initial=4088",
        8,
    ),
    ("lwip", "first-fit:header=8,align=4,min_block=20,zero=null,realloc=move,initial=4096", 8),
    ("rt-thread", "first-fit:header=12,align=4,min_block=24,zero=null,initial=4044", 52),
    ("threadx", "first-fit:coalesce=search,header=8,align=4,min_block=12,split=20,zero=null,initial=4088", 8),
    ("umm", "best-fit:order=lifo,header=4,align=8,min_block=8,zero=null,initial=4080", 12),
    ("umm:fit=first", "first-fit:order=lifo,header=4,align=8,min_block=8,zero=null,initial=4080", 12),
    ("nuttx", "first-fit:order=size,header=4,align=8,min_block=16,initial=3728", 368),
    ("newlib-nano", "first-fit:place=tail,extend=full,header=8,align=4,min_block=12", 0),
    ("newlib-nano:version=4.1", "first-fit:place=tail,extend=full,header=8,align=4,min_block=12", 0),
    ("avr-libc", "best-fit:place=tail,trim=true,header=2,align=1,min_block=4", 2),
    ("esp-idf", "tlsf:header=4,align=4,min_block=16,sl=3,zero=null,cut=class,initial=3732", 364),
]
WITH_REALLOC = ("freertos", "freertos:heap=2", "lwip", "threadx", "esp-idf")  # whose realloc the general policies have too


@pytest.mark.parametrize(("policy", "general", "ahead"), GENERAL, ids=[row[0] for row in GENERAL])
def test_heaps_that_options_of_the_general_policies_express(policy: str, general: str, ahead: int) -> None:
    """The addresses are those of blocks with their headers, from behind the heap's own structures on.

    newlib's payload begins at the multiple of 8 that follows a word. ThreadX refuses some requests before it searches, and so
    merges, so only what comes before the first refusal is compared.
    """
    initial = int(general.rpartition("=")[2]) if "initial" in general else 4096
    for seed in range(3):
        rows = [row for row in requests(seed, 400, 4096) if row[0] != "realloc" or policy in WITH_REALLOC]
        if policy == "threadx":
            rows = rows[: next((i for i, row in enumerate(placed(policy, rows, 4096)) if row is None and rows[i][2]), None)]
        starts = placed(general, rows, initial)
        if policy.startswith("newlib"):
            starts = [start if start is None else start + 4 + 7 & ~7 for start in starts]
        addresses = [start if start is None else start + ahead for start in starts]
        assert placed(policy, rows, 4096) == addresses, seed
        assert sum(address is not None for address in addresses) > 50


@pytest.mark.parametrize("policy", ["umm", "threadx", "zephyr"])
def test_compiled_as_interpreted(policy: str) -> None:
    """Those whose structures no other policy has."""
    rows = requests(4, 600, 4096)
    assert placed(policy, rows, 4096, interpret=False) == placed(policy, rows, 4096)


def test_heap_2_wears_into_pieces_and_its_search_is_that_of_the_list() -> None:
    rows: list[Row] = [("alloc", id, 8) for id in range(50)] + [("free", id, None) for id in range(50)]
    placement = memtrace.replay(from_events([*rows, ("alloc", 99, 100)]), "freertos:heap=2", 4096, interpret=True, keep=True)
    row = memtrace.measure(placement)
    assert placement.addresses is not None and placement.addresses[-1] == 50 * 16 + 8
    assert row["search_max"] == 51


def test_a_pool_has_to_be_given() -> None:
    trace = from_events([("alloc", 1, 10)])
    for policy in group("embedded"):
        grows = parse_policy(policy).name in ("newlib-nano", "picolibc", "avr-libc", "dlmalloc")
        if grows:
            assert memtrace.replay(trace, policy, interpret=True).status == "ok"
            continue
        with pytest.raises(UsageError, match=r"takes a pool whole.*\ntry: --capacity"):
            memtrace.replay(trace, policy, interpret=True)
        given = f"{policy},pool=4KiB" if ":" in policy else f"{policy}:pool=4KiB"
        assert memtrace.replay(trace, given, interpret=True).peak_reserved_bytes == 4096


@pytest.mark.parametrize(
    ("policy", "pool", "says"),
    [
        ("freertos:regions=[1KiB]", 4096, "only heap_5 has regions"),
        ("freertos:heap=5,regions=[1KiB,8KiB]", 4096, "is not from 0 to the capacity"),
        ("esp-idf", 190, "is too small"),
        ("umm:pool=300KiB", 1 << 20, "at most 262136 bytes"),
        ("picolibc:align=12", 4096, "is not a power of two"),
        ("avr-libc:word=3", 4096, "neither 2 nor 4"),
    ],
)
def test_options_that_cannot_be(policy: str, pool: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        memtrace.replay(from_events([("alloc", 1, 10)]), policy, pool, interpret=True)


def test_one_capacity_for_all_in_one_run(memtrace: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "op,id,size\n" + "".join(f"alloc,{i},{40 + i}\n" for i in range(20)) + "free,3,\nalloc,99,40\n"
    )
    done = memtrace("run", "t.csv", "--capacity", "8KiB", "-p", "embedded", "--no-report", "--json")
    assert done.returncode == 0, done.stderr


def test_a_pool_that_is_too_small_for_a_heap_fails_its_row_alone(memtrace: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,40\nalloc,2,40\nfree,1,\n")
    done = memtrace("run", "t.csv", "--capacity", "150", "-p", "embedded", "--no-report")
    assert done.returncode == 0, done.stderr
    status = {line.split()[0]: line.split()[-2:] for line in done.stdout.splitlines() if line.split()[-1:] in (["ok"], ["@0"])}
    assert [name for name, words in status.items() if words == ["oom", "@0"]] == ["dlmalloc", "esp-idf", "nuttx", "o1heap"]
    for line in (f"{heap}: a pool of 150 bytes is too small" for heap in ("esp-idf", "nuttx", "o1heap")):
        assert line in done.stdout
    for pool in (1, 9, 60):
        done = memtrace("run", "t.csv", "--capacity", str(pool), "-p", "embedded", "--no-report", "--force", "--json")
        assert done.returncode == 0, (pool, done.stderr)
        assert {row["status"] for row in json.loads(done.stdout)["results"]} == {"oom"}, pool
    alone = memtrace("run", "t.csv", "--capacity", "150", "-p", "esp-idf", "--no-report", "--force")
    assert alone.returncode == 2 and "is too small" in alone.stderr
    asked = memtrace("mincap", "t.csv", "--capacity", "150", "-p", "o1heap")
    assert "o1heap: a pool of 150 bytes is too small: the heap's own structures and one block take 192" in asked.stdout


def test_no_bytes_are_no_capacity(memtrace: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,40\n")
    for command in ("run", "mincap", "bound"):
        policy = () if command == "bound" else ("-p", "first-fit")
        done = memtrace(command, "t.csv", "--capacity", "0", *policy)
        assert done.returncode == 2 and "0 bytes is no capacity" in done.stderr, (command, done.stderr)


def test_memory_that_heap_1_never_uses_again_is_no_hole() -> None:
    rows: list[Row] = [("alloc", 1, 40), ("alloc", 2, 100), ("free", 1, None), ("alloc", 3, 500)]
    refusal = first_refusal(from_events(rows), parse_policy("freertos:heap=1"), 256)
    assert refusal is not None
    assert (refusal.event, refusal.free, refusal.holes, refusal.largest) == (3, 256 - 8 - 40 - 104, 1, 104)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("heap_4", "freertos"),
        ("HEAP2", "freertos:heap=2"),
        ("esp32", "esp-idf"),
        ("freertos4", "freertos"),
        ("arduino", "avr-libc"),
    ],
)
def test_names_of_products_lead_to_their_heaps(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=rf"there is no policy {name}.*\ntry: {says}$"):
        parse_policy(name)


def test_other_names_of_heaps_are_policies_with_options() -> None:
    for policy, module in builtin_policies().items():
        for other, options in (constants_of(module).KNOWN_AS or {}).items():
            with pytest.raises(UsageError) as told:
                parse_policy(other)
            assert parse_policy(str(told.value).rpartition("try: ")[2]).name == policy, (other, options)


def test_the_refusal_that_the_page_of_heaps_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMTRACE_INTERPRET", "1")
    page = (ROOT / "docs" / "heaps.md").read_text()
    policy = "freertos:heap=2"
    shown = re.search(rf"    {policy}: with ([\d,]+) bytes, event ([\d,]+) is refused, a request of ([\d,]+) bytes", page)
    assert shown is not None
    pool, event, size = (int(number.replace(",", "")) for number in shown.groups())
    found = first_refusal(memtrace.read("firmware"), parse_policy(policy), pool)
    assert found is not None and (found.event, found.size) == (event, size)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_log_of_a_device(tmp_path: Path) -> None:
    (tmp_path / "log.c").write_text(
        '#include <stdio.h>\n#include <stdlib.h>\n#define MEMTRACE_PUT(text) fputs(text, stdout)\n#include "memtrace_log.h"\n'
        "static void *moved(void *old, size_t size) { void *block = memtrace_log_realloc(old, malloc(size), size);"
        " free(old); return block; }\n"
        "int main(void) { void *a, *b; memtrace_log_start(); a = memtrace_log_malloc(malloc(100), 100);"
        " b = memtrace_log_malloc(malloc(1234567), 1234567); memtrace_log_malloc(NULL, 5); memtrace_log_realloc(b, b, 77);"
        " a = moved(a, 300); memtrace_log_free(b); free(b); memtrace_log_free(NULL); free(a); return 0; }\n"
    )
    header = ROOT / "docs"
    subprocess.run(["cc", "-Wall", "-Werror", f"-I{header}", "-o", "log", "log.c"], cwd=tmp_path, check=True)
    (tmp_path / "t.csv").write_text(subprocess.run(["./log"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout)
    events = next(iter(memtrace.read(tmp_path / "t.csv").batches()))
    assert events.size.tolist()[:4] == [100, 1234567, 77, 300] and events.op.tolist() == [0, 0, 2, 0, 1, 1]


def test_a_block_that_extends_the_last_hole_is_served_by_growth() -> None:
    """newlib 4.3 does so where sbrk refuses the whole block; a hole smaller than the block is none that it was cut from."""
    from memtrace.engine.recorder import FITS

    rows: list[Row] = [("alloc", 1, 500), ("alloc", 2, 300), ("free", 2, None), ("alloc", 3, 400)]
    placement = memtrace.replay(from_events(rows), "newlib-nano:version=4.3", 1000, interpret=True)
    assert placement.oom_event is None and placement.recorder.totals[FITS] == 0
