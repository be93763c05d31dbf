"""Read the file of a suite, memtrace.toml or the table [tool.memtrace] of pyproject.toml, into a Suite.

Every mistake in the file is a UsageError that names the file and the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from memtrace.comparing.grammar import Gate, parse_gate
from memtrace.errors import UsageError
from memtrace.names import nearest, unknown
from memtrace.results.settings import Refused, Settings, run_options
from memtrace.sweeps import spellings
from memtrace.sweeps import values as each_value

FILE, PROJECT, TABLE = "memtrace.toml", "pyproject.toml", "memtrace"
REPORTS = ("pdf", "html", "md")  # the kinds of report that the key reports takes
INVALID = ("error", "skip")  # the words that the key invalid takes; the first is the default


@dataclass(frozen=True)
class TraceSpec:
    """One entry of the key traces with one capacity.

    An entry with a list of capacities becomes several TraceSpecs; a file pattern stays one until planning.
    """

    trace: str  # a path, a pattern, a URL, or a workload
    name: str | None  # what results call the trace; None: its own name
    format: str | None  # None: recognised from the file
    invalid: str  # error or skip
    capacity: int | None  # bytes; None: the heap grows as needed
    capacity_text: str | None  # the capacity as written, if the entry has a list; it becomes part of the trace's name


@dataclass(frozen=True)
class Suite:
    """The content of a suite's file. Paths are as the file has them, relative to ``folder``."""

    file: Path
    traces: tuple[TraceSpec, ...]
    policies: tuple[str, ...]
    gates: tuple[Gate, ...]
    settings: Settings = field(default_factory=Settings)  # of all cells, but for the capacity, which each trace has of its own
    output: str = "reports/suite"  # the results folder
    cells: str = ".memtrace/cells"  # the folder of finished cells
    baseline: str | None = None  # the CSV file that gates compare with
    reports: tuple[str, ...] = ()  # kinds of report to write, out of REPORTS
    junit: str | None = None  # file for the gates as JUnit XML
    markdown: str | None = None  # file for the comparison as Markdown
    code: Path | None = (
        None  # the project's folder as it is at the base, to take policy files from; None: they are taken from here
    )

    @property
    def folder(self) -> Path:
        """Return the folder of the suite's file."""
        return self.file.parent

    def at(self, path: str) -> Path:
        """Return a path of the file, relative to the folder of the suite."""
        return self.folder / path

    def code_at(self, path: str) -> Path:
        """Return the absolute path of a policy file of the suite, in ``code`` if that is given."""
        here = (self.folder / path).resolve()
        return here if self.code is None else self.code / here.relative_to(project_of(self.folder))


def load(path: str | Path | None = None) -> Suite:
    """Read the suite from this file.

    Without a path read memtrace.toml, or else pyproject.toml, of the working directory. Raise UsageError for every
    mistake.
    """
    file = _found() if path is None else Path(path)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise _missing(file) from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    return parsed(file, content)


def parsed(file: Path, content: bytes) -> Suite:
    """Return the suite that the content of a file describes; the file's path is for messages, and for paths relative to it."""
    try:
        document = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: {error if isinstance(error, ValueError) else 'its values are nested too deeply'}") from error
    if file.name == PROJECT:
        document = document.get("tool", {}).get(TABLE)
        if document is None:
            raise UsageError(f"{file} has no table [tool.{TABLE}]")
    return _Reader(file, document).suite()


def gate_places(suite: Suite) -> dict[str, tuple[str, int]]:
    """Return, by the text of each gate, the suite's file as git names it, and the first line with the text; 1 if none has it."""
    project = project_of(suite.folder)
    file = suite.file.resolve()
    name = file.relative_to(project).as_posix() if file.is_relative_to(project) else str(suite.file)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    numbers = {gate.text: [number for number, line in enumerate(lines, 1) if gate.text in line] for gate in suite.gates}
    return {text: (name, found[0] if found else 1) for text, found in numbers.items()}


def _found() -> Path:
    """Return the suite's file of the working directory; raise UsageError if there is none."""
    if Path(FILE).exists():
        return Path(FILE)
    if Path(PROJECT).exists():
        return Path(PROJECT)
    raise UsageError(f"there is neither {FILE} nor {PROJECT} here; docs/suite.md shows one")


def project_of(folder: Path) -> Path:
    """Return the folder of the git repository that a folder lies in, or the folder itself; absolute, without links."""
    found = folder.resolve()
    return next((each for each in (found, *found.parents) if (each / ".git").exists()), found)


