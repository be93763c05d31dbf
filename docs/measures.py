"""Writes docs/measures.md from where the measures are declared: ``python -m docs.measures``."""

from pathlib import Path

from memtrace.measures import builtin_metrics

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Measures

Each is a column of `summary.parquet`, and is printed by `memtrace metrics NAME`. The state is read after each event: L live,
A allocated, R reserved bytes, h the size of a hole, F the sum of all h. A ratio with a zero below is left out of its mean;
for the fragmentation measures it is 0. This page is written by `make docs`.

| measure | unit | better | definition | source |
|---|---|---|---|---|
"""


def page() -> str:
    rows = (f"| {m.name} | {m.unit} | {m.direction} | {m.formula} | {m.source} |\n" for m in builtin_metrics())
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
