"""Turn a Suite into tasks: hash every trace, read every policy, and give each cell a key.

The key of a cell is a digest of everything that determines its results. A finished cell is stored under its key, so it
is found again exactly as long as it would come out the same.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace import plugins
from memtrace.errors import UsageError
from memtrace.results.settings import Settings, Taken, run_options
from memtrace.suite.config import Suite, TraceSpec, project_of

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy

UNHASHED_PACKAGES = (
    "cli",
    "comparing",
    "drawing",
    "plots",
    "report",
    "suite",
)  # subpackages that do not influence a cell's results
HASHED_PLUGINS = ("formats", "workloads", "measures")  # kinds that influence every cell; a policy's sources have a digest each
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class Task:
    """One cell in plain values, which is all that another process, or another machine, needs to replay it."""

    source: str  # an absolute path, a URL, or anything else that `memtrace run` takes as a trace
    trace: str  # the name of the trace in results
    sha256: str  # of the trace's bytes
    format: str | None  # of the trace; None: recognised from the file
    invalid: str  # error or skip
    policy: str  # the policy with its options; an absolute path if it is a file
    label: str  # the name of the policy in results
    policy_digest: str  # of the policy's sources
    settings: Settings  # with the capacity of the trace
    outside: tuple[tuple[str, str], ...] = ()  # settings that a real allocator sees in the environment: name, value

    @cached_property
    def key(self) -> str:
        """Return a digest of everything that determines the cell's results.

        Where the trace and the policy lie is not part of it. Of the settings, those that a suite does not take are part
        of it only if they are not at their defaults.
        """
        names = [each.name for each in fields(self) if each.name not in ("source", "policy", "settings")]
        values = {name: getattr(self, name) for name in names}
        options = run_options()
        for name, value in asdict(self.settings).items():
            option = options[name]
            if isinstance(option.suite, Taken) or value != option.default:
                values[name] = value
        text = json.dumps({**values, "package": package_digest(), **_libraries()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def text(self) -> str:
        """Return the cell's trace and policy for messages."""
        return f"{self.trace}, {self.label}"


@dataclass(frozen=True)
class Plan:
    """The cells of a suite."""

    suite: Suite
    tasks: tuple[Task, ...]  # trace by trace, in the order of the file

    @property
    def sources(self) -> dict[str, str]:
        """Return the path, URL or recipe of each trace, by the trace's name."""
        return {task.trace: task.source for task in self.tasks}

    @property
    def files(self) -> dict[str, str]:
        """Return, by label, the text of each policy that is a file of the user's own."""
        from memtrace.names import split_spec

        base, project = self.suite.code, project_of(self.suite.folder)
        own = {task.label: task.policy for task in self.tasks if split_spec(task.policy, "")[0].endswith(".py")}
        return {label: text.replace(str(base), str(project), 1) if base is not None else text for label, text in own.items()}


def plan(suite: Suite, progress: Callable[[str], None] = lambda name: None) -> Plan:
    """Return the plan of a suite; every trace is hashed, or generated if it is a workload.

    ``progress`` is called with each trace's path. Raise UsageError for a suite that cannot be run at all, InputError
    for a trace that does not exist.
    """
    return Plan(suite, tasks_of(suite, identified(suite, identify, progress)))


def tasks_of(suite: Suite, traces: list[tuple[TraceSpec, str, str]]) -> tuple[Task, ...]:
    """Return the task of each trace with each policy of a suite; ``traces`` is what `identified` returns."""
    from memtrace.engine.registry import settings_seen, told_apart

    chosen = told_apart([policy for text in suite.policies for policy in _policies(text, suite)])
    _check_options(chosen, {spec.capacity for spec, _, _ in traces}, suite)
    digests = [policy_digest(policy) for policy in chosen]
    settings = {spec.capacity: replace(suite.settings, capacity=spec.capacity) for spec, _, _ in traces}
    return tuple(
        Task(
            source=spec.trace,
            trace=name,
            sha256=sha256,
            format=spec.format,
            invalid=spec.invalid,
            policy=policy.text or policy.label,
            label=policy.label,
            policy_digest=digest,
            settings=settings[spec.capacity],
            outside=settings_seen(policy),
        )
        for spec, name, sha256 in traces
        for policy, digest in zip(chosen, digests, strict=True)
    )


