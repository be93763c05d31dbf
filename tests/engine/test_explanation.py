"""Mistakes in a user's policy: each is said in words, with the file, the line and a way out, and none is blamed on memtrace."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run

import memtrace as package
from memtrace.engine.explanation import first_problem
from memtrace.engine.registry import builtin_policies, load_file
from memtrace.errors import PolicyError
from memtrace.trace import from_events

BASE = '''"""A stack of blocks."""
from typing import NamedTuple

import numpy as np


class State(NamedTuple):
    top: np.ndarray
    used: np.ndarray
    start: np.ndarray
    capacity: int


def init(capacity, max_live, unit=16):
    return State(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(9, np.int64), capacity)


def block_size(size):
    return max(16, (size + 15) // 16 * 16)


def alloc(state, request):
    size = block_size(request.size)
    align = max(16, request.align)
    address = (state.top[0] + align - 1) // align * align
    if address + size > state.capacity:
        return -1
    state.top[0] = address + size
    state.used[0] += size
    return address


def free(state, request, address):
    size = block_size(request.size)
    state.used[0] -= size


def reserved(state):
    return state.top[0]
'''
ADDED = "    state.used[0] += size\n"
TRACE = from_events([("alloc", 1, 100), ("free", 1), ("alloc", 2, 40), ("realloc", 2, 600)])

# name: what is replaced, by what, the text of the line that is named, what is said of it, and what is to be written instead
READ = {
    "a field is set": (ADDED, "    state.used += size\n", "state.used += size", "the field used of the state, a NamedTuple, is set", "state.used[0]"),
    "the request is set": (ADDED, "    request.size = size\n", "request.size = size", "belongs to the engine", "a variable of your own"),
    "an f-string": (ADDED, f'{ADDED}    text = f"{{size}}"\n', 'text = f"{size}"', "an f-string makes a text", "leave the text out"),
    "an f-string in an error": (ADDED, '    if size < 0:\n        raise ValueError(f"{size}")\n', 'raise ValueError(f"{size}")', "an f-string", "init may raise"),
    "a missing return": ("    return address\n", "", "state.used[0] += size", "ends without return, and gives None", "return -1"),
    "None": ("        return -1\n", "        return None\n", "return None", "None is returned", "return -1"),
    "a tuple": ("    return address\n", "    return address, size\n", "return address, size", "a tuple is returned", "return -1"),
    "a text": ("        return -1\n", '        return "full"\n', 'return "full"', "something else than a whole number", "return -1"),
    "a dict": (ADDED, "    seen = {}\n    seen[address] = size\n", "seen = {}", "a dict is made", "an entry per block"),
    "a set": (ADDED, "    seen = {address, size}\n", "seen = {address, size}", "a set is made", "0 or 1"),
    "a list": (ADDED, f"{ADDED}    found = []\n", "found = []", "a list is made", "an array of the state"),
    "a list of a loop": (ADDED, f"{ADDED}    found = [x for x in range(3)]\n", "found = [x for x in range(3)]", "a list is made", "a for loop"),
    "sorted": (ADDED, f"{ADDED}    found = sorted(state.start)\n", "found = sorted(state.start)", "a list is made", "an array of the state"),
    "a generator": (ADDED, f"{ADDED}    size = sum(x for x in range(3))\n", "size = sum(x for x in range(3))", "a generator is made", "a for loop"),
    "try": (ADDED, "    try:\n        state.used[0] += size\n    except IndexError:\n        return -1\n", "try:", "exceptions are caught", "with if"),
    "with": (ADDED, f'{ADDED}    with open("x"):\n        pass\n', 'with open("x"):', "a with statement", "leave it out"),
    "an import": (ADDED, f"{ADDED}    import math\n", "import math", "there is an import", "at the top of the file"),
    "a missing import": (ADDED, f"{ADDED}    size = math.ceil(size)\n", "size = math.ceil(size)", "the name math is not defined", "import or define math"),
    "a global variable": (ADDED, f"{ADDED}    global COUNT\n    COUNT = size\n", "global COUNT", "a global variable is set", "an array of one element"),
    "an array of the module": (ADDED, f"{ADDED}    COUNTS[0] = size\n", "COUNTS[0] = size", "a variable of the module, is changed", "let the state have"),
    "a new array": (ADDED, f"{ADDED}    found = np.zeros(3)\n", "found = np.zeros(3)", "compiled code allocates nothing", "an array of the state"),
    "a state that is unpacked": (ADDED, "    top, used, start, capacity = state\n", "top, used, start, capacity = state", "is unpacked", "by name"),
    "a state that is indexed": (ADDED, "    size = state[1]\n", "size = state[1]", "state is indexed", "by name"),
    "a request that is indexed": ("request.align", 'request["align"]', 'align = max(16, request["align"])', "request is indexed", "by name"),
    "too few parameters": ("def alloc(state, request):", "def alloc(state):", "def alloc(state):", "alloc(state, request)", "def alloc(state, request):"),
    "a wrong call": ("block_size(request.size)\n    align", "block_size(request.size, 3)\n    align", "block_size(request.size, 3)", "with 2 arguments", "def line"),
    "recursion": ("    return max(16, (size", "    return block_size(16) if size < 16 else max(16, (size", "return block_size(16)", "calls itself", "a loop"),
    "a large number": (ADDED, f"{ADDED}    size = size & (1 << 70)\n", "size = size & (1 << 70)", "does not fit in 64 bits", "2^63"),
}  # fmt: skip
# The same for what shows when the policy runs or is compiled.
RUN = {
    "a division": ("// 16 * 16", "/ 16 * 16", "return max(16, (size + 15) / 16 * 16)", "/ gives a float", "write // for /"),
    "a factor": ("    state.top[0] = address + size\n", "    state.top[0] = address + size * 1.5\n", "size * 1.5", "this is a float", "whole numbers"),
    "a misspelt field": ("    state.top[0] = ad", "    state.tops[0] = ad", "state.tops[0] = address + size", "'State' object has no attribute 'tops'", "give State the field tops"),
    "an index": ("    state.top[0] = ad", "    state.start[99] = ad", "state.start[99] = address + size", "IndexError", "test the index before"),
    "an option without default": ("unit=16", "unit", "def init(capacity, max_live, unit):", "the option unit of init has no default", "unit=0"),
    "a class for the state": ("class State(NamedTuple):", "class State:", "return State(", "State() takes no arguments", "let State be a NamedTuple"),
    "a zero": (ADDED, f"{ADDED}    size = 5 // (state.start.size - 9)\n", "size = 5 // (state.start.size - 9)", "ZeroDivisionError", "test for 0"),
    "no import of numpy": ("import numpy as np\n", "", "COUNTS = np.zeros", "name 'np' is not defined", "import or define np"),
}  # fmt: skip
COMPILED = {
    "a misspelt field": ("    state.top[0] = ad", "    state.tops[0] = ad", "state.tops[0] = address + size", "the state has no field tops", "give State the field"),
    "a slice": (ADDED, f"{ADDED}    state.start[1:5] = state.start[0:4]\n", "state.start[1:5] = state.start[0:4]", "a slice is set to another slice", "a for loop"),
    "a field is set": (ADDED, "    state.used += size\n", "state.used += size", "the field used of the state, a NamedTuple, is set", "state.used[0]"),
}  # fmt: skip


def written(folder: Path, mistake: tuple[str, str, str, str, str]) -> Path:
    """A policy file with a mistake."""
    old, new, *_ = mistake
    assert BASE.count(old) >= 1
    file = folder / "mine.py"
    file.write_text(BASE.replace(old, new, 1).replace("class State", "COUNTS = np.zeros(1, np.int64)\n\n\nclass State", 1))
    return file


def agrees(said: str, file: Path, mistake: tuple[str, str, str, str, str]) -> None:
    """The message names the file and the line with its text, what is wrong, and what to write instead."""
    _, _, line, what, instead = mistake
    number = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if line in text)
    assert f"mine.py:{number}: " in said or f"(line {number})" in said, said
    assert what in said and instead in said, said
    assert "memtrace" not in said.replace(str(file), "").replace("memtrace policies --check", ""), said


@pytest.mark.parametrize("mistake", READ.values(), ids=list(READ))
def test_a_mistake_is_found_by_reading(mistake: tuple[str, str, str, str, str], tmp_path: Path) -> None:
    file = written(tmp_path, mistake)
    agrees(first_problem(load_file(file)) or "", file, mistake)


@pytest.mark.parametrize("mistake", RUN.values(), ids=list(RUN))
def test_a_mistake_that_shows_when_it_runs(mistake: tuple[str, str, str, str, str], tmp_path: Path) -> None:
    file = written(tmp_path, mistake)
    with pytest.raises(PolicyError) as caught:
        package.replay(TRACE, str(file), interpret=True)
    agrees(str(caught.value), file, mistake)
    with pytest.raises(PolicyError) as caught:
        package.Heap(str(file)).allocate(100)
    agrees(str(caught.value), file, mistake)


@pytest.mark.parametrize("mistake", COMPILED.values(), ids=list(COMPILED))
def test_a_mistake_that_the_compiler_finds(mistake: tuple[str, str, str, str, str], tmp_path: Path) -> None:
    file = written(tmp_path, mistake)
    with pytest.raises(PolicyError) as caught:
        package.replay(TRACE, str(file), interpret=False)
    agrees(str(caught.value), file, mistake)


def test_the_command_line_says_the_same(memtrace: Run, small_trace: Path, tmp_path: Path) -> None:
    mistake = READ["an f-string"]
    file = written(tmp_path, mistake)
    done = memtrace("run", small_trace, "-p", "./mine.py", "--no-report")
    assert done.returncode == 4
    agrees(done.stderr, file, mistake)
    checked = memtrace("policies", "--check", "./mine.py", "--quick")
    assert checked.returncode == 4
    agrees(checked.stdout, file, mistake)


def test_a_list_in_the_state_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, ("np.zeros(9, np.int64)", "[0] * 9", "", "", ""))
    with pytest.raises(PolicyError, match="the field start of the state is a list"):
        package.replay(TRACE, str(file))
    assert package.replay(TRACE, str(file), interpret=True).events == 4


def test_the_start_has_no_mistakes(tmp_path: Path) -> None:
    assert first_problem(load_file(written(tmp_path, ("stack", "stack", "", "", "")))) is None


@pytest.mark.parametrize("name", [each for each in builtin_policies() if each not in ("arenas", "regions", "chunks", "native")])
def test_no_mistake_is_found_in_a_policy_that_compiles(name: str, tmp_path: Path) -> None:
    """Copies of the policies of memtrace, as files of a user."""
    file = tmp_path / f"copy_{name.replace('-', '_')}.py"
    file.write_text(Path(builtin_policies()[name].__file__ or "").read_text())
    assert first_problem(load_file(file)) is None


def test_a_float_that_is_only_compared_is_none(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        (
            ADDED,
            f"{ADDED}    share = state.used[0] / max(state.top[0], 1)\n    if share > 0.5:\n        state.start[0] += 1\n",
            "",
            "",
            "",
        ),
    )
    assert first_problem(load_file(file), package.Heap(str(file))._run.state.inner) is None
