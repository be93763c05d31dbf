"""Write failed gates as workflow commands of GitHub Actions, which show them as annotations of a pull request."""

from __future__ import annotations

from collections.abc import Iterable

from memtrace.comparing.model import Outcome

MOST = 10  # GitHub shows at most ten errors of a step


def workflow_commands(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line `::error title=...::...` for each failed outcome, at most MOST; the last line then counts the others."""
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    shown = failed if len(failed) <= MOST else failed[: MOST - 1]
    lines = [f"::error title={_property(f'gate {o.rule}')}::{_message(o.text)}" for o in shown]
    if len(shown) < len(failed):
        lines.append(f"::error title=gates::{len(failed) - len(shown)} more checks failed")
    return lines


def _message(text: str) -> str:
    """Escape a text for the message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a text for a property of a workflow command."""
    return _message(text).replace(":", "%3A").replace(",", "%2C")
