"""Two results -> what changed, worst first, and whether a budget still holds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.comparing.grammar import Gate
    from memtrace.comparing.model import Comparison, Key, Row
    from memtrace.comparing.pairing import Rows
    from memtrace.comparing.sources import Place


def compare(base: Place, head: Place | None = None, fail_if: Sequence[str] = (), reference: str | None = None) -> Comparison:
    """What changed from ``base`` to ``head``: results folders, their summary.parquet, baseline files, or Results.

    Without ``head``, the policies of ``base`` against ``reference``, or else for each trace the one that needs least.
    ``fail_if`` are gates, such as ``peak_reserved_bytes>+1%`` (memtrace.comparing.grammar). Raises UsageError for a
    gate that cannot be read or looks at nothing, InputError for results that cannot be read.
    """
    from memtrace.comparing.grammar import parse_gate
    from memtrace.comparing.pairing import by_key
    from memtrace.comparing.sources import rows_of, source_name
    from memtrace.errors import UsageError

    gates = [parse_gate(text) for text in fail_if]
    first = by_key(rows_of(base), source_name(base))
    if head is None:
        return compare_policies(first, gates, reference)
    if reference is not None:
        raise UsageError("a reference policy is for one folder; with two, every policy is compared with itself")
    return compare_rows(first, by_key(rows_of(head), source_name(head)), gates)


def compare_rows(base: Rows, head: Rows, gates: Sequence[Gate], failed: Collection[Key] = ()) -> Comparison:
    """Base against head, row by row. ``failed``: cells of the head that were lost."""
    from memtrace.comparing.changes import changes
    from memtrace.comparing.gates import judge
    from memtrace.comparing.model import Comparison
    from memtrace.comparing.pairing import notes, only, partnered, shared

    base = partnered(base, head)
    keys = shared(base, head)
    return Comparison(
        tuple(changes((base[key], head[key]) for key in keys)),
        only(base, head),
        only(head, base),
        len(keys),
        tuple(notes(base, head)),
        tuple(judge(gates, head, base, failed)),
        {},
    )


def compare_policies(rows: Rows, gates: Sequence[Gate], reference: str | None = None, failed: Collection[Key] = ()) -> Comparison:
    """The policies of one folder against one of them."""
    from memtrace.comparing.changes import changes
    from memtrace.comparing.gates import judge
    from memtrace.comparing.model import Comparison

    against = references(rows, reference)
    pairs = [(against[key[0]], row) for key, row in rows.items() if key[0] in against and row is not against[key[0]]]
    missing = tuple((trace, str(reference)) for trace in dict.fromkeys(key[0] for key in rows) if trace not in against)
    chosen = {trace: str(row["policy"]) for trace, row in against.items()}
    return Comparison(tuple(changes(pairs)), missing, (), len(pairs), (), tuple(judge(gates, rows, None, failed)), chosen)


def references(rows: Rows, reference: str | None) -> dict[str, Row]:
    """Trace -> the row that its others are compared with."""
    from memtrace.comparing.changes import served
    from memtrace.comparing.pairing import names
    from memtrace.names import unknown

    traces, policies = names(rows)
    if reference is not None:
        if reference not in policies:
            raise unknown("policy", reference, policies)
        return {trace: rows[trace, reference] for trace in traces if (trace, reference) in rows}

    def place(row: Row) -> tuple[float, int, int, int, str]:
        end, refused = served(row)
        return -end, -refused, row["peak_reserved_bytes"], row.get("peak_allocated_bytes") or 0, row["policy"]

    return {trace: min((row for key, row in rows.items() if key[0] == trace), key=place) for trace in traces}
