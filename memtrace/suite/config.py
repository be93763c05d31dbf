"""memtrace.toml, or [tool.memtrace] of pyproject.toml -> a Suite; every mistake in it is a UsageError that names the key."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from memtrace.comparing.grammar import Gate, parse_gate
from memtrace.errors import UsageError
from memtrace.names import nearest, unknown
from memtrace.replaying import ALL_SAMPLES, DEFAULT_SAMPLES
from memtrace.units import parse_size

FILE, PROJECT, TABLE = "memtrace.toml", "pyproject.toml", "memtrace"
REPORTS = ("pdf", "html", "md")
WORDS = {"on_oom": ("stop", "skip"), "invalid": ("error", "skip")}


@dataclass(frozen=True)
class TraceSpec:
    """One entry of traces, with one capacity; a file pattern stands for several."""

    trace: str
    name: str | None
    format: str | None
    invalid: str
    capacity: int | None
    capacity_text: str | None  # set where an entry has several, which then tell its traces apart


@dataclass(frozen=True)
class Suite:
    """What a suite's file says, with paths as it has them: they are relative to ``folder``."""

    file: Path
    traces: tuple[TraceSpec, ...]
    policies: tuple[str, ...]
    gates: tuple[Gate, ...]
    on_oom: Literal["stop", "skip"] = "stop"
    samples: int = DEFAULT_SAMPLES
    validate: bool = False
    output: str = "reports/suite"
    cells: str = ".memtrace/cells"
    baseline: str | None = None
    reports: tuple[str, ...] = ()
    junit: str | None = None
    markdown: str | None = None

    @property
    def folder(self) -> Path:
        return self.file.parent

    def at(self, path: str) -> Path:
        return self.folder / path


def load(path: str | Path | None = None) -> Suite:
    """The suite of this file; without one, of memtrace.toml or pyproject.toml here."""
    file = _found() if path is None else Path(path)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(file) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: {error}") from error
    if file.name == PROJECT:
        document = document.get("tool", {}).get(TABLE)
        if document is None:
            raise UsageError(f"{file} has no table [tool.{TABLE}]")
    return _Reader(file, document).suite()


def _found() -> Path:
    if Path(FILE).exists():
        return Path(FILE)
    if Path(PROJECT).exists():
        return Path(PROJECT)
    raise UsageError(f"there is neither {FILE} nor {PROJECT} here; docs/suite.md shows one")


def _missing(file: Path) -> UsageError:
    likely = nearest(file.name, (item.name for item in file.parent.glob("*.toml")))
    return UsageError(f"there is no file {file}" + (f"; did you mean {file.parent / likely}?" if likely else ""))


