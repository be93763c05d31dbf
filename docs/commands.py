"""Writes docs/commands.md from where the commands and their options are declared: ``python -m docs.commands``."""

import html
import inspect
import textwrap
from pathlib import Path

import click

from memtrace.cli import COMMANDS, commands

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Commands

`memtrace COMMAND --help` says the same. This page is written by `make docs`.

Results go to standard output; progress and messages to standard error, bars only where that is a terminal. With `--json`
standard output is one JSON document. `NO_COLOR` is honoured. Every command takes:

{common}

| exit | meaning |
|---|---|
| 0 | done; a replay that ran out of memory is a result |
| 1 | a gate failed |
| 2 | the command is wrong |
| 3 | a trace or results folder cannot be read, or is invalid |
| 4 | a policy broke an invariant |
| 5 | some cells of a suite failed; the rest is written |
| 70 | a mistake of memtrace itself |
| 130, 143, 129 | interrupted by Ctrl-C, SIGTERM or SIGHUP; nothing was written, but for the finished cells of a suite |
"""


def page() -> str:
    found = {name: commands.get_command(click.Context(commands), name) for name in COMMANDS}
    known = {name: command for name, command in found.items() if command is not None}
    rows = {name: [row(each) for each in options_of(command)] for name, command in known.items()}
    common = [each for each in rows["run"] if all(each in others for others in rows.values())]
    sections = [part for name, command in known.items() for part in sections_of(f"memtrace {name}", command, common)]
    return HEAD.format(common=table(common)) + "".join(sections)


def sections_of(name: str, command: click.Command, common: list[str], level: str = "##") -> list[str]:
    """A command, and below it those of a group."""
    own = [row(each) for each in command.params if isinstance(each, click.Option) and not each.hidden]
    found = [section(f"{level} {name}", command, [each for each in own if each not in common])]
    for each, member in commands_of(command).items():
        found += sections_of(f"{name} {each}", member, common, level + "#")
    return found


def commands_of(command: click.Command) -> dict[str, click.Command]:
    return dict(command.commands) if isinstance(command, click.Group) else {}


def section(name: str, command: click.Command, rows: list[str]) -> str:
    """One command: what it is called with, what it says of itself, the options that not all have."""
    arguments = " ".join(called(each) for each in command.params if isinstance(each, click.Argument))
    text, _, examples = inspect.cleandoc(command.help or "").partition("\b\n")
    shown = textwrap.indent("\n".join(line.strip() for line in examples.splitlines()[1:]), "    ")
    return f"\n{name} {arguments}\n\n{text.strip()}\n\n{shown}\n" + (f"\n{table(rows)}\n" if rows else "")


def options_of(command: click.Command) -> list[click.Option]:
    """Its own, and those of a group's commands."""
    below = [each for member in commands_of(command).values() for each in options_of(member)]
    return [*below, *(each for each in command.params if isinstance(each, click.Option) and not each.hidden)]


def table(rows: list[str]) -> str:
    return "\n".join(["| option | |", "|---|---|", *rows])


def row(option: click.Option) -> str:
    default = f" Default: {option.default}." if option.show_default else ""
    meaning = html.escape(f"{option.help}{default}", quote=False).replace("|", "\\|")
    return f"| {written(option)} | {meaning} |"


def called(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def written(option: click.Option) -> str:
    value = option.metavar or ""
    if isinstance(option.type, click.Choice):
        value = " or ".join(option.type.choices)
    return f"{', '.join(f'`{spelling}`' for spelling in option.opts)} {value}".rstrip()


if __name__ == "__main__":
    PAGE.write_text(page())
