"""The options of a policy: the parameters of its ``init`` with a default, and their values as text."""

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from memtrace.contract.policy import constants_of
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


def options_of(module: ModuleType) -> dict[str, Option]:
    """Return the options of a policy, by name; a policy whose ``init`` takes ``**options`` takes the common ones of a heap."""
    parameters = list(inspect.signature(module.init).parameters.values())[2:]
    found = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    if len(found) < len(parameters):
        found += list(inspect.signature(heap_rules).parameters.values())[1:]
    options = {p.name: _option(p) for p in found if p.default is not p.empty}
    swaps = constants_of(module).SWAPS
    return {**options, "swap": Option("swap", swaps[0], swaps)}


def _option(parameter: inspect.Parameter) -> Option:
    """Return the option that a parameter of ``init`` is."""
    choices = get_args(parameter.annotation) if get_origin(parameter.annotation) is Literal else ()
    return Option(parameter.name, parameter.default, choices)


def parse_options(policy: str, given: dict[str, str], known: dict[str, Option]) -> dict[str, Value]:
    """Return the values of the options given as text; raises UsageError, which names the option and what it takes."""
    values = {}
    for name, text in given.items():
        if name not in known:
            raise unknown(f"option of {policy}", name, known)
        values[name] = value_of(policy, known[name], text)
    return values


def value_of(policy: str, option: Option, text: str) -> Value:
    """Return the value that a text stands for; raises UsageError, which names the option and what it takes."""
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
            return -parse_size(text[1:]) if text.startswith("-") else parse_size(text)
        except MemtraceError as error:
            raise UsageError(f"{policy}: {option.name}={text}: {error}") from None
    return text


def text_of(value: Any) -> str:
    """Return a value as users write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
