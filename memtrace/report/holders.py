"""The parts of a report on who holds memory: live bytes by tag, and the blocks that keep free bytes from going back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.report.blocks import Column, Heading, Paragraph, Table
from memtrace.results.holders import END, OOM, OTHERS, PEAK, at_moment, pins_at
from memtrace.results.verdict import is_oom
from memtrace.trace.tags import Grouping, shown_as
from memtrace.units import format_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memtrace.results.tables import Results

Row = Mapping[str, Any]
Rows = dict[str, "NDArray[Any]"]
MOST_TAGS = 8  # lines of the table of live bytes, without that of the others
MOST_PINNING, MOST_PINS = 4, 3  # tags and blocks that are named on a policy's page
MATTERS = 0.25  # of the reserved bytes: what is pinned below that is not worth a word
LIVE = (
    Column("tag", 3.5),
    Column("blocks at the peak", 1.3, numbers=True),
    Column("live at the peak", 1.2, numbers=True),
    Column("share", 0.8, numbers=True),
    Column("live at the end", 1.2, numbers=True),
)
PINNING = (
    Column("tag", 3.0),
    Column("blocks", 0.8, numbers=True),
    Column("live", 1.0, numbers=True),
    Column("free bytes that they pin", 1.8, numbers=True),
)


def last_moment(row: Row) -> str:
    """Return the name of the last moment of a policy: the end, or where memory ran out."""
    return OOM if is_oom(row) else END


def live_by_tag(results: Results, trace: str, row: Row) -> list[tuple[str, ...]]:
    """Return the lines of the table LIVE for the policy of a row of the summary; none if no block of the trace has a tag."""
    found = results.rows("holders", trace, row["policy"])
    if not found.size() or not any(tag is not None for tag in found["tag"]):
        return []
    kinds = names_of(found["tag"], results.manifest.get("tags", "auto"))
    peak, end = (by_name(at_moment(found, moment), kinds) for moment in (PEAK, last_moment(row)))
    order = sorted({**peak, **end}, key=lambda tag: (tag == OTHERS, -peak.get(tag, (0, 0))[1], -end.get(tag, (0, 0))[1]))
    total = sum(size for _, size in peak.values())
    lines = [line_of(tag or "(no tag)", peak.get(tag, (0, 0)), end.get(tag, (0, 0)), total) for tag in order[:MOST_TAGS]]
    rest = order[MOST_TAGS:]
    if rest:
        sums = [tuple(sum(moment.get(tag, (0, 0))[i] for tag in rest) for i in (0, 1)) for moment in (peak, end)]
        lines.append(line_of(f"({len(rest):,} others)", sums[0], sums[1], total))
    return lines


def names_of(tags: Iterable[str | None], grouping: Grouping) -> dict[str | None, str | None]:
    """Return the name under which each tag is shown: its kind, or the tag itself; None, no tag, is None."""
    found = [tag for tag in dict.fromkeys(tags) if tag is not None and tag != OTHERS]
    names: dict[str | None, str | None] = {None: None, OTHERS: OTHERS}
    names.update(shown_as(found, MOST_TAGS, grouping))
    return names


def by_name(rows: Rows, kinds: Mapping[str | None, str | None]) -> dict[str | None, tuple[int, int]]:
    """Return blocks and live bytes of each name that ``kinds`` has for a tag."""
    sums: dict[str | None, tuple[int, int]] = {}
    for tag, blocks, size in zip(rows["tag"], rows["blocks"].tolist(), rows["live_bytes"].tolist(), strict=True):
        before = sums.get(kinds[tag], (0, 0))
        sums[kinds[tag]] = (before[0] + blocks, before[1] + size)
    return sums


def line_of(tag: str, peak: tuple[int, ...], end: tuple[int, ...], total: int) -> tuple[str, ...]:
    """Return a line of the table LIVE; ``total`` are the live bytes at the peak."""
    share = f"{peak[1] / total:.1%}" if total else "-"
    return tag, f"{peak[0]:,}", format_size(peak[1]), share, format_size(end[1])


def pinned_total(results: Results, trace: str, row: Row) -> tuple[Rows, int]:
    """Return the rows of the policy's last moment, and the free bytes that all blocks pin; 0 where that is not known."""
    rows = at_moment(results.rows("holders", trace, row["policy"]), last_moment(row))
    return rows, int(np.nansum(rows["pinned_bytes"].astype(float))) if len(rows.get("pinned_bytes", ())) else 0


def sentence(results: Results, trace: str, row: Row) -> str:
    """Return how much free memory live blocks pin at the policy's last moment; an empty text if it is not worth a word."""
    rows, total = pinned_total(results, trace, row)
    reserved = row.get("reserved_end_bytes")
    if not reserved or total < MATTERS * reserved:
        return ""
    blocks, live = int(rows["blocks"].sum()), int(rows["live_bytes"].sum())
    when = "Where memory ran out" if is_oom(row) else "At the end"
    return (
        f"{when}, {format_size(total)} of the {format_size(reserved)} that {row['policy']} holds are free, but lie beside the "
        f"{blocks:,} live {'block' if blocks == 1 else 'blocks'} ({format_size(live)})."
    )


def pinning(results: Results, trace: str, row: Row) -> list[tuple[str, ...]]:
    """Return the lines of the table PINNING at the policy's last moment, the tag that pins most first."""
    rows, _ = pinned_total(results, trace, row)
    kinds, held = names_of(rows["tag"], results.manifest.get("tags", "auto")), np.nan_to_num(rows["pinned_bytes"].astype(float))
    sums = by_name(rows, kinds)
    pins = {name: sum(int(each) for each, tag in zip(held, rows["tag"], strict=True) if kinds[tag] == name) for name in sums}
    order = sorted((name for name in pins if pins[name] > 0), key=lambda name: -pins[name])[:MOST_PINNING]
    return [(name or "(no tag)", f"{sums[name][0]:,}", format_size(sums[name][1]), format_size(pins[name])) for name in order]


def worst_pins(results: Results, trace: str, row: Row) -> str:
    """Return a sentence with the blocks that would open most if they went; an empty text if none has free bytes beside it."""
    pins = pins_at(results, trace, row["policy"], last_moment(row))
    named = [
        (f"{format_size(int(size))} at {address:,}" + (f" ({tag})" if tag else ""), format_size(int(opens)))
        for address, size, opens, tag in zip(*(pins[name] for name in ("address", "bytes", "opens_bytes", "tag")), strict=True)
        if opens > size
    ][:MOST_PINS]
    if not named:
        return ""
    (first, opens), *others = named
    return f"Freed alone, the block of {first} would open {opens}" + "".join(f", {one} {more}" for one, more in others) + "."


def live_section(results: Results, trace: str, row: Row) -> Iterator[Any]:
    """Yield the blocks of a report on what is live, by tag, at the peak and at the end."""
    lines = live_by_tag(results, trace, row)
    if lines:
        yield Heading("What is live, by tag")
        yield Table(LIVE, tuple(lines))


def pinned_section(results: Results, trace: str, row: Row) -> Iterator[Any]:
    """Yield the blocks of a policy's page on who pins free memory; none if it is not worth a word."""
    text = sentence(results, trace, row)
    if not text:
        return
    yield Heading("What pins free memory", 3)
    named = "" if is_oom(row) else worst_pins(results, trace, row)  # the account of an out-of-memory has a table of them
    yield Paragraph(f"{text} {named}".strip())
    lines = pinning(results, trace, row)
    if len(lines) > 1 or (lines and lines[0][0] != "(no tag)"):
        yield Table(PINNING, tuple(lines))
