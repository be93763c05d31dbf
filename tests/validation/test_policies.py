"""The check of policies: broken ones are caught at the right cause, sound ones are not found fault with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Run
from validation.option_sets import option_sets
from validation.zoo import CELLS, RANGES, TWO_ENDS, ZOO, Broken

from memtrace.engine.registry import parse_policy
from memtrace.validation import guard
from memtrace.validation.guard import Guard
from memtrace.validation.offences import KINDS
from memtrace.validation.policies import check_policy
from memtrace.validation.probes import mixed
from memtrace.validation.trials import Trials


def written(folder: Path, text: str) -> Path:
    """A policy file with a text."""
    file = folder / "mine.py"
    file.write_text(text)
    return file


@pytest.mark.parametrize("broken", ZOO, ids=[each.name for each in ZOO])
def test_a_broken_policy_is_caught_at_its_cause(broken: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CALL_SECONDS", 0.3)
    report = check_policy(written(tmp_path, broken.source()), quick=True)
    assert report.kind in broken.kinds, report.text()
    assert broken.kinds <= set(KINDS)


def test_no_two_of_the_zoo_are_alike() -> None:
    assert len({each.source() for each in ZOO}) == len(ZOO) >= 60


@pytest.mark.parametrize("base", [RANGES, CELLS, TWO_ENDS], ids=lambda base: base.stem)
def test_the_sound_ones_are_sound(base: Path, tmp_path: Path) -> None:
    report = check_policy(written(tmp_path, base.read_text()), quick=True)
    assert report.ok, report.text()
    assert "taken on trust" in report.text() and "compiles" in report.trusted[-1]


@pytest.mark.parametrize("name", ["buddy", "tlsf", "quick-fit", "pool", "compact", "region"])
def test_no_fault_is_found_with_options(name: str) -> None:
    """The last of the ten sets of each policy; `python -m tests.validation.option_sets` tries all of them."""
    assert len(option_sets()[name]) == 10
    report = check_policy(f"{name}:{option_sets()[name][-1]}", traces=1, quick=True)
    assert report.ok, report.text()


def test_the_header_counts_where_all_is_to_be_had_again() -> None:
    report = check_policy("first-fit:header=8", traces=1, quick=True)
    assert report.ok and any("can be had again" in check.name for check in report.checks), report.text()


def test_a_policy_that_searches_classes_may_not_find_all_of_a_hole() -> None:
    """Of 13,312 free bytes in one hole, a class search offers no 12,960; the heap cannot grow by as many."""
    assert check_policy("tlsf:chunk=1024,extend=full", traces=1, quick=True).ok


def test_the_first_offence_is_named_with_event_request_and_blocks(tmp_path: Path) -> None:
    text = RANGES.read_text().replace("if behind and state.end[i] >= address + size:", "if behind:")
    report = check_policy(written(tmp_path, text), quick=True)
    fault = next(check.fault for check in report.checks if not check.ok)
    assert fault == (
        "random requests 0, no limit of capacity: event 140 (realloc of block 2 from 16 to 419 bytes): "
        "the block [32, 451) overlaps the live block [64, 88), which event 108 placed"
    )


def test_the_line_of_an_endless_loop_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CALL_SECONDS", 0.3)
    text = RANGES.read_text().replace("        i += 1\n", "        i += 0\n")
    report = check_policy(written(tmp_path, text), quick=True)
    assert report.kind == "endless"
    assert "i += 0" in report.text() or "while i < state.holes[0]" in report.text()


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("import random", "    if random.random() < 0.2:\n        return grow(state, request, size, align)\n"),
        ("COUNT = [0]", "    COUNT.append(0)\n    if len(COUNT) % 5 == 0:\n        return grow(state, request, size, align)\n"),
    ],
    ids=["random", "a list of the module"],
)
def test_what_outlives_the_state_is_found(header: str, line: str, tmp_path: Path) -> None:
    text = RANGES.read_text().replace("import numpy as np\n", f"import numpy as np\n\n{header}\n", 1)
    text = text.replace(
        "    for i in range(state.holes[0]):\n        address = align_up",
        line + "    for i in range(state.holes[0]):\n        address = align_up",
        1,
    )
    assert check_policy(written(tmp_path, text), quick=True).kind == "differs"


def test_a_hash_of_text_is_found_by_another_process(tmp_path: Path) -> None:
    """Texts are hashed otherwise in each process; here the sizes of blocks depend on one."""
    old = "    return max(state.unit, align_up(size, state.unit))"
    text = RANGES.read_text().replace(old, f'{old} + state.unit * (hash("here") % 10007)')
    assert text.count("hash") == 1
    with Guard() as watching:
        trials = Trials(parse_policy(str(written(tmp_path, text))), watching)
        fault = trials.elsewhere([mixed(0, 150)])
        assert fault is not None and fault.kind == "differs", fault
        trials = Trials(parse_policy(str(written(tmp_path, RANGES.read_text()))), watching)
        assert trials.elsewhere([mixed(0, 150)]) is None


def test_a_state_without_limit_is_found_at_once(tmp_path: Path) -> None:
    text = TWO_ENDS.read_text().replace("min(capacity, space)", "capacity")
    report = check_policy(written(tmp_path, text), quick=True)
    assert report.kind == "arrays" and len(report.checks) == 1
    assert "without a limit of capacity (4611686018427387904 bytes) it reserves 4611686018427387904 bytes" in report.text()


def test_a_new_policy_is_sound_and_explained(memtrace: Run, tmp_path: Path) -> None:
    assert memtrace("policies", "--new", "mine.py").returncode == 0
    again = memtrace("policies", "--new", "mine.py")
    assert again.returncode == 2 and "mine.py is there already" in again.stderr
    assert memtrace("policies", "--new", "mine.py", "--force").returncode == 0
    assert memtrace("policies", "--new", "mine").returncode == 2
    checked = memtrace("policies", "--check", "./mine.py", "--json")
    document = json.loads(checked.stdout)
    assert checked.returncode == 0 and document["ok"] and all(each["ok"] for each in document["checks"]), checked.stdout
    assert {"compiled, it places as interpreted", "another process gives the same placement"} <= {
        each["name"] for each in document["checks"]
    }
    shown = memtrace("policies", "./mine.py").stdout
    assert "First fit: a block takes the low end" in shown and "unit    16" in shown
    assert "Its functions: init, alloc, free, reserved, survey, resize, trim" in shown
    assert "a ledger" in shown and "searches, splits and merges are not known" in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    listed = json.loads(memtrace("policies", "./mine.py", "--json").stdout)["policies"][0]
    assert [each["name"] for each in listed["options"]] == ["unit", "swap"]
    assert listed["constants"] == {"COALESCES": True} and "next_event" in listed["missing"]


def test_a_missing_piece_is_named(memtrace: Run, tmp_path: Path) -> None:
    text = CELLS.read_text()
    start, end = text.index("def largest_hole"), len(text)
    written(tmp_path, text[:start] + text[end:])
    for words in (("policies", "./mine.py"), ("policies", "--check", "./mine.py")):
        done = memtrace(*words)
        assert done.returncode == 4 and "has no function largest_hole" in done.stdout + done.stderr
    other = text.replace("class State(", "class Cells(").replace("return State(", "return Cells(")
    written(tmp_path, other + "\n\ndef reserved(state):\n    return state.ledger[RESERVED]\n")
    assert "a field ledger of a class called State" in check_policy(tmp_path / "mine.py", quick=True).text()
    written(tmp_path, other[:start] + "\n\ndef reserved(state):\n    return state.ledger[RESERVED]\n")
    report = check_policy(tmp_path / "mine.py", quick=True)
    assert "its class is not called State" in report.text()
