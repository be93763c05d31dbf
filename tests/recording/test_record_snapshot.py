"""memtrace.torch.record: what it calls in which order, on a PyTorch that only notes it, and without any."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import memtrace


class Fake:
    """Stands for PyTorch: notes the calls, and writes what was recorded so far when it dumps."""

    def __init__(self, available: bool = True, old: bool = False) -> None:
        self.calls: list[Any] = []
        self.observer: Any = None
        history = self.old_history if old else self.history
        memory = SimpleNamespace(_record_memory_history=history, _dump_snapshot=self.dump)
        self.cuda = SimpleNamespace(is_available=lambda: available, memory=memory)
        self._C = SimpleNamespace(_cuda_attachOutOfMemoryObserver=self.attach)

    def history(self, enabled: str | None = "all", context: str | None = None, stacks: str = "all", max_entries: int = 5) -> None:
        self.calls.append(("stop",) if enabled is None else ("start", max_entries, context, stacks))

    def old_history(self, enabled: bool | None = True, max_entries: int = 5) -> None:
        self.calls.append(("stop",) if enabled is None else ("start", max_entries))

    def dump(self, path: str) -> None:
        self.calls.append(("dump",))
        Path(path).write_text(str(len(self.calls)))

    def attach(self, observer: Any) -> None:
        self.observer = observer


def use(monkeypatch: pytest.MonkeyPatch, fake: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch", fake)


def test_it_starts_dumps_and_stops_in_this_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, fake := Fake())
    with memtrace.torch.record(tmp_path / "s.pickle") as path:
        assert path == tmp_path / "s.pickle" and not path.exists()
    assert fake.calls == [("start", 1_000_000, "all", "python"), ("dump",), ("stop",)]
    assert [one.name for one in tmp_path.iterdir()] == ["s.pickle"]


def test_a_block_that_fails_is_dumped_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, fake := Fake())
    with pytest.raises(RuntimeError), memtrace.torch.record(tmp_path / "s.pickle"):
        raise RuntimeError
    assert [call[0] for call in fake.calls] == ["start", "dump", "stop"]


def test_a_request_that_fails_is_dumped_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, fake := Fake())
    with pytest.raises(MemoryError), memtrace.torch.record(tmp_path / "s.pickle"):
        fake.observer(0, 1, 2, 3)
        assert (tmp_path / "s.pickle").exists()
        raise MemoryError
    assert [call[0] for call in fake.calls] == ["start", "dump", "stop"]
    use(monkeypatch, fake := Fake())
    with memtrace.torch.record(tmp_path / "s.pickle"):  # the program goes on, so the end has more to say
        fake.observer(0, 1, 2, 3)
    assert [call[0] for call in fake.calls] == ["start", "dump", "dump", "stop"]
    use(monkeypatch, fake := Fake())
    with memtrace.torch.record(tmp_path / "s.pickle", on_oom=False):
        assert fake.observer is None


def test_older_versions_get_what_they_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, fake := Fake(old=True))
    with memtrace.torch.record(tmp_path / "s.pickle", max_entries=7):
        pass
    assert fake.calls[0] == ("start", 7)


def test_each_rank_writes_its_own_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, Fake())
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    with memtrace.torch.record(tmp_path / "s.pickle") as path:
        pass
    assert path == tmp_path / "s-rank3.pickle" and path.exists()


@pytest.mark.parametrize("fake", [None, Fake(available=False)], ids=["no torch", "no GPU"])
def test_without_a_gpu_the_block_simply_runs(fake: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, fake)
    done = []
    with memtrace.torch.record(tmp_path / "s.pickle") as path:
        done.append(path)
    assert done == [None] and not list(tmp_path.iterdir())
