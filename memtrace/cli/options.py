"""The options that more than one command takes, each declared once.

A command picks an option by name with the decorator `option`, and may say what differs for it: the help text, the default,
whether the option is required. The run options come from the fields of `memtrace.results.settings.Settings`, and reach a
command as one argument ``settings``, by the decorator `settings_options`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, Literal

import click

from memtrace.errors import UsageError
from memtrace.results.settings import Refused, RunOption, Settings, read_size, read_sizes, run_options

Decorator = Callable[[Any], Any]
Declaration = tuple[tuple[str, ...], dict[str, Any]]  # the names of an option, and the other arguments of click.option


def checked(read: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return the callback of an option whose text a function reads; None, for an option that is not given, stays None.

    The function gets a number for a text of digits, since it reads values of TOML files too. The name of the option is put
    before the text of its UsageError.
    """

    def check(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        """Return the value that the text stands for."""
        try:
            return None if text is None else read(int(text) if text.isdecimal() else text)
        except UsageError as error:
            raise UsageError(f"{parameter.opts[-1]}: {error}") from None

    return check


SIZE = checked(read_size)  # the callback of an option that takes a number of bytes
SIZES = checked(read_sizes)  # and of one that takes several


def declaration(option: RunOption, help: str | None = None) -> Declaration:
    """Return the declaration of a run option; ``help`` replaces its help text."""
    how: dict[str, Any] = {"help": help or option.help}
    if option.is_flag:
        how["is_flag"] = True
    elif option.words:
        how["type"] = click.Choice(option.words)
    else:
        how |= {"type": click.STRING, "metavar": option.metavar, "callback": checked(option.value)}
    if not option.is_flag and option.default is not None:
        how |= {"default": option.default, "show_default": True}
    return (option.spelling,), how


# Name -> declaration. Where no help text is given, each command has its own.
OPTIONS: dict[str, Declaration] = {
    "policies": (
        ("-p", "--policy", "policies"),
        {
            "multiple": True,
            "metavar": "POLICY",
            "help": "name:key=value,..., a .py file, or a group: classic, default, gpu, embedded, pools, kernel, all. "
            "A value may be a sweep: 16|64|256, 0..19. Repeatable.",
        },
    ),
    "policy": (("-p", "--policy"), {"metavar": "POLICY"}),
    "capacity": declaration(run_options()["capacity"]),
    "invalid": (
        ("--invalid",),
        {
            "type": click.Choice(["error", "skip"]),
            "default": "error",
            "show_default": True,
            "help": "What an invalid event does: it is an error, or it is skipped and counted.",
        },
    ),
    "format": (
        ("--format", "trace_format"),
        {"metavar": "NAME", "help": "The format of the trace; by default it is recognised."},
    ),
    "tags": declaration(run_options()["tags"]),
    "to": (("--to",), {"help": "The format to write."}),
    "output": (("-o", "--output"), {"metavar": "FILE"}),
    "jobs": (("-j", "--jobs"), {"type": click.IntRange(1), "metavar": "N", "help": "Number of processes."}),
    "curve": (("--curve", "points"), {"type": click.IntRange(2), "metavar": "N"}),
    "junit": (("--junit", "junit_file"), {"metavar": "FILE", "help": "Write the outcomes of the gates as JUnit XML."}),
    "markdown": (("--markdown", "markdown_file"), {"metavar": "FILE", "help": "Write the comparison as Markdown."}),
    "force": (("--force",), {"is_flag": True, "help": "Write into the folder even if memtrace did not make it."}),
    "no_progress": (("--no-progress",), {"is_flag": True, "help": "Show no progress bar."}),
}


def option(name: str, **changes: Any) -> Decorator:
    """Return the decorator that adds the option of this name in OPTIONS; ``changes`` replace arguments of click.option."""
    names, how = OPTIONS[name]
    if name != "format":
        return click.option(*names, **{**how, **changes})

    def decorate(function: Any) -> Any:
        """Add the option, and the one that gives the templates of a log in its place."""
        added = click.option(*names, **{**how, "callback": _format_or_templates, **changes})
        return added(click.option("--template", **TEMPLATE)(function))

    return decorate


def _keep_templates(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    """Keep the templates for the callback of the format, which is read after them."""
    context.meta["templates"] = value


def _format_or_templates(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the format's name, or the format of the templates that are given. Raises UsageError if both are given."""
    templates = context.meta.get("templates", ())
    if templates and value is not None:
        raise UsageError("--template is a format of its own: give it or --format")
    return "template:" + "\n".join(templates) if templates else value


TEMPLATE: dict[str, Any] = {
    "multiple": True,
    "metavar": "LINE",
    "is_eager": True,  # read before --format
    "expose_value": False,
    "callback": _keep_templates,
    "help": "A line of the trace, if it is a log: 'alloc {ptr} {size}' or 'free {ptr}'; `memtrace formats template`. Repeatable.",
}


def settings_options(command: Literal["run", "tiers"], after: str | None = None, until: str | None = None) -> Decorator:
    """Return the decorator that adds run options to a command, and passes their values as one argument ``settings``.

    The options are those of the fields of Settings behind ``after`` and up to ``until``, by default of all fields, so that
    a command can have other options between them; the values of two such decorators come as one Settings. An option that
    the command refuses is not listed in its help, and is answered by the reason.
    """
    names = list(run_options())
    names = names[names.index(after) + 1 if after else 0 : names.index(until) + 1 if until else None]

    def decorate(function: Any) -> Any:
        """Add the options to the function of a command."""

        @wraps(function)
        def call(*arguments: Any, **given: Any) -> Any:
            """Call the function with the values of the options as Settings."""
            values = {name: given.pop(name) for name in names if name in given}
            return function(*arguments, settings=replace(given.pop("settings", Settings()), **values), **given)

        decorated: Any = call
        for name in reversed(names):
            decorated = run_option(command, name)(decorated)
        return decorated

    return decorate


def run_option(command: Literal["run", "tiers"], name: str) -> Decorator:
    """Return the decorator that adds one run option to a command, or refuses it with its reason."""
    declared = run_options()[name]
    taken = declared.tiers if command == "tiers" else None
    if isinstance(taken, Refused):
        return refused(declared.spelling, f"memtrace {command} does not take it: {taken.reason}", declared.is_flag)
    names, how = declaration(declared, taken.help if taken is not None else None)
    return click.option(*names, **how)


def refused(spelling: str, answer: str, is_flag: bool) -> Decorator:
    """Return the decorator that adds a hidden option which raises UsageError with this answer if it is given."""

    def refuse(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        """Raise UsageError if the option is given."""
        if value is not None and value is not False:
            raise UsageError(f"{spelling}: {answer}")

    return click.option(spelling, is_flag=is_flag, hidden=True, expose_value=False, callback=refuse)
