"""The result of a comparison as plain data: changes, rows without a partner, notes, and the outcome of every gate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Row = dict[str, Any]
Key = tuple[str, str]  # trace, policy
State = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Change:
    """One measure of one row that differs between base and head."""

    trace: str
    policy: str
    measure: str
    base: Any
    head: Any
    worse: bool
    subject: int  # 0 outcome, 1 footprint, 2 fragmentation, 3 work: the most important first
    weight: float  # the size of the change, at least 0; it orders changes of one subject
    words: str  # "1.25x larger"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one gate on one row. ``reason`` is set if the gate failed or was skipped without comparing two values."""

    rule: str  # the gate's text
    trace: str
    policy: str
    state: State
    measured: str = ""
    limit: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """Return the outcome as a sentence: "trace, policy: measured 12 B, limit 10 B", or the reason in place of the values."""
        where = f"{self.trace}, {self.policy}: " if self.trace else ""
        if self.reason:
            return where + self.reason
        return f"{where}measured {self.measured}, limit {self.limit}"


@dataclass(frozen=True)
class Comparison:
    """The result of comparing base and head, or the policies of one folder with each other."""

    changes: tuple[Change, ...]  # worse ones first, the worst at the top; then better ones, the best at the top
    missing: tuple[Key, ...]  # in base only
    extra: tuple[Key, ...]  # in head only
    rows: int  # number of pairs of rows that were compared
    notes: tuple[str, ...]  # differences that make pairs less comparable, in words
    outcomes: tuple[Outcome, ...]
    reference: dict[str, str]  # trace -> the policy that the others are compared with; empty for base against head

    @property
    def worse(self) -> tuple[Change, ...]:
        """Return the changes for the worse."""
        return tuple(change for change in self.changes if change.worse)

    @property
    def better(self) -> tuple[Change, ...]:
        """Return the changes for the better."""
        return tuple(change for change in self.changes if not change.worse)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Return the outcomes of gates that failed."""
        return tuple(outcome for outcome in self.outcomes if outcome.state == "failed")

    @property
    def ok(self) -> bool:
        """Return whether no gate failed."""
        return not self.failed

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as a JSON document."""
        return {
            "schema": "memtrace.compare/1",
            "ok": self.ok,
            "rows": self.rows,
            "changes": [_plain(change) for change in self.changes],
            "missing": [{"trace": trace, "policy": policy} for trace, policy in self.missing],
            "extra": [{"trace": trace, "policy": policy} for trace, policy in self.extra],
            "notes": list(self.notes),
            "reference": self.reference,
            "gates": [asdict(outcome) for outcome in self.outcomes],
        }


def _plain(change: Change) -> dict[str, Any]:
    """Return the fields of a change that are part of the JSON document."""
    fields = ("trace", "policy", "measure", "base", "head", "worse", "words")
    return {name: getattr(change, name) for name in fields}
