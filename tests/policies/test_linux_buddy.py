"""The kernel's page allocator: against lists of pages, against the kernel's own definitions, and against recorded page numbers."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle_pages import KINDS, PAGE, Pages

import memtrace
from memtrace import reading
from memtrace.engine.registry import parse_policy
from memtrace.engine.replay import Placement, warm
from memtrace.errors import MemtraceError
from memtrace.trace import from_events
from memtrace.validation.recorded import Agreement, as_recorded

Row = tuple[Any, ...]  # op, id, size, time, align, stream, dst, tag
MIB = 1 << 20


def alloc(id: int, pages: int, tag: str | None = None, cpu: int = 0) -> Row:
    return ("alloc", id, pages * PAGE, None, None, cpu, None, tag)


def free(id: int, cpu: int = 0) -> Row:
    return ("free", id, None, None, None, cpu, None, None)


def replayed(rows: list[Row], options: str = "", capacity: int = 16 * MIB, interpret: bool = True) -> Placement:
    policy = "linux-buddy" + (f":{options}" if options else "")
    found = memtrace.replay(from_events(rows), policy, capacity, keep=True, on_oom="skip", interpret=interpret, samples=len(rows))
    assert found.addresses is not None
    return found


def pages(placement: Placement) -> list[int | None]:
    """The first page of each alloc, None where it failed."""
    assert placement.addresses is not None
    op = np.concatenate([events.op for events in placement.trace.batches()])
    return [address // PAGE if address >= 0 else None for address in placement.addresses[op == 0].tolist()]


def random_rows(seed: int, count: int, cpus: int = 4) -> list[Row]:
    """Requests of all types that fill 16 MiB over and over; now and then much is freed at once."""
    dice = random.Random(seed)
    rows: list[Row] = []
    live: list[int] = []
    for id in range(count):
        if live and dice.random() < (0.47 if len(live) > 20 else 0.1):
            for _ in range(30 if dice.random() < 0.03 else 1):
                if live:
                    rows.append(free(live.pop(dice.randrange(len(live))), dice.randrange(cpus)))
        size = dice.choice([1, 1, 1, 2, 3, 4, 8, dice.choice([16, 64, 512, 1024])])
        rows.append(alloc(id, size, dice.choices(KINDS, (3, 5, 2))[0], dice.randrange(cpus)))
        live.append(id)
    return rows


def told(rows: list[Row], space: Pages) -> list[int | None]:
    """The first page of each alloc by the lists of pages."""
    where: dict[int, int] = {}
    found = []
    for op, id, size, _, _, cpu, _, tag in rows:
        if op == "alloc":
            page = space.alloc(-(-size // PAGE), tag or "movable", cpu)
            found.append(page)
            if page is not None:
                where[id] = page
        elif id in where:
            space.release(where.pop(id), cpu)
    return found


SETTINGS = {
    "": (4096, (0,), {}),
    "first_pfn=3072,zones=x86": (4096, (0, 1024), {}),
    "cpus=2,batch=7,high=40": (4096, (0,), {"cpus": 2, "batch": 7, "high": 40}),
    "cpus=1,batch=1,high=1": (4096, (0,), {"cpus": 1, "batch": 1, "high": 1}),
    "first_pfn=3072,zones=x86,cpus=3,batch=31,high=64": (4096, (0, 1024), {"cpus": 3, "batch": 31, "high": 64}),
    "pool=12345678": (3014, (0,), {}),
}


@pytest.mark.parametrize("options", SETTINGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_page_is_that_of_the_lists(options: str, seed: int) -> None:
    count, starts, more = SETTINGS[options]
    rows = random_rows(seed, 1500)
    space = Pages(count, starts, **more)
    placement = replayed(rows, options)
    assert pages(placement) == told(rows, space)
    last = {name: values[-1] for name, values in counters(placement).items()}
    zone = len(starts) - 1
    for order in range(11):
        indices = (last[f"extfrag_index_order_{order}"], last[f"unusable_index_order_{order}"])
        assert indices == space.indices(zone, order)
    assert (last["claims"], last["steals"]) == (space.claims, space.steals)
    assert space.claims >= 10 and (seed != 1 or space.steals >= 15)
    kinds = [space.type(block * 512) for block in range(-(-count // 512))]
    assert [last[f"{kind}_pageblocks"] for kind in KINDS] == [kinds.count(kind) for kind in KINDS]
    assert last["kept_pages"] == sum(space.held(zone, cpu) for zone in range(len(starts)) for cpu in range(space.cpus))


def counters(placement: Placement) -> dict[str, list[int]]:
    """The policy's own counters at the samples, by name."""
    from memtrace.policies.linux_buddy import COUNTERS

    return {name: placement.recorder.sample_counters[:, number].tolist() for number, name in enumerate(COUNTERS)}


