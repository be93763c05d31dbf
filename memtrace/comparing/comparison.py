"""A comparison of two results as plain data, and the pairing of their rows by trace and policy.

A `Comparison` has the changes, the rows without a partner, notes, and the outcome of every gate. The functions pair the rows,
and list those that are in one of the results only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from memtrace.errors import InputError

Row = dict[str, Any]
Key = tuple[str, str]  # trace, policy
State = Literal["passed", "failed", "skipped"]
Rows = dict[Key, Row]


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
    causes: dict[Key, str] = field(default_factory=dict)  # why the footprint of a row changed, in words; of base against head

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
            "causes": [{"trace": key[0], "policy": key[1], "cause": text} for key, text in self.causes.items()],
            "gates": [asdict(outcome) for outcome in self.outcomes],
        }


def _plain(change: Change) -> dict[str, Any]:
    """Return the fields of a change that are part of the JSON document."""
    fields = ("trace", "policy", "measure", "base", "head", "worse", "words")
    return {name: getattr(change, name) for name in fields}


def by_key(rows: Iterable[Row], where: str) -> Rows:
    """Return the rows by trace and policy. Raise InputError, which names ``where`` they come from, if two have the same key."""
    found: Rows = {}
    for row in rows:
        key = (str(row["trace"]), str(row["policy"]))
        if key in found:
            raise InputError(f"{where}: two rows are of trace {key[0]} and policy {key[1]}")
        found[key] = row
    return found


def matches(name: str, pattern: str) -> bool:
    """Return whether the name matches a pattern with * and ?, or equals it.

    Brackets are literal: labels such as `divisions=[256:1]` have them.
    """
    return name == pattern or fnmatchcase(name, pattern.replace("[", "[[]"))


def partnered(base: Rows, head: Rows) -> Rows:
    """Return the base's rows under the head's keys, so that a policy with changed options keeps its partner.

    A row of the base without a partner takes the key of the head's row of the same trace and policy, if each side has
    exactly one such row left over.
    """
    lost, new = _by_name(keys_missing_from(base, head)), _by_name(keys_missing_from(head, base))
    renamed = {lost[name][0]: new[name][0] for name in lost if len(lost[name]) == len(new.get(name, ())) == 1}
    return {renamed.get(key, key): row for key, row in base.items()}


def _by_name(keys: Iterable[Key]) -> dict[Key, list[Key]]:
    """Return the keys grouped by trace and by policy without its options."""
    found: dict[Key, list[Key]] = {}
    for trace, policy in keys:
        start = policy.find(".py:") + 3 if ".py:" in policy else policy.find(":")
        found.setdefault((trace, policy if start < 0 else policy[:start]), []).append((trace, policy))
    return found


def notes(base: Rows, head: Rows) -> list[str]:
    """Return sentences on pairs that are less comparable: another trace of the same name, another capacity, other options."""
    said: list[str] = []
    for key in shared(base, head):
        old, new = base[key], head[key]
        if differ(old, new, "trace_sha256") and short(old) != short(new):
            said.append(f"{key[0]}: the trace itself is another one (SHA-256 {short(old)}, now {short(new)})")
        if differ(old, new, "capacity_bytes"):
            said.append(f"{key[0]}: the capacity was {capacity(old)}, now {capacity(new)}")
        if old["policy"] != new["policy"]:
            said.append(f"{key[1]} is compared with {old['policy']}")
        elif differ(old, new, "options"):
            said.append(f"{key[1]}: its options were {old['options']}, now {new['options']}")
    return list(dict.fromkeys(said))


def shared(base: Rows, head: Rows) -> list[Key]:
    """Return the keys that are in both, in the order of the head."""
    return [key for key in head if key in base]


def keys_missing_from(some: Rows, others: Rows) -> tuple[Key, ...]:
    """Return the keys of ``some`` that are not in ``others``."""
    return tuple(key for key in some if key not in others)


def differ(old: Row, new: Row, column: str) -> bool:
    """Return whether both rows have the column and its values differ."""
    return column in old and column in new and old[column] != new[column]


def short(row: Row) -> str:
    """Return the first digits of the trace's SHA-256, which a baseline has too."""
    return str(row["trace_sha256"])[:12]


def capacity(row: Row) -> str:
    """Return the row's capacity in words."""
    from memtrace.units import format_size

    return "unlimited" if row["capacity_bytes"] is None else format_size(row["capacity_bytes"])


def names(rows: Rows) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names of the traces and the labels of the policies, each once."""
    return list(dict.fromkeys(key[0] for key in rows)), list(dict.fromkeys(key[1] for key in rows))
