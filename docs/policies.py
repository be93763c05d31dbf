"""Writes the policy contract into docs/policies.md from where it is declared: ``python -m docs.policies``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path

from memtrace.contract import request
from memtrace.contract.policy import Function, PlanRequest, TraceFacts, constants, functions

PAGE = Path(__file__).with_suffix(".md")
FIRST, LAST = "<!-- contract -->", "<!-- /contract -->"

# The first function of each section, in the order of the contract -> heading and introduction.
SECTIONS = {
    "init": (
        "The simplest policy",
        "These five are all that a policy without a ledger needs. A policy whose state has a ledger leaves out `reserved` and\n"
        "`survey`, and needs `largest_hole`.",
    ),
    "start": (
        "What a policy may know of the trace",
        "A request has its tag as a code; what the codes mean, how many there are, and the number and the time of an event are\n"
        "told to a policy that has these functions. They cost nothing where a policy leaves them out.",
    ),
    "resize": (
        "What else may happen to a block",
        "Each is for a kind of event; the trace's kinds are in [trace.md](trace.md).\n\n"
        "A realloc that is served in place has one handle: `resize` gets it, and the block keeps it. If `resize` answers -1, or\n"
        "there is none, the policy sees two blocks with two handles. `alloc` gets the new size under a handle that no live\n"
        "block has; the old block is still live. If it answers with an address or -2, `free` gets the old block with its old\n"
        "handle, size and address; from then on the block has the new handle, and the old one serves the next such event. If it\n"
        "answers -1, nothing is freed, and the old block stays as it is, under its handle. A block that has no address (-2) has\n"
        "nothing to move: `alloc` gets the new size under the same handle, without `resize` and without `free`. The scratch\n"
        "block of a swap has the spare handle too. So `max_live` is one more than the trace has blocks live at once.",
    ),
    "largest_hole": (
        "What the measures read",
        "Samples and peaks are taken only with full measures, as `memtrace run` has them.",
    ),
    "expect": ("Prefetching", "The loop knows the events to come, so a policy can fetch what it will read."),
    "address_of": (
        "Blocks that move or come in pieces",
        "The replay, the address maps and the validator then follow each block. A policy with `address_of` and `first_piece` is\n"
        "taken for one whose blocks come in pieces and do not move.",
    ),
    "require": (
        "The whole trace, and other policies",
        "`plan` is for a policy that knows all requests beforehand, as `optimum` does; `over` is for one that places blocks in\n"
        "several heaps of another policy, as `arenas` does.",
    ),
}


def page() -> str:
    """Return docs/policies.md with the contract as it is declared between its markers."""
    head, _, rest = PAGE.read_text().partition(FIRST)
    tail = rest.partition(LAST)[2]
    return f"{head}{FIRST}\n\n{contract()}\n{LAST}{tail}"


def contract() -> str:
    """Return the tables of the contract: the request, what alloc returns, functions by section, constants."""
    simple = ", ".join(f"`{each.name}`" for each in functions() if not each.entry.ledger)
    return "\n".join(
        [
            "### The request\n",
            table(("field", "meaning"), ((f"`{name}`", text) for name, text in comments(request.Request).items())),
            "### What alloc returns\n",
            table(("value", "meaning"), answers()),
            "### The functions\n",
            f"A policy whose state has no ledger may have these: {simple}.\n"
            "One that has another of them is refused, since it would never be called.\n"
            "A compiled function runs inside the replay loop; one that is not compiled is ordinary Python. The cost is that of\n"
            "one call, in the number of blocks and holes.\n",
            *(section(name) for name in SECTIONS),
            "`start` gets these facts:\n",
            table(("field", "meaning"), ((f"`{name}`", text) for name, text in comments(TraceFacts).items())),
            "`plan` gets the trace (`memtrace.trace.Trace`) and a request of its own:\n",
            table(("field", "meaning"), ((f"`{name}`", text) for name, text in comments(PlanRequest).items())),
            "### The constants\n",
            "All may be left out.\n",
            table(("constant", "default", "meaning"), ((f"`{name}`", f"`{value!r}`", text) for name, value, text in constants())),
        ]
    )


def answers() -> list[tuple[str, str]]:
    """Return the values that alloc may return, with their meanings."""
    found = re.findall(r"^([A-Z]+) = (-\d)  # (.*)$", inspect.getsource(request), re.MULTILINE)
    return [("0 or more", "the block's address"), *((f"{value} (`{name}`)", text) for name, value, text in found)]


def comments(kind: type) -> dict[str, str]:
    """Return the fields of a class with the comments behind them."""
    return dict(re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(kind), re.MULTILINE))


def section(first: str) -> str:
    """Return the heading, introduction and table of the section that begins with the function `first`."""
    title, introduction = SECTIONS[first]
    names = [each.name for each in functions()]
    starts = [names.index(name) for name in SECTIONS]
    start = names.index(first)
    end = min((other for other in starts if other > start), default=len(names))
    columns = ("function", "meaning", "called", "cost", "if left out", "compiled")
    return f"#### {title}\n\n{introduction}\n\n{table(columns, map(row, functions()[start:end]))}"


def row(function: Function) -> tuple[str, ...]:
    """Return a function's cells in the table of its section."""
    entry = function.entry
    meaning = " ".join(function.doc.split())
    return f"`{function.signature}`", meaning, entry.called, entry.cost, entry.missing, "yes" if entry.compiled else "no"


def table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in rows)


if __name__ == "__main__":
    PAGE.write_text(page())
