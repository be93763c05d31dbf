"""Snapshots for tests: recorded ones as plain data, changed and written again, and their events walked one by one."""

from __future__ import annotations

import copy
import gzip
import io
import os
import pickle
from pathlib import Path
from typing import Any

from conftest import ROOT

from memtrace.gpu.recorded import Recorded, read_recorded

DATA = ROOT / "tests" / "data" / "torch"
SHARED = ROOT.parent / "shared" / "data"
GPU = ROOT / "tests" / "data" / "gpu"  # what a small program recorded: devices that are full, that thrash, that hold no events
VERSIONS = ROOT / "tests" / "data" / "torch-versions"
CASES = [DATA / "24" / "snapshot.pickle.gz", DATA / "29" / "snapshot.pickle.gz"]
MORE = [
    *(GPU / f"{name}.pickle.gz" for name in ("flushes", "midrun_gain", "really_full", "thrash", "three_devices_oom")),
    *sorted(VERSIONS.glob("*/*.pickle.gz")),
]
ORACLE = sorted((SHARED / "torch-oracle").glob("*/snapshot.pickle.gz"))
# Snapshots without events (`*_state_only`) have nothing to compare a replay with; tests/gpu/test_state.py reads them.
PUBLIC = [path for path in sorted((SHARED / "public" / "torch-snapshots").glob("*.pickle.gz")) if "state_only" not in path.name]


class Refusing(pickle.Unpickler):
    """Python's own, for plain data."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


def plain(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = Refusing(io.BytesIO(gzip.decompress(path.read_bytes()))).load()
    return found


def written(value: Any, path: Path, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def changed(value: dict[str, Any], path: Path, **how: Any) -> Recorded:
    """A copy with other top-level values, read again."""
    return read_recorded(written({**copy.deepcopy(value), **how}, path), how.pop("device", ""))


def cut(value: dict[str, Any], events: int) -> dict[str, Any]:
    """As a ring buffer that has lost its first events."""
    return {**value, "device_traces": [trace[events:] for trace in value["device_traces"]]}


def live_after(events: list[dict[str, Any]], count: int) -> dict[int, int]:
    """Address -> requested bytes of the blocks in use or pending after so many events of a whole recording."""
    live: dict[int, int] = {}
    for event in events[:count]:
        if event["action"] == "alloc":
            live[event["addr"]] = event["size"]
        elif event["action"] == "free_completed":
            del live[event["addr"]]
    return live


def program(events: list[dict[str, Any]]) -> list[tuple[str, int | None, int]]:
    """What the program did: (alloc, number, size), (free, number, 0); for recordings without use by other streams."""
    numbers: dict[int, int] = {}
    found: list[tuple[str, int | None, int]] = []
    allocs = 0
    for event in events:
        if event["action"] == "alloc":
            numbers[event["addr"]] = allocs
            found.append(("alloc", allocs, event["size"]))
            allocs += 1
        elif event["action"] == "oom":
            found += [("alloc", None, event["size"]), ("free", None, 0)]
        elif event["action"] == "free_requested":
            found.append(("free", numbers[event["addr"]], 0))
    return found


def settings_of(path: Path) -> dict[str, Any]:
    import json

    name = path.parent / "settings.json"
    return json.loads(name.read_text()) if os.path.exists(name) else {}
