"""Policy files: loaded anew once they or a module beside them change, told apart by their labels, and named in the manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT, Run

import memtrace as package
from memtrace.engine.registry import file_texts, parse_policies, parse_policy
from memtrace.errors import PolicyError, UsageError
from memtrace.trace import from_events

TEXT = """
from typing import NamedTuple
import numpy as np
from spacing_of_mine import STEP

class State(NamedTuple):
    top: np.ndarray

def init(capacity, max_live, first=0):
    state = State(np.zeros(1, np.int64))
    state.top[0] = first
    return state

def alloc(state, request):
    state.top[0] += STEP
    return state.top[0] - STEP

def free(state, request, address):
    pass

def reserved(state):
    return state.top[0]
"""
TRACE = from_events([("alloc", 1, 10), ("alloc", 2, 10)])


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A policy file with a module beside it."""
    (tmp_path / "spacing_of_mine.py").write_text("STEP = 16\n")
    path = tmp_path / "mine.py"
    path.write_text(TEXT)
    return path


def addresses(text: Path | str) -> list[int]:
    """Return the addresses of the trace's two blocks; the policy's own text is run."""
    found = package.replay(TRACE, str(text), keep=True, interpret=True).addresses
    assert found is not None
    return found.tolist()  # type: ignore[no-any-return]


def test_an_edited_file_is_loaded_anew_and_an_unchanged_one_is_not(mine: Path) -> None:
    assert addresses(mine) == [0, 16]
    assert parse_policy(str(mine)).module is parse_policy(str(mine)).module
    before = parse_policy(str(mine))
    mine.write_text(TEXT.replace("return state.top[0] - STEP", "return state.top[0] - STEP - 0 * 16 + 0"))
    assert parse_policy(str(mine)).module is not before.module
    mine.write_text(TEXT.replace("first=0", "first=8"))
    assert addresses(mine) == [8, 24]
    block = package.Heap(str(mine)).allocate(10)
    assert block is not None and block.address == 8
    mine.write_text(TEXT)
    assert addresses(mine) == [0, 16] and parse_policy(str(mine)).module is before.module


def test_a_constant_of_a_module_beside_it_counts(mine: Path) -> None:
    """The module is imported again, though its name is taken; an edit within the second of the last is seen too."""
    for step in (16, 32, 48, 16):
        (mine.parent / "spacing_of_mine.py").write_text(f"STEP = {step}\n")
        assert addresses(mine) == [0, step]
    assert not (mine.parent / "__pycache__").exists()


def test_modules_of_one_name_beside_two_files_are_two(mine: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text(TEXT)
    (other.parent / "spacing_of_mine.py").write_text("STEP = 64\n")
    assert [addresses(path) for path in (mine, other, mine)] == [[0, 16], [0, 64], [0, 16]]


@pytest.mark.parametrize(
    ("line", "likely"),
    [
        ("from memtrace.contract.ledger import RESERVD", "RESERVED in place of RESERVD"),
        ("from memtrace.contract import ledgr", "ledger in place of ledgr"),
        ("import memtrace.contrat.ledger", "contract in place of contrat"),
        ("from memtrace.contract.ledger import zzzzzzzz", ""),
    ],
)
def test_an_import_that_is_misspelt_gets_the_nearest_name(mine: Path, line: str, likely: str) -> None:
    mine.write_text(f"{TEXT}\n{line}\n")
    with pytest.raises(PolicyError) as raised:
        parse_policy(str(mine))
    assert str(raised.value).partition("\ntry: ")[2] == likely


def test_a_file_that_fails_is_named_with_its_line(mine: Path) -> None:
    mine.write_text(TEXT + "\n1 / 0\n")
    with pytest.raises(PolicyError, match=r"mine\.py cannot be loaded: ZeroDivisionError: division by zero \(line 24\)"):
        parse_policy(str(mine))


def test_the_label_is_the_stem_or_the_name_that_is_given(mine: Path, tmp_path: Path) -> None:
    def labels(*texts: str) -> list[str]:
        return [policy.label for policy in parse_policies(texts)]

    other = tmp_path / "old" / "mine.py"
    other.parent.mkdir()
    other.write_text(TEXT.replace("from spacing_of_mine import STEP", "STEP = 8"))
    buddy = tmp_path / "buddy.py"
    buddy.write_text(TEXT)
    assert labels(str(mine), f"{mine}:first=32", f"{mine}:name=mine2,first=64", str(mine)) == ["mine", "mine:first=32", "mine2"]
    assert labels(str(mine), str(other)) == [f"{tmp_path.name}/mine", "old/mine"]
    assert labels(f"{mine}:first=8", f"{other}:first=16", f"{other}:name=o", f"{mine}:first=24") == [
        f"{tmp_path.name}/mine:first=8", "old/mine:first=16", "o", f"{tmp_path.name}/mine:first=24"
    ]  # fmt: skip
    assert labels(f"{mine}:first=8", f"{mine}:first=16") == ["mine:first=8", "mine:first=16"]
    assert labels(str(buddy), "buddy") == ["buddy.py", "buddy"]
    with pytest.raises(UsageError, match="two policies are called a\ntry: another name"):
        labels(f"{mine}:name=a", f"{other}:name=a")
    with pytest.raises(UsageError, match="has to be a word"):
        labels(f"{mine}:name=a b")
    found = parse_policies([f"{mine}:name=mine2,first=64"])
    assert found[0].options["first"] == 64 and file_texts(found) == {"mine2": f"{mine}:name=mine2,first=64"}
    function, arguments = found[0].__reduce__()
    assert function(*arguments).label == "mine2"


def test_runs_and_suites_name_the_path_in_the_manifest(mine: Path, tmp_path: Path, memtrace: Run) -> None:
    """And a policy file that maps pages has a compiled address map, whatever its path."""
    pages = (ROOT / "memtrace" / "policies" / "paged.py").read_text()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "vpaged.py").write_text(pages)
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,5000\nalloc,2,100\nfree,1,\n")
    done = memtrace("run", "t.csv", "-p", "./more/vpaged.py", "-p", "paged", "--no-report", "-o", "out")
    assert done.returncode == 0 and "vpaged" in done.stdout and "./more" not in done.stdout, done.stderr
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["policies"] == {"vpaged": "./more/vpaged.py"}
    (tmp_path / "memtrace.toml").write_text('output = "all"\npolicies = ["./more/vpaged.py"]\ntraces = ["t.csv"]\n')
    assert memtrace("suite", "memtrace.toml", "-j", "1").returncode == 0
    whole = json.loads((tmp_path / "all" / "manifest.json").read_text())
    assert whole["policies"] == {"vpaged": str(tmp_path.resolve() / "more" / "vpaged.py")}
