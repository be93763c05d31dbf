"""A suite on a dask cluster: a scheduler and two workers, each started from its command line. Skipped without dask."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import ROOT
from suites import cells, desk_of, same_results, started, wait_for_cells

pytest.importorskip("distributed")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The scheduler's address and the two workers."""
    address = f"tcp://127.0.0.1:{free_port()}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *arguments]
        with (tmp_path / "dask.log").open("ab") as log:
            return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)

    with ExitStack() as stack:

        def stop(process: subprocess.Popen[bytes]) -> None:
            process.kill()
            process.wait()

        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard")
        stack.callback(stop, scheduler)
        workers = [start("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard") for _ in range(2)]
        for worker in workers:
            stack.callback(stop, worker)
        end = time.monotonic() + 60
        while (tmp_path / "dask.log").read_text().count("Registered to:") < 2:
            assert time.monotonic() < end, (tmp_path / "dask.log").read_text()
            time.sleep(0.1)
        yield address, workers


def test_two_workers_of_which_one_is_killed(cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path) -> None:
    address, workers = cluster
    local, far = desk_of(tmp_path / "local", 3000), desk_of(tmp_path / "far", 3000)
    here = started(local, "-j", "2")
    here.communicate(timeout=300)
    assert here.returncode == 0
    process = started(far, "--scheduler", address)
    wait_for_cells(far, 20, process)
    workers[0].kill()
    assert cells(far) < 200, "it was killed in the middle"
    out, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert out.startswith("200 cells: 200 replayed\n")
    same_results(local / "reports" / "suite", far / "reports" / "suite")


def test_no_scheduler_is_a_usage_error(tmp_path: Path) -> None:
    from memtrace.errors import UsageError
    from memtrace.suite import dispatch as cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "WAIT_SECONDS", 1)
        with (
            pytest.raises(UsageError, match="no dask scheduler answers at tcp://127"),
            cluster.cluster(f"tcp://127.0.0.1:{free_port()}"),
        ):
            pass
