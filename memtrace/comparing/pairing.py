"""Pair the rows of two results by trace and policy, and list the rows that are in one of them only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from memtrace.comparing.model import Key, Row
from memtrace.errors import InputError

Rows = dict[Key, Row]


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
    lost, new = _by_name(only(base, head)), _by_name(only(head, base))
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


def only(some: Rows, others: Rows) -> tuple[Key, ...]:
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
