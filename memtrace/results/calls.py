"""What a user of Python begins with: replay traces through policies, and load the results that a command wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.errors import UsageError
from memtrace.names import unknown

if TYPE_CHECKING:
    from types import ModuleType

    from memtrace.engine.registry import Policy
    from memtrace.results.tables import Results
    from memtrace.trace import Trace

    Traces = str | os.PathLike[str] | Trace
    Policies = str | Policy | ModuleType


def run(
    traces: Traces | Sequence[Traces],
    policies: Policies | Sequence[Policies] = "classic",
    *,
    capacity: int | str | Sequence[int | str] | None = None,
    jobs: int = 1,
    **options: Any,
) -> Results:
    """Replay traces through policies, each trace through each policy, and return the results.

    ``traces`` are what `read` takes or returns, ``policies`` what `policy` takes or returns, and groups; options of workloads and
    policies may be sweeps, such as `best-fit:align=16|64`. ``capacity`` is a size in bytes or as text, or several, or a sweep
    such as `2GiB..8GiB/12`: with several, each trace is replayed within each, and is called `name@capacity`. ``options`` are the
    run options `on_oom`, `samples`, `validate`, `placements` and `locality`. ``jobs`` is the number of processes; a script that
    asks for more than one has to guard its main part with `if __name__ == "__main__":`.

    >>> results = memtrace.run("trace.csv", ["best-fit", "tlsf"], capacity="8GiB")

    Raise UsageError for what cannot be asked for, InputError for a trace that cannot be read.
    """
    from memtrace.engine.registry import parse_policies, policy, told_apart
    from memtrace.reading import read
    from memtrace.results import running
    from memtrace.results.settings import Settings, read_sizes, run_options
    from memtrace.workloads.recipe import each_of

    known = {name: option for name, option in run_options().items() if name != "capacity"}
    for name in options:
        if name not in known:
            raise unknown("option", name, known)
    settings = {name: known[name].value(value) for name, value in options.items()}
    sizes = [size for each in _listed(capacity) for size in read_sizes(each)]
    chosen = []
    for each in _listed(policies):
        chosen += parse_policies([each]) if isinstance(each, str) else [policy(each)]
    chosen = told_apart(chosen)
    if not chosen:
        raise UsageError("there is no policy to replay through")
    several = sizes if len(sizes) > 1 else []
    for size in (*sizes, *(() if sizes else (None,))):
        running.check_options(chosen, size)
    opened = [
        read(source) if isinstance(source, str) else source
        for each in _listed(traces)
        for source in ([each] if not isinstance(each, str | os.PathLike) else each_of(os.fspath(each)))
    ]
    whole = Settings(capacity=sizes[0] if len(sizes) == 1 else None, **settings)
    return running.run(opened, chosen, whole, jobs, capacities=several)


def load(folder: str | os.PathLike[str]) -> Results:
    """Return the results in a folder that `memtrace run` wrote, or of one trace of a suite.

    Of the folder of a whole suite only the summary is loaded. Raise InputError if there are no results.
    """
    from dataclasses import replace

    from memtrace.results.folder import SUMMARY_ONLY, read_folder, schema_of
    from memtrace.results.tables import build

    path = Path(folder)
    if not schema_of(path).startswith(SUMMARY_ONLY):
        return read_folder(path)
    import json

    import pyarrow.parquet as pq

    from memtrace.results.folder import MANIFEST, check_tables

    check_tables(path, ("summary",))
    manifest = json.loads((path / MANIFEST).read_text())
    return replace(build([], [], manifest), summary=pq.read_table(path / "summary.parquet").to_pylist())


def _listed(given: Any) -> list[Any]:
    """Return a list or a tuple as a list, None as an empty one, and anything else in a list."""
    return list(given) if isinstance(given, list | tuple) else [] if given is None else [given]
