"""Who holds memory: live bytes by tag and what they pin, against a slow twin; and what reports and the terminal say of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run

from memtrace.engine.registry import parse_policies, parse_policy
from memtrace.engine.replay import DEFAULT_SAMPLES, Hooks, Placement, replay
from memtrace.measures import measure
from memtrace.measures.occupancy import Contents
from memtrace.report.document import build
from memtrace.report.holders import live_by_tag, names_of, pinning, sentence
from memtrace.report.markdown import write as write_markdown
from memtrace.report.policy_pages import measures as policy_measures
from memtrace.results import holders
from memtrace.results.folder import read_folder, write_folder
from memtrace.results.holders import AtPeak, Together, at_moment, by_tag, tables_of
from memtrace.results.running import run
from memtrace.results.settings import Settings
from memtrace.trace import Trace, from_events

TAGS = ("weight", "activation", None, "state")


def random_rows(seed: int, count: int = 300) -> list[dict[str, Any]]:
    """Allocs with tags, reallocs and frees; more is freed in the second half."""
    chance, live, rows = random.Random(seed), [], []
    for number in range(count):
        if live and chance.random() < (0.3 if number < count // 2 else 0.7):
            rows.append({"op": "free", "id": live.pop(chance.randrange(len(live)))})
        elif live and chance.random() < 0.1:
            rows.append({"op": "realloc", "id": chance.choice(live), "size": chance.randrange(1, 3000)})
        else:
            rows.append({"op": "alloc", "id": number, "size": chance.randrange(1, 2000), "tag": chance.choice(TAGS)})
            live.append(number)
    return rows


def blocks_of(placement: Placement, rows: list[dict[str, Any]]) -> list[tuple[int, int, str | None]]:
    """Return address, requested bytes and tag of each live block, ascending, from the placement's addresses alone."""
    assert placement.addresses is not None
    live: dict[int, tuple[int, int, str | None]] = {}
    for row, address in zip(rows, placement.addresses.tolist(), strict=True):
        if row["op"] == "free":
            del live[row["id"]]
        else:
            live[row["id"]] = (address, row["size"], row["tag"] if row["op"] == "alloc" else live[row["id"]][2])
    return sorted(live.values(), key=lambda block: block[0])


def twin(blocks: list[tuple[int, int, str | None]]) -> dict[str | None, list[float]]:
    """Return blocks, live and pinned bytes by tag: each free byte between two blocks goes half to each of them."""
    found: dict[str | None, list[float]] = {}
    for at, (address, size, tag) in enumerate(blocks):
        row = found.setdefault(tag, [0, 0, 0])
        below = address - sum(blocks[at - 1][:2]) if at else 2 * address
        above = blocks[at + 1][0] - address - size if at + 1 < len(blocks) else 0
        for i, more in enumerate((1, size, (below + above) / 2)):
            row[i] += more
    return {tag: [count, size, int(held)] for tag, (count, size, held) in found.items()}


def rows_by_tag(columns: dict[str, Any]) -> dict[str | None, list[float]]:
    names = ("tag", "blocks", "live_bytes", "pinned_bytes")
    return {tag: rest for tag, *rest in zip(*(columns[name].tolist() for name in names), strict=True)}


@pytest.mark.parametrize("policy", ["first-fit", "best-fit:trim=true", "buddy", "slab", "bump", "worst-fit:header=8"])
def test_what_tags_hold_and_pin_is_what_a_list_of_blocks_says(policy: str) -> None:
    for seed in range(4):
        rows = random_rows(seed)
        trace = from_events(rows)
        peak = AtPeak(trace, parse_policy(policy))
        placement = replay(trace, policy, keep=True, interpret=True, hooks=Hooks(look=Together(peak)))
        found = tables_of(placement, peak)
        last = trace.facts.peak_live_event
        before = replay(from_events(rows[: last + 1]), policy, keep=True, interpret=True)
        for moment, blocks in (("peak", blocks_of(before, rows[: last + 1])), ("end", blocks_of(placement, rows))):
            part = at_moment(found["holders"], moment)
            assert rows_by_tag(part) == twin(blocks), (seed, moment)
            assert set(part["event"].tolist()) == {last if moment == "peak" else len(rows) - 1}
        assert found["pins"]["moment"].tolist() == sorted(found["pins"]["moment"].tolist(), reverse=True)
        assert (at_moment(found["pins"], "end")["opens_bytes"] == holders.pins(placement)["opens_bytes"]).all()


def test_where_addresses_do_not_tell_only_live_bytes_are_known() -> None:
    rows = random_rows(1, 80)
    for policy in ("paged", "arenas", "bfc"):
        found = by_tag(replay(from_events(rows), policy, interpret=True))
        assert np.isnan(found["pinned_bytes"]).all(), policy
        assert found["live_bytes"].sum() == sum(
            size for _, size, _ in blocks_of(replay(from_events(rows), "bump", keep=True), rows)
        )


def test_the_moment_at_which_memory_ran_out_has_a_name_of_its_own() -> None:
    trace = from_events([("alloc", 1, 100), ("alloc", 2, 1000)])
    peak = AtPeak(trace, parse_policy("first-fit"))
    found = tables_of(replay(trace, "first-fit", 512, interpret=True, hooks=Hooks(look=peak)), peak)
    assert found["holders"]["moment"].tolist() == ["peak", "oom"] and found["holders"]["event"].tolist() == [1, 1]
    assert tables_of(replay(from_events([]), "first-fit", interpret=True), None) == {}


