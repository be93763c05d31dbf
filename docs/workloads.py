"""Writes docs/workloads.md from where the workloads are declared: ``python -m docs.workloads``."""

from __future__ import annotations

import inspect
from pathlib import Path

from memtrace.workloads import builtin_workloads, load
from memtrace.workloads.options import Option, options_of, text_of

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Workloads

A workload generates a synthetic trace: the same options, seed and version give the same bytes. `memtrace generate` writes the
trace to a file. A workload's name, with options, may also be given where `run`, `info`, `check` and `convert` expect a trace:

    memtrace workloads gpt-train
    memtrace generate gpt-train --set layers=24 --set batch=8 --seed 0 -o trace.parquet
    memtrace run gpt-train:layers=24,batch=8 -p default
    memtrace info classic:pattern=peaks,events=100000,seed=7

Every block has a tag. A workload makes events in pieces, which are written as they come, so memory does not grow with the trace:
100 million events (`memtrace generate classic --set events=100000000 -o t.parquet`) took at most 298 MiB, and 26 s of processor
time. [reproductions.md](reproductions.md) compares generated traces with recorded ones and with the literature.
This page is written by `make docs`.

## Your own, in one file

A file in `memtrace/workloads/` with a function `generate(seed, *, option=default, ...)` is a workload; nothing else has to be
touched. It returns `Made` (`memtrace.workloads.events`): pieces of events and the names of their tags. Options are annotated
with their limits, which are checked and printed. Three helpers make events: `lifespans.events` from blocks with times of birth
and death, `transformer.tape.Tape` from steps that are written down once, and `classical.phases.churn` from blocks whose
lifetimes count allocations.

## All options
"""


def page() -> str:
    return HEAD + "".join(section(name) for name in builtin_workloads())


def section(name: str) -> str:
    module = load(name)
    rows = "".join(row(option) for option in options_of(module.generate).values())
    return f"\n### {name}\n\n{inspect.getdoc(module)}\n\n| option | default | takes | |\n|---|---|---|---|\n{rows}"


def row(option: Option) -> str:
    takes = option.takes().replace("|", ", ")
    return f"| {option.name} | {text_of(option.default)} | {takes} | {option.about} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
