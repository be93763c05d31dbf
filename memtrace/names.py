"""Find the known name nearest to an unknown one, and make the error message that proposes it."""

from collections.abc import Iterable
from difflib import get_close_matches

from memtrace.errors import UsageError

FEW = 12  # upper bound of the names that an error message lists


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most similar to `name`, ignoring case, or None if none is similar enough."""
    names = list(known)
    by_lower = {candidate.lower(): candidate for candidate in reversed(names)}
    found = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return (not raise) the UsageError for an unknown name: "unknown policy 'best-fti'; did you mean 'best-fit'?".

    `kind` says what the name should be, such as "policy". Without a similar name the error lists up to FEW known names.
    """
    names = sorted(known)
    likely = nearest(name, names)
    text = f"unknown {kind} {name!r}"
    if likely is not None:
        return UsageError(f"{text}; did you mean {likely!r}?")
    if not names:
        return UsageError(f"{text}; there is none")
    listed = ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
    return UsageError(f"{text}; known: {listed}")
