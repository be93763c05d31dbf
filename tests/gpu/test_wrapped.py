"""Snapshots as JSON and in a viewer's page: read as the pickle is, and nothing in a page is run."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from sample_snapshots import GPU, plain

from memtrace.reading import read

FULL = GPU / "really_full.pickle.gz"


def page(data: bytes) -> bytes:
    """As torch.cuda._memory_viz writes it: the data is padded with zeros to a multiple of three."""
    padded = data + bytes(3 - len(data) % 3)
    files = json.dumps([{"name": "snapshot.pickle", "base64": base64.b64encode(padded).decode()}])
    return f'<!DOCTYPE html><html><body><script type="module">\nconst local_files = {files}\n</script></body></html>'.encode()


def columns(path: Path) -> list[Any]:
    """Ops, sizes and tags of a trace."""
    trace = read(path)
    parts = list(trace.batches())
    return [np.concatenate([getattr(part, name) for part in parts]).tolist() for name in ("op", "size", "tag")] + [trace.tags]


def test_json_and_pages_are_the_same_trace(tmp_path: Path, memtrace: Run) -> None:
    expected = columns(FULL)
    (tmp_path / "page.html").write_bytes(page(pickle.dumps(plain(FULL), 4)))
    (tmp_path / "list.json").write_text(json.dumps(plain(GPU / "state_only.pickle.gz")["segments"]))
    assert columns(GPU / "really_full.json.gz") == expected == columns(tmp_path / "page.html")
    assert read(tmp_path / "list.json").facts.allocs == 19
    said = [
        json.loads(memtrace("whatif", path, "--json").stdout)
        for path in (FULL, GPU / "really_full.json.gz", tmp_path / "page.html")
    ]
    assert all({**one, "trace": ""} == {**said[0], "trace": ""} for one in said)


class Runs:
    def __reduce__(self) -> Any:
        return print, ("ran",)


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("page.html", page(pickle.dumps(Runs(), 4)), "plain data only"),
        ("page.html", b"<html><body>base64 nothing</body></html>", "no snapshot"),
        ("page.html", b'<html>base64 <img src="data:image/png;base64,AAAA"></html>', "picture"),
        ("page.html", b'<html>"base64": "A"</html>', "damaged"),
        ("page.html", page(pickle.dumps(plain(FULL), 4)[:-200]), "cut"),
        ("s.json", b'{"segments": [{"total_size": ', "no JSON"),
        ("s.json", b'{"device_traces": ' + b"[" * 100_000, "nested too deep"),
        ("s.json", b'{"device_traces": 5, "segments": 7}', "neither"),
    ],
)
def test_broken_and_hostile_files_are_refused(name: str, data: bytes, word: str, tmp_path: Path, memtrace: Run) -> None:
    (tmp_path / name).write_bytes(data)
    done = memtrace("info", tmp_path / name)
    assert done.returncode == 3 and word in done.stderr and "ran" not in done.stdout.split() and "Traceback" not in done.stderr


def test_more_text_than_is_read_is_refused(tmp_path: Path, memtrace: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memtrace.formats.snapshot.wrapped.MOST_TEXT", 1000)
    done = memtrace("info", GPU / "really_full.json.gz")
    assert done.returncode == 3 and "MiB of text" in done.stderr


def test_json_of_more_values_than_are_read_is_refused(tmp_path: Path, memtrace: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file can unpack to many empty dicts, which take much memory."""
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b'{"device_traces": [[' + b"{}," * 3000 + b"{}]]}", mtime=0))
    monkeypatch.setattr("memtrace.formats.snapshot.wrapped.MOST_VALUES", 5000)
    done = memtrace("info", tmp_path / "bomb.json.gz")
    assert done.returncode == 3 and "5,000 values" in done.stderr


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ([1, 2], "no dicts"),
        ([{"address": 4096, "total_size": 8192}, None], "no dicts"),
        ([{"address": 1 << 70, "total_size": -1, "blocks": 7}], "no block in use"),
        ([Runs()], "plain data only"),
    ],
)
def test_broken_and_hostile_lists_of_segments_are_refused(value: Any, word: str, tmp_path: Path, memtrace: Run) -> None:
    (tmp_path / "list.pickle").write_bytes(pickle.dumps(value, 4))
    for command in ("info", "whatif"):
        done = memtrace(command, tmp_path / "list.pickle")
        assert (
            done.returncode == 3 and word in done.stderr and "ran" not in done.stdout.split() and "Traceback" not in done.stderr
        )


def test_settings_that_no_pytorch_takes_are_a_fault_of_the_file(tmp_path: Path, memtrace: Run) -> None:
    value = plain(FULL)
    divisions = value["allocator_settings"]["roundup_power2_divisions"]
    divisions[next(iter(divisions))] = 111
    (tmp_path / "s.pickle").write_bytes(pickle.dumps(value, 4))
    done = memtrace("whatif", tmp_path / "s.pickle")
    assert done.returncode == 3 and "settings that PyTorch does not take" in done.stderr and "111" in done.stderr
