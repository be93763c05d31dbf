"""Apply gates to rows, and return an outcome for each gate and row.

Values and limits are compared as fractions, so that a limit is exact to the byte.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fractions import Fraction

from memtrace.comparing.changes import Number, ending_text, number, progress_key
from memtrace.comparing.comparison import Key, Outcome, Row, Rows, State, matches, names
from memtrace.comparing.grammar import Gate, units
from memtrace.errors import InputError, UsageError
from memtrace.names import unknown
from memtrace.units import format_size

NO_VALUE = "there is no value"
NOT_KNOWN = "it is not known of this policy; say which policies the gate is for: where policy = ..."
OUTCOME_MODULE = "memtrace.measures.outcome"  # declares the measures of how a replay ended


def judge(gates: Sequence[Gate], head: Rows, base: Rows | None, failed: Collection[Key] = ()) -> list[Outcome]:
    """Return an outcome for each gate and each row in its scope.

    ``base`` is None if there is no base to compare with. ``failed`` are keys of cells of the head that have no row
    because their replay failed. Raise UsageError for a gate that applies to no row, or that needs a base where there is
    none.
    """
    return [outcome for gate in gates for outcome in _gate_outcomes(gate, head, base, failed)]


def _gate_outcomes(gate: Gate, head: Rows, base: Rows | None, failed: Collection[Key]) -> list[Outcome]:
    """Return the outcomes of one gate.

    If no row has a value of its measure, return a single failed outcome, since such a gate guards nothing.
    """
    if gate.needs_base and base is None:
        raise UsageError(
            f"gate {gate.text!r} compares with a base, and there is none; "
            'give BASE and HEAD, or compare with another policy: 1.01 * policy("best-fit")'
        )
    covered = {**head, **(base or {}), **{key: {} for key in failed}}
    keys = [key for key in covered if matches(key[0], gate.traces) and matches(key[1], gate.policies)]
    if not keys:
        raise _no_row_error(gate, covered)
    _check_reference(gate, covered)
    found = [_outcome(gate, key, head, base, key in failed) for key in keys]
    if all(outcome.reason in (NO_VALUE, NOT_KNOWN) for outcome in found):
        return [Outcome(gate.text, "", "", "failed", reason=f"{gate.measure} has no value in any row, so it guards nothing")]
    return found


def _no_row_error(gate: Gate, rows: Rows) -> UsageError:
    """Return the error for a gate that applies to no row, with the nearest trace or policy name."""
    traces, policies = names(rows)
    if not any(matches(name, gate.traces) for name in traces):
        return UsageError(f"gate {gate.text!r} looks at no row: {unknown('trace', gate.traces, traces)}")
    if not any(matches(name, gate.policies) for name in policies):
        return UsageError(f"gate {gate.text!r} looks at no row: {unknown('policy', gate.policies, policies)}")
    return UsageError(f"gate {gate.text!r} looks at no row: no policy {gate.policies!r} on a trace {gate.traces!r}")


def _check_reference(gate: Gate, rows: Rows) -> None:
    """Raise UsageError if the gate compares with a policy that no row has."""
    policies = names(rows)[1]
    if gate.limit.kind == "policy" and gate.limit.name not in policies:
        raise UsageError(f"gate {gate.text!r}: {unknown('policy', gate.limit.name, policies)}")


def _outcome(gate: Gate, key: Key, head: Rows, base: Rows | None, lost: bool) -> Outcome:
    """Return the outcome of a gate on one row. ``lost``: the cell's replay failed, so there is no row."""
    if lost:
        return Outcome(gate.text, *key, "failed", reason="its replay failed")
    if key not in head:
        return Outcome(gate.text, *key, "failed", reason="the row is missing; the base has it")
    row = head[key]
    other: Row | None = None
    if gate.limit.kind in ("base", "policy"):
        name = gate.limit.name
        other = (base or {}).get(key) if gate.limit.kind == "base" else head.get((key[0], name))
        if other is None and gate.limit.kind == "base":
            return Outcome(gate.text, *key, "skipped", reason="the row is new; the base has none")
        if other is None:
            return Outcome(gate.text, *key, "failed", reason=f"there is no row of {name} for this trace")
    if gate.measure not in progress_independent_columns():
        state = _unequal(row, other)
        if state is not None:
            return Outcome(gate.text, *key, "failed" if state[0] else "skipped", reason=state[1])
    return _compared(gate, key, row, other)


