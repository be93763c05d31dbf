"""The plan of a TensorFlow Lite model: what the recorder makes of an interpreter, and of the real one where it is installed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Run

from memtrace.recording import tflite

PLANS = ROOT.parent / "shared" / "data" / "plans" / "tflite"


class Interpreter:
    """x -> a -> t -> (t + a in place) -> y, b is written and never read; 7 is a constant, 9 has no memory yet."""

    def __init__(self) -> None:
        self.arena = np.zeros(400, np.uint8)
        places = {0: (0, 100), 1: (100, 50), 2: (150, 60), 3: (150, 60), 4: (210, 40), 5: (100, 10)}
        self.arrays = {tensor: self.arena[low : low + size] for tensor, (low, size) in places.items()}

    def _get_ops_details(self) -> list[dict[str, Any]]:
        steps = [([0, 7], [1]), ([1], [2]), ([2, 1, -1], [3]), ([3], [5, 4]), ([4], [9])]
        return [{"op_name": "ADD", "inputs": into, "outputs": out} for into, out in steps]

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"index": 0}]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"index": 5}]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return [{"index": number, "name": name} for number, name in enumerate(["x", "a", "t", "sum", "b", "y"])]

    def tensor(self, number: int) -> Any:
        if number not in self.arrays:
            raise ValueError("no data")
        return lambda: self.arrays[number]


def test_lifetimes_and_offsets_follow_from_the_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite, "loaded", lambda model: (Interpreter(), "fake"))
    done = tflite.record("model.tflite", tmp_path / "plan.csv")
    assert (done.blocks, done.height) == (5, 250)
    lines = (tmp_path / "plan.csv").read_text().splitlines()
    assert lines[1:] == ["x,0,5,100,0", "a,0,3,50,100", "t+sum,1,4,60,150", "y,3,5,10,100", "b,3,5,40,210"]


def test_what_cannot_be_recorded_is_said(memtrace: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no such file" in memtrace("record", "tflite", "none.tflite").stderr
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    done = memtrace("record", "tflite", "model.tflite", "-o", "plan.parquet")
    assert done.returncode == 2
    monkeypatch.setattr(tflite, "INTERPRETERS", ("no_such_module",))
    done = memtrace("record", "tflite", "model.tflite")
    assert done.returncode == 2 and "memtrace-replay[tflite]" in done.stderr
    broken = SimpleNamespace(OpResolverType=SimpleNamespace(BUILTIN_WITHOUT_DEFAULT_DELEGATES=1), Interpreter=refuse)
    monkeypatch.setattr(tflite, "import_module", lambda name: broken)
    done = memtrace("record", "tflite", "model.tflite")
    assert done.returncode == 3 and "cannot load it: not a model" in done.stderr


def refuse(*_: Any, **__: Any) -> None:
    raise ValueError("not a model")


@pytest.mark.skipif(not PLANS.is_dir(), reason="needs ../shared/data/plans")
def test_a_real_model_has_the_plan_that_is_known_of_it(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter")
    tflite.record(PLANS / "chain.tflite", tmp_path / "chain.csv")
    assert (tmp_path / "chain.csv").read_text() == (PLANS / "chain-lifetimes.csv").read_text()
