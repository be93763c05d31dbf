"""torch.profiler's exported traces: memory events among others, of several devices, out of order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memtrace.errors import InputError
from memtrace.formats import torch_profiler
from memtrace.trace import Op, read


def memory(ts: float, addr: int, size: int, device: int = 0, kind: int = 1) -> dict[str, Any]:
    args = {"Total Reserved": 0, "Total Allocated": 0, "Bytes": size, "Addr": addr, "Device Id": device, "Device Type": kind}
    return {"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 1, "tid": 1, "ts": ts, "args": args}


def other(ts: float) -> dict[str, Any]:
    return {"ph": "X", "name": "aten::mm {[}]", "ts": ts, "dur": 1, "args": {"Input Dims": [[2, 3], [3, 4]], "x": "]"}}


EVENTS = [
    other(1),
    memory(5.5, 4096, -512),  # from before
    memory(9, 8192, 2048),
    memory(7, 4096, 1024),
    memory(8, 1, 64, kind=0),
    other(10),
    memory(12, 4096, -1024),
    memory(11, 7, 512, device=1),
    memory(13, 4096, 512),
]


def written(path: Path, events: list[Any], **how: Any) -> Path:
    path.write_text(
        json.dumps({"schemaVersion": 1, "deviceProperties": [{"id": 0}], "traceEvents": events, "after": {"a": [1]}}, **how)
    )
    return path


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("block", [1, 37, 1 << 20])
def test_the_memory_events_of_the_busiest_gpu(
    indent: int | None, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_profiler, "BLOCK_BYTES", block)
    trace = read(written(tmp_path / "t.json", EVENTS, indent=indent), keep_ids=True)
    part = next(iter(trace.batches()))
    assert [Op(int(op)).name for op in part.op] == ["ALLOC", "ALLOC", "FREE", "ALLOC"]
    assert part.size.tolist() == [1024, 2048, 0, 512]
    assert trace.times(part.block * 0 + range(4)).tolist() == [1500, 3500, 6500, 7500]
    assert "1 frees of blocks from before" in trace.metadata["assumed"]


def test_another_device_and_the_cpu(tmp_path: Path) -> None:
    path = written(tmp_path / "t.json", EVENTS)
    assert read(path, format="torch-profiler:1").facts.total_bytes == 512
    cpu = written(tmp_path / "c.json", [memory(1, 1, 64, kind=0)])
    assert read(cpu).facts.total_bytes == 64
    with pytest.raises(InputError, match="no memory events of device 3"):
        read(path, format="torch-profiler:3")


@pytest.mark.parametrize(
    "text", ['{"traceEvents": [', '{"traceEvents": [{"name": "[memory]"', '{"traceEvents": []}', '{"traceEvents"']
)
def test_cut_and_empty_files(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError):
        read(tmp_path / "t.json")
