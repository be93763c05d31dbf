"""Record what a test allocates, replay it, judge the gates, and write a report for a test that fails."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace import temporary
from memtrace.errors import UsageError
from memtrace.names import unknown

if TYPE_CHECKING:
    from memtrace.comparing.comparison import Outcome
    from memtrace.comparing.grammar import Gate
    from memtrace.results.tables import Results

KINDS = ("python", "torch")  # how a whole test can be recorded
MOST_LINES = 8  # of the outcomes in a message
FIRST = "best-fit"  # the policy if none is named


@dataclass(frozen=True)
class Wanted:
    """What the marker of a test says."""

    gates: tuple[str, ...] = ()
    policies: tuple[str, ...] = (FIRST,)
    capacity: int | None = None  # bytes
    record: str | None = None  # one of KINDS to record the whole test; None: the test records itself

    @classmethod
    def of(cls, gates: Sequence[Any], options: Mapping[str, Any]) -> Wanted:
        """Return what the arguments of a marker mean; raise UsageError for a wrong one."""
        from memtrace.results.settings import read_size

        known = {"fail_if", "policies", "capacity", "record"}
        for name in options:
            if name not in known:
                raise unknown("argument of the marker memtrace", name, known)
        record = options.get("record")
        if record not in (None, *KINDS):
            raise unknown("way to record a test", str(record), KINDS)
        capacity = options.get("capacity")
        return cls(
            gates=(*texts(gates), *texts(options.get("fail_if", ()))),
            policies=texts(options.get("policies", FIRST)),
            capacity=None if capacity is None else read_size(capacity),
            record=record,
        )


def texts(value: Any) -> tuple[str, ...]:
    """Return a text, or several, as a tuple of texts; raise UsageError for anything else."""
    found = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(each, str) for each in found):
        raise UsageError(f"the marker memtrace takes texts, and not {value!r}")
    return found


@dataclass(kw_only=True)
class Recorder:
    """The recordings of one test. Its traces lie in a folder of the test's own, which is removed if the gates hold."""

    test: str  # the test's node id, which is the name of its first trace
    wanted: Wanted
    folder: Path  # of all tests
    baseline: Path  # of all tests
    is_updating: bool  # the baseline is to be written, so gates that compare with it are not judged
    traces: dict[str, Path] = field(default_factory=dict)  # by the names that results have
    rows: list[dict[str, Any]] = field(default_factory=list)  # of the summary, after `judge`

    @property
    def place(self) -> Path:
        """Return the folder of the test: no two tests share one, in whatever process they run."""
        plain = re.sub(r"[^\w.-]+", "-", self.test).strip("-.")[-60:]
        return self.folder / f"{plain}-{hashlib.sha256(self.test.encode()).hexdigest()[:8]}"

    @property
    def report(self) -> Path:
        """Return the path of the report, which is written if a gate fails."""
        return self.place / "report.html"

    def native(self, command: Sequence[str | os.PathLike[str]], *, name: str = "", process: str | None = None) -> Path:
        """Run a command in a child, and record its calls of malloc and free; return the path of the trace.

        ``process`` is the program whose calls are wanted, by default that with the most. Raise UsageError if the command cannot
        be run, subprocess.CalledProcessError if it fails.
        """
        from memtrace.recording.native import record

        path = self.new(name)
        words = [os.fspath(each) for each in command]
        done = record(words, path, process=process, output=subprocess.DEVNULL)
        if done.exit_code:
            raise subprocess.CalledProcessError(done.exit_code, words)
        return path

    @contextmanager
    def python(self, *, name: str = "", objects: bool = False) -> Iterator[Path]:
        """Record the block with memray, with Python's own allocator too if ``objects``; provide the path of the trace to be."""
        from memtrace.reading import convert
        from memtrace.recording.python import EXTRA

        try:
            import memray
        except ImportError:
            raise UsageError(f"recording Python needs an extra: {EXTRA}") from None
        path = self.new(name)
        with temporary.folder(path.parent) as folder:
            with memray.Tracker(folder / "capture.memray", trace_python_allocators=objects):
                yield path
            convert(folder / "capture.memray", path, format="memray")

    @contextmanager
    def torch(self, *, name: str = "", gpu: bool = False) -> Iterator[Path]:
        """Record the tensors of the block, on fake tensors, or with ``gpu`` by a GPU's snapshot; provide its trace's path."""
        from memtrace.reading import convert

        path = self.new(name)
        if not gpu:
            from memtrace.recording.torch import recorded

            with recorded(path):
                yield path
            return
        from memtrace.torch import record

        with temporary.folder(path.parent) as folder:
            with record(folder / "snapshot.pickle") as written:
                yield path
            if written is None:
                raise UsageError("there is no PyTorch with a GPU to record\ntry: torch() without gpu=True")
            convert(written, path)

    def new(self, name: str) -> Path:
        """Return the path of a new trace, called after the test and ``name``."""
        full = f"{self.test} {name}".strip()
        if full in self.traces:
            raise UsageError(f"two recordings of {self.test} are called {name or 'nothing'}\ntry: name=... for one")
        self.place.mkdir(parents=True, exist_ok=True)
        (self.folder / ".gitignore").write_text("*\n")
        self.traces[full] = self.place / f"trace-{len(self.traces) + 1}.parquet"
        return self.traces[full]

    @contextmanager
    def whole_test(self) -> Iterator[None]:
        """Record the block, which is the whole test, as the marker says."""
        if self.wanted.record is None:
            yield
            return
        with self.python() if self.wanted.record == "python" else self.torch():
            yield

    def judge(self) -> str | None:
        """Replay the traces and judge the gates; return a message if one fails, else None. The report is written then.

        Raise UsageError for gates without a recording, for a wrong gate, and for one that lacks its baseline.
        """
        if not self.traces:
            if self.wanted.gates:
                raise UsageError(
                    f"{self.test} has gates and records nothing\ntry: record='python', or the fixture memtrace_record"
                )
            return None
        from memtrace.comparing.grammar import parse_gate

        gates = [gate for gate in map(parse_gate, self.wanted.gates) if not (self.is_updating and gate.needs_base)]
        results = self.replayed()
        self.rows = results.summary
        failed = [outcome for outcome in self.outcomes(gates) if outcome.state == "failed"]
        if not failed:
            self.remove()
            return None
        from memtrace.report import render
        from memtrace.results.folder import write_folder

        write_folder(results, self.place / "results", lambda stage: render(results, stage, kinds=("html",)))
        (self.place / "results" / "report.html").replace(self.report)
        lines = [f"memtrace: {outcome.rule}: {outcome.text}" for outcome in failed[:MOST_LINES]]
        more = [f"and {len(failed) - MOST_LINES} more"] if len(failed) > MOST_LINES else []
        return "\n".join([*lines, *more, f"report: {self.report}", f"try: memtrace show {self.place / 'results'}"])

    def replayed(self) -> Results:
        """Replay the traces of the test through the policies of the marker, in this process."""
        from dataclasses import replace

        from memtrace.engine.registry import parse_policies
        from memtrace.reading import read
        from memtrace.results.running import run
        from memtrace.results.settings import Settings

        traces = [replace(read(path), name=name) for name, path in self.traces.items()]
        return run(traces, parse_policies(self.wanted.policies), Settings(capacity=self.wanted.capacity), jobs=1)

    def outcomes(self, gates: Sequence[Gate]) -> Sequence[Outcome]:
        """Return the outcomes of the gates on the rows, against the baseline's rows of the same traces."""
        from memtrace.comparing.comparison import by_key
        from memtrace.comparing.gates import judge
        from memtrace.comparing.inputs import read_baseline

        head = by_key(self.rows, self.test)
        base = None
        if any(gate.needs_base for gate in gates):
            known = by_key(read_baseline(self.baseline), str(self.baseline)) if self.baseline.exists() else {}
            base = {key: row for key, row in known.items() if key in head}
            if not base:
                raise UsageError(f"{self.baseline} has no row of {self.test}\ntry: pytest --memtrace-update-baseline")
        return judge(gates, head, base)

    def rows_to_keep(self) -> list[dict[str, Any]]:
        """Return what a baseline has of the rows: with the measures of the test's gates."""
        from memtrace.comparing.grammar import parse_gate
        from memtrace.comparing.inputs import columns

        names = columns(parse_gate(text).measure for text in self.wanted.gates)
        return [{name: row[name] for name in names} for row in self.rows]

    def remove(self) -> None:
        """Remove what the test wrote, also what an earlier run of it left."""
        import shutil

        shutil.rmtree(self.place, ignore_errors=True)


def update_baseline(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows into the baseline, in place of those of the same traces; rows of tests that did not run stay."""
    from memtrace.comparing.inputs import IDENTITY, MEASURES, read_baseline, write_baseline
    from memtrace.measures import declared

    old = read_baseline(path) if path.exists() else []
    new = {row["trace"] for row in rows}
    kept = [row for row in old if row["trace"] not in new]
    known = {metric.name for metric in declared()}
    columns = [name for name in dict.fromkeys(name for row in [*old, *rows] for name in row) if name in known]
    empty = dict.fromkeys([*IDENTITY, *MEASURES, *columns])
    write_baseline([{**empty, **row} for row in [*kept, *rows]], path, columns)
