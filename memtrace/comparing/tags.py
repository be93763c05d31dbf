"""Say which tags (kinds of blocks, or call sites) hold more bytes at the peak than before, by the tables of two results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.comparing.causes import signed
from memtrace.comparing.comparison import Key
from memtrace.results.tables import Results
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.comparing.inputs import Place

MOST_TAGS = 3  # named in a sentence
NO_TAG = "no tag"
Held = dict[Key, dict[str, int]]  # live bytes at the peak by tag, of each trace and policy


def grown(base: Place, head: Place) -> dict[Key, str]:
    """Return, for each trace and policy of both folders, which tags hold more or less at the peak, the largest change first.

    Rows of which no tag changed are left out, and so is all where one of the two has no such table: a baseline, an older folder.
    """
    before, now = held(base), held(head)
    found = {}
    for key in (each for each in now if each in before):
        old, new = before[key], now[key]
        changes = {tag: new.get(tag, 0) - old.get(tag, 0) for tag in {**old, **new}}
        most = sorted((tag for tag in changes if changes[tag]), key=lambda tag: (-abs(changes[tag]), tag))
        named = [
            f"{tag} {signed(changes[tag])} ({format_size(old.get(tag, 0))}, now {format_size(new.get(tag, 0))})"
            for tag in most[:MOST_TAGS]
        ]
        more = f" and {len(most) - MOST_TAGS:,} more" if len(most) > MOST_TAGS else ""
        if most and most != [NO_TAG]:
            found[key] = f"at the peak: {', '.join(named)}{more}"
    return found


def held(place: Place) -> Held:
    """Return the live bytes by tag at the peak of each trace and policy of a results folder; empty for what has no such table."""
    if isinstance(place, Results):
        table = place.holders
        if table is None:
            return {}
    else:
        import pyarrow.parquet as pq

        file = Path(place) / "holders.parquet"
        if not file.is_file():
            return {}
        table = pq.read_table(file)
    found: Held = {}
    for row in table.to_pylist():
        if row["moment"] == "peak":
            tags = found.setdefault((row["trace"], row["policy"]), {})
            name = row["tag"] or NO_TAG
            tags[name] = tags.get(name, 0) + row["live_bytes"]
    return found
