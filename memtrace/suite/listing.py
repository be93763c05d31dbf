"""List the cells of a suite without running any code that the suite names: no policy file, no library, no plug-in.

What only that code could say, such as the key of a cell, is not known then. Traces are read, from URLs too, to know their bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from memtrace.errors import InputError
from memtrace.suite.config import Suite, TraceSpec
from memtrace.suite.planning import Task, identified, identify, tasks_of
from memtrace.suite.trust import Code, all_code, code_of, names_in

UNKNOWN = ""  # the SHA-256 of a trace that only a plug-in could read


@dataclass(frozen=True)
class ListedCell:
    """A cell of a suite."""

    trace: str  # the name of the trace
    source: str  # its path, URL or recipe
    policy: str  # the policy's name in results; its text where only its code could tell the name
    task: Task | None  # None: code would have to run to know it


@dataclass(frozen=True)
class Listing:
    """The cells of a suite, trace by trace, and the code that it would run."""

    cells: tuple[ListedCell, ...]
    code: tuple[Code, ...]
    plugins: tuple[str, ...]  # the policies, workloads and formats of installed plug-ins that it names


def listing(suite: Suite) -> Listing:
    """Return the cells of a suite, with their tasks where no code of the suite's has to run to know them.

    Raise UsageError and InputError as `plan` does.
    """
    from memtrace.engine.registry import GROUP_WORDS, added_policies, group

    found = identified(suite, identify_without_code)
    texts = [each for text in suite.policies for each in (group(text, False) if text in GROUP_WORDS else [text])]
    plugged = {text: [name for name, _, _ in names_in(text) if name in added_policies()] for text in texts}
    known = tuple(text for text in texts if not code_of(text) and not plugged[text])
    by_trace: dict[str, list[Task]] = {}
    for task in tasks_of(replace(suite, policies=known), [each for each in found if each[2] != UNKNOWN]):
        by_trace.setdefault(task.trace, []).append(task)
    cells = []
    for spec, name, _ in found:
        cells += [ListedCell(name, spec.trace, task.label, task) for task in by_trace.get(name, ())]
        unread = dict.fromkeys(text for text in texts if text not in known or name not in by_trace)
        cells += [ListedCell(name, spec.trace, text, None) for text in unread]
    named = [
        *(name for names in plugged.values() for name in names),
        *(each for spec in suite.traces for each in plugins_of(spec)),
    ]
    return Listing(tuple(cells), tuple(all_code(suite)), tuple(dict.fromkeys(named)))


def plugins_of(spec: TraceSpec) -> list[str]:
    """Return the workload and the format of plug-ins that a trace of a suite names."""
    from memtrace.formats import added_formats
    from memtrace.workloads import added_workloads

    workload, form = spec.trace.partition(":")[0], (spec.format or "").partition(":")[0]
    return [*([workload] if workload in added_workloads() else []), *([form] if form in added_formats() else [])]


def identify_without_code(spec: TraceSpec) -> tuple[str, str]:
    """Return what `identify` does, without plug-ins; the SHA-256 is UNKNOWN for a trace that only a plug-in can read."""
    from memtrace.formats import added_formats

    if plugins_of(spec):
        return spec.name or Path(spec.trace).name, UNKNOWN
    try:
        return identify(spec, added=False)
    except InputError:
        if not added_formats() or not Path(spec.trace).is_file():
            raise
        return spec.name or Path(spec.trace).name, UNKNOWN
