"""Pickles are read as Python reads them, and those that would run code, or are too large, cut or odd, are refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Run
from hypothesis import given, settings
from hypothesis import strategies as st

from memtrace.errors import InputError
from memtrace.formats.snapshot import machine, pickles
from memtrace.formats.snapshot.pickles import read_tree
from memtrace.formats.snapshot.tree import KIND, Tree
from memtrace.trace.sources import Source

DATA = ROOT / "tests" / "data" / "torch"


def tree_of(data: bytes, tmp_path: Path) -> Tree:
    path = tmp_path / "some.pickle"
    path.write_bytes(data)
    return read_tree(Source(str(path), path, None))


class Refusing(pickle.Unpickler):
    """The oracle: Python's own, for plain data."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("persistent")


def as_plain(tree: Tree, value: int) -> Any:
    """A value as Python's, containers too; of a key set twice the first, as the tree looks it up."""
    if tree.is_list(value):
        return [as_plain(tree, item) for item in tree.items(value).tolist()]
    if tree.is_dict(value):
        number = value >> machine.KIND_BITS
        shape = int(tree.heap.dict_shape[number])
        if shape < 0:
            return {}
        first, count = int(tree.heap.shape_start[shape]), int(tree.heap.shape_count[shape])
        start = int(tree.heap.dict_start[number])
        pairs = zip(
            tree.heap.shape_keys[first : first + count].tolist(), tree.heap.items[start : start + count].tolist(), strict=True
        )
        return {as_plain(tree, key): as_plain(tree, item) for key, item in reversed(list(pairs))}
    assert value & KIND not in (machine.BIG, machine.BYTES)
    return tree.plain(value)


def as_lists(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [as_lists(item) for item in value]
    return {key: as_lists(item) for key, item in value.items()} if isinstance(value, dict) else value


NUMBERS = st.integers(-(1 << 57), 1 << 57)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(TEXTS, inner, max_size=8) | st.tuples(inner, inner),
    max_leaves=60,
)


