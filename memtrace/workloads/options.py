"""Read the options of a workload from the signature of its `generate`, and convert option texts to values within limits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from memtrace.errors import MemtraceError, UsageError
from memtrace.names import unknown
from memtrace.units import format_size, parse_size

Value = int | float | bool | str | None  # of an option


@dataclass(frozen=True)
class Between:
    """Limit a number to [least, most]; used as an annotation: `Annotated[int, Between(1, 100, "what it is")]`."""

    least: float
    most: float
    about: str = ""


@dataclass(frozen=True)
class Bytes(Between):
    """Limit a size in bytes, which users may write as `4KiB`."""


@dataclass(frozen=True)
class Option:
    """Describe one option. A default of None means that other options decide (`about` says which)."""

    name: str
    kind: type  # int, float, bool or str
    default: Value
    choices: tuple[str, ...] = ()  # the allowed texts; () if any value within the limits is allowed
    limits: Between | None = None
    about: str = ""  # what the option is, in words

    def takes(self) -> str:
        """Return in words what may be given: choices, or the limits."""
        if self.choices:
            return "|".join(self.choices)
        if self.limits is None:
            return {bool: "true|false", str: "text"}[self.kind]
        return f"{self.shown(self.limits.least)} to {self.shown(self.limits.most)}"

    def shown(self, value: float) -> str:
        """Return a limit as text."""
        if isinstance(self.limits, Bytes):
            return format_size(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if value >= 1000 else f"{value:g}"

    def read(self, text: str) -> Value:
        """Return the value in a text; raises UsageError, which says what may be given, if the text has no allowed value."""
        if self.choices or self.kind is str:
            return self.checked(text)
        if self.kind is bool:
            if text.lower() not in ("true", "false"):
                raise UsageError(f"{self.name}={text} is neither true nor false")
            return text.lower() == "true"
        return self.checked(self._number(text))

    def _number(self, text: str) -> Value:
        """Return the number in a text, not yet compared with the limits; raises UsageError if there is none."""
        try:
            if isinstance(self.limits, Bytes) and not text.lstrip().startswith("-"):
                return parse_size(text)
            return int(text.replace(",", "")) if self.kind is int else float(text)
        except MemtraceError as error:
            raise UsageError(f"{self.name}={text}: {error}") from None
        except ValueError:
            word = "whole number" if self.kind is int else "number"
            raise UsageError(f"{self.name}={text} is no {word}; it is {self.takes()}") from None

    def checked(self, value: Any) -> Value:
        """Return the value unchanged; raises UsageError if it is outside the choices or limits."""
        if value is None and self.default is None:
            return None
        if self.choices and value not in self.choices:
            raise UsageError(f"{self.name}={value} is none of {', '.join(self.choices)}")
        if isinstance(self.limits, Between) and not self.limits.least <= value <= self.limits.most:
            raise UsageError(f"{self.name}={value} is out of range; it is {self.takes()}")
        return value


def options_of(generate: Callable[..., Any]) -> dict[str, Option]:
    """Return the options of a workload by name: the parameters of `generate` that have a default."""
    hints = get_type_hints(generate, include_extras=True)
    parameters = inspect.signature(generate).parameters.values()
    return {p.name: _option(p.name, hints[p.name], p.default) for p in parameters if p.default is not p.empty}


def _option(name: str, hint: Any, default: Value) -> Option:
    """Return the option that a parameter with this type annotation and default describes."""
    limits, about = None, ""
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        limits = next((note for note in notes if isinstance(note, Between)), None)
        about = limits.about if limits else next(note for note in notes if isinstance(note, str))
    if get_origin(hint) is Literal:
        return Option(name, str, default, get_args(hint), None, about)
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    return Option(name, kinds[0], default, (), limits, about)


def read_options(workload: str, given: Mapping[str, str], known: Mapping[str, Option]) -> dict[str, Value]:
    """Return the values of all options: those given as texts, and the defaults of the others.

    `known` are the workload's options. Raises UsageError, which names the option, for an unknown option or a wrong value.
    """
    values = {option.name: option.default for option in known.values()}
    for name, text in given.items():
        if name not in known:
            raise unknown(f"option of {workload}", name, known)
        try:
            values[name] = known[name].read(text)
        except UsageError as error:
            raise UsageError(f"{workload}: {error}") from None
    return values


def text_of(value: Value) -> str:
    """Return a value as users write it: `true`, `24`, and `-` for None."""
    return str(value).lower() if isinstance(value, bool) else "-" if value is None else str(value)