class _Reader:
    """Takes the keys out of a document one after the other; what is left is unknown."""

    def __init__(self, file: Path, document: dict[str, Any]) -> None:
        self.file = file
        self.document = document
        self.known = {"traces", "policies", "capacity", "invalid", "fail_if", *Suite.__dataclass_fields__} - {"file", "gates"}

    def suite(self) -> Suite:
        for key in self.document:
            if key not in self.known:
                raise self.error(str(unknown("key", key, self.known)))
        reports = tuple(self.texts("reports", []))
        for name in reports:
            if name not in REPORTS:
                raise self.error(str(unknown("report", name, REPORTS)))
        return Suite(
            self.file,
            self.traces(),
            tuple(dict.fromkeys(label for entry in self.entries("policies") for label in self.policies(entry))),
            tuple(self.gate(text) for text in self.texts("fail_if", [])),
            self.word(self.document, "on_oom", "stop"),  # type: ignore[arg-type]
            self.samples(),
            self.flag("validate"),
            self.text(self.document, "output") or Suite.output,
            self.text(self.document, "cells") or Suite.cells,
            self.text(self.document, "baseline"),
            reports,
            self.text(self.document, "junit"),
            self.text(self.document, "markdown"),
        )

    def error(self, what: str) -> UsageError:
        return UsageError(f"{self.file}: {what}")

    def entries(self, key: str) -> list[Any]:
        value = self.document.get(key)
        if not isinstance(value, list) or not value:
            raise self.error(f"{key} is to be a list with at least one entry, such as {key} = [{_EXAMPLE[key]}]")
        return value

    def traces(self) -> tuple[TraceSpec, ...]:
        return tuple(spec for entry in self.entries("traces") for spec in self.trace(entry))

    def trace(self, entry: Any) -> list[TraceSpec]:
        table = {"trace": entry} if isinstance(entry, str) else entry
        if not isinstance(table, dict):
            raise self.error(f"traces: {entry!r} is neither a path in quotes nor a table with the key trace")
        known = ("trace", "name", "format", "invalid", "capacity")
        for key in table:
            if key not in known:
                raise self.error(f"traces: {unknown('key', key, known)}")
        trace = self.text(table, "trace")
        if not trace:
            raise self.error(f"traces: {entry!r} lacks the key trace")
        capacity = table.get("capacity", self.document.get("capacity"))
        capacities = capacity if isinstance(capacity, list) else [capacity]
        invalid = self.word(table, "invalid", self.word(self.document, "invalid", "error"))
        return [
            TraceSpec(
                trace,
                self.text(table, "name"),
                self.text(table, "format"),
                invalid,
                self.size(each),
                str(each) if isinstance(capacity, list) else None,
            )
            for each in capacities
        ]

    def size(self, value: Any) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self.error(f"capacity: {value!r} is no size; write 4096 or '80GiB'")
        try:
            return parse_size(str(value))
        except UsageError as error:
            raise self.error(f"capacity: {error}") from None

    def policies(self, entry: Any) -> list[str]:
        """A policy as text; or a table with options, of which a list stands for each of its values."""
        if isinstance(entry, str):
            return [entry]
        if not isinstance(entry, dict) or not isinstance(entry.get("policy"), str):
            raise self.error(f"policies: {entry!r} is neither a policy in quotes nor a table with the key policy")
        options = {key: value if isinstance(value, list) else [value] for key, value in entry.items() if key != "policy"}
        for key, values in options.items():
            if not values or not all(isinstance(value, str | int) for value in values):
                raise self.error(f"policies: {key} of {entry['policy']} is to be a value or a list of values")
        start = entry["policy"] + ("," if ":" in entry["policy"].removesuffix(".py") else ":")
        pairs = [[f"{key}={_option(value)}" for value in values] for key, values in options.items()]
        return [start + ",".join(chosen) if chosen else entry["policy"] for chosen in product(*pairs)]

    def gate(self, text: str) -> Gate:
        try:
            return parse_gate(text)
        except UsageError as error:
            raise self.error(f"fail_if: {error}") from None

    def samples(self) -> int:
        value = self.document.get("samples", DEFAULT_SAMPLES)
        if value == "all":
            return ALL_SAMPLES
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(f"samples: {value!r} is neither a number above 0 nor 'all'")
        return value

    def flag(self, key: str) -> bool:
        value = self.document.get(key, False)
        if not isinstance(value, bool):
            raise self.error(f"{key}: {value!r} is neither true nor false")
        return value

    def texts(self, key: str, default: list[str]) -> list[str]:
        value = self.document.get(key, default)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.error(f"{key} is to be a list of texts in quotes")
        return value

    def text(self, table: dict[str, Any], key: str) -> str | None:
        value = table.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.error(f"{key}: {value!r} is no text in quotes")
        return value

    def word(self, table: dict[str, Any], key: str, default: str) -> str:
        value = table.get(key, default)
        if value not in WORDS[key]:
            raise self.error(f"{key}: {value!r} is none of {', '.join(WORDS[key])}")
        return str(value)


_EXAMPLE = {"traces": '"traces/*.parquet"', "policies": '"classic", "buddy"'}


def _option(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
