"""Connect to a dask cluster, and check that its workers run this version of memtrace."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from memtrace.errors import UsageError
from memtrace.suite.planning import package_digest

EXTRA = "pip install 'memtrace-replay[cluster]'"
WAIT_SECONDS = 30  # for the scheduler to answer, and for a first worker
RETRIES = 3  # how often a cell is replayed again after its worker died


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """Provide the executor of the dask cluster at this address while the block runs.

    Raise UsageError if dask is not installed, no scheduler answers, the cluster has no workers, or its workers have
    another version of memtrace.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(f"--scheduler needs an extra: {EXTRA}") from None
    try:
        client = Client(address, timeout=WAIT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"no dask scheduler answers at {address}: {error or type(error).__name__}; `dask scheduler`") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WAIT_SECONDS)
        except TimeoutError:
            raise UsageError(f"the scheduler at {address} has no workers; start one: dask worker {address}") from None
        check_workers(client.run(package_digest), address)
        # pure=False: dask shall not take two equal cells for one. If a worker dies, dask gives its cells to another worker.
        yield client.get_executor(pure=False, retries=RETRIES)


def check_workers(digests: dict[str, str], address: str) -> None:
    """Raise UsageError if a worker's sources differ from ours. ``digests`` maps each worker's address to its `package_digest`."""
    others = [worker for worker, digest in digests.items() if digest != package_digest()]
    if others:
        named = ", ".join(others[:3])
        raise UsageError(f"{len(others)} of {len(digests)} workers of {address} have another version of memtrace: {named}")