def test_two_looks_see_what_each_sees_alone() -> None:
    trace, policy = from_events(random_rows(3)), parse_policy("best-fit")
    alone, beside = (Contents(trace, policy, DEFAULT_SAMPLES) for _ in range(2))
    replay(trace, policy, interpret=True, hooks=Hooks(look=alone))
    replay(trace, policy, interpret=True, batch_rows=7, hooks=Hooks(look=Together(AtPeak(trace, policy), beside)))
    assert (alone.grid.live == beside.grid.live).all() and (alone.grid.born == beside.grid.born).all()


def test_of_very_many_tags_those_with_most_have_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "MOST_TAGS", 3)
    rows = [{"op": "alloc", "id": i, "size": 10 * (i + 1), "tag": f"site {i}"} for i in range(6)]
    found = by_tag(replay(from_events(rows), "first-fit:align=1,min_block=1", interpret=True))
    assert found["tag"].tolist() == ["site 5", "site 4", "site 3", "(other)"]
    assert found["live_bytes"].tolist() == [60, 50, 40, 60] and found["blocks"].tolist() == [1, 1, 1, 3]


def test_no_tag_and_the_rest_keep_their_names() -> None:
    many = [*(f"weight {i}" for i in range(20)), None, "(other)"]
    assert names_of(many, "auto") == {**dict.fromkeys(many[:20], "weight"), None: None, "(other)": "(other)"}
    assert names_of(many, "name") == {tag: tag for tag in many}


def held_trace() -> Trace:
    """20 large blocks that are freed, and as many small ones between them that stay."""
    rows: list[dict[str, Any]] = []
    for i in range(20):
        rows += [
            {"op": "alloc", "id": 2 * i, "size": 10_000, "tag": "batch"},
            {"op": "alloc", "id": 2 * i + 1, "size": 64, "tag": "key"},
        ]
    return from_events([*rows, *({"op": "free", "id": 2 * i} for i in range(20))], name="held")


def test_the_report_says_who_is_live_and_who_pins(tmp_path: Path) -> None:
    results = run([held_trace()], parse_policies(["first-fit", "paged"]), Settings(), jobs=1)
    first, *_ = results.summary
    assert live_by_tag(results, "held", first) == [
        ("batch", "20", "195.3 KiB", "99.4%", "0 B"),
        ("key", "20", "1.2 KiB", "0.6%", "1.2 KiB"),
    ]
    assert pinning(results, "held", first) == [("key", "20", "1.2 KiB", "195.3 KiB")]
    said = sentence(results, "held", first)
    assert (
        said
        == "At the end, 195.3 KiB of the 196.6 KiB that first-fit holds are free, but lie beside the 20 live blocks (1.2 KiB)."
    )
    assert sentence(results, "held", results.summary[1]) == "", "what lies beside the blocks is not known there"
    write_folder(results, tmp_path / "r")
    again = read_folder(tmp_path / "r")
    assert live_by_tag(again, "held", first) == live_by_tag(results, "held", first)
    write_markdown(build(again), tmp_path / "r.md", tmp_path / "plots")
    text = (tmp_path / "r.md").read_text()
    assert "What is live, by tag" in text and said in text and "| key | 20 | 1.2 KiB | 195.3 KiB |" in text
    (tmp_path / "r" / "holders.parquet").unlink()
    assert live_by_tag(read_folder(tmp_path / "r"), "held", first) == [], "an older folder has no such table"


def test_the_terminal_says_so_too(memtrace: Run, tmp_path: Path) -> None:
    write_folder(run([held_trace()], parse_policies(["first-fit"]), Settings(), jobs=1), tmp_path / "r")
    shown = memtrace("show", "r").stdout
    assert "free bytes that they pin" in shown and "At the end, 195.3 KiB of the 196.6 KiB" in shown
    assert max(len(line) for line in shown.splitlines() if line.startswith(("tag ", "batch", "key", "─"))) <= 80
    document = json.loads(memtrace("show", "r", "--json").stdout)
    assert {(row["moment"], row["tag"]): row["live_bytes"] for row in document["holders"]} == {
        ("peak", "batch"): 200_000, ("peak", "key"): 1280, ("end", "key"): 1280,
    }  # fmt: skip
    assert {row["moment"] for row in document["pins"]} == {"peak", "end"}


def test_measures_of_a_policy_are_shown_where_all_policies_are_alike() -> None:
    """A page has the measures that differ; if none does, those of which a direction is better."""

    def names(rows: list[dict[str, Any]]) -> set[str]:
        return {cell for line in policy_measures(rows, rows[0]).rows for cell in (line[0], line[4]) if cell}

    pools = [measure(replay(held_trace(), f"{name}:initial=1MiB", interpret=True)) for name in ("best-fit", "first-fit")]
    assert {"highest_end_bytes", "least_free_bytes", "external_frag_max"} <= names(pools) and "peak_live_bytes" not in names(
        pools
    )
    assert "reserved_end_bytes" not in names(pools), "it repeats the peak of both"
    pools[1]["reserved_end_bytes"] = 0  # now it does not, and what the first holds at the end is worth a line too
    assert names(pools) == {"reserved_end_bytes"}
