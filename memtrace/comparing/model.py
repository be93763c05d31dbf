"""What a comparison found: changes, rows without a partner, notes, and what became of every gate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Row = dict[str, Any]
Key = tuple[str, str]  # trace, policy
State = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Change:
    """One measure of one row that is not what it was."""

    trace: str
    policy: str
    measure: str
    base: Any
    head: Any
    worse: bool
    subject: int  # 0 outcome, 1 footprint, 2 fragmentation, 3 work: the order in which they matter
    weight: float  # within a subject, larger is more; at least 0
    words: str  # "1.25x larger"


@dataclass(frozen=True)
class Outcome:
    """One gate on one row. ``reason`` says why it is not simply passed or failed."""

    rule: str
    trace: str
    policy: str
    state: State
    measured: str = ""
    limit: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """ "trace, policy: peak_reserved_bytes is 12, the limit 10"."""
        where = f"{self.trace}, {self.policy}: " if self.trace else ""
        if self.reason:
            return where + self.reason
        return f"{where}measured {self.measured}, limit {self.limit}"


@dataclass(frozen=True)
class Comparison:
    """Base against head, or within one folder (``reference`` says for each trace against which policy)."""

    changes: tuple[Change, ...]  # worse first, the worst at the top; then better, the best at the top
    missing: tuple[Key, ...]  # in base only
    extra: tuple[Key, ...]  # in head only
    rows: int  # in both
    notes: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    reference: dict[str, str]

    @property
    def worse(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.worse)

    @property
    def better(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if not change.worse)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.state == "failed")

    @property
    def ok(self) -> bool:
        """Whether no gate failed."""
        return not self.failed

    def to_json(self) -> dict[str, Any]:
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
    fields = ("trace", "policy", "measure", "base", "head", "worse", "words")
    return {name: getattr(change, name) for name in fields}
