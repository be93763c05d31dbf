"""The C++ twins and the C library's malloc: compiled once, run as a process of their own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cache import FOLDER

SOURCES = Path(__file__).with_name("cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native")
GLIBC, BEST_FIT_MAP = "glibc", "best-fit-map"
BEST_FIT_SET, FIRST_FIT_TREAP = "best-fit-set", "first-fit-treap"
ALLOCATORS = (GLIBC, BEST_FIT_MAP, BEST_FIT_SET, FIRST_FIT_TREAP)


class BuildFailed(Exception):
    """There is a compiler, and it does not compile the twins."""


@dataclass(frozen=True)
class NativeRun:
    """What one call of the program measured, over all of its replays of the trace together."""

    replays: int
    seconds: float
    steady_seconds: float
    peak_reserved_bytes: int
    holes: int
    address_sum: int


def compiler() -> str | None:
    """The system's C++ compiler: $CXX, c++, g++ or clang++."""
    return next(
        (found for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and (found := shutil.which(name))),
        None,
    )


def build(command: str, folder: Path = FOLDER) -> Path:
    """Compile the twins unless this compiler has compiled this source already."""
    text = hashlib.sha256(f"{_version(command)} {FLAGS}".encode())
    for source in sorted(SOURCES.iterdir()):
        text.update(source.read_bytes())
    program = folder / "build" / f"replay-{text.hexdigest()[:12]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}.part")
        _compile([command, *FLAGS, str(SOURCES / "replay.cpp"), "-o", str(unfinished)])
        unfinished.replace(program)
    return program


def run(program: Path, allocator: str, trace: Path, *, steady_from: int, min_seconds: float) -> NativeRun:
    """Replay a trace file through one allocator."""
    words = [str(program), allocator, str(trace), str(steady_from), str(min_seconds)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return NativeRun(**json.loads(done.stdout))


def _version(command: str) -> str:
    return subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout


def _compile(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"{' '.join(words)}\n{done.stderr.strip()}")
