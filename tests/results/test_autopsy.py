"""What is written down for reports besides measures, against slow twins; and the autopsy of a policy that ran out of memory."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from pypdf import PdfReader
from sample_results import sample

from memtrace.cli.ranking import parts_said
from memtrace.engine.registry import parse_policy
from memtrace.engine.replay import DEFAULT_SAMPLES, Hooks, Placement, replay
from memtrace.measures.occupancy import Contents
from memtrace.measures.servable import next_requests
from memtrace.report.blocks import Paragraph, Section
from memtrace.report.document import build
from memtrace.report.flow import pages
from memtrace.report.html import write as write_html
from memtrace.report.markdown import write as write_markdown
from memtrace.report.pdf import marks
from memtrace.report.pdf import write as write_pdf
from memtrace.report.policy_pages import cause, facts, failure_of, sentence
from memtrace.results.folder import read_folder, write_folder
from memtrace.results.gather import distributions, gather
from memtrace.results.holders import MOST_PINS, opened_ranges, pins
from memtrace.results.tables import Results
from memtrace.results.tables import build as build_results
from memtrace.trace import Trace, from_events

GIB = 1 << 30


def random_trace(seed: int, count: int = 400) -> Trace:
    chance, live, rows = random.Random(seed), [], []
    for number in range(count):
        if live and chance.random() < 0.4:
            rows.append(("free", live.pop(chance.randrange(len(live)))))
        else:
            rows.append(("alloc", number, chance.choice((0, 1, 7, 16, 100, 1000)) + chance.randrange(50)))
            live.append(number)
    return from_events(rows)


def results_of(trace: Trace, policy: str, capacity: int | None = None) -> Results:
    contents = Contents(trace, parse_policy(policy), DEFAULT_SAMPLES)
    placement = replay(trace, policy, capacity, interpret=True, hooks=Hooks(look=contents))
    return build_results([gather(placement, contents)], [distributions(trace)], {"schema": "memtrace.results/1"})


@pytest.mark.parametrize("seed", range(5))
def test_the_next_request_is_the_first_alloc_behind_a_sample(seed: int) -> None:
    trace = random_trace(seed)
    [events] = trace.batches()
    asked = [(int(op), int(size)) for op, size in zip(events.op, events.size, strict=True)]
    expected = [next((size for op, size in asked[k + 1 :] if op == 0), -1) for k in range(len(asked))]
    assert next_requests(trace, np.arange(len(asked))).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_requests_are_counted_by_class_with_the_bytes_of_their_blocks(seed: int) -> None:
    trace = random_trace(seed)
    [events] = trace.batches()
    expected: dict[int, list[int]] = {}
    for size in events.size[events.op == 0].tolist():
        row = expected.setdefault(1 << (max(size, 1).bit_length() - 1), [0, 0, 0])
        for i, more in enumerate((1, size, max(16, -(-size // 16) * 16))):
            row[i] += more
    found = results_of(trace, "best-fit").rows("requests", trace.name, "best-fit")
    columns = (found[name].tolist() for name in ("size_bytes_from", "requests", "requested_bytes", "block_bytes"))
    assert {start: [count, asked, held] for start, count, asked, held in zip(*columns, strict=True)} == expected


def live_at_the_end(placement: Placement) -> list[tuple[int, int]]:
    """Address and requested bytes of each live block, from the placement's addresses alone."""
    [events] = placement.trace.batches()
    live: dict[int, tuple[int, int]] = {}
    assert placement.addresses is not None
    for i, address in enumerate(placement.addresses.tolist()):
        slot = int(events.block[i])
        if events.op[i] == 0 and address >= 0:
            live[slot] = (address, int(events.size[i]))
        elif events.op[i] == 1:
            live.pop(slot, None)
    return sorted(live.values())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("policy", ["first-fit", "worst-fit:align=64"])
def test_pins_are_the_blocks_with_the_widest_gaps_beside_them(seed: int, policy: str) -> None:
    placement = replay(random_trace(seed), policy, 12_000, interpret=True, keep=True)
    assert placement.oom_event is not None and placement.reserved is not None
    blocks = live_at_the_end(placement)
    gaps = []
    for i, (address, size) in enumerate(blocks):
        before = max((a + s for a, s in blocks[:i]), default=0)
        behind = blocks[i + 1][0] if i + 1 < len(blocks) else max(int(placement.reserved[-1]), address + size)
        gaps.append((address, size, behind - before))
    address, extent, _, opens = opened_ranges(placement)
    assert list(zip(address.tolist(), extent.tolist(), opens.tolist(), strict=True)) == gaps
    found = pins(placement)
    beside = (found["opens_bytes"] - found["bytes"]).tolist()
    assert beside == sorted(beside, reverse=True) and len(beside) <= MOST_PINS
    assert beside[0] == max(opens - size for _, size, opens in gaps)


def test_a_caching_allocators_pins_are_what_is_free_beside_a_block_in_its_segment() -> None:
    mib = 1 << 20
    rows: list[Any] = [("alloc", k, 4 * mib) for k in range(5)]  # one segment of 20 MiB
    rows += [("free", 0), ("free", 1), ("free", 3), ("alloc", 9, 9 * mib)]
    placement = replay(from_events(rows), "pytorch", 20 * mib, interpret=True)
    assert placement.oom_event == 8
    found = pins(placement)
    assert dict(zip(found["address"].tolist(), (found["opens_bytes"] - found["bytes"]).tolist(), strict=True)) == {
        8 * mib: 12 * mib
    }


def failure(policy: str, rows: list[Any], capacity: int) -> dict[str, Any]:
    trace = from_events(rows)
    found = failure_of(results_of(trace, policy, capacity), trace.name, policy)
    assert found is not None
    return found


