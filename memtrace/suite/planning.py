"""A Suite -> its cells: every trace looked at once, every policy read, and a name for each cell by what determines it."""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.errors import UsageError
from memtrace.suite.config import Suite, TraceSpec

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy

APART = ("cli", "comparing", "plots", "report", "suite")  # parts of the package on which a cell's results do not depend
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class Task:
    """One cell in plain values: what another process, or another machine, needs to replay it."""

    source: str  # an absolute path, a URL, or whatever else `memtrace run` takes
    trace: str  # what results call it
    sha256: str
    format: str | None
    invalid: str
    capacity: int | None
    policy: str  # with an absolute path, where it is a file
    label: str  # what results call it
    policy_digest: str
    on_oom: str
    samples: int
    validate: bool

    @property
    def key(self) -> str:
        """A digest of everything that determines the results; not of where the files are."""
        values = {name: value for name, value in asdict(self).items() if name not in ("source", "policy")}
        text = json.dumps({**values, "package": package_digest(), **_libraries()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def text(self) -> str:
        return f"{self.trace}, {self.label}"


@dataclass(frozen=True)
class Plan:
    suite: Suite
    tasks: tuple[Task, ...]  # trace by trace, in the order of the file

    @property
    def sources(self) -> dict[str, str]:
        return {task.trace: task.source for task in self.tasks}


def plan(suite: Suite, progress: Callable[[str], None] = lambda name: None) -> Plan:
    """Raises UsageError for what cannot be run at all, InputError for a trace that is not there."""
    policies = [policy for text in suite.policies for policy in _policies(text, suite.folder)]
    chosen = list({policy.label: (text, policy) for text, policy in policies}.values())
    found = []
    for spec in suite.traces:
        for each in expand(spec, suite.folder):
            progress(each.trace)
            found.append((each, *identify(each)))
    names = [name for _, name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{suite.file}: two traces are called {name}; give one another name: {{trace = ..., name = ...}}")
    _check_options([policy for _, policy in chosen], {spec.capacity for spec, _, _ in found}, suite)
    return Plan(
        suite,
        tuple(
            Task(
                spec.trace,
                name,
                sha256,
                spec.format,
                spec.invalid,
                spec.capacity,
                text,
                policy.label,
                policy_digest(policy),
                suite.on_oom,
                suite.samples,
                suite.validate,
            )
            for spec, name, sha256 in found
            for text, policy in chosen
        ),
    )


def expand(spec: TraceSpec, folder: Path) -> Iterator[TraceSpec]:
    """The files that a pattern stands for, in the order of their names; anything else is itself."""
    if is_url(spec.trace):
        yield spec
        return
    path = folder / spec.trace
    if path.exists():
        yield replace(spec, trace=str(path.resolve()))
        return
    if not glob.has_magic(spec.trace) or ":" in spec.trace:
        # A file of that name in the working directory is not the one that is meant.
        yield replace(spec, trace=str(path)) if Path(spec.trace).exists() else spec
        return
    files = sorted(glob.glob(spec.trace, root_dir=folder, recursive=True))
    if not files:
        raise UsageError(f"traces: no file is like {spec.trace!r} in {folder.resolve()}")
    if spec.name is not None and len(files) > 1:
        raise UsageError(f"traces: {spec.trace!r} stands for {len(files)} files, which cannot all be called {spec.name!r}")
    for file in files:
        yield replace(spec, trace=str((folder / file).resolve()))


def is_url(text: str) -> bool:
    return _URL.match(text) is not None


def identify(spec: TraceSpec) -> tuple[str, str]:
    """A trace's name and the digest of its bytes. A file is only hashed; what is no file is made."""
    from memtrace.formats import find
    from memtrace.trace.inputs import trace_name
    from memtrace.trace.reading import read
    from memtrace.trace.source import open_source

    if is_url(spec.trace) or Path(spec.trace).exists():
        with open_source(spec.trace) as source:
            name, sha256 = trace_name(source, find(source, spec.format)), source.sha256()
    else:
        trace = read(spec.trace, format=spec.format, invalid=spec.invalid)
        name, sha256 = trace.name, trace.sha256
    name = spec.name or name
    return (name if spec.capacity_text is None else f"{name}@{spec.capacity_text}"), sha256


def _policies(text: str, folder: Path) -> list[tuple[str, Policy]]:
    """Each with the text by which any process finds it; a file's label keeps the path that the suite has."""
    from memtrace.engine.registry import parse_policies, split_spec

    name = split_spec(text)[0]
    if not name.endswith(".py"):
        return [(policy.label, policy) for policy in parse_policies([text])]
    full = str((folder / name).resolve())
    located = full + text[len(name) :]
    policy = parse_policies([located])[0]
    return [(located, replace(policy, label=name + policy.label[len(full) :]))]


def _check_options(policies: list[Policy], capacities: set[int | None], suite: Suite) -> None:
    from memtrace.running import check_options

    for capacity in capacities:
        try:
            check_options(policies, capacity)
        except UsageError as error:
            raise UsageError(f"{suite.file}: {error}") from None


def policy_digest(policy: Policy) -> str:
    from memtrace.engine.sources import digest, reachable_modules

    return digest(reachable_modules(policy.module))


@cache
def package_digest() -> str:
    """Of every source of the package that has a say in a cell's results."""
    import memtrace

    root = Path(memtrace.__file__).parent
    text = hashlib.sha256(memtrace.__version__.encode())
    for file in sorted(root.rglob("*.py")):
        if file.relative_to(root).parts[0] not in APART:
            text.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return text.hexdigest()


@cache
def _libraries() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("numpy", "numba", "pyarrow")}
