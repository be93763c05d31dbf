"""Writes docs/gates.md, what gates say of a regression made on purpose: ``python -m docs.gates``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memtrace.comparing.comparison import by_key
from memtrace.comparing.gates import judge
from memtrace.comparing.grammar import parse_gate
from memtrace.errors import UsageError

PAGE = Path(__file__).with_suffix(".md")
TRACE = "traces/gpt-6x512-fp32.csv"
POLICIES = ("best-fit", "first-fit", "buddy")
CHANGED = {"best-fit": "align=4096"}  # the option that somebody changed

GOOD = (
    "peak_reserved_bytes > +1%",
    "peak_reserved_bytes > +0%",
    "peak_reserved_bytes >= +0%",
    "peak_reserved_bytes > base + 64KiB",
    "peak_reserved_bytes > 1.5 * base",
    "internal_frag_at_peak > 0.001",
    "internal_frag_at_peak > 0.1%",
    "external_frag_at_peak > +0.05",
    'peak_reserved_bytes > 1.1 * policy("best-fit")',
    "peak_reserved_bytes > 1.2 * lower_bound_bytes",
    'peak_reserved_bytes > +0% where policy = "best-*"',
    'peak_reserved_bytes > 300MiB where policy = "buddy" and trace = "gpt-*"',
    "utilisation_at_peak < -0.1%",
    "status == oom",
    "failed_allocs > 0",
)
WRONG = (
    "peak_reserved_byte > +1%",
    "peak_reserved_bytes > 1%",
    "peak_reserved_bytes > 5G",
    "peak_reserved_bytes = 5",
    "external_frag_at_peak > 5KiB",
    "peak_reserved_bytes > status",
    "peak_reserved_bytes > policy(best-fit)",
    'peak_reserved_bytes > 5 where policy = "bst-fit"',
    "status > oom",
)
HOSTILE = (
    '__import__("os").system("touch owned")',
    "peak_reserved_bytes.__class__ > 5",
    "peak_reserved_bytes > (lambda: 5)()",
    "peak_reserved_bytes > 9**9**9**9",
    "peak_reserved_bytes > 1e999999999",
    "peak_reserved_bytes > 5; rm -rf /",
    "peak_reserved_bytes > $(id)",
    "peak_reserved_bytes > nan",
)
HEAD = f"""# Gates, one by one

What `memtrace compare BASE HEAD --fail-if GATE` says where an option was changed on purpose:
`{TRACE}` through {", ".join(POLICIES)},
and in HEAD with `best-fit:{CHANGED["best-fit"]}` under the name of best-fit. A gate is read by a grammar of its own
([ci.md](ci.md)); nothing in it is ever run. This page is written by `make docs`.

| gate | outcome |
|---|---|
"""


def page() -> str:
    base, head = (by_key(rows(changed), name) for changed, name in (({}, "base"), (CHANGED, "head")))
    lines = [f"| `{shown(text)}` | {outcome(text, head, base)} |\n" for text in (*GOOD, *WRONG, *HOSTILE)]
    return HEAD + "".join(lines)


def rows(changed: dict[str, str]) -> list[dict[str, Any]]:
    """The summary of the trace through the policies; where an option was changed, under the old name."""
    from dataclasses import replace

    from memtrace.engine.registry import parse_policy
    from memtrace.engine.replay import replay
    from memtrace.reading import read
    from memtrace.results.gather import summary

    trace = read(PAGE.parent.parent / TRACE)
    labels = {name: f"{name}:{changed[name]}" if name in changed else name for name in POLICIES}
    return [summary(replay(trace, replace(parse_policy(text), label=name))) for name, text in labels.items()]


def outcome(text: str, head: Any, base: Any) -> str:
    """Who fails it and with which value; or why it is no gate."""
    try:
        found = judge([parse_gate(text)], head, base)
    except UsageError as error:
        return f"refused: {shown(str(error).removeprefix(f'gate {text!r}').lstrip(':, '))}"
    failed = [f"{each.policy}: {each.measured or each.reason}, limit {each.limit}" for each in found if each.state == "failed"]
    return f"fails: {'; '.join(failed)}" if failed else f"passes on {len(found)} rows"


def shown(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE.read_text(), end="")