PIECES = [("alloc", 1, 48), ("alloc", 2, 16), ("alloc", 3, 48), ("free", 1), ("free", 3)]


@pytest.mark.parametrize(
    ("policy", "rows", "capacity", "why", "word"),
    [
        ("first-fit", [*PIECES, ("alloc", 4, 64)], 112, "fragmentation", "largest free range was 48 B"),
        ("first-fit", [*PIECES, ("alloc", 4, 97)], 112, "full", "1 B above the limit"),
        ("buddy", [("alloc", 1, 65), ("alloc", 2, 60)], 128, "rounding", "take another 63 B"),
        ("first-fit", [("alloc", 1, 200)], 128, "full", "72 B above the limit"),
    ],
)
def test_the_cause_is_worked_out_to_the_byte(policy: str, rows: list[Any], capacity: int, why: str, word: str) -> None:
    found = failure(policy, rows, capacity)
    assert cause(found, capacity) == why
    assert word in sentence(found, capacity)


def test_the_state_at_a_failure_outlives_the_folder(tmp_path: Path) -> None:
    trace = from_events([*PIECES, ("alloc", 4, 64)])
    results = results_of(trace, "first-fit", 112)
    write_folder(results, tmp_path / "r")
    again = read_folder(tmp_path / "r")
    assert failure_of(again, trace.name, "first-fit") == failure_of(results, trace.name, "first-fit")
    assert again.rows("pins", trace.name)["opens_bytes"].tolist() == [112]
    assert again.rows("last_map", trace.name)["live_bytes"].sum() == 16


def test_a_folder_without_the_new_tables_is_read_and_reported(tmp_path: Path) -> None:
    results = results_of(random_trace(1), "first-fit", 12_000)
    write_folder(results, tmp_path / "r")
    for name in ("requests", "failures", "pins", "last_map"):
        (tmp_path / "r" / f"{name}.parquet").unlink()
    old = read_folder(tmp_path / "r")
    assert not len(old.rows("failures", "events")["event"])
    assert "Why it ran out" not in write_markdown(build(old), tmp_path / "r.md").read_text()


def test_each_policy_has_its_section_and_those_that_failed_their_autopsy(tmp_path: Path) -> None:
    results = sample(capacity=int(2.7 * GIB))
    document = build(results)
    sections = [block for block in document.blocks if isinstance(block, Section)]
    assert sorted(section.title for section in sections) == sorted(results.policies("training-step"))
    failed = {row["policy"] for row in results.summary if row["status"] == "oom"}
    told = {
        section.title for section in sections if any("Why it ran out" in getattr(block, "text", "") for block in section.blocks)
    }
    assert told == failed != set()
    verdicts = [block.text for section in sections for block in section.blocks if isinstance(block, Paragraph) and block.strong]
    page, text = (
        write_html(document, results, tmp_path / "r.html").read_text(),
        write_markdown(document, tmp_path / "r.md").read_text(),
    )
    for content in (page, text):
        assert content.count("<details") == len(sections) == content.count("</details>")
    for words in verdicts:
        assert words.split(":")[0] in page and words.split(":")[0] in text


def test_bookmarks_lead_to_every_policy(tmp_path: Path) -> None:
    document = build(sample())
    path = write_pdf(document, tmp_path / "r.pdf")
    found = marks(pages(document.blocks))
    reader = PdfReader(path, strict=True)
    assert reader.page_mode == "/UseOutlines"
    outline = [(each.title, reader.get_destination_page_number(each)) for each in flattened(reader.outline)]
    assert outline == [(mark.title, mark.page) for mark in found]


def flattened(outline: list[Any]) -> list[Any]:
    """The bookmarks in order; those below one are in a list behind it."""
    return [inner for each in outline for inner in (flattened(each) if isinstance(each, list) else (each,))]


@pytest.mark.parametrize(("policy", "rounded"), [("first-fit", 416), (str(ROOT / "docs" / "example_policy.py"), None)])
def test_what_a_policy_does_not_tell_of_its_rounding_is_not_said(policy: str, rounded: int | None) -> None:
    trace = from_events([("alloc", 1, 300), ("alloc", 2, 300), ("free", 1), ("alloc", 3, 401)])
    failed = failure_of(results_of(trace, policy, 700), trace.name, parse_policy(policy).label)
    assert failed is not None and failed["needed_bytes"] == rounded
    rows = dict(facts(failed, 700))
    assert rows.get("which the policy rounded to") == (None if rounded is None else f"{rounded:,}")
    assert rows["event 3 asked for"] == "401" and "Fragmentation" in sentence(failed, 730)


def test_the_parts_of_the_memory_none_of_which_could_serve() -> None:
    rows = [("alloc", 0, 600), ("alloc", 1, 900), ("alloc", 2, 300), ("free", 0), ("alloc", 3, 128), ("alloc", 4, 900)]
    results = results_of(from_events(rows), "regions:sizes=[1000,992],policy=first-fit")
    [trace] = results.traces()
    found = results.rows("parts", trace)
    parts = [
        [found[name].tolist()[i] for name in ("address", "bytes", "live_blocks", "free_bytes", "largest_hole_bytes")]
        for i in (0, 1)
    ]
    assert parts == [[0, 1000, 2, 568, 480], [4096, 992, 1, 80, 80]]
    assert parts_said(results, trace, results.policies(trace)[0]) == [
        "regions:sizes=[1000,992],policy=first-fit: no part could serve the last request:",
        "  at 0: 1000 B, 568 B free, the largest hole 480 B",
        "  at 4,096: 992 B, 80 B free, the largest hole 80 B",
    ]
    assert results_of(from_events(rows), "first-fit", 1600).rows("parts", trace).size() == 0
