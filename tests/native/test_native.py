"""Real allocators: driven as the trace says, read as the kernel says, and told as they are, with nothing invented."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run

from memtrace.engine.registry import group, parse_policy
from memtrace.engine.replay import DEFAULT_SAMPLES, Hooks, Placement, replay
from memtrace.errors import UsageError
from memtrace.measures import measure
from memtrace.measures.occupancy import Contents
from memtrace.native import libraries, plan
from memtrace.native.driving import run_driver
from memtrace.native.settings import parse_settings
from memtrace.results.gather import gather
from memtrace.results.running import check_options
from memtrace.trace import Trace, from_events
from memtrace.validation.placements import validate
from memtrace.validation.probes import random_rows

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not shutil.which("cc"), reason="needs Linux and a C compiler"
)

# Blocks one after the other, 16 bytes of head before each; nothing is ever used again.
BUMP = r"""
#define _GNU_SOURCE
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
static char *top, *end;
static void *take(size_t align, size_t size) {
    if (top == NULL) {
        top = mmap(NULL, 1 << 26, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        end = top + (1 << 26);
    }
    char *block = (char *)(((size_t)top + 16 + align - 1) / align * align);
    size = (size + 15) / 16 * 16;
    if (block + size > end) return NULL;
    ((size_t *)block)[-1] = size;
    top = block + size;
    return block;
}
void *malloc(size_t size) { return take(16, size); }
void *memalign(size_t align, size_t size) { return take(align, size); }
void free(void *block) { (void)block; }
size_t malloc_usable_size(void *block) { return block ? ((size_t *)block)[-1] : 0; }
void *calloc(size_t count, size_t size) {
    void *made = take(16, count * size);
    top += 64;
    return made;
}
void *realloc(void *block, size_t size) {
    size_t old = malloc_usable_size(block);
    if (block != NULL && size <= old) return block;
    void *made = take(16, size);
    if (made && block) memcpy(made, block, old);
    return made;
}
"""


@pytest.fixture(scope="module")
def bump(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bump")
    (folder / "bump.c").write_text(BUMP)
    made = folder / "libbump.so"
    subprocess.run(["cc", "-O1", "-fno-builtin", "-shared", "-fPIC", "-o", str(made), str(folder / "bump.c")], check=True)
    return str(made)


def bumped(rows: list[tuple[Any, ...]]) -> tuple[list[int], list[int]]:
    """What BUMP does: (addresses, usable sizes) of the requests, addresses from the top at the first one."""
    top, live, addresses, usable = 0, {}, [], []
    for op, block, size, _, align in [(*row, *[None] * (5 - len(row))) for row in rows]:
        if op == "free":
            continue
        rounded = -(-size // 16) * 16
        if op == "realloc" and size <= live[block][1]:
            made = live[block]
        else:
            # An alignment above 16 depends on where the top is; BUMP's region begins at a page.
            made = (-(-(top + 16) // (align or 16)) * (align or 16), rounded)
            top = made[0] + rounded
        live[block] = made
        addresses.append(made[0])
        usable.append(made[1])
    return addresses, usable


@pytest.mark.parametrize("seed", range(5))
def test_a_library_is_asked_for_what_the_trace_says(bump: str, seed: int) -> None:
    rows = [row[:3] for row in random_rows(seed, 400)]
    driven = run_driver(from_events(rows), bump, np.arange(400), capacity=None, touch=True, threads=False, stop=True)
    addresses, usable = bumped(rows)
    assert (driven.addresses - driven.addresses[0] + addresses[0]).tolist() == addresses
    assert driven.usable.tolist() == usable and driven.events == 400 and driven.library == bump
    assert driven.readings["event"].tolist() == list(range(400))


def test_a_realloc_with_an_alignment_is_a_new_block(bump: str) -> None:
    """BUMP's own realloc would leave the smaller one in place, and align the larger ones to 16 bytes."""
    rows = [("alloc", 1, 100), ("realloc", 1, 50, None, 64), ("realloc", 1, 40), ("realloc", 1, 5000, None, 4096), ("free", 1)]
    driven = run_driver(from_events(rows), bump, np.arange(5), capacity=None, touch=True, threads=False, stop=True)
    assert driven.events == 5 and driven.usable.tolist() == [112, 64, 64, 5008]
    assert driven.addresses[1] % 64 == 0 and driven.addresses[1] > driven.addresses[0] and driven.addresses[3] % 4096 == 0
    assert driven.addresses[2] == driven.addresses[1]


@pytest.mark.parametrize("align", [64, 4096, 1 << 21])
def test_alignments_of_reallocs_hold_in_a_replay(align: int) -> None:
    rows = [("alloc", 1, 100, None, align), ("realloc", 1, 5000, None, align), ("realloc", 1, 9000), ("free", 1)]
    found = replay(from_events(rows), "native", keep=True, interpret=True)
    assert found.addresses is not None and (found.addresses[:2] % min(align, 1 << 16) == 0).all()
    assert measure(found)["moved_bytes"] >= 100


def test_a_block_tagged_calloc_is_asked_for_by_calloc(bump: str) -> None:
    rows = [("alloc", i, 16, None, None, None, None, tag) for i, tag in enumerate(("malloc", "calloc", "aligned", None))]
    driven = run_driver(from_events(rows), bump, np.arange(4), capacity=None, touch=True, threads=False, stop=True)
    assert np.diff(driven.addresses).tolist() == [32, 32 + 64, 32]


def twin(trace: Trace, placed: Placement) -> None:
    """Allocated bytes from the definition: usable sizes of live blocks; here with every event sampled."""
    assert placed.addresses is not None
    driven = run_driver(trace, "glibc", np.zeros(0, np.int64), capacity=None, touch=False, threads=True, stop=True)
    held: dict[int, int] = {}
    request, found = 0, []
    for events in trace.batches():
        for op, block in zip(events.op.tolist(), events.block.tolist(), strict=True):
            if op == 1 and block >= 0:
                del held[block]
            elif op in (0, 2):
                held[block] = int(driven.usable[request])
                request += 1
            found.append(sum(held.values()))
    assert placed.recorder.samples[:, 2].tolist() == found


@pytest.mark.parametrize("seed", range(4))
def test_it_is_followed_to_the_byte(seed: int) -> None:
    trace = from_events([*random_rows(seed, 300), ("free", None), ("trim", None)])
    placed = replay(trace, "native:glibc,touch=false", samples=1 << 62, keep=True, interpret=True)
    assert validate(placed) is None
    twin(trace, placed)
    samples = placed.recorder.samples
    assert (samples[:, 1] <= samples[:, 2]).all() and (samples[:, 3] > 0).all()


def test_measures_that_cannot_be_known_are_null() -> None:
    trace = from_events(random_rows(1, 300))
    contents = Contents(trace, parse_policy("native:glibc"), DEFAULT_SAMPLES)
    placed = replay(trace, "native:glibc", interpret=True, keep=True, hooks=Hooks(look=contents))
    row = measure(placed)
    unknown = {name for name, value in row.items() if value is None}
    holes = {"external_frag_mean", "external_frag_at_peak", "external_frag_max", "squares_frag_mean", "squares_frag_at_peak"}
    holes |= {
        "squares_frag_max",
        "least_free_bytes",
        "least_largest_hole_bytes",
        "highest_end_bytes",
        "servable_p99_bytes",
        "lost_to_fragmentation",
        "fit_share_p99_mean",
    }
    holes |= {"empty_pages_4k_bytes", "empty_pages_2m_bytes", "reserved_bytes_clock_mean", "unused_bytes_clock_mean"}  # no times
    holes |= {"unusable_median_at_peak", "unusable_p99_at_peak", "holes_mean", "holes_max", "search_mean", "search_max"}
    assert unknown == holes | {"oom_event", "fit_ratio_mean", "splits", "merges", "reserve_calls", "release_calls"}
    part = gather(placed, contents)
    assert "free_bytes" not in part.tables["timeline"] and "resident_bytes" in part.tables["timeline"]
    assert part.seconds == placed.seconds > 0


HELD = [row for i in range(200) for row in (("alloc", 2 * i, 100_000), ("alloc", 2 * i + 1, 64))]
HELD += [("free", 2 * i) for i in range(200)]  # 12,800 bytes stay, between the large ones


def test_settings_of_the_allocator_are_options_of_the_policy() -> None:
    """glibc holds the large blocks, since small ones lie between them, but not where they are mapped one by one."""
    plain, mapped = (measure(replay(from_events(HELD), label, interpret=True)) for label in ("native:glibc", MAPPED))
    assert plain["reserved_end_bytes"] > 19_000_000 > 1_000_000 > mapped["reserved_end_bytes"]
    assert mapped["reserved_least_after_peak_bytes"] <= mapped["reserved_end_bytes"] < mapped["reserved_bytes_mean"]
    assert mapped["unused_bytes_mean"] < plain["unused_bytes_mean"]


def test_the_mean_over_events_is_known_where_every_event_is_read() -> None:
    trace = from_events(HELD)
    placed = replay(trace, "native:glibc", samples=len(HELD), keep=True, interpret=True)
    assert placed.reserved is not None
    live = np.cumsum([row[2] if row[0] == "alloc" else -100_000 for row in HELD])
    assert measure(placed)["jw1"] == pytest.approx(float((placed.reserved / live).mean()) - 1)
    assert measure(replay(trace, "native:glibc", samples=len(HELD) - 1, interpret=True))["jw1"] is None


def test_glibc_s_own_count_is_read_too() -> None:
    """With one thread it is what is mapped, but for what an arena begins with; only glibc has it."""
    heap, mapped = (replay(from_events(HELD), f"native:glibc,footprint={name}", interpret=True) for name in ("heap", "mapped"))
    assert 20_000_000 < heap.peak_reserved_bytes < 20_300_000
    assert abs(heap.peak_reserved_bytes - mapped.peak_reserved_bytes) <= 132 << 10
    with pytest.raises(UsageError, match="footprint=heap is glibc's own count\ntry: footprint=mapped"):
        check_options([parse_policy("native:jemalloc,footprint=heap")], None)


MAPPED = "native:glibc,env=[MALLOC_MMAP_THRESHOLD_=65536;MALLOC_TOP_PAD_=0]"


def test_settings_are_in_the_name_and_told_apart(memtrace: Run, tmp_path: Path) -> None:
    lines = [f"{row[0]},{row[1]},{row[2] if len(row) > 2 else ''}" for row in HELD]
    (tmp_path / "held.csv").write_text("\n".join(["op,id,size", *lines]))
    done = memtrace("run", "held.csv", "-p", "native:glibc", "-p", MAPPED, "--no-report", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert f"After the load {MAPPED} holds least" in done.stdout and "at end" in done.stdout
    gate = 'reserved_end_bytes > 1MB where policy = "native:glibc,env=[MALLOC_MMAP*"'
    assert memtrace("compare", "out", "--fail-if", gate).returncode == 0
    assert memtrace("compare", "out", "--fail-if", 'reserved_end_bytes > 1MB where policy = "native:glibc"').returncode == 1


def test_settings_that_are_set_outside_are_told_and_written_down(
    memtrace: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,100\n")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    done = memtrace("run", "t.csv", "-p", "native:glibc", "--no-report", "-o", "out")
    assert "note: MALLOC_ARENA_MAX=2 is set outside" in done.stderr
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["allocator_settings"]["MALLOC_ARENA_MAX"] == "2"
    assert "is set outside" not in memtrace("run", "t.csv", "-p", "first-fit", "--no-report", "-o", "out").stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("MALLOC_ARENA_MAX=1", {"MALLOC_ARENA_MAX": "1"}),
        ("[MALLOC_ARENA_MAX=1; MALLOC_TOP_PAD_=0;]", {"MALLOC_ARENA_MAX": "1", "MALLOC_TOP_PAD_": "0"}),
        ("[GLIBC_TUNABLES=glibc.malloc.tcache_count=0]", {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}),
        ("[MALLOC_TRIM_THRESHOLD=1]", "did you mean 'MALLOC_TRIM_THRESHOLD_'"),
        ("[MALLOC_ARENA_MAX]", "'MALLOC_ARENA_MAX' is not NAME=value"),
        ("[A=1;A=2]", "A is given twice"),
        ("[LD_PRELOAD=x]", "native:/path/to/library.so"),
    ],
)
def test_a_text_of_settings(text: str, found: dict[str, str] | str) -> None:
    if isinstance(found, dict):
        assert parse_settings(text, "glibc") == found
        return
    with pytest.raises(UsageError, match=re.escape(found)):
        parse_settings(text, "glibc")


def test_other_allocators_have_settings_of_their_own() -> None:
    given = {"MALLOC_CONF": "dirty_decay_ms:0,narenas:1"}
    assert parse_settings("[MALLOC_CONF=dirty_decay_ms:0,narenas:1]", "jemalloc") == given
    assert parse_policy("native:jemalloc,env=[MALLOC_CONF=dirty_decay_ms:0,narenas:1]").options["env"] == (
        "[MALLOC_CONF=dirty_decay_ms:0,narenas:1]"
    )
    with pytest.raises(UsageError, match="unknown setting of glibc"):
        check_options([parse_policy("native:glibc,env=[MALLOC_CONF=narenas:1]")], None)


def test_footprints_are_the_systems(tmp_path: Path) -> None:
    """One block of 64 MiB: mapped whole at once, in RAM only as far as it is touched."""
    size = 64 << 20
    trace = from_events([("alloc", 1, 100), ("alloc", 2, size), ("free", 2)])
    for touch, resident in ((True, size), (False, 0)):
        driven = run_driver(trace, "glibc", np.arange(3), capacity=None, touch=touch, threads=False, stop=True)
        first, full, last = driven.readings
        assert size <= full["mapped"] - first["mapped"] <= size + (1 << 16)
        assert abs(full["resident"] - first["resident"] - resident) <= 1 << 16
        assert last["mapped"] == first["mapped"]


def test_a_capacity_is_a_limit() -> None:
    trace = from_events([("alloc", i, 1 << 16) for i in range(100)])
    placed = replay(trace, "native:glibc", 2 << 20, interpret=True, keep=True)
    assert placed.status == "oom" and 25 <= (placed.oom_event or 0) <= 32
    skipped = replay(trace, "native:glibc", 2 << 20, on_oom="skip", interpret=True)
    assert measure(skipped)["failed_allocs"] >= 100 - 32


def test_each_stream_is_a_thread() -> None:
    draw = random.Random(3)
    rows: list[tuple[Any, ...]] = [("alloc", i, 40 + i, None, None, draw.randrange(4)) for i in range(200)]
    rows += [("free", i, None, None, None, draw.randrange(4)) for i in range(0, 200, 2)]
    trace = from_events(rows)
    placed = replay(trace, "native:glibc", keep=True, interpret=True)
    assert validate(placed) is None and placed.addresses is not None
    alone = replay(trace, "native:glibc,threads=false", keep=True, interpret=True)
    assert alone.addresses is not None
    assert np.ptp(alone.addresses[:200]) < 1 << 16  # one heap; arenas of threads are far apart
    assert np.unique(placed.addresses[:200] >> 16).size > np.unique(alone.addresses[:200] >> 16).size


def test_the_address_space_is_laid_together() -> None:
    class Driven:
        addresses = np.array([1 << 40, (1 << 40) + 70000, -1, 1 << 46, 5 << 16], np.int64)

    found = plan.compact_addresses(Driven(), np.array([16, 200_000, 0, 16, 32]))  # type: ignore[arg-type]
    assert found.tolist() == [1 << 16, (1 << 16) + 70000, -1, 6 << 16, 0]


def test_the_grammar() -> None:
    assert parse_policy("native:jemalloc,touch=false").label == "native:jemalloc,touch=false"
    assert parse_policy("native:library=glibc").label == "native:glibc"
    assert parse_policy("native:/opt/lib/libmine.so").options["library"] == "/opt/lib/libmine.so"
    assert parse_policy("native").options["library"] == "glibc" and "native" not in group("all")
    with pytest.raises(UsageError, match="is not key=value"):
        parse_policy("best-fit:16")


def test_missing_libraries_are_named_with_what_installs_them(
    monkeypatch: pytest.MonkeyPatch, memtrace: Run, small_trace: Path
) -> None:
    monkeypatch.setattr(libraries, "_loadable", dict)
    with pytest.raises(UsageError, match="not on this machine\ntry: apt-get install libjemalloc2"):
        libraries.find("jemalloc")
    with pytest.raises(UsageError, match="did you mean 'jemalloc'"):
        libraries.find("jemaloc")
    monkeypatch.undo()
    other = next(path for name, path in libraries._loadable().items() if name.startswith("libm.so"))
    with pytest.raises(UsageError, match="does not define malloc"):
        replay(from_events([("alloc", 1, 1)]), f"native:{other}", interpret=True)
    done = memtrace("run", small_trace, "-p", "native:jemaloc")
    assert done.returncode == 2 and "did you mean 'jemalloc'" in done.stderr


def test_too_much_to_touch_is_refused() -> None:
    trace = from_events([("alloc", 1, 1 << 50)])
    with pytest.raises(UsageError, match="too many to touch"):
        replay(trace, "native:glibc", interpret=True)


@pytest.mark.parametrize("name", sorted(libraries.LIBRARIES))
def test_the_libraries_of_this_machine(name: str) -> None:
    try:
        found = libraries.find(name)
    except UsageError as error:
        pytest.skip(str(error))
    trace = from_events([row[:3] for row in random_rows(2, 600)])  # mimalloc 2.0.9 breaks some alignments: docs/native.md
    placed = replay(trace, f"native:{name}", keep=True, interpret=True)
    assert validate(placed) is None and found is not None
    assert placed.peak_reserved_bytes > trace.facts.peak_live_bytes
