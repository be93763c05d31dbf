"""The benchmarks' tables, as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import native
from benchmarks.columns import TITLES
from benchmarks.measure import Results
from benchmarks.targets import Verdict, disagreements, verdicts

WIDTH = 10


def as_text(results: Results) -> str:
    """Costs, then the ratios against their targets."""
    return "\n".join(
        [
            *_costs("user CPU ns per event, whole trace (best round)", results, results.ns),
            *_costs("user CPU ns per event, after the ramp (best round)", results, results.steady_ns),
            *_holes(results),
            *_ratios(results),
        ]
    )


def as_json(results: Results, machine: dict[str, str]) -> dict[str, Any]:
    """Everything that was measured, every round of it."""
    return {
        "schema": "memtrace.benchmarks/1",
        "machine": machine,
        "samples": [
            {"column": column, "trace": trace, "round": number, **vars(sample)}
            for (column, trace), samples in results.samples.items()
            for number, sample in enumerate(samples, 1)
        ],
        "targets": [{**vars(one), "met": one.met} for one in verdicts(results)],
        "disagreements": disagreements(results),
    }


def _line(label: str, cells: list[str], width: int) -> str:
    return f"{label:<{width}}" + "".join(f"{cell:>{WIDTH}}" for cell in cells)


def _costs(title: str, results: Results, cost: Callable[[str, str], float | None]) -> list[str]:
    width = max(len(name) for name in [*results.columns, "holes at the end"]) + 2
    rows = [_line(column, [_number(cost(column, trace), 1) for trace in results.traces], width) for column in results.columns]
    return [title, _line("", results.traces, width), *rows, ""]


def _holes(results: Results) -> list[str]:
    """How many holes the twins really had, since a workload's name gives only the order of magnitude."""
    rows = []
    for allocator in (native.BEST_FIT_MAP, native.FIRST_FIT_TREAP):
        samples = [results.first(TITLES[allocator], trace) for trace in results.traces]
        if any(samples):
            rows.append(
                _line(
                    TITLES[allocator],
                    [f"{one.holes:,}" if one else "" for one in samples],
                    len(TITLES[allocator]) + 4,
                )
            )
    return ["holes at the end of the trace", *rows, ""] if rows else []


def _ratios(results: Results) -> list[str]:
    judged = verdicts(results)
    if not judged:
        return ["no target can be judged from this run"]
    width = max(len(one.title) for one in judged) + 2
    head = _line("ratio", ["at most", "", *results.traces], width)
    return [head, *(_verdict(one, results.traces, width) for one in judged)]


def _verdict(one: Verdict, traces: list[str], width: int) -> str:
    cells = [_number(one.ratios.get(trace), 2) + ("*" if one.ratios.get(trace, 0) > one.limit else "") for trace in traces]
    return _line(one.title, [f"{one.limit:.1f}", "met" if one.met else "MISSED", *cells], width)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
