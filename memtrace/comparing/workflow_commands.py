"""Failed gates -> GitHub's workflow commands, which mark a pull request."""

from __future__ import annotations

from collections.abc import Iterable

from memtrace.comparing.model import Outcome

MOST = 10  # GitHub shows ten errors of a step


def workflow_commands(outcomes: Iterable[Outcome]) -> list[str]:
    """`::error title=...::...` for each failed outcome; the last one counts those that are not shown."""
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    shown = failed if len(failed) <= MOST else failed[: MOST - 1]
    lines = [f"::error title={_property(f'gate {o.rule}')}::{_message(o.text)}" for o in shown]
    if len(shown) < len(failed):
        lines.append(f"::error title=gates::{len(failed) - len(shown)} more checks failed")
    return lines


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