def identified(
    suite: Suite, identify: Callable[[TraceSpec], tuple[str, str]], progress: Callable[[str], None] = lambda name: None
) -> list[tuple[TraceSpec, str, str]]:
    """Return each trace of a suite with each of its capacities, its name in results, and its SHA-256.

    ``identify`` returns name and SHA-256 of a trace. Raise UsageError for two traces of one name.
    """
    found = []
    known: dict[TraceSpec, tuple[str, str]] = {}  # name and SHA-256 of each trace; its entries differ only in their capacities
    for spec in suite.traces:
        for each in expand(spec, suite.folder):
            same = replace(each, capacity=None, capacity_text=None)
            if same not in known:
                progress(each.trace)
                known[same] = identify(same)
            name, sha256 = known[same]
            found.append((each, name if each.capacity_text is None else f"{name}@{each.capacity_text}", sha256))
    for name, count in Counter(name for _, name, _ in found).items():
        if count > 1:
            raise UsageError(f"{suite.file}: two traces are called {name}; give one another name: {{trace = ..., name = ...}}")
    return found


def expand(spec: TraceSpec, folder: Path) -> Iterator[TraceSpec]:
    """Return the specs of the files that match a pattern, in the order of their names, with absolute paths.

    A URL, a workload or a single file is returned as one spec. Raise UsageError if no file matches, or if several would
    get the same name.
    """
    if is_url(spec.trace):
        yield spec
        return
    path = folder / spec.trace
    if path.exists():
        yield replace(spec, trace=str(path.resolve()))
        return
    if not glob.has_magic(spec.trace) or ":" in spec.trace:
        # Paths are relative to the suite's folder. If a file of this name is in the working directory instead, the path is
        # joined to the folder all the same, so that the wrong file is not read.
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
    """Return whether the text begins with a scheme, such as https://."""
    return _URL.match(text) is not None


def identify(spec: TraceSpec, added: bool = True) -> tuple[str, str]:
    """Return a trace's name, without its capacity, and the SHA-256 of its bytes.

    A file or URL is only hashed; a workload is generated. Without ``added`` no format of a plug-in is tried.
    """
    from memtrace.formats import find
    from memtrace.reading.traces import read, trace_name
    from memtrace.trace.sources import open_source

    if is_url(spec.trace) or Path(spec.trace).exists():
        with open_source(spec.trace) as source:
            name, sha256 = trace_name(source, find(source, spec.format, added)), source.sha256()
    else:
        trace = read(spec.trace, format=spec.format, invalid=spec.invalid)
        name, sha256 = trace.name, trace.sha256
    return spec.name or name, sha256


def _policies(text: str, suite: Suite) -> list[Policy]:
    """Return the policies that a text stands for; a file gets its absolute path, so that any process can load it."""
    from memtrace.engine.registry import parse_policies
    from memtrace.names import split_spec

    name = split_spec(text, "")[0]
    if not name.endswith(".py"):
        return parse_policies([text])
    return parse_policies([f"{suite.code_at(name)}{text[len(name) :]}"])


def _check_options(policies: list[Policy], capacities: set[int | None], suite: Suite) -> None:
    """Raise UsageError, with the suite's file in the message, for options that contradict each other or do not fit a capacity."""
    from memtrace.results.running import check_options

    for capacity in capacities:
        try:
            check_options(policies, capacity)
        except UsageError as error:
            raise UsageError(f"{suite.file}: {error}") from None


def policy_digest(policy: Policy) -> str:
    """Return a digest of the sources of the policy's module and of all modules that it imports."""
    from memtrace.digests import digest, reachable_modules

    return digest(reachable_modules(policy.module))


@cache
def package_digest() -> str:
    """Return a digest of this package's version, and of all sources of it and its plug-ins that can influence any cell's results.

    The policies of plug-ins are no part of it: each cell has the digest of its own policy.
    """
    import memtrace

    root = Path(memtrace.__file__).parent
    text = hashlib.sha256(memtrace.__version__.encode())
    for file in sorted(root.rglob("*.py")):
        if file.relative_to(root).parts[0] not in UNHASHED_PACKAGES:
            text.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    _add_plugins(text, HASHED_PLUGINS)
    return text.hexdigest()


@cache
def installed_digest() -> str:
    """Return a digest that says whether two machines have the same sources: `package_digest`, and the policies of plug-ins."""
    text = hashlib.sha256(package_digest().encode())
    _add_plugins(text, ("policies",))
    return text.hexdigest()


def _add_plugins(text: hashlib._Hash, kinds: tuple[str, ...]) -> None:
    """Add the sources of all plug-ins of these kinds to a digest."""
    for package in sorted({package for kind in kinds for package in plugins.packages(kind)}):
        text.update(package.encode() + plugins.sources_digest(package))


@cache
def _libraries() -> dict[str, str]:
    """Return the versions of the libraries that can influence a cell's results, by name."""
    return {name: metadata.version(name) for name in ("numpy", "numba", "pyarrow")}
