"""What options a policy takes, read off its ``init``; and option text turned into values."""

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from memtrace.errors import MemtraceError, UsageError
from memtrace.names import unknown
from memtrace.structures.rules import heap_rules
from memtrace.units import parse_size

Value = int | bool | str


@dataclass(frozen=True)
class Option:
    """One option: its default, and the words it takes if it takes words."""

    name: str
    default: Value
    choices: tuple[str, ...] = ()


SWAPS = ("scratch", "inplace")  # for every policy: the engine swaps; one that knows only some of them names those


def options_of(module: ModuleType) -> dict[str, Option]:
    """The options of a policy, by name; a policy whose ``init`` takes ``**options`` takes the common ones of a heap."""
    parameters = list(inspect.signature(module.init).parameters.values())[2:]
    found = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    if len(found) < len(parameters):
        found += list(inspect.signature(heap_rules).parameters.values())[1:]
    options = {p.name: _option(p) for p in found if p.default is not p.empty}
    swaps = getattr(module, "SWAPS", SWAPS)
    return {**options, "swap": Option("swap", swaps[0], swaps)}


def _option(parameter: inspect.Parameter) -> Option:
    choices = get_args(parameter.annotation) if get_origin(parameter.annotation) is Literal else ()
    return Option(parameter.name, parameter.default, choices)


def parse_options(policy: str, given: dict[str, str], known: dict[str, Option]) -> dict[str, Value]:
    """Values for the options given as text; raises UsageError that names the option and what it takes."""
    values = {}
    for name, text in given.items():
        if name not in known:
            raise unknown(f"option of {policy}", name, known)
        values[name] = _value(policy, known[name], text)
    return values


def _value(policy: str, option: Option, text: str) -> Value:
    if option.choices:
        if text not in option.choices:
            raise UsageError(f"{policy}: {option.name}={text} is none of {', '.join(option.choices)}")
        return text
    if isinstance(option.default, bool):
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{policy}: {option.name}={text} is neither true nor false")
        return text.lower() == "true"
    if isinstance(option.default, int):
        try:
            return parse_size(text)
        except MemtraceError as error:
            raise UsageError(f"{policy}: {option.name}={text}: {error}") from None
    return text


def text_of(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
