"""Find the known name nearest to an unknown one, and make the error message that proposes it."""

from collections.abc import Iterable
from difflib import get_close_matches

from memtrace.errors import UsageError


def split_spec(text: str, bare: str | None = None) -> tuple[str, dict[str, str]]:
    """Name and options of ``name:key=value,...`` or ``name:key:value,...``; commas inside [] do not split.

    ``bare`` is the option that a word without a key is the value of (None: such a word is an error).
    """
    name, rest = split_name(text)
    given = {}
    for part in split_commas(rest):
        key, mark, value = part.partition(":" if ":" in part.partition("=")[0] else "=")
        if not mark and bare is not None:
            key, mark, value = bare, "=", part
        if bare == "":
            continue
        if not mark or not key.strip():
            raise UsageError(f"{text}: {part!r} is not key=value")
        if mark == ":" and value.strip() in ("true", "false"):
            raise UsageError(f"{text}: PyTorch takes {key.strip()}:{value.strip().capitalize()}, with a capital")
        if mark == "=" and key.strip() in given:
            raise UsageError(f"{text}: {key.strip()} is given twice")  # PyTorch lets the last one count
        given[key.strip()] = value.strip()
    return name.strip(), given


def split_name(text: str) -> tuple[str, str]:
    """Return the name of ``name:key=value,...`` and the text behind it; the name may be the path of a .py file."""
    end = text.find(".py:") + 3 if ".py:" in text.partition("[")[0] else text.find(":") if not text.endswith(".py") else -1
    return (text, "") if end < 0 else (text[:end], text[end + 1 :])


def split_commas(text: str, mark: str = ",") -> list[str]:
    """Return the parts between the marks, without empty ones; marks inside [] do not split."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if character == mark and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part for part in [*parts, text[start:]] if part.strip()]


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
