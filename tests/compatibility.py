"""Compare the results of memtrace with the lowest and with the newest versions of its dependencies.

    python tests/compatibility.py [--python PYTHON] [--folder FOLDER]

The script makes two virtual environments. In the first, each dependency has the version that is its lower bound in
pyproject.toml. In the second, pip chooses the newest versions within the bounds. Each environment gets a memtrace of its own,
with compiled loops of its own, and replays the same traces. The values in the results have to be equal; timing.parquet is not
compared.

The exit status is 0 if the results are equal, 1 if they differ or if memtrace fails in an environment, and 2 if an environment
cannot be made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POLICIES = ("pytorch", "size-class", "buddy", "tlsf", "best-fit", "first-fit")  # the one that takes longest to compile first
NOT_COMPARED = ("timing",)
WHOLE_TRACE = "(the trace)"  # stands for the policy in a table without policies

Versions = dict[str, str]
Columns = dict[str, str]  # column -> digest of its values
Digests = dict[tuple[str, str, str], Columns]  # trace, policy, table -> the columns


@dataclass(frozen=True)
class Replay:
    """The arguments of one ``memtrace run``, and whether it writes a report."""

    trace: str
    options: tuple[str, ...]
    report: bool = False

    def arguments(self, output: Path) -> list[str]:
        """Return the command's arguments."""
        policies = [word for policy in POLICIES for word in ("-p", policy)]
        report = [] if self.report else ["--no-report"]
        return ["run", str(ROOT / "traces" / self.trace), *policies, *self.options, *report, "--no-progress", "-o", str(output)]


REPLAYS = (
    Replay("gpt-6x512-fp32.csv", ("--placements",)),
    Replay("git-pack.parquet", ("--placements",)),
    Replay("gpt2-small-amp-tight.parquet", ("--capacity", "8441036800"), report=True),
)


class CannotMake(Exception):
    """An environment cannot be made: there is no interpreter, or pip fails."""


class Failure(Exception):
    """A command of memtrace fails in an environment."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with memtrace in it, and a folder for results."""

    name: str
    folder: Path

    def command(self, program: str) -> str:
        """Return the path of one of the environment's programs."""
        return str(self.folder / "venv" / "bin" / program)

    def make(self, python: str, requirements: Sequence[str]) -> None:
        """Make the environment anew, and install memtrace and these requirements into it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self.run([python, "-m", "venv", self.folder / "venv"]).returncode:
            raise CannotMake(f"{python} cannot make a virtual environment")
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT), *requirements]
        done = self.run([self.command("python"), *install])
        if done.returncode:
            raise CannotMake(f"pip cannot install the {self.name} versions ({' '.join(requirements)})\n{done.stderr.rstrip()}")

    def run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        """Run a command where it sees neither the checkout nor compiled loops of another environment."""
        dropped = ("PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV")
        variables = {name: value for name, value in os.environ.items() if name not in dropped}
        variables |= {"MEMTRACE_CACHE_DIR": str(self.folder / "kernels"), "MEMTRACE_INTERPRET": "0"}
        return subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, check=False)

    def versions(self, packages: Sequence[str]) -> Versions:
        """Return the installed versions of these packages."""
        code = (
            "import json, sys; from importlib.metadata import version; print(json.dumps({p: version(p) for p in sys.argv[1:]}))"
        )
        versions: Versions = json.loads(self.succeed([self.command("python"), "-c", code, *packages]))
        return versions

    def results(self) -> Digests:
        """Replay the traces, and return the digests of the results."""
        found: Digests = {}
        for replay in REPLAYS:
            output = self.folder / "results" / replay.trace.partition(".")[0]
            self.succeed([self.command("memtrace"), *replay.arguments(output)])
            if replay.report:
                check_report(output)
            rows = json.loads(
                self.succeed([self.command("python"), "-P", str(Path(__file__).resolve()), "--digest", str(output)])
            )
            found.update({(trace, policy, table): columns for trace, policy, table, columns in rows})
        return found

    def succeed(self, command: Sequence[str]) -> str:
        """Return what a command prints. Raises Failure if the command fails."""
        done = self.run(command)
        if done.returncode:
            raise Failure(f"exit {done.returncode} with the {self.name} versions: {' '.join(command)}\n{done.stderr.rstrip()}")
        return done.stdout


def check_report(folder: Path) -> None:
    """Raise Failure unless the folder has a PDF and an HTML report."""
    for name, start in (("report.pdf", b"%PDF-"), ("report.html", b"<!doctype html>")):
        if not (folder / name).is_file() or not (folder / name).read_bytes().lower().startswith(start.lower()):
            raise Failure(f"{folder / name} is missing or is no such file")


def digests(folder: Path) -> Digests:
    """Return the digests of the values in a results folder. The bytes of the files depend on the version of their writer."""
    import pyarrow.parquet as parquet

    hashes: defaultdict[tuple[str, str, str], defaultdict[str, hashlib.blake2b]]
    hashes = defaultdict(lambda: defaultdict(lambda: hashlib.blake2b(digest_size=8)))
    for file in sorted(folder.glob("*.parquet")):
        if file.stem in NOT_COMPARED:
            continue
        columns = parquet.read_table(file).to_pydict()
        traces, policies = columns["trace"], columns.get("policy", repeat(WHOLE_TRACE))
        owners = [hashes[trace, policy, file.stem] for trace, policy in zip(traces, policies, strict=False)]
        for name, values in columns.items():
            for owner, value in zip(owners, values, strict=True):
                owner[name].update(f"{value!r}\n".encode())
    return {key: {name: column.hexdigest() for name, column in columns.items()} for key, columns in hashes.items()}


def differences(one: Digests, other: Digests) -> dict[tuple[str, str, str], list[str]]:
    """Return the tables that differ, each with the columns that differ."""
    found = {}
    for key in [*one, *(key for key in other if key not in one)]:
        left, right = one.get(key, {}), other.get(key, {})
        columns = sorted(name for name in {*left, *right} if left.get(name) != right.get(name))
        if columns:
            found[key] = columns
    return found


def requirements() -> list[str]:
    """Return the dependencies that pyproject.toml declares."""
    declared: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return declared


def lowest(requirement: str) -> str:
    """Return the requirement pinned to its lower bound."""
    found = re.match(r"([\w.-]+)\s*>=\s*([\w.]+)", requirement)
    if found is None:
        raise SystemExit(f"pyproject.toml: {requirement} has no lower bound")
    return f"{found[1]}=={found[2]}"


def lowest_python() -> str:
    """Return the oldest Python that memtrace supports: the lowest versions have no builds for newer ones."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name = f"python{str(project['requires-python']).removeprefix('>=')}"
    code = "import sys; print('python%d.%d' % sys.version_info[:2])"
    for candidate in filter(shutil.which, (name, sys.executable)):
        if subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False).stdout.strip() == name:
            return candidate
    raise CannotMake(f"there is no {name}\ntry: --python PATH, which names one")


