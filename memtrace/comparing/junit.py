"""Write the gates of a comparison as JUnit XML for CI servers: a test suite for each gate, a test case for each row."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

from memtrace.comparing.model import Comparison, Outcome

# Characters that XML 1.0 cannot hold: control characters and lone surrogates. The name of a trace may have them.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(comparison: Comparison, errors: Iterable[Outcome] = ()) -> bytes:
    """Return the bytes of the XML file.

    ``errors`` are outcomes of cells whose replay failed; they become a suite of their own.
    """
    root = ElementTree.Element("testsuites", name="memtrace")
    rules = dict.fromkeys(outcome.rule for outcome in comparison.outcomes)
    for rule in rules:
        _suite(root, rule, [outcome for outcome in comparison.outcomes if outcome.rule == rule], "failure")
    lost = list(errors)
    if lost:
        _suite(root, "replays", lost, "error")
    totals = {name: sum(int(suite.get(name, "0")) for suite in root) for name in ("tests", "failures", "errors", "skipped")}
    for name, total in totals.items():
        root.set(name, str(total))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _suite(root: ElementTree.Element, name: str, outcomes: list[Outcome], problem: str) -> None:
    """Append a test suite of this name to the root. ``problem`` is the element of a failed case, "failure" or "error"."""
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    counts = {
        "tests": len(outcomes),
        "failures": len(failed) if problem == "failure" else 0,
        "errors": len(failed) if problem == "error" else 0,
        "skipped": sum(outcome.state == "skipped" for outcome in outcomes),
    }
    suite = ElementTree.SubElement(root, "testsuite", {"name": clean(name), **{key: str(n) for key, n in counts.items()}})
    for outcome in outcomes:
        where = {"classname": clean(outcome.trace) or "memtrace", "name": clean(f"{outcome.policy} {outcome.rule}".strip())}
        case = ElementTree.SubElement(suite, "testcase", where)
        if outcome.state == "failed":
            found = ElementTree.SubElement(case, problem, message=clean(outcome.text), type=problem)
            found.text = clean(f"rule {outcome.rule}\n{outcome.text}")
        elif outcome.state == "skipped":
            ElementTree.SubElement(case, "skipped", message=clean(outcome.text))


def clean(text: str) -> str:
    """Return the text with each character that XML cannot hold replaced."""
    return _FORBIDDEN.sub("\ufffd", text)