def progress_independent_columns() -> frozenset[str]:
    """Return the columns that can be compared however far the replays came.

    They are the measures of how a replay ended, and facts of the whole trace.
    """
    from memtrace.comparing.grammar import FACTS
    from memtrace.measures import declared

    outcome = {metric.name for metric in declared() if metric.compute.__module__ == OUTCOME_MODULE}
    return frozenset({*outcome, *FACTS, "lower_bound_bytes"})


def measures_with_needs() -> frozenset[str]:
    """Return the measures that are not known of every policy."""
    from memtrace.measures import declared

    return frozenset(metric.name for metric in declared() if metric.needs)


def _unequal(row: Row, other: Row | None) -> tuple[bool, str] | None:
    """Return None if the values of the two rows can be compared, else whether the gate fails and the reason.

    Without ``other`` the row has to have served every request. With it both have to have served the same part of the
    trace; the gate fails if the row served less, and is skipped if it served more. The peak of a replay that ran out of
    memory is small because the replay ended early, so a limit on it would hold for the wrong reason.
    """
    if other is None:
        return (
            None if ending_text(row) == "ok" else (True, f"{ending_text(row)}, so its measures are those of a part of the trace")
        )
    if progress_key(row) == progress_key(other):
        return None
    return progress_key(row) < progress_key(other), f"{ending_text(row)}; what it is compared with: {ending_text(other)}"


def _compared(gate: Gate, key: Key, row: Row, other: Row | None) -> Outcome:
    """Return the outcome of comparing a row's value with the gate's limit.

    ``other`` is the row of the base or of another policy that the limit refers to, if it does. Raise InputError if that
    row lacks the column.
    """
    unit, limit = units()[gate.measure], gate.limit
    if unit == "word":
        value, wanted = row.get(gate.measure), limit.name if other is None else other.get(gate.measure)
        broken = (value == wanted) == (gate.op == "==")
        limit_text = f"{'anything but' if gate.op == '==' else 'only'} {wanted}"
        return Outcome(gate.text, *key, "failed" if broken else "passed", str(value), limit_text)
    measured = number(row, gate.measure)
    if measured is None:
        if gate.measure in measures_with_needs():
            return Outcome(gate.text, *key, "failed", reason=NOT_KNOWN)
        return Outcome(gate.text, *key, "skipped", reason=NO_VALUE)
    reference: Number | None = 0
    if limit.kind != "value":
        source, name = (row, limit.name) if limit.kind == "measure" else (other or {}, gate.measure)
        if name not in source:
            raise InputError(f"gate {gate.text!r}: the base has no column {name}; write it anew with this version")
        reference = number(source, name)
    if reference is None:
        state: State = "skipped" if limit.kind == "base" else "failed"
        return Outcome(gate.text, *key, state, exact_text(unit, measured), reason="there is no value to compare with")
    most = Fraction(reference) * limit.factor + limit.offset
    broken = holds(Fraction(measured), gate.op, most)
    return Outcome(gate.text, *key, "failed" if broken else "passed", exact_text(unit, measured), exact_text(unit, most))


def holds(measured: Fraction, op: str, limit: Fraction) -> bool:
    """Return whether ``measured op limit`` is true."""
    order = (measured > limit) - (measured < limit)
    return order in {">": (1,), ">=": (0, 1), "<": (-1,), "<=": (-1, 0), "==": (0,), "!=": (-1, 1)}[op]


def exact_text(unit: str, value: Number | Fraction) -> str:
    """Return a value to the byte, and readable: `8,441,036,801 B (7.9 GiB)`."""
    whole = int(value) if value == int(value) else None
    if unit == "bytes":
        plain = f"{whole:,} B" if whole is not None else f"{float(value):,.2f} B"
        return plain if -1024 < value < 1024 else f"{plain} ({format_size(float(value))})"
    if whole is not None and unit != "ratio":
        return f"{whole:,}"
    return f"{float(value):.9g}"
