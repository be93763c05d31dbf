"""The form of a policy file: what is refused, with what message, by every command; and names that look misspelt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Run

import memtrace as package
from memtrace.engine.driver import initial_state
from memtrace.engine.form import hints
from memtrace.engine.options import options_of
from memtrace.engine.registry import builtin_policies, parse_policy
from memtrace.errors import PolicyError, UsageError
from memtrace.structures.rules import heap_rules
from memtrace.trace import from_events
from memtrace.validation import start

START = Path(str(start.__file__)).read_text()
# What is replaced in a sound policy by what, and what is said of it.
REFUSED = {
    "no max_live": ("(capacity, max_live, unit=16)", "(capacity, unit=16)", "init(capacity, unit=16) has to begin with capacity and"),
    "an option in its place": ("(capacity, max_live, unit=16)", "(capacity, heap, unit=16)", "has to begin with capacity and max_live"),
    "a default for it": ("(capacity, max_live, unit=16)", "(capacity, max_live=9, unit=16)", "has to begin with capacity and"),
    "options alone": ("(capacity, max_live, unit=16)", "(capacity, **options)", "has to begin with capacity and max_live"),
    "no default": ("max_live, unit=16)", "max_live, unit)", "the option unit of init has no default"),
    "a float": ("unit=16)", "unit=0.5)", "the option unit=0.5 of init is a float; an option is a whole number, true or false, or a text"),
    "no value": ("unit=16)", "unit=None)", "the option unit=None of init is a NoneType"),
    "a plan": ("def trim(state)", "def plan(trace, request)", "plan is called only where the state has a ledger"),
    "pieces": ("def trim(state)", "def first_piece(state, handle)", "first_piece is called only where the state has a ledger"),
    "malloc": ("def alloc(", "def malloc(", "has no function alloc; a policy whose State has no ledger needs init, alloc, free, reserved"),
}  # fmt: skip


@pytest.mark.parametrize("change", REFUSED)
def test_what_breaks_the_contract_is_refused_by_every_command(change: str, memtrace: Run, tmp_path: Path) -> None:
    old, new, said = REFUSED[change]
    assert START.count(old) == 1
    (tmp_path / "mine.py").write_text(START.replace(old, new))
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,100\n")
    with pytest.raises(PolicyError, match=r"mine\.py"):
        package.Heap(str(tmp_path / "mine.py"))
    for words in ("run t.csv -p ./mine.py --no-report", "policies ./mine.py", "policies --check ./mine.py --quick"):
        done = memtrace(*words.split())
        assert done.returncode == 4 and "mine.py" in done.stdout + done.stderr and said in done.stdout + done.stderr, words
        assert "mistake in memtrace" not in done.stderr


def test_the_parameters_of_init_may_be_unused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def init(_capacity, _max_live): return 0\ndef alloc(s, r): return 0\ndef free(s, r, a): pass\ndef reserved(s): return 0\n"
    )
    assert list(parse_policy(str(tmp_path / "mine.py")).options) == ["swap"]


def test_a_mistake_in_init_is_named_by_its_line(memtrace: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(START.replace("most = max_live + 2", "most = max_life + 2"))
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,100\n")
    done = memtrace("run", "t.csv", "-p", "./mine.py", "--no-report")
    assert done.returncode == 4 and "most = max_life + 2" in done.stderr and "define max_life" in done.stderr


def test_a_whole_number_may_be_negative(memtrace: Run, tmp_path: Path) -> None:
    text = START.replace("unit=16):", "unit=16, shift=0):").replace(
        "    most = max_live", "    unit = unit << max(-shift, 0)\n    most = max_live"
    )
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,1\n")
    done = memtrace("run", "t.csv", "-p", "./mine.py:shift=-2", "--no-report", "-q")
    assert done.returncode == 0 and "mine:shift=-2" in done.stdout and "64 B" in done.stdout, done.stderr
    assert package.policy(str(tmp_path / "mine.py"), options={"shift": -2}).options["shift"] == -2
    with pytest.raises(UsageError, match="unit=-16 is no power of two"):
        package.Heap(str(tmp_path / "mine.py"), unit=-16)


def test_no_policy_of_memtrace_takes_a_negative_number() -> None:
    from memtrace.engine.binding import bind

    numbers = 0
    for name, module in builtin_policies().items():
        for option in options_of(module).values():
            if isinstance(option.default, int) and not isinstance(option.default, bool):
                found = parse_policy(f"{name}:{option.name}=-1")
                with pytest.raises(UsageError, match=option.name):
                    initial_state(found, bind(found.module), 1 << 16, 64)
                numbers += 1
    assert numbers > 80 and heap_rules(1 << 16) is not None


def test_names_that_look_misspelt_are_hinted_at(memtrace: Run, tmp_path: Path) -> None:
    text = START.replace("COALESCES = True", "MAXALIGN = 8\nCOALESCE = True\nUNIT = 3\nvirtual = True").replace(
        "def resize(", "def realloc("
    )
    text = text.replace("def trim(state)", "def trimm(state)") + "\n\ndef helper(state):\n    return UNIT\n"
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "t.csv").write_text("op,id,size\nalloc,1,100\n")
    owed = [
        ("MAXALIGN", "MAX_ALIGN"),
        ("COALESCE", "COALESCES"),
        ("virtual", "VIRTUAL"),
        ("realloc", "resize"),
        ("trimm", "trim"),
    ]
    lines = [f"nothing uses {own}; did you mean {known}?" for own, known in owed]
    assert sorted(hints(parse_policy(str(tmp_path / "mine.py")).module)) == sorted(lines)
    for words in ("run t.csv -p ./mine.py --no-report", "policies ./mine.py", "policies --check ./mine.py --quick"):
        done = memtrace(*words.split())
        assert done.returncode == 0 and all(line in done.stdout + done.stderr for line in lines), done.stdout + done.stderr
    quiet = memtrace("run", "t.csv", "-p", "./mine.py", "--no-report", "-q", "--force")
    assert "nothing uses" not in quiet.stdout + quiet.stderr


def test_names_of_a_policys_own_are_no_hint(tmp_path: Path) -> None:
    """A name that the file reads, one that is like none, and one of a function that the policy has."""
    text = START.replace("COALESCES = True", "MAXALIGN = 8\nCOALESCES = True").replace(
        "    return state.top[0]\n", "    return state.top[0] + 0 * MAXALIGN\n"
    )
    (tmp_path / "mine.py").write_text(text + "\n\ndef frees(state):\n    return 0\n\n\ndef release(state):\n    return 0\n")
    assert hints(parse_policy(str(tmp_path / "mine.py")).module) == []
    assert hints(builtin_policies()["first-fit"]) == []


ALL = """
from typing import NamedTuple
import numpy as np

