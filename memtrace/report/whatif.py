"""The report of `memtrace whatif`: what it says, the table of settings, and the replays of what ran and of the best setting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.gpu import screen as said
from memtrace.gpu.fidelity import policy_of
from memtrace.report.blocks import Block, Column, Document, Heading, Paragraph, Table
from memtrace.units import format_size

if TYPE_CHECKING:
    from memtrace.gpu.answer import Answer
    from memtrace.results.tables import Results

SETTINGS = (
    Column("setting", 4.0),
    Column("reserved", 1.1, numbers=True),
    Column("flushes", 0.9, numbers=True),
    Column("failed", 0.8, numbers=True),
    Column("fits in", 1.1, numbers=True),
)
HOLDERS = (Column("call site", 5.0), Column("blocks", 0.9, numbers=True), Column("bytes in use", 1.4, numbers=True))
SHOWN = 20  # call sites in the table
PARTS = (("What ran", "ran"), ("Whether to believe it", "trust"), ("Why", "why"), ("What to do", "do"))


def policies_of(answer: Answer) -> list[str]:
    """Return the policies whose replays the report shows: what ran, and the best setting if it is another."""
    confs = [answer.recorded or "", *([answer.rows[0].conf] if answer.rows else [])]
    return [policy_of(conf, answer.version) for conf in dict.fromkeys(confs)]


def render(answer: Answer, results: Results, folder: Path) -> list[Path]:
    """Write report.pdf, report.html and the figures into the folder, and return the paths.

    ``results`` are those of a run of ``policies_of`` the answer.
    """
    from memtrace.report import document, render_document

    whole = document.build(results)
    both = Document(f"memtrace whatif: {answer.trace.name}", (*blocks_of(answer), *whole.blocks))
    pdf, page, *figures = render_document(both, results, folder, ("pdf", "html"))
    return [pdf, page, blocks_page(answer, folder / "blocks.html"), *figures]


def blocks_page(answer: Answer, path: Path) -> Path:
    """Replay what ran and the best setting, and write the explorer of their blocks; return the path."""
    from memtrace.engine.replay import replay
    from memtrace.report.html import block_map

    layouts = {}
    for policy in policies_of(answer):
        placed = replay(answer.trace, policy, answer.capacity.bytes, on_oom="skip", detail="bare", keep=True)
        layouts[policy.removeprefix("pytorch:").rpartition("version:")[0].rstrip(",") or "defaults"] = placed.addresses
    return block_map.write(answer.trace, layouts, path)


def blocks_of(answer: Answer) -> Iterator[Block]:
    """Yield the first page: what the command says, the table of settings, and who holds the memory."""
    yield Heading(f"{answer.trace.name}: what if", 1)
    parts = {"ran": said.ran(answer), "trust": [said.trust(answer)], "why": said.why(answer), "do": said.do(answer)}
    for title, name in PARTS:
        if parts[name]:
            yield Heading(title)
        for sentence in parts[name]:
            yield Paragraph(sentence.strip(), strong=sentence.startswith("\t"))
    yield Heading("Settings, best first")
    yield Table(SETTINGS, tuple(said.cells_of(answer)))
    for sentence in said.behind(answer, verbose=True):
        yield Paragraph(sentence)
    held = answer.death or answer.state
    if held is not None:
        yield Heading("Who held the memory then")
        shown = held.holders[:SHOWN]
        yield Table(HOLDERS, tuple((said.named(tag), f"{count:,}", format_size(size)) for tag, count, size in shown))
