"""Rows of two results -> pairs by trace and policy, and what is on one side only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from memtrace.comparing.model import Key, Row
from memtrace.errors import InputError

Rows = dict[Key, Row]


def by_key(rows: Iterable[Row], where: str) -> Rows:
    """InputError if two rows have the same trace and policy."""
    found: Rows = {}
    for row in rows:
        key = (str(row["trace"]), str(row["policy"]))
        if key in found:
            raise InputError(f"{where}: two rows are of trace {key[0]} and policy {key[1]}")
        found[key] = row
    return found


def matches(name: str, pattern: str) -> bool:
    """A glob, or the name itself: labels such as `divisions=[256:1]` have brackets of their own."""
    return name == pattern or fnmatchcase(name, pattern.replace("[", "[[]"))


def partnered(base: Rows, head: Rows) -> Rows:
    """The base under the head's keys: what is left over of a policy on both sides once is the same with other options."""
    lost, new = _by_name(only(base, head)), _by_name(only(head, base))
    renamed = {lost[name][0]: new[name][0] for name in lost if len(lost[name]) == len(new.get(name, ())) == 1}
    return {renamed.get(key, key): row for key, row in base.items()}


def _by_name(keys: Iterable[Key]) -> dict[Key, list[Key]]:
    """By trace and policy without its options."""
    found: dict[Key, list[Key]] = {}
    for trace, policy in keys:
        start = policy.find(".py:") + 3 if ".py:" in policy else policy.find(":")
        found.setdefault((trace, policy if start < 0 else policy[:start]), []).append((trace, policy))
    return found


def notes(base: Rows, head: Rows) -> list[str]:
    """What makes the two less than comparable: another trace of the same name, capacity or options."""
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
    return [key for key in head if key in base]


def only(some: Rows, others: Rows) -> tuple[Key, ...]:
    return tuple(key for key in some if key not in others)


def differ(old: Row, new: Row, column: str) -> bool:
    return column in old and column in new and old[column] != new[column]


def short(row: Row) -> str:
    """A baseline keeps the first digits only."""
    return str(row["trace_sha256"])[:12]


def capacity(row: Row) -> str:
    from memtrace.units import format_size

    return "unlimited" if row["capacity_bytes"] is None else format_size(row["capacity_bytes"])


def names(rows: Rows) -> tuple[Sequence[str], Sequence[str]]:
    """The traces and the policies, each once."""
    return list(dict.fromkeys(key[0] for key in rows)), list(dict.fromkeys(key[1] for key in rows))
