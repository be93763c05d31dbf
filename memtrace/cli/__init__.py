"""The command line. A command parses its options, calls one function of the library, and prints the result.

Commands are imported only when they are called. Errors become messages and exit codes here, in `main`, and nowhere
else.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from memtrace.cli.terminal import echo
from memtrace.errors import InputError, MemtraceError, UsageError

# Command -> the module of this package that has it, and one line on it for `memtrace --help`.
COMMANDS = {
    "run": ("run", "Replay traces through policies and write measures, plots and a report."),
    "report": ("report", "Write the report of a results folder as PDF, HTML or Markdown."),
    "plot": ("plot", "Draw a figure of a results folder to publish, as PDF, SVG or PNG."),
    "show": ("report", "Show a results folder at the terminal."),
    "suite": ("suite", "Replay the traces and policies that a file lists, and check limits on the results, as in CI."),
    "compare": ("compare", "Show what changed between two results, and check limits on them."),
    "whatif": ("whatif", "Replay a PyTorch memory snapshot under other settings of PyTorch's allocator."),
    "mincap": ("mincap", "Find the smallest capacity at which no request fails."),
    "info": ("traces", "Show how many events a trace has, its sizes, and its peak of live bytes."),
    "check": ("traces", "List the invalid events of a trace."),
    "convert": ("traces", "Write a trace as CSV or Parquet."),
    "tiers": ("tiers", "Replay a trace over several memories, such as HBM, DRAM and NVMe, with eviction between them."),
    "bound": ("bound", "Find how little memory a trace can do with if all lifetimes are known in advance."),
    "reuse": ("reuse", "List the blocks that could leave memory at a trace's peak: reused in place, recomputed, freed early."),
    "contention": ("contention", "Estimate lock conflicts and memory for several numbers of arenas that threads share."),
    "anonymize": ("anonymize", "Write a trace without anything that could identify its owner."),
    "shrink": ("shrink", "Find a smaller trace that still runs out of memory, or still has a measure beyond a bound."),
    "record": ("record", "Run a program and write its allocations as a trace."),
    "generate": ("generate", "Generate the trace of a workload."),
    "workloads": ("generate", "List the workloads, or explain one."),
    "export": ("export", "Write a replay as a memory snapshot that PyTorch's viewer opens."),
    "policies": ("catalogue", "List the policies, explain one, or check your own."),
    "metrics": ("catalogue", "List the measures, or explain one."),
    "formats": ("catalogue", "List the formats that traces are read from, or explain one."),
}
# Heading of `memtrace --help` -> its commands, the common ones first.
GROUPS = {
    "Replay and compare": ("run", "suite", "compare", "show", "report", "plot"),
    "GPU out of memory": ("whatif", "tiers"),
    "How much memory is enough": ("mincap", "bound", "reuse", "contention"),
    "Traces": ("info", "check", "convert", "record", "generate", "anonymize", "shrink", "export"),
    "What there is": ("policies", "metrics", "workloads", "formats"),
}
INTERNAL = 70  # exit code of a mistake in memtrace itself: EX_SOFTWARE of sysexits.h


class Commands(click.Group):
    """The group of all commands.

    A command's module is imported when the command is called, so `memtrace --help` needs only click.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return the command of this name, or return None if there is none."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"memtrace.cli.{COMMANDS[name][0]}"), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name; raise UsageError with the nearest name if there is none."""
        if args and args[0] not in COMMANDS:
            from memtrace.names import unknown

            raise unknown("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; one that writes its file into a pipe, such as /dev/stdout, ends well when the reader goes."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            ctx.exit(0)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of GROUPS under their headings, without importing any."""
        widest = max(map(len, COMMANDS))
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), COMMANDS[name][1]) for name in names])


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
        echo(ctx.get_help())


def main() -> NoReturn:
    """Run the command line, and exit. An error is printed as one message, without a traceback unless ``-vv`` is given."""
    from memtrace.cli.streams import unbroken
    from memtrace.processes import raise_on_signals

    raise_on_signals()
    with unbroken():
        code = exit_code()
    sys.exit(code)


def exit_code() -> int | str | None:
    """Run the command line, and return its exit code: the same whether or not anybody reads what is printed."""
    from memtrace.processes import how_ended

    try:
        code: int | str | None = 0
        try:
            commands(standalone_mode=False)
        except SystemExit as leave:  # a verdict
            code = leave.code
        sys.stdout.flush()
        return code
    except (KeyboardInterrupt, click.Abort) as error:
        ended = error.__cause__ or error  # click raises Abort from what it caught
        how, code = how_ended(ended)
        return _say(f"{how}; {'; '.join(getattr(ended, '__notes__', ['nothing was written']))}", code)
    except MemtraceError as error:
        return _say("\n".join([f"error: {error}", *getattr(error, "__notes__", [])]), error.exit_code)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        return _say(f"error: {error.format_message()}{_usage(error)}", UsageError.exit_code)
    except MemoryError:
        text = "error: this machine has too little memory for that\ntry: a smaller --samples or --capacity, or fewer --jobs"
        return _say(text, UsageError.exit_code)
    except OSError as error:  # of a disk or a file of the user's; memtrace opens no others
        named = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return _say(f"error: {named}{error.strerror or error}", InputError.exit_code)
    except Exception as error:
        return _say(f"error: {type(error).__name__}: {error}\nthis is a mistake in memtrace; -vv shows where", INTERNAL)


def _usage(error: click.ClickException) -> str:
    """Return a line that names the help of the command that failed, or an empty text if it is not known."""
    context = getattr(error, "ctx", None)
    return f"\ntry: {context.command_path} --help" if context is not None else ""


def _say(text: str, code: int) -> int:
    """Print a message on standard error, with the traceback if ``-vv`` is given, and return the exit code."""
    if "-vv" in sys.argv:
        import traceback

        traceback.print_exc()
    echo(text, err=True)
    return code


def report_options(function: Any) -> Any:
    """Add the options that every command has: --json, --quiet and --verbose."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output."),
        click.option("-q", "--quiet", is_flag=True, help="Print only results: no progress and no notes."),
        click.option("-v", "--verbose", count=True, help="Print more; -vv also prints the traceback of an error."),
    ):
        function = option(function)
    return function
