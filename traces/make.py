"""Makes the traces again, and counts them: `python -m traces.make --help`, from the repository's root."""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from memtrace.reading import read
from memtrace.recording import native
from memtrace.trace import write as write_trace
from traces.record.counting import count
from traces.record.writing import Row, write

HERE = Path(__file__).parent
RECORD = HERE / "record"
LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class Program:
    """A program to record: its command, the process in it that matters, what its environment adds."""

    name: str
    about: str
    command: tuple[str, ...]
    process: str
    version: tuple[str, ...]
    environment: dict[str, str]


def programs() -> tuple[Program, ...]:
    """The programs of the shipped traces, with the paths they have here."""
    python = sys.executable
    process = Path(python).name
    return (
        Program(
            "sqlite-catalogue",
            "sqlite3 fills, indexes, joins and packs a database in memory (record/index.sql)",
            ("sqlite3", "-init", "/dev/null", "-batch", ":memory:", f".read {RECORD / 'index.sql'}"),
            "sqlite3",
            ("sqlite3", "--version"),
            {},
        ),
        Program(
            "gcc-recorder",
            "cc1 of gcc -O2 compiles memtrace/recording/recorder.c",
            ("gcc", "-O2", "-fPIC", "-c", str(native.SOURCE), "-o", os.devnull),
            "cc1",
            ("gcc", "-dumpfullversion"),
            {},
        ),
        Program(
            "cpython-objects",
            "CPython runs record/objects.py with every object from malloc",
            (python, "-S", "-s", str(RECORD / "objects.py")),
            process,
            (python, "--version"),
            {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"},
        ),
        Program(
            "arrow-query",
            "Apache Arrow runs record/query.py on four threads, its buffers aligned to 64 bytes, from malloc",
            (python, "-s", str(RECORD / "query.py")),
            process,
            (python, "-c", "import pyarrow; print(pyarrow.__version__)"),
            {"ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONHASHSEED": "0"},
        ),
        Program(
            "redis-lru",
            "Redis of 3 MB evicts the least recently used under sets, lists, hashes and sorted sets (record/redis.sh)",
            ("sh", str(RECORD / "redis.sh")),
            "redis-server",
            ("redis-server", "--version"),
            {},
        ),
        Program(
            "git-pack",
            "git packs all objects of a repository on four threads",
            ("git", "-C", str(HERE), "pack-objects", "--all", "--threads=4", "--window=5", "--no-reuse-delta", "--stdout", "-q"),
            "git",
            ("git", "--version"),
            {},
        ),
        Program(
            "git-index",
            "git indexes a pack of all objects of a repository on four threads (record/index.sh)",
            ("sh", str(RECORD / "index.sh"), str(HERE)),
            "git",
            ("git", "--version"),
            {},
        ),
        Program(
            "jvm-group",
            "the JVM runs record/Group.java: its compilers, collector and a parallel stream, on threads of their own",
            ("sh", str(RECORD / "group.sh")),
            "java",
            ("java", "--version"),
            {},
        ),
        Program(
            "perl-words",
            "Perl counts the words of docs/*.md (record/words.pl)",
            ("perl", str(RECORD / "words.pl"), *map(str, sorted((HERE.parent / "docs").glob("*.md")))),
            "perl",
            ("perl", "--version"),
            {"PERL_HASH_SEED": "0"},
        ),
        Program(
            "jq-group",
            "jq makes, groups and sums objects (record/group.jq)",
            ("jq", "-n", "-f", str(RECORD / "group.jq")),
            "jq",
            ("jq", "--version"),
            {},
        ),
    )


def record(program: Program, folder: Path) -> Path:
    """Run a program under memtrace's recorder and write its trace into the folder."""
    path = folder / f"{program.name}.parquet"
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", **program.environment}
    done = native.record(program.command, path, process=program.process, environment=environment, output=subprocess.DEVNULL)
    provenance = {"about": program.about, "version": _version(program), "licence": LICENCE}
    write_trace(read(path), path, metadata=provenance)
    print(f"{path}: {done.events} events")
    for line in done.metadata.get("assumed", "").splitlines():
        print(f"  {line}")
    return path


def convert_torch(recording: Path, path: Path) -> Path:
    """Write a request stream of PyTorch's allocator (time, op, id, size, stream as CSV) as a trace."""
    opened: Callable[..., object] = gzip.open if recording.suffix == ".gz" else open
    with opened(recording, "rt", newline="") as file:  # type: ignore[attr-defined]
        rows = list(_torch_rows(csv.DictReader(file)))
    write(rows, path, {"about": "requests to PyTorch's CUDA caching allocator", "licence": LICENCE})
    print(f"{path}: {len(rows)} events")
    return path


def _torch_rows(lines: csv.DictReader[str]) -> Iterator[Row]:
    """The rows; their time is the event's number, which a trace need not say."""
    for line in lines:
        op = {"empty": "trim"}.get(line["op"], line["op"])
        size = int(line["size"]) if op == "alloc" else None
        yield Row(op, int(line["id"] or 0), size, stream=int(line["stream"] or 0))


def _version(program: Program) -> str:
    said = subprocess.run(program.version, check=True, capture_output=True, text=True).stdout
    found = re.search(r"\d+\.\d+(\.\d+)?", said)
    return found[0] if found else ""


def print_counts(folder: Path) -> None:
    """Print the table of README.md."""
    print("| trace | events | allocs | frees | reallocs | aligned | streams | peak live bytes | never freed |")
    print("|---|" + "---:|" * 8)
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("*.csv")]):
        print(f"| {path.name} | " + " | ".join(f"{number:,}" for number in astuple(count(path))) + " |")


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says."""
    known = {program.name: program for program in programs()}
    parser = argparse.ArgumentParser(prog="python -m traces.make", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recorded = commands.add_parser("record", help="record programs on this machine (Linux with glibc, a C compiler)")
    recorded.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    recorded.add_argument("-o", "--output", type=Path, default=HERE, help="folder for the traces")
    torch = commands.add_parser("torch", help="convert a recorded request stream of PyTorch's allocator")
    torch.add_argument("recording", type=Path, help="its trace.csv or trace.csv.gz")
    torch.add_argument("trace", type=Path, help="what to write: NAME.parquet or NAME.csv")
    counts = commands.add_parser("count", help="check the traces in a folder and print the table of README.md")
    counts.add_argument("folder", type=Path, nargs="?", default=HERE)
    options = parser.parse_args(words)
    if options.command == "count":
        print_counts(options.folder)
    elif options.command == "torch":
        convert_torch(options.recording, options.trace)
    else:
        if unknown := [name for name in options.names if name not in known]:
            parser.error(f"unknown trace {', '.join(unknown)}; known: {', '.join(known)}")
        for name in options.names or known:
            record(known[name], options.output)


if __name__ == "__main__":
    main()
