"""The commands `memtrace record native|python|torch|tflite`, which write a program's allocations, or a model's plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.reading import say_assumed
from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.recording.native import Recording

# Settings of click with which all options after the program's name are passed to the program.
REST = {"ignore_unknown_options": True, "allow_interspersed_args": False}
MOST_PROCESSES = 8  # other processes that are listed


def output_option(default: str) -> Any:
    """Return the option -o with this default."""
    return option("output", default=default, show_default=True, help="The trace to write, .parquet or .csv.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def record() -> None:
    """Run a program, and write its allocations as a trace.

    \b
    Example:
      memtrace record native -o sort.parquet -- sort words.txt
    """


@record.command(context_settings=REST)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@output_option("trace.parquet")
@click.option(
    "--process", metavar="NAME", help="The program to take if there are several processes; default: the one with the most calls."
)
@report_options
def native(command: tuple[str, ...], output: str, process: str | None, as_json: bool, quiet: bool, verbose: int) -> None:
    """Run COMMAND and record its calls of malloc, free, realloc and their relatives.

    Any program that is linked dynamically to glibc can be recorded, with its threads and the processes that it starts.
    Needs Linux and, the first time, a C compiler.

    \b
    Examples:
      memtrace record native -o sort.parquet -- sort words.txt
      memtrace record native --process cc1 -o cc1.parquet -- make main.o
    """
    import sys

    from memtrace.cli.output import bar, echo_json
    from memtrace.recording.native import record as record_native

    check_target(output)
    with bar("writing the trace", not quiet) as progress:
        done = record_native(command, output, process=process, output=sys.stderr if as_json else None, progress=progress)
    if as_json:
        processes = [{"program": each.program, "calls": each.calls} for each in done.processes]
        document = {"events": done.events, "exit_code": done.exit_code, "processes": processes, "metadata": done.metadata}
        echo_json({"schema": "memtrace.record/1", **document, "files": [output]})
    elif not quiet:
        say_native(done, command[0], output)
    sys.exit(status_of(done.exit_code))


@record.command(context_settings=REST)
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="SCRIPT|-m MODULE [ARGUMENTS]...")
@output_option("trace.parquet")
@click.option("--objects", is_flag=True, help="Also record Python's own allocator, which means every object.")
@report_options
def python(program: tuple[str, ...], output: str, objects: bool, as_json: bool, quiet: bool, verbose: int) -> None:
    """Run a Python program under memray and record its allocations.

    Needs the extra `memray`. To record only the malloc calls of a Python program, use `record native -- python
    script.py`.

    \b
    Example:
      memtrace record python -o trace.parquet -- script.py
    """
    import sys

    from memtrace.cli.output import bar, echo_json
    from memtrace.recording.python import record as record_python

    check_target(output)
    with bar("writing the trace", not quiet) as progress:
        done = record_python(program, output, objects=objects, output=sys.stderr if as_json else None, progress=progress)
    if as_json:
        document = {"events": done.events, "exit_code": done.exit_code, "metadata": done.metadata}
        echo_json({"schema": "memtrace.record/1", **document, "files": [output]})
    elif not quiet:
        say_written(done.metadata, done.exit_code, program[0], output, done.events)
    sys.exit(status_of(done.exit_code))


@record.command(context_settings=REST)
@click.argument("program", metavar="SCRIPT.py|MODULE:FUNCTION")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@output_option("trace.parquet")
@report_options
def torch(program: str, arguments: tuple[str, ...], output: str, as_json: bool, quiet: bool, verbose: int) -> None:
    """Run a PyTorch program on fake tensors and record their storages; no GPU is needed, and no memory for the tensors.

    The tag of a block says what it is (weight, gradient, optimizer, activation), with the name of its parameter or
    module.

    \b
    Examples:
      memtrace record torch -o step.parquet train.py
      memtrace record torch -o step.parquet training:one_step
    """
    from memtrace.cli.output import echo_json
    from memtrace.recording.torch import ASSUMED
    from memtrace.recording.torch import record as record_torch

    check_target(output)
    events = record_torch(program, arguments, output)
    if as_json:
        echo_json({"schema": "memtrace.record/1", "events": events, "files": [output]})
    elif not quiet:
        say_written({"assumed": "\n".join(ASSUMED)}, 0, program, output, events)


@record.command()
@click.argument("model", metavar="MODEL.tflite")
@option("output", default="plan.csv", show_default=True, help="The plan to write, .csv: id, lower, upper, size, offset.")
@report_options
def tflite(model: str, output: str, as_json: bool, quiet: bool, verbose: int) -> None:
    """Write the memory plan of a TensorFlow Lite model: each tensor of the arena, when it lives and where it was put.

    Needs the extra `tflite`. The model is loaded, and not run.

    \b
    Example:
      memtrace record tflite model.tflite -o plan.csv && memtrace bound plan.csv
    """
    from memtrace.cli.output import echo_json
    from memtrace.recording.tflite import record as record_tflite
    from memtrace.units import format_size

    check_target(output)
    done = record_tflite(model, output)
    if as_json:
        document = {"blocks": done.blocks, "height_bytes": done.height, "assumed": done.assumed, "files": [output]}
        echo_json({"schema": "memtrace.record/1", **document})
    elif not quiet:
        say_assumed({"assumed": "\n".join(done.assumed)}, False)
        echo(f"wrote {output}: {done.blocks:,} blocks, up to {format_size(done.height)}", err=True)
        echo(f"try: memtrace bound {output}", err=True)


def say_written(metadata: dict[str, str], exit_code: int, program: str, output: str, events: int) -> None:
    """Print what was assumed, how the program ended if that was with an error, and the file that was written."""
    say_assumed(metadata, False)
    if exit_code:
        echo(f"note: {program} {how_ended(exit_code)}; the trace goes up to there", err=True)
    echo(f"wrote {output}: {events:,} events", err=True)
    echo(f"try: memtrace run {output}", err=True)


def status_of(exit_code: int) -> int:
    """Return the exit status that a shell would give to a process with this exit code; it is passed on."""
    return exit_code if exit_code >= 0 else 128 - exit_code


def how_ended(exit_code: int) -> str:
    """Return in words how a process with this exit code ended; a negative code is minus the number of a signal."""
    return f"ended with {exit_code}" if exit_code > 0 else f"was ended by signal {-exit_code}"


def say_native(done: Recording, command: str, output: str) -> None:
    """Print notes on a recording and its other processes, and the file that was written."""
    from memtrace.units import format_size

    say_assumed(done.metadata, False)
    if done.exit_code:
        echo(f"note: {command} {how_ended(done.exit_code)}; the trace goes up to there", err=True)
    others = [each for each in done.processes if each.path != done.process.path and each.calls]
    if others:
        most = sorted(others, key=lambda each: -each.calls)[:MOST_PROCESSES]
        listed = ", ".join(f"{each.program} {each.calls:,}" for each in most) + (", ..." if len(others) > len(most) else "")
        echo(f"note: other processes (--process NAME takes one of those): {listed} calls", err=True)
    echo(f"wrote {output}: {done.events:,} events of {done.process.program}", err=True)
    if "heap_peak_bytes" in done.metadata:
        peak = format_size(int(done.metadata["heap_peak_bytes"]))
        echo(f"its heap took {peak} from the system at most; native:glibc,footprint=heap is to find that again", err=True)
    echo(f"try: memtrace run {output}", err=True)


def check_target(output: str) -> None:
    """Raise UsageError if the trace could not be written, before the program is run."""
    from memtrace.errors import UsageError
    from memtrace.trace.writing import writer

    writer(Path(output), None)
    if not Path(output).resolve().parent.is_dir():
        raise UsageError(f"{output}: there is no folder {Path(output).parent}")
