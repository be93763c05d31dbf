"""Search the settings of PyTorch's allocator for the best one: over the options that a version has, within so many replays.

The search is deterministic. First all combinations of expandable segments, rounding and segment size are tried; then limits on
splitting, evenly spread by size, on the best of those that can have one; then the sizes of the best setting are refined, and for
each of them the range is found in which the result stays the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.errors import InputError
from memtrace.gpu.private_pools import MakeHooks
from memtrace.gpu.rows import Row, ranked, row_of, smallest
from memtrace.gpu.settings import DEFAULTS, MIB, options_of, refused_by
from memtrace.structures.caching.versions import Version

if TYPE_CHECKING:
    from memtrace.trace import Trace

MOST = 200  # replays by default
ROUNDINGS = ("", "2", "4", "8", "16", "32", "64")  # of roundup_power2_divisions
SEGMENTS = ("", "32", "64", "128", "256")  # of large_segment_size_mb
SPLITS = 20  # values of max_split_size_mb that are tried on one setting ...
BASES = 3  # ... of so many settings
SIZES = ("max_split_size_mb", "large_segment_size_mb")  # options that are refined
SHOWN = 10  # settings in the table
BISECTED = 3  # of these, how many are bisected for the smallest device
SCHEMA = "memtrace.search/1"


@dataclass(frozen=True)
class Found:
    """Hold what a search found."""

    rows: list[Row]  # the best settings, best first, with the recorded one
    tried: int  # settings that were replayed, or known from an earlier search
    reasons: list[str]  # in what ranges the best setting could be changed without an effect, in sentences


class Search:
    """Replay settings, each once, in parallel, and keep their results."""

    def __init__(
        self, trace: Trace, capacity: int | None, version: Version, most: int, kept: str | None, hooks: MakeHooks | None = None
    ) -> None:
        """Prepare a search of at most ``most`` settings; ``kept`` is a file of results, from which it goes on, if it exists."""
        self.trace, self.capacity, self.version, self.most, self.hooks = trace, capacity, version, most, hooks
        self.kept = Path(kept) if kept is not None else None
        self.rows: dict[str, Row] = {}
        if self.kept is not None and self.kept.exists():
            self._load(self.kept)

    def tell(self, confs: Iterator[str] | list[str]) -> list[Row]:
        """Return the rows of settings; those not yet known are replayed, as long as there are replays left."""
        wanted = list(dict.fromkeys(confs))
        new = [conf for conf in wanted if conf not in self.rows and refused_by(conf, self.version) is None]
        new = new[: max(self.most - len(self.rows), 0)]
        with ThreadPoolExecutor(os.cpu_count() or 1, "memtrace-search") as pool:
            made = pool.map(lambda conf: row_of(self.trace, conf, self.capacity, self.version, False, self.hooks), new)
            self.rows.update(zip(new, made, strict=True))
        if new and self.kept is not None:
            self._save(self.kept)
        return [self.rows[conf] for conf in wanted if conf in self.rows and self.rows[conf].status != "refused"]

    def _identity(self) -> dict[str, Any]:
        """Return what kept results must agree in."""
        return {"schema": SCHEMA, "sha256": self.trace.sha256, "capacity": self.capacity, "version": str(self.version)}

    def _save(self, path: Path) -> None:
        """Write all results."""
        from memtrace.trace.writing import atomic_replace

        rows = {c: [r.status, r.peak_reserved, r.flushes, r.ooms, r.segments] for c, r in self.rows.items()}
        with atomic_replace(path) as name, open(name, "w") as file:
            json.dump({**self._identity(), "rows": rows}, file)

    def _load(self, path: Path) -> None:
        """Read the results of an earlier search; InputError if they are of another trace, capacity or version."""
        try:
            kept = json.loads(path.read_text())
            rows = {conf: Row(conf, *figures) for conf, figures in kept.pop("rows").items()}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"{path}: no results of a search ({error})\ntry: remove the file") from None
        if kept != self._identity():
            raise InputError(f"{path}: results of another file, capacity or version\ntry: another name, or remove the file")
        self.rows = rows


def search(
    trace: Trace,
    recorded: str,
    capacity: int | None,
    version: Version,
    most: int = MOST,
    kept: str | None = None,
    hooks: MakeHooks | None = None,
) -> Found:
    """Return the best settings for a trace within ``capacity`` bytes (None: as much as needed), after at most ``most`` replays.

    ``recorded`` is the setting in force, from which changes are counted. ``kept``: see Search; ``hooks``: see `rows_of`.
    """
    run = Search(trace, capacity, version, most, kept, hooks)
    run.tell([recorded, DEFAULTS])
    first = run.tell(_combinations())
    plain = [row.conf for row in ranked(first, recorded) if "expandable_segments" not in row.conf]
    for base in plain[:BASES]:
        run.tell(_joined(base, "max_split_size_mb", mib) for mib in _spread(trace, base))
    rows = [row for row in run.rows.values() if row.status != "refused"]
    best = ranked(rows, recorded)[0]
    for name in SIZES:
        if name in options_of(best.conf):
            best = _refined(run, best, name, recorded)
    reasons = [_range(run, best, name) for name in SIZES if name in options_of(best.conf)]
    order = ranked([row for row in run.rows.values() if row.status != "refused"], recorded)
    shown = order[:SHOWN] + [row for row in order[SHOWN:] if row.conf in (recorded, DEFAULTS)]
    for row in shown[:BISECTED]:
        row.smallest_capacity = smallest(trace, row.conf, version, hooks)
    return Found(shown, len(run.rows), reasons)


def _combinations() -> Iterator[str]:
    """Yield the settings of the first step: expandable segments, rounding and segment size in all combinations."""
    for expandable, rounding, segment in product((False, True), ROUNDINGS, SEGMENTS):
        parts = ["expandable_segments:True"] if expandable else []
        parts += [f"roundup_power2_divisions:{rounding}"] if rounding else []
        parts += [f"large_segment_size_mb:{segment}"] if segment else []
        yield ",".join(parts)


def _joined(conf: str, name: str, value: int) -> str:
    """Return a setting with the option ``name`` set to a value."""
    return ",".join(f"{key}:{text}" for key, text in {**options_of(conf), name: str(value)}.items())


def _spread(trace: Trace, base: str) -> list[int]:
    """Return values of max_split_size_mb, in MiB, evenly spread by ratio from the least that is taken to the largest request."""
    least = max(int(options_of(base).get("large_segment_size_mb", "20")), 20) + 1
    most = max(-(-trace.facts.largest_request // MIB), least + 1)
    return sorted({round(least * (most / least) ** (i / (SPLITS - 1))) for i in range(SPLITS)})


def _figures(row: Row) -> tuple[Any, ...]:
    """Return what two settings have to agree in to do the same."""
    return row.ooms, row.flushes, row.peak_reserved


def _tried(run: Search, best: Row, name: str) -> dict[int, Row]:
    """Return the rows that differ from ``best`` in one size only, by this size."""
    rest = {key: text for key, text in options_of(best.conf).items() if key != name}
    found = {}
    for row in run.rows.values():
        options = options_of(row.conf)
        value = options.pop(name, "")
        if options == rest and value.isdigit() and row.status != "refused":
            found[int(value)] = row
    return found


def _refined(run: Search, best: Row, name: str, recorded: str) -> Row:
    """Return the best row after values halfway to the neighbours of its size were tried, again and again."""
    while True:
        tried = sorted(_tried(run, best, name))
        at = tried.index(int(options_of(best.conf)[name]))
        beside = [tried[i] for i in (at - 1, at + 1) if 0 <= i < len(tried)]
        halfway = [(tried[at] + other) // 2 for other in beside if abs(other - tried[at]) > 1]
        before = len(run.rows)
        rows = run.tell(_joined(best.conf, name, value) for value in halfway)
        better = ranked([best, *rows], recorded)[0]
        if len(run.rows) == before or better is best:
            return best
        best = better


def _range(run: Search, best: Row, name: str) -> str:
    """Return the sentence on the range of one size in which the best setting does the same."""
    value = int(options_of(best.conf)[name])
    ends = []
    for direction in (-1, 1):
        tried = _tried(run, best, name)
        same, other = value, None
        for at in sorted(tried, key=lambda one: direction * one):
            if direction * at > direction * value:
                if _figures(tried[at]) != _figures(best):
                    other = at
                    break
                same = at
        while other is not None and abs(other - same) > 1:
            middle = (same + other) // 2
            rows = run.tell([_joined(best.conf, name, middle)])
            if not rows:
                break
            same, other = (middle, other) if _figures(rows[0]) == _figures(best) else (same, middle)
        ends.append((same, other is None))
    (low, open_below), (high, open_above) = ends
    if low == high:
        return f"only {name} {value} does this"
    ends_text = " (and maybe beyond)" if open_below or open_above else ""
    return f"{name} between {low} and {high} does the same{ends_text}"