COUNTERS = ("accesses", "records", "completes", "frees")

class State(NamedTuple):
    counts: np.ndarray
    starts: np.ndarray

def init(capacity, max_live):
    return State(np.zeros(5, np.int64), np.zeros(1, np.int64))

def alloc(state, request):
    k = state.counts[4]
    if k == state.starts.size:
        return -3
    state.starts[k] = state.starts[k - 1] + 64 if k > 0 else 0
    state.counts[4] = k + 1
    return state.starts[k]

def free(state, request, address):
    pass

def reserved(state):
    return state.counts[4] * 64

def enlarge(state):
    return state._replace(starts=np.concatenate((state.starts, np.zeros(state.starts.size, np.int64))))

def access(state, request, address):
    state.counts[0] += address

def record(state, request, stream, address):
    state.counts[1] += stream
    return -2

def complete(state, request, stream, address):
    state.counts[2] += stream

def freed_by(state, request, stream):
    state.counts[3] += stream

def releasable(state):
    return 7

def write_counters(state, row):
    for i in range(4):
        row[i] = state.counts[i]
"""
ROWS = [
    *(("alloc", number, 50) for number in range(1, 6)),
    ("access", 2),
    ("access", 4),
    ("record", 3, None, None, None, 5),
    ("free", 3, None, None, None, 6),
    ("complete", 3, None, None, None, 9),
]  # fmt: skip


@pytest.mark.parametrize("interpret", [True, False])
def test_a_policy_without_a_ledger_is_called_for_all_that_happens(interpret: bool, tmp_path: Path) -> None:
    """Arrays of one entry grow to five; counters are written; an event of each kind is heard of."""
    (tmp_path / "mine.py").write_text(ALL)
    found = package.replay(from_events(ROWS), str(tmp_path / "mine.py"), keep=True, interpret=interpret, samples=1 << 62)
    assert found.addresses is not None and found.addresses[:5].tolist() == [0, 64, 128, 192, 256]
    assert np.array(found.state.inner.starts).size == 8
    assert found.recorder.sample_counters[len(ROWS) - 1].tolist() == [64 + 192, 5, 9, 6]