def test_compiled_it_is_the_same() -> None:
    rows = random_rows(5, 1500)
    options = "first_pfn=3072,zones=x86,cpus=3,batch=31,high=64"
    assert pages(replayed(rows, options, interpret=False)) == told(rows, Pages(4096, (0, 1024), 3, 31, 64))


def test_halves_and_buddies_by_hand() -> None:
    """The low half is kept, the upper halves go to the heads of lists, and two freed buddies are one block again."""
    rows = [alloc(1, 1), alloc(2, 1), alloc(3, 2), free(1), free(2), alloc(4, 2), alloc(5, 1)]
    assert pages(replayed(rows)) == [0, 1, 2, 0, 4]


def test_the_block_freed_last_goes_first_unless_it_may_merge_soon() -> None:
    """Pages 0 to 7 in use, 8 to 15 free in one block: what is freed beside a free buddy of the next order goes to the tail."""
    rows = [*(alloc(page, 1) for page in range(8)), free(1), free(5), alloc(10, 1), alloc(11, 1)]
    assert pages(replayed(rows))[8:] == [5, 1]
    rows = [*(alloc(page, 1) for page in range(8)), free(2), free(3), free(1), free(5), alloc(10, 1), alloc(11, 1)]
    # 1 may merge with 0 and then with the free pair of 2 and 3: it waits at the tail, behind 5.
    assert pages(replayed(rows))[8:] == [5, 1]
    rows = [*(alloc(page, 1) for page in range(8)), free(2), free(3), free(5), free(1), alloc(10, 1), alloc(11, 1)]
    assert pages(replayed(rows))[8:] == [5, 1]


def test_an_unmovable_page_claims_a_pageblock_and_a_small_movable_one_steals() -> None:
    """2 MiB are one pageblock: movable, then claimed, and then pages are stolen from it for movable requests."""
    placement = replayed([alloc(1, 1, "unmovable"), alloc(2, 1, "movable")], capacity=2 * MIB)
    found = counters(placement)
    assert found["claims"] == [1, 2] and found["steals"] == [0, 0]  # the block of 256 pages is worth the pageblock
    rows = [alloc(1, 256, "unmovable"), alloc(2, 128, "unmovable"), alloc(3, 64, "unmovable"), alloc(4, 32, "unmovable")]
    rows += [alloc(5, 16, "unmovable"), alloc(6, 1, "movable")]
    found = counters(replayed(rows, capacity=2 * MIB))
    assert (found["claims"][-1], found["steals"][-1], found["unmovable_pageblocks"][-1]) == (1, 1, 1)


