"""The command line: parse, call one library function, echo. The one place where errors become text and exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from memtrace.errors import MemtraceError, UsageError

COMMANDS = {
    "run": ("run", "Replay traces through policies and write measures, plots and a report."),
    "report": ("report", "Write the report of a results folder as PDF, HTML or Markdown."),
    "show": ("report", "Show a results folder at the terminal."),
    "suite": ("suite", "Replay traces x policies of a file, with gates: for CI."),
    "compare": ("compare", "Show what changed between two results, and guard a budget."),
    "whatif": ("whatif", "Replay a PyTorch memory snapshot under other allocator settings."),
    "mincap": ("mincap", "Find the smallest capacity at which nothing fails."),
    "info": ("traces", "Show what is in a trace."),
    "check": ("traces", "List the invalid events of a trace."),
    "convert": ("traces", "Write a trace as CSV or Parquet."),
    "tiers": ("tiers", "Replay a trace over tiers of memory, with eviction: HBM, DRAM, NVMe."),
    "bound": ("bound", "Pack a trace's blocks with all lifetimes known: the least memory it needs."),
    "reuse": ("reuse", "List what a trace need not hold at its peak."),
    "contention": ("contention", "Model the locks of arenas that threads share."),
    "anonymize": ("anonymize", "Write a trace without what could tell whose it is."),
    "shrink": ("shrink", "Write the smallest trace that still shows an OOM or a measure."),
    "record": ("record", "Run a program and write its allocations as a trace."),
    "generate": ("generate", "Generate the trace of a workload."),
    "workloads": ("generate", "List the workloads, or explain one."),
    "export": ("export", "Write a replay as a PyTorch memory snapshot."),
    "policies": ("catalogue", "List the policies, explain one, or check your own."),
    "metrics": ("catalogue", "List the measures, or explain one."),
    "formats": ("catalogue", "List the formats that traces are read from, or explain one."),
}
INTERRUPTED = 130
INTERNAL = 70  # a mistake of memtrace itself: sysexits.h, EX_SOFTWARE


class Commands(click.Group):
    """Commands that are imported when they are called, so that help needs nothing but click."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"memtrace.cli.{COMMANDS[name][0]}"), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            from memtrace.names import unknown

            raise unknown("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(package_name="memtrace-replay", prog_name="memtrace")
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Replay allocation traces through allocation policies, and see what each would have cost.

    \b
    Example:
      memtrace run trace.csv
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """Run the command line; users see one message, never a traceback (``-vv`` shows it)."""
    try:
        commands(standalone_mode=False)
        sys.stdout.flush()
        code = 0
    except BrokenPipeError:
        code = _quiet()
    except (KeyboardInterrupt, click.Abort):
        code = _say("interrupted; nothing was written", INTERRUPTED)
    except MemtraceError as error:
        code = _say(f"error: {error}", error.exit_code)
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except click.ClickException as error:
        code = _say(f"error: {error.format_message()}{_usage(error)}", UsageError.exit_code)
    except MemoryError:
        code = _say("error: this machine has too little memory for that; try a smaller --samples or --capacity", INTERNAL)
    except Exception as error:
        text = f"error: {type(error).__name__}: {error}\nthis is a mistake in memtrace; -vv shows where"
        code = _say(text, INTERNAL)
    sys.exit(code)


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"\ntry: {context.command_path} --help" if context is not None else ""


def _say(text: str, code: int) -> int:
    if "-vv" in sys.argv:
        import traceback

        traceback.print_exc()
    try:
        click.echo(text, err=True)
    except OSError:
        return _quiet()
    return code


def _quiet() -> int:
    """The reader of our output has gone: that is its affair, and Python shall not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def report_options(function: Any) -> Any:
    """The options that every command has."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output."),
        click.option("-q", "--quiet", is_flag=True, help="Print results only."),
        click.option("-v", "--verbose", count=True, help="Say more; -vv shows the traceback of an error."),
    ):
        function = option(function)
    return function
