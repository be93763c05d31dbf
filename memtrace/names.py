"""A name that is not known -> the nearest one that is, and the error that proposes it."""

from collections.abc import Iterable
from difflib import get_close_matches

from memtrace.errors import UsageError

FEW = 12  # names that an error may list in full


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like this one, or None if none is alike."""
    names = list(known)
    by_lower = {candidate.lower(): candidate for candidate in reversed(names)}
    found = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name: "unknown policy 'best-fti'; did you mean 'best-fit'?"."""
    names = sorted(known)
    likely = nearest(name, names)
    text = f"unknown {kind} {name!r}"
    if likely is not None:
        return UsageError(f"{text}; did you mean {likely!r}?")
    if not names:
        return UsageError(f"{text}; there is none")
    listed = ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
    return UsageError(f"{text}; known: {listed}")
