"""Record a PyTorch program's GPU memory from within it: `with memtrace.torch.record("snapshot.pickle"): train()`.

Nothing is imported from PyTorch before it is needed, and without PyTorch or a GPU nothing is done.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

ENTRIES = 1_000_000  # events that the ring buffer keeps by default; each takes about 200 bytes, and its stack more


@contextmanager
def record(
    path: str | os.PathLike[str] = "snapshot.pickle", *, on_oom: bool = True, max_entries: int = ENTRIES, stacks: str = "python"
) -> Iterator[Path | None]:
    """Record memory events of the block, and write a snapshot for `memtrace whatif` at its end, also if it fails.

    Provides the path that is written: of several ranks each writes its own file, with the rank in its name. With ``on_oom`` the
    snapshot is also written at once when a request fails, in case the process does not live on. ``max_entries`` events are kept,
    the last ones. ``stacks``: "python", or "all" to have C++ frames too, which is slower. Without PyTorch or a GPU the block
    simply runs, and None is provided.
    """
    torch = _torch()
    if torch is None:
        yield None
        return
    target = _of_rank(Path(path), torch)
    written: list[bool] = []

    def dump() -> None:
        """Write the snapshot, in place of an earlier one only once it is whole."""
        part = target.with_name(f"{target.name}.part")
        torch.cuda.memory._dump_snapshot(str(part))
        os.replace(part, target)

    def observe(*_: Any) -> None:
        """Write the snapshot when a request fails."""
        dump()
        written.append(True)

    _start(torch, max_entries, stacks)
    if on_oom and hasattr(torch._C, "_cuda_attachOutOfMemoryObserver"):
        torch._C._cuda_attachOutOfMemoryObserver(observe)
    try:
        yield target
    except BaseException:
        if not written:  # else the snapshot ends with the request that failed, which is what is looked for
            dump()
        raise
    else:
        dump()
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)  # only now: stopping throws the events away


def _torch() -> ModuleType | None:
    """Return PyTorch if it is there, can see a GPU, and has memory history; else None."""
    try:
        import torch
    except ImportError:
        return None
    there = torch.cuda.is_available() and hasattr(torch.cuda.memory, "_record_memory_history")
    return torch if there else None


def _start(torch: ModuleType, max_entries: int, stacks: str) -> None:
    """Start the memory history; older versions of PyTorch lack some of the arguments."""
    wanted = {"max_entries": max_entries, "stacks": stacks, "context": "all"}
    start = torch.cuda.memory._record_memory_history
    known = inspect.signature(start).parameters
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
    start(**{name: value for name, value in wanted.items() if name in known or takes_any})


def _of_rank(path: Path, torch: ModuleType) -> Path:
    """Return the path with the rank of this process in its name if there are several."""
    rank, ranks = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        rank, ranks = str(distributed.get_rank()), str(distributed.get_world_size())
    return path if ranks == "1" else path.with_name(f"{path.stem}-rank{rank}{path.suffix}")