def print_versions(versions: dict[str, Versions]) -> None:
    """Print a row for each package."""
    packages = dict.fromkeys(package for found in versions.values() for package in found)
    print_table([["package", *versions], *([package, *(found[package] for found in versions.values())] for package in packages)])


def print_comparison(found: Digests, differing: dict[tuple[str, str, str], list[str]]) -> None:
    """Print a row for each trace and policy."""
    rows = [["trace", "policy", "tables", "differences"]]
    for trace, policy in dict.fromkeys(key[:2] for key in [*found, *differing]):
        tables = [key[2] for key in dict.fromkeys([*found, *differing]) if key[:2] == (trace, policy)]
        said = [
            f"{table} ({', '.join(differing[trace, policy, table])})" for table in tables if (trace, policy, table) in differing
        ]
        rows.append([trace, policy, str(len(tables)), "; ".join(said) or "none"])
    print_table(rows)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns aligned, and a blank line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
    print(flush=True)


def compare(folder: Path, python: str) -> int:
    """Make both environments in the folder, print how they compare, and return the exit status."""
    names = [lowest(requirement).partition("==")[0] for requirement in requirements()]
    versions: dict[str, Versions] = {}
    found: dict[str, Digests] = {}
    for name, pins in (("lowest", [lowest(requirement) for requirement in requirements()]), ("newest", [])):
        environment, started = Environment(name, folder / name), time.perf_counter()
        environment.make(python, pins)
        made = time.perf_counter()
        versions[name] = environment.versions([*names, "llvmlite", "pillow"])
        found[name] = environment.results()
        print(f"{name}: installed in {made - started:.0f} s, replayed in {time.perf_counter() - made:.0f} s", flush=True)
    print()
    print_versions(versions)
    differing = differences(found["lowest"], found["newest"])
    print_comparison(found["lowest"], differing)
    print(f"{len(differing)} of {len(found['lowest'])} tables differ" if differing else "all values are equal")
    return 1 if differing else 0


def main() -> int:
    """Read the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description="Compare memtrace's results with the lowest and the newest dependencies.")
    parser.add_argument("--python", help="the interpreter of both environments; default: the oldest that memtrace supports")
    parser.add_argument("--folder", type=Path, help="where the environments are made, and stay; default: a temporary folder")
    parser.add_argument("--digest", type=Path, help=argparse.SUPPRESS)  # within an environment: a results folder
    options = parser.parse_args()
    if options.digest:
        print(json.dumps([[*key, columns] for key, columns in digests(options.digest).items()]))
        return 0
    try:
        python = options.python or lowest_python()
        if options.folder:
            return compare(options.folder.resolve(), python)
        with tempfile.TemporaryDirectory(prefix="memtrace-compatibility-") as folder:
            return compare(Path(folder), python)
    except (CannotMake, Failure) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, CannotMake) else 1


if __name__ == "__main__":
    sys.exit(main())
