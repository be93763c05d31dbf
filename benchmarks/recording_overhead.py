"""What `memtrace record native` costs the recorded program: `python -m benchmarks.recording_overhead`, best of five runs."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from memtrace.formats.calls import HEADER
from memtrace.recording.native import recorder_library
from traces.make import programs

RUNS = 5
NAMES = ("sqlite-catalogue", "git-pack", "jq-group", "gcc-recorder", "perl-words")


def seconds(command: tuple[str, ...], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    quiet = subprocess.DEVNULL
    subprocess.run(command, check=True, env={**os.environ, **environment}, stdin=quiet, stdout=quiet)
    return time.perf_counter() - started


def main() -> None:
    library = str(recorder_library())
    print("| program | calls | plain | recorded | | a call |\n|---|---:|---:|---:|---:|---:|")
    for program in programs():
        if program.name not in NAMES:
            continue
        plain, recorded, calls = [], [], 0
        for _ in range(RUNS):
            plain.append(seconds(program.command, program.environment))
            with tempfile.TemporaryDirectory() as folder:
                more = {"LD_PRELOAD": library, "MEMTRACE_CALLS": folder}
                recorded.append(seconds(program.command, {**program.environment, **more}))
                calls = max(int(np.fromfile(path, HEADER, 1)["count"][0]) for path in Path(folder).iterdir())
        best, slow = min(plain), min(recorded)
        cost = 1e9 * (slow - best) / calls
        print(f"| {program.name} | {calls:,} | {best:.3f} s | {slow:.3f} s | {slow / best:.2f}x | {cost:.0f} ns |")


if __name__ == "__main__":
    main()
