"""Time the first minutes of a user: commands without compiled code, and after an edit of a policy.

`python -m benchmarks.cold [--rounds N] [--quick] [--memtrace PATH...]`

Each case runs `memtrace` as a process of its own, with an empty folder for compiled code where it says so. Several programs may
be named, such as those of two versions; they take turns, so a machine that slows down slows all of them. The table has the
least seconds of all rounds: by the clock, and of the processor in user mode, child processes included.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ("run", "gpt2-small-amp-tight.parquet", "--capacity", "8441036800")
SNAPSHOT = "snapshot.pickle.gz"  # a recorded GPU program
MINE = "mine.py"  # docs/example_policy.py


@dataclass(frozen=True, kw_only=True)
class Case:
    """One command, and what is done before it that is not timed."""

    name: str
    words: tuple[str, ...]  # arguments of memtrace
    cold: bool = False  # without compiled code
    before: tuple[str, ...] = ()  # arguments of a run that leaves its compiled code
    edit: Callable[[str], str] | None = None  # of MINE, before the command
    slow: bool = False  # left out with --quick


def changed(text: str) -> str:
    """Return the policy with another constant."""
    return text.replace("LARGE = 1024", f"LARGE = {1024 + time.time_ns() % 4096}")


def remarked(text: str) -> str:
    """Return the policy with one more comment."""
    return f"{text}\n# {time.time_ns()}\n"


def own(trace: str) -> tuple[str, ...]:
    """Return the words of a run of the user's policy without a report."""
    return ("run", trace, "-p", f"./{MINE}", "--no-report")


SHORT, LONG = "gpt2-small-amp-tight.parquet", "jq-group.parquet"  # 10,663 and 89,437 events
CASES = (
    Case(name="README's run, cold", words=README, cold=True),
    Case(name="README's run, cold, no report", words=(*README, "--no-report"), cold=True),
    Case(name="README's run, warm", words=README, before=README),
    Case(name="run SNAPSHOT, cold", words=("run", SNAPSHOT, "-p", "classic", "-p", "gpu"), cold=True, slow=True),
    Case(name="whatif SNAPSHOT, cold", words=("whatif", SNAPSHOT), cold=True, slow=True),
    Case(name="own policy edited, 10 k events", words=own(SHORT), before=own(SHORT), edit=changed),
    Case(name="own policy edited, 90 k events", words=own(LONG), before=own(LONG), edit=changed, slow=True),
    Case(name="comment edited, 90 k events", words=own(LONG), before=own(LONG), edit=remarked, slow=True),
    Case(name="own policy as it was, 90 k events", words=own(LONG), before=own(LONG), slow=True),
    Case(name="policies --check, cold", words=("policies", "--check", f"./{MINE}"), cold=True, slow=True),
)


def desk_of(folder: Path) -> None:
    """Write the inputs of all cases to a folder."""
    for name in (SHORT, LONG):
        shutil.copy(ROOT / "traces" / name, folder)
    shutil.copy(ROOT / "tests" / "data" / "torch" / "24" / SNAPSHOT, folder)
    shutil.copy(ROOT / "docs" / "example_policy.py", folder / MINE)


def timed(program: str, words: Sequence[str], desk: Path, kernels: Path) -> tuple[float, float]:
    """Run a command in the folder `desk`, and return its seconds by the clock and in user mode; it has to succeed."""
    environment = {**os.environ, "MEMTRACE_CACHE_DIR": str(kernels), "NUMBA_CACHE_DIR": str(kernels), "COLUMNS": "80"}
    reports = ["-o", "out", "--force"] if words[0] == "run" else []
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([program, *words, *reports], cwd=desk, env=environment, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    if done.returncode:
        raise SystemExit(f"{program} {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return taken


def measure(case: Case, program: str, folder: Path) -> tuple[float, float]:
    """Do what comes before a case, and return the seconds of the case: by the clock, and in user mode."""
    desk, kernels = folder / "desk", folder / f"kernels{abs(hash(program))}"
    if case.cold:
        shutil.rmtree(kernels, ignore_errors=True)
    kernels.mkdir(mode=0o700, exist_ok=True)
    if case.before:
        timed(program, case.before, desk, kernels)
    if case.edit is not None:
        (desk / MINE).write_text(case.edit((ROOT / "docs" / "example_policy.py").read_text()))
    return timed(program, case.words, desk, kernels)


def main(words: Sequence[str] | None = None) -> None:
    """Measure all cases with all programs, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of the shorter cases")
    parser.add_argument("--cases", nargs="+", metavar="TEXT", help="only cases whose names contain one of these texts")
    here = str(Path(sys.executable).with_name("memtrace"))
    parser.add_argument("--memtrace", nargs="+", metavar="PATH", default=[here], help="the programs to compare")
    asked = parser.parse_args(words)
    cases = [case for case in CASES if not (asked.quick and case.slow)]
    cases = [case for case in cases if not asked.cases or any(text in case.name for text in asked.cases)]
    with tempfile.TemporaryDirectory(prefix="memtrace-cold-") as name:
        (Path(name) / "desk").mkdir()
        desk_of(Path(name) / "desk")
        print(f"{'':36}{'clock s':>10}{'user s':>10}")
        for case in cases:
            rounds = [
                [measure(case, program, Path(name)) for program in asked.memtrace]
                for _ in range(1 if asked.quick else asked.rounds)
            ]
            for number, program in enumerate(asked.memtrace):
                clock, user = (min(each[number][kind] for each in rounds) for kind in (0, 1))
                label = case.name if number == 0 else f"  {program[-32:]}"
                print(f"{label:36}{clock:10.1f}{user:10.1f}", flush=True)


if __name__ == "__main__":
    main()