def test_the_indices_are_the_kernels() -> None:
    """Every second page in use: requests of one page can be had, larger ones fail for fragmentation."""
    rows = [*(alloc(page, 1) for page in range(512)), *(free(page) for page in range(0, 512, 2))]
    found = counters(replayed(rows, capacity=2 * MIB))
    assert found["extfrag_index_order_0"][-1] == -1000 and found["unusable_index_order_0"][-1] == 0
    # 256 free pages in 256 blocks, of order 1: 1 - (1 + 256 / 2) / 256 = 0.496
    assert found["extfrag_index_order_1"][-1] == 1000 - (1000 + 256 * 1000 // 2) // 256 == 497
    assert found["extfrag_index_order_9"][-1] == 1000 - (1000 + 256 * 1000 // 512) // 256 == 995
    assert found["unusable_index_order_1"][-1] == found["unusable_index_order_10"][-1] == 1000
    assert found["extfrag_index_order_3"][511] == 0 and found["unusable_index_order_3"][511] == 1000  # nothing is free


def test_what_cannot_be_is_refused() -> None:
    for options, says in (("first_pfn=100", "no multiple of 1024"), ("cpus=2,batch=9,high=5", "batch from 1 to high")):
        with pytest.raises(MemtraceError, match=says):
            replayed([alloc(1, 1)], options)
    with pytest.raises(MemtraceError, match="--capacity"):
        memtrace.replay(from_events([alloc(1, 1)]), "linux-buddy")
    assert pages(replayed([alloc(1, 1025), alloc(2, 1024), alloc(3, 1024)], capacity=4 * MIB)) == [None, 0, None]


def test_lists_of_cpus_are_emptied_before_a_request_fails() -> None:
    rows = [*(alloc(page, 1) for page in range(1024)), *(free(page) for page in range(1024)), alloc(2000, 1024)]
    placement = replayed(rows, "cpus=1,batch=63,high=5000", capacity=4 * MIB)
    assert pages(placement)[-1] == 0 and counters(placement)["kept_pages"][-2:] == [1024, 0]


def test_the_numbers_of_a_recording_are_migratetypes() -> None:
    named = [alloc(1, 1, "unmovable"), alloc(2, 4, "movable page"), alloc(3, 1, "reclaimable"), alloc(4, 1, "other")]
    numbers = [alloc(1, 1, "0"), alloc(2, 4, "1"), alloc(3, 1, "2"), alloc(4, 1)]
    assert pages(replayed(named)) == pages(replayed(numbers))
    assert pages(replayed(named, "default=unmovable")) != pages(replayed(named))


# Events as ftrace prints them, of a zone that is free from page 0x1000 on: the numbers of pages follow from that.
RECORDED = """\
  app-100 [001] .... 10.000001: mm_page_alloc: page=0xffffea0000040000 pfn=0x1000 order=3 migratetype=1 gfp_flags=GFP_KERNEL
  app-100 [001] .... 10.000002: mm_page_alloc: page=0xffffea0000040200 pfn=0x1008 order=0 migratetype=1 gfp_flags=GFP_KERNEL
  app-100 [001] .... 10.000003: mm_page_alloc: page=0xffffea0000050000 pfn=0x1400 order=0 migratetype=0 gfp_flags=GFP_KERNEL
  app-100 [001] .... 10.000004: mm_page_free: page=0xffffea0000040000 pfn=0x1000 order=3
  app-100 [001] .... 10.000005: mm_page_alloc: page=0xffffea0000040240 pfn=0x1009 order=0 migratetype=1 gfp_flags=GFP_KERNEL
  app-100 [001] .... 10.000006: mm_page_alloc: page=0xffffea0000040300 pfn=0x100c order=2 migratetype=1 gfp_flags=GFP_KERNEL
"""


def test_recorded_page_numbers_are_met_where_the_start_is_known() -> None:
    """An order-3 block, one page behind it, an unmovable page that claims the next two pageblocks, and what is left of both."""
    rows: list[Row] = []
    numbers = []
    for name, pfn, order, kind in re.findall(r"mm_page_(alloc|free):.*pfn=(0x\w+) order=(\d+)(?: migratetype=(\d))?", RECORDED):
        if name == "alloc":
            rows.append(alloc(int(pfn, 16), 1 << int(order), kind))
            numbers.append(int(pfn, 16))
        else:
            rows.append(free(int(pfn, 16)))
    found = pages(replayed(rows, "first_pfn=4096"))
    assert [page + 4096 for page in found if page is not None] == numbers


def test_a_file_that_says_where_its_blocks_lay_is_compared(tmp_path: Path) -> None:
    first = 4096 * PAGE
    lines = [f"a,0,9,{8 * PAGE},{first}", f"b,1,9,{PAGE},{first + 8 * PAGE}", f"c,2,9,{PAGE},", f"d,3,9,{PAGE},{first}"]
    (tmp_path / "plan.csv").write_text("\n".join(["id,lower,upper,size,offset", *lines]) + "\n")
    trace = reading.read(tmp_path / "plan.csv", keep_plan=True)
    placed = memtrace.replay(trace, "linux-buddy:first_pfn=4096", 16 * MIB, keep=True, interpret=True)
    assert as_recorded(placed, first) == Agreement(judged=3, met=2, first_other=3)
    with pytest.raises(ValueError, match="keep_plan"):
        as_recorded(replayed([alloc(1, 1)]))


def test_a_policy_that_takes_a_pool_whole_can_be_compiled_for_another_process() -> None:
    warm(parse_policy("linux-buddy"))