@given(value=PLAIN, protocol=st.integers(2, 5))
@settings(max_examples=300, deadline=None)
def test_plain_data_is_read_as_python_reads_it(value: Any, protocol: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = tree_of(pickle.dumps(value, protocol), tmp_path_factory.mktemp("plain"))
    assert as_plain(tree, tree.root) == as_lists(value)


def test_shared_values_long_lists_and_growth(tmp_path: Path) -> None:
    shared = {"name": "f" * 300, "line": 3}
    value = [{"n": i, "frames": [shared] * 3, "wide": {f"k{j}": j for j in range(i % 50)}} for i in range(30_000)]
    tree = tree_of(pickle.dumps(value), tmp_path)
    assert as_plain(tree, tree.root) == value
    assert tree.numbers(tree.column(tree.items(tree.root), "n"), -1).tolist() == list(range(30_000))


def test_dicts_that_are_filled_in_batches(tmp_path: Path) -> None:
    value = {f"key {i}": i for i in range(3500)}  # a pickler sets a thousand at a time
    tree = tree_of(pickle.dumps(value), tmp_path)
    assert as_plain(tree, tree.root) == value


def test_windows_may_cut_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = [{"text": "x" * n, "n": n, "t": (n, 1.5)} for n in range(600)]
    for block in (1, 7, 100):
        monkeypatch.setattr(pickles, "BLOCK_BYTES", block)
        tree = tree_of(pickle.dumps(value), tmp_path)
        assert as_plain(tree, tree.root) == as_lists(value)


def test_recorded_snapshots(tmp_path: Path) -> None:
    for packed in sorted(DATA.glob("*/snapshot.pickle.gz")):
        data = gzip.decompress(packed.read_bytes())
        tree = tree_of(data, tmp_path)
        assert as_plain(tree, tree.root) == as_lists(Refusing(io.BytesIO(data)).load())


class Runs:
    """What must not happen: unpickled, it makes a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


class Odd:
    pass


def memo_of_a_billion() -> bytes:
    return b"\x80\x04]r" + struct.pack("<I", 1_000_000_000) + b"."


HOSTILE = {
    "global": b"\x80\x02cos\nsystem\n.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "object": pickle.dumps(Odd()),
    "set": pickle.dumps({1, 2}, 5),
    "old object": b"(i__main__\nOdd\n.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"\x80\x02\x8c\x01aQ.",
    "text persistent": b"\x80\x02Pabc\n.",
    "memo": memo_of_a_billion(),
    "memo that is not there": b"\x80\x02h\x05.",
    "huge text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"abc",
    "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", (1 << 63) + 5) + b"abc",
    "huge number": b"\x80\x02\x8b" + struct.pack("<I", (1 << 32) - 1) + b"abc",
    "huge frame": b"\x80\x04\x95" + b"\xff" * 8 + b".",
    "cut": pickle.dumps({"segments": [{"address": 1}]})[:-5],
    "only a head": b"\x80\x04",
    "marks": b"\x80\x02" + b"(" * 100_000,
    "no list": b"\x80\x02K\x01K\x02a.",
    "nothing to append to": b"\x80\x02(K\x01e.",
    "key without value": b"\x80\x02}(K\x01u.",
    "stop of nothing": b"\x80\x02.",
    "protocol 0": b"(lp0\n.",
    "buffers": b"\x80\x05\x97.",
    "dict that grows by itself": b"\x80\x02}" + b"".join(b"M" + struct.pack("<H", i) + b"Ns" for i in range(5000)) + b".",
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_pickles_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        tree_of(HOSTILE[name], tmp_path)


def test_deep_nesting_within_bounds_is_no_recursion(tmp_path: Path) -> None:
    depth = 100_000
    tree = tree_of(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".", tmp_path)
    value, found = tree.root, 0
    while (items := tree.items(value)).size:
        value, found = int(items[0]), found + 1
    assert found == depth - 1


def test_a_pickle_of_a_deep_nest_is_no_snapshot(memtrace: Run, tmp_path: Path) -> None:
    (tmp_path / "deep.pickle").write_bytes(b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".")
    done = memtrace("info", "deep.pickle")
    assert done.returncode == 3 and "no memory snapshot" in done.stderr


def test_a_bomb_of_lists_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "KEPT_FIRST", 1 << 20)
    wide = b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(1000))
    grows = b"}(" + wide + b"u" + b"".join(b"M" + struct.pack("<H", 2000 + i) + b"Ns" for i in range(3000)) + b"0"
    with pytest.raises(InputError, match="unfolds"):
        tree_of(b"\x80\x02" + grows * 20 + b"N.", tmp_path)


def test_no_code_is_run_and_the_command_exits_3(memtrace: Run, tmp_path: Path) -> None:
    victim = tmp_path / "made"
    (tmp_path / "bad.pickle").write_bytes(pickle.dumps({"segments": [], "device_traces": [Runs(str(victim))]}))
    done = memtrace("info", "bad.pickle")
    assert done.returncode == 3 and not victim.exists()
    assert "asks to import or call something" in done.stderr and "Traceback" not in done.stderr


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_snapshots_are_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = bytearray(gzip.decompress((DATA / "29" / "snapshot.pickle.gz").read_bytes())[:20_000] + b".")
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(whole)))
    with contextlib.suppress(InputError):
        tree_of(bytes(whole[:cut]), tmp_path_factory.mktemp("damaged"))


@given(data=st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_random_opcodes_are_read_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = b"\x80\x04" + data
    try:
        expected = Refusing(io.BytesIO(whole)).load()
    except Exception:
        expected = InputError
    try:
        tree = tree_of(whole, tmp_path_factory.mktemp("random"))
    except InputError:
        return
    # What is read although Python refuses it is odd data, such as a dict with a list as its key, never code.
    if expected is not InputError and isinstance(expected, int) and abs(expected) < 1 << 57:
        assert tree.plain(tree.root) == expected


def test_numbers_at_the_edges(tmp_path: Path) -> None:
    edge = machine.MOST_INT
    value = [0, -1, 127, 128, 255, 256, 65535, 65536, -(1 << 31), 1 << 31, edge - 1, 1 - edge]
    tree = tree_of(pickle.dumps(value), tmp_path)
    assert as_plain(tree, tree.root) == value
    tree = tree_of(pickle.dumps([edge, -edge, 1 << 63, 1 << 200, b"bytes"]), tmp_path)
    assert np.unique(tree.items(tree.root) & KIND).tolist() == [machine.BIG, machine.BYTES]
