"""The executor of a dask cluster, whose workers are checked to have this version of memtrace."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from memtrace.errors import UsageError
from memtrace.suite.planning import package_digest

EXTRA = "pip install 'memtrace-replay[cluster]'"
WAIT_SECONDS = 30
RETRIES = 3  # of a cell, when its workers die


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """UsageError if dask is not installed, no scheduler answers, it has no workers, or they have another memtrace."""
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
        # Impure: dask is not to take two cells for one. A worker that dies has its cells given to another by dask.
        yield client.get_executor(pure=False, retries=RETRIES)


def check_workers(digests: dict[str, str], address: str) -> None:
    others = [worker for worker, digest in digests.items() if digest != package_digest()]
    if others:
        named = ", ".join(others[:3])
        raise UsageError(f"{len(others)} of {len(digests)} workers of {address} have another version of memtrace: {named}")
