"""Compare two results: what changed, worst first, and whether the gates of a budget hold."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.comparing.comparison import Comparison, Key, Row, Rows
    from memtrace.comparing.grammar import Gate
    from memtrace.comparing.inputs import Place


def compare(base: Place, head: Place | None = None, fail_if: Sequence[str] = (), reference: str | None = None) -> Comparison:
    """Return what changed from ``base`` to ``head``.

    Both are a results folder, its summary.parquet, a baseline file, or Results. Without ``head``, the policies of
    ``base`` are compared with the policy ``reference``, or if that is None with the policy that needs least on each
    trace. ``fail_if`` are gates, such as ``peak_reserved_bytes>+1%`` (see memtrace.comparing.grammar). Raise UsageError
    for a gate that cannot be parsed or applies to no row, InputError for results that cannot be read.
    """
    from memtrace.comparing.comparison import by_key
    from memtrace.comparing.grammar import parse_gate
    from memtrace.comparing.inputs import rows_of, source_name
    from memtrace.comparing.tags import grown
    from memtrace.errors import UsageError

    gates = [parse_gate(text) for text in fail_if]
    first = by_key(rows_of(base), source_name(base))
    if head is None:
        return compare_policies(first, gates, reference)
    if reference is not None:
        raise UsageError("a reference policy is for one folder; with two, every policy is compared with itself")
    found = compare_rows(first, by_key(rows_of(head), source_name(head)), gates)
    tags = grown(base, head)
    causes = {key: f"{text}; {tags[key]}" if key in tags else text for key, text in found.causes.items()}
    return replace(found, causes=causes)


def compare_rows(base: Rows, head: Rows, gates: Sequence[Gate], failed: Collection[Key] = ()) -> Comparison:
    """Compare the rows of two results that have the same trace and policy.

    ``failed`` are keys of cells of the head that have no row because their replay failed; every gate in whose scope
    they are fails.
    """
    from memtrace.comparing.causes import causes
    from memtrace.comparing.changes import changes
    from memtrace.comparing.comparison import Comparison, keys_missing_from, notes, partnered, shared
    from memtrace.comparing.gates import judge

    base = partnered(base, head)
    keys = shared(base, head)
    return Comparison(
        tuple(changes((base[key], head[key]) for key in keys)),
        keys_missing_from(base, head),
        keys_missing_from(head, base),
        len(keys),
        tuple(notes(base, head)),
        tuple(judge(gates, head, base, failed)),
        {},
        causes((base[key], head[key]) for key in keys),
    )


def compare_policies(rows: Rows, gates: Sequence[Gate], reference: str | None = None, failed: Collection[Key] = ()) -> Comparison:
    """Compare all policies of one result with one of them, on each trace; ``reference`` and ``failed`` are as in `compare`."""
    from memtrace.comparing.changes import changes
    from memtrace.comparing.comparison import Comparison
    from memtrace.comparing.gates import judge

    against = references(rows, reference)
    pairs = [(against[key[0]], row) for key, row in rows.items() if key[0] in against and row is not against[key[0]]]
    missing = tuple((trace, str(reference)) for trace in dict.fromkeys(key[0] for key in rows) if trace not in against)
    chosen = {trace: str(row["policy"]) for trace, row in against.items()}
    return Comparison(tuple(changes(pairs)), missing, (), len(pairs), (), tuple(judge(gates, rows, None, failed)), chosen)


def references(rows: Rows, reference: str | None) -> dict[str, Row]:
    """Return the row of each trace that its other rows are compared with, by trace.

    It is the row of the policy ``reference``, or if that is None the row of the policy that came furthest and needs
    least. Raise UsageError for an unknown policy.
    """
    from memtrace.comparing.changes import progress_key
    from memtrace.comparing.comparison import names
    from memtrace.names import unknown
    from memtrace.results.verdict import needed

    traces, policies = names(rows)
    if reference is not None:
        if reference not in policies:
            raise unknown("policy", reference, policies)
        return {trace: rows[trace, reference] for trace in traces if (trace, reference) in rows}

    def place(row: Row) -> tuple[float, int, int, float, str]:
        """Return the sort key of a row.

        The replay that came furthest is first, then the one with the fewest failed requests, then the one with the
        smallest peaks.
        """
        end, refused = progress_key(row)
        allocated = row.get("peak_allocated_bytes")
        return -end, -refused, needed(row), math.inf if allocated is None else allocated, row["policy"]

    return {trace: min((row for key, row in rows.items() if key[0] == trace), key=place) for trace in traces}