def _missing(file: Path) -> UsageError:
    """Return the error for a file that does not exist, with the nearest name of a file that does."""
    likely = nearest(file.name, (item.name for item in file.parent.glob("*.toml")))
    return UsageError(f"there is no file {file}" + (f"; did you mean {file.parent / likely}?" if likely else ""))


class _Reader:
    """Reads the keys of a document, and checks their types and values. Methods raise UsageError for a mistake."""

    def __init__(self, file: Path, document: dict[str, Any]) -> None:
        """Take the document of a TOML file; the file's name is for error messages."""
        self.file = file
        self.document = document
        self.refused = {name: each.suite.reason for name, each in run_options().items() if isinstance(each.suite, Refused)}
        fields = set(Suite.__dataclass_fields__) - {"file", "gates", "settings"}
        # The table `template` names templates of logs, which the format of that name reads itself.
        self.known = {"invalid", "fail_if", "seeds", "template", *fields, *run_options()} - set(self.refused)

    def suite(self) -> Suite:
        """Return the suite that the document describes."""
        for key in self.document:
            if key in self.refused:
                raise self.error(f"{key}: a suite does not take it: {self.refused[key]}")
            if key not in self.known:
                raise self.error(str(unknown("key", key, self.known)))
        reports = tuple(self.texts("reports", []))
        for name in reports:
            if name not in REPORTS:
                raise self.error(str(unknown("report", name, REPORTS)))
        return Suite(
            file=self.file,
            traces=self.traces(),
            policies=tuple(dict.fromkeys(label for entry in self.entries("policies") for label in self.policies(entry))),
            gates=tuple(self.gate(text) for text in self.texts("fail_if", [])),
            settings=self.settings(),
            output=self.written("output") or Suite.output,
            cells=self.text(self.document, "cells") or Suite.cells,
            baseline=self.written("baseline"),
            reports=reports,
            junit=self.written("junit"),
            markdown=self.written("markdown"),
        )

    def error(self, what: str) -> UsageError:
        """Return the error with this text and the file's name before it."""
        return UsageError(f"{self.file}: {what}")

    def entries(self, key: str) -> list[Any]:
        """Return the list under a key that has to have at least one entry."""
        value = self.document.get(key)
        if not isinstance(value, list) or not value:
            raise self.error(f"{key} is to be a list with at least one entry, such as {key} = [{_EXAMPLE[key]}]")
        return value

    def traces(self) -> tuple[TraceSpec, ...]:
        """Return the trace specs of all entries of the key traces."""
        return tuple(spec for entry in self.entries("traces") for spec in self.trace(entry))

    def trace(self, entry: Any) -> list[TraceSpec]:
        """Return the trace specs of one entry, a path or a table: one for each of its capacities."""
        table = {"trace": entry} if isinstance(entry, str) else entry
        if not isinstance(table, dict):
            raise self.error(f"traces: {entry!r} is neither a path in quotes nor a table with the key trace")
        known = ("trace", "name", "format", "invalid", "capacity", "seeds")
        for key in table:
            if key not in known:
                raise self.error(f"traces: {unknown('key', key, known)}")
        trace = self.text(table, "trace")
        if not trace:
            raise self.error(f"traces: {entry!r} lacks the key trace")
        capacity = table.get("capacity", self.document.get("capacity"))
        capacities = capacity if isinstance(capacity, list) else [capacity]
        capacities = [
            one for each in capacities for one in (self.swept("capacity", each_value, each) if isinstance(each, str) else [each])
        ]
        several = isinstance(capacity, list) or len(capacities) > 1
        invalid = self.invalid(table, self.invalid(self.document, INVALID[0]))
        return [
            TraceSpec(
                trace=sown,
                name=name,
                format=self.text(table, "format"),
                invalid=invalid,
                capacity=None if each is None else self.setting("capacity", each),
                capacity_text=str(each) if several else None,
            )
            for sown, name in self.sown_each(trace, table)
            for each in capacities
        ]

    def sown_each(self, text: str, table: dict[str, Any]) -> list[tuple[str, str | None]]:
        """Return the traces of an entry and their names; a workload whose options are sweeps becomes several."""
        from memtrace.workloads.recipe import each_of

        found = [each for trace in self.swept("traces", each_of, text) for each in self.sown(trace, table)]
        if len(found) > 1 and self.text(table, "name") is not None and len({name for _, name in found}) < len(found):
            raise self.error(f"traces: {text!r} stands for {len(found)} traces, which cannot all be called {table['name']!r}")
        return found

    def swept(self, key: str, read: Callable[[str], list[str]], text: str) -> list[str]:
        """Return what a text that may be a sweep stands for."""
        try:
            return read(text)
        except UsageError as error:
            raise self.error(f"{key}: {error}") from None

    def sown(self, trace: str, table: dict[str, Any]) -> list[tuple[str, str | None]]:
        """Return the trace of an entry and its name; of a workload with the key seeds, one for each seed from 0 on.

        The key of the whole suite is for the workloads that name no seed.
        """
        from memtrace.names import split_spec
        from memtrace.workloads.recipe import is_workload

        name, seeds = self.text(table, "name"), table.get("seeds", self.document.get("seeds"))
        if seeds is not None and (not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1):
            raise self.error(f"seeds: {seeds!r} is no whole number above 0")
        given = is_workload(trace)
        if "seeds" in table and (not given or "seed" in split_spec(trace)[1]):
            raise self.error(f"seeds: {trace} {'has a seed' if given else 'is no workload'}; seeds are for workloads without one")
        if seeds is None or not given or "seed" in split_spec(trace)[1]:
            return [(trace, name)]
        mark = "," if ":" in trace else ":"
        return [(f"{trace}{mark}seed={seed}", None if name is None else f"{name},seed={seed}") for seed in range(seeds)]

    def settings(self) -> Settings:
        """Return the settings that the document has keys for, but for the capacity, which may be a list."""
        keys = [name for name in run_options() if name in self.document and name != "capacity"]
        return Settings(**{key: self.setting(key, self.document[key]) for key in keys})

    def setting(self, name: str, value: Any) -> Any:
        """Return the value of a run option that a key has as ``value``."""
        try:
            return run_options()[name].value(value)
        except UsageError as error:
            raise self.error(f"{name}: {error}") from None

    def policies(self, entry: Any) -> list[str]:
        """Return the policies of one entry as texts such as "buddy:min=64".

        A table has the policy under the key policy and its options beside it; an option that is a list stands for each
        of its values, and several lists for all their combinations.
        """
        if isinstance(entry, str):
            return self.swept("policies", spellings, entry)
        if not isinstance(entry, dict) or not isinstance(entry.get("policy"), str):
            raise self.error(f"policies: {entry!r} is neither a policy in quotes nor a table with the key policy")
        options = {key: value if isinstance(value, list) else [value] for key, value in entry.items() if key != "policy"}
        for key, values in options.items():
            if not values or not all(isinstance(value, str | int) for value in values):
                raise self.error(f"policies: {key} of {entry['policy']} is to be a value or a list of values")
        start = entry["policy"] + ("," if ":" in entry["policy"].removesuffix(".py") else ":")
        pairs = [
            [f"{key}={one}" for value in values for one in self.swept("policies", each_value, _option(value))]
            for key, values in options.items()
        ]
        return [start + ",".join(chosen) if chosen else entry["policy"] for chosen in product(*pairs)]

    def gate(self, text: str) -> Gate:
        """Return the gate that a text of the key fail_if describes."""
        try:
            return parse_gate(text)
        except UsageError as error:
            raise self.error(f"fail_if: {error}") from None

    def texts(self, key: str, default: list[str]) -> list[str]:
        """Return the list of texts under a key, or the default if it is absent."""
        value = self.document.get(key, default)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.error(f"{key} is to be a list of texts in quotes")
        return value

    def text(self, table: dict[str, Any], key: str) -> str | None:
        """Return the text under a key of a table, or None if it is absent."""
        value = table.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.error(f"{key}: {value!r} is no text in quotes")
        return value

    def written(self, key: str) -> str | None:
        """Return the path under a key, of what the suite writes, or None if it is absent.

        It has to lie in the project, so that a suite from a stranger cannot replace other files of the user's.
        """
        path = self.text(self.document, key)
        project = project_of(self.file.parent)
        if path is not None and not (self.file.parent / path).resolve().is_relative_to(project):
            raise self.error(
                f"{key}: {path} lies outside of {project}\ntry: a path in it, or the option --{key} of memtrace suite"
            )
        return path

    def invalid(self, table: dict[str, Any], default: str) -> str:
        """Return the word under the key invalid of a table, or the default if it is absent."""
        value = table.get("invalid", default)
        if value not in INVALID:
            raise self.error(f"invalid: {value!r} is none of {', '.join(INVALID)}")
        return str(value)


# Key -> an example of its value, for error messages.
_EXAMPLE = {"traces": '"traces/*.parquet"', "policies": '"classic", "buddy"'}


def _option(value: str | int) -> str:
    """Return an option's value as text; booleans as true and false."""
    return str(value).lower() if isinstance(value, bool) else str(value)
