"""The command: `python -m benchmarks [--quick] [--policies P...] [--traces T...] [--rounds N] [--json]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence

from benchmarks import native
from benchmarks.cache import trace_file
from benchmarks.columns import BARE, CLASSIC, FULL, POLICIES, SEARCH, Detail, NativeColumn, PolicyColumn
from benchmarks.measure import Column, run_rounds
from benchmarks.tables import as_json, as_text
from benchmarks.targets import disagreements
from benchmarks.workloads import WORKLOADS


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    names = [one.name for one in WORKLOADS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="memtrace's policies beside C++ twins and malloc.")
    parser.add_argument("--quick", action="store_true", help="shorter traces, one round")
    parser.add_argument("--policies", nargs="*", metavar="POLICY", help=f"none: twins alone; default: {' '.join(POLICIES)}")
    parser.add_argument("--traces", nargs="+", choices=names, metavar="TRACE", default=names, help=f"of {' '.join(names)}")
    parser.add_argument("--rounds", type=int, help="default: 3, quick: 1")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser.parse_args(words)


def say(text: str) -> None:
    """A message beside the results."""
    print(text, file=sys.stderr, flush=True)


def native_columns() -> list[Column]:
    """The twins and malloc, if there is a compiler."""
    command = native.compiler()
    if command is None:
        say("no C++ compiler (c++, g++, clang++ or $CXX): policies are timed alone, without twins and malloc")
        return []
    program = native.build(command)
    return [NativeColumn(allocator, program) for allocator in native.ALLOCATORS]


def policy_columns(asked: list[str] | None) -> list[Column]:
    """The policies asked for; of the default ones those that this memtrace has."""
    from memtrace.errors import UsageError

    columns: list[Column] = []
    details: tuple[Detail, ...] = (BARE, SEARCH, FULL)
    for policy in POLICIES if asked is None else asked:
        for detail in details if policy in CLASSIC else details[:1]:
            column = PolicyColumn(policy, detail)
            try:
                column.warm_up()
            except UsageError:
                if asked is not None:
                    raise
                say(f"{policy}: not a policy of this memtrace, left out")
                break
            columns.append(column)
    return columns


def machine() -> dict[str, str]:
    """What the times depend on."""
    import numba
    import numpy

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numba": numba.__version__,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Time everything and print the tables. 1: columns that follow one rule disagree; 2: could not start."""
    from memtrace.errors import MemtraceError

    options = arguments(words)
    try:
        columns = native_columns() + policy_columns(options.policies)
    except (native.BuildFailed, MemtraceError) as error:
        say(f"error: {error}")
        return 2
    traces = [trace_file(one, quick=options.quick) for one in WORKLOADS if one.name in options.traces]
    rounds = options.rounds or (1 if options.quick else 3)
    results = run_rounds(columns, traces, rounds=rounds, min_seconds=0.1 if options.quick else 0.3, progress=say)
    print(json.dumps(as_json(results, machine()), indent=1) if options.json else as_text(results))
    differing = disagreements(results)
    for text in differing:
        say(f"DISAGREEMENT {text}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
