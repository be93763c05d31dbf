"""Writes docs/measures.md from where the measures are declared: ``python -m docs.measures``."""

from pathlib import Path

from memtrace.engine.known import KNOWN_OF, STATES
from memtrace.measures import builtin_metrics
from memtrace.measures.declaration import Metric

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Measures

Each is a column of `summary.parquet`, and is printed by `memtrace metrics NAME`. The state is read after each event: L live,
A allocated, R reserved bytes, h the size of a hole, F the sum of all h. A ratio with a zero below is left out of its mean;
for the fragmentation measures it is 0. Samples are at most 2,000 events spread evenly (`memtrace run --samples`): a mean or a
maximum over samples is not one over all events. Of n events, k samples are those of number floor(i (n - 1) / (k - 1)), i = 0 to
k - 1. A heap never grows if R is at its peak as soon as it is above 0 after an event, as in a pool of
fixed size (`initial=` in most policies): the measures at its peak are those of the first event with the peak of A (of L where
A is not known), if R is the same then. This page is written by `make docs`.

## What is not known is null

A measure has no value (null in tables, `-` on the screen) where something that it needs is not known of the policy. It is then
left out of figures and comparisons, and a gate on it fails and says so.

| needs | known of |
|---|---|
{known}

A policy with a ledger names what it does not count in its constant `NOT_COUNTED`. Of a policy without a ledger whose addresses
are virtual (`VIRTUAL`) the engine counts no holes. A replay in Python with less than `detail="full"` has no states, so it knows
the peak of reserved bytes and how it ended alone.

## The measures

| measure | unit | better | definition | needs | source |
|---|---|---|---|---|---|
"""


def page() -> str:
    words: dict[str, list[str]] = {}
    for word, where in KNOWN_OF.items():
        words.setdefault(where, []).append(word)
    known = "\n".join(f"| {', '.join(same)} | {where} |" for where, same in words.items())
    return HEAD.replace("{known}", known) + "".join(map(row, builtin_metrics()))


def row(metric: Metric) -> str:
    """Return the row of a measure."""
    needs = ", ".join(each for each in metric.needs if each != STATES)
    return f"| {metric.name} | {metric.unit} | {metric.direction} | {metric.formula} | {needs} | {metric.source} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
