"""The commands `memtrace generate`, which writes the trace of a workload, and `memtrace workloads`, which lists workloads."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.terminal import echo
from memtrace.errors import UsageError

if TYPE_CHECKING:
    from memtrace.workloads.options import Option


@click.command()
@click.argument("workload")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the workload. Repeatable.")
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), metavar="N", help="Seed of the random numbers. Default: 0.")
@option("output", required=True, help="The trace to write: .parquet, .csv, .csv.gz or .csv.zst.")
@option("no_progress")
@report_options
def generate(
    workload: str,
    settings: tuple[str, ...],
    seed: int | None,
    output: str,
    no_progress: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Generate the trace of WORKLOAD; the same options and seed give the same bytes.

    WORKLOAD may include its options, as in gpt-train:layers=24,batch=8. In this form it can also be given to run, info,
    check and convert in place of a trace.

    \b
    Examples:
      memtrace generate gpt-train --set layers=24 --set batch=8 -o trace.parquet
      memtrace generate classic:sizes=uniform,events=5000000 --seed 7 -o trace.csv.zst
    """
    from memtrace.cli.output import bar
    from memtrace.reading.traces import recipe_of
    from memtrace.trace.passes import read_ahead
    from memtrace.trace.writing import writer
    from memtrace.workloads.recipe import IDENTITY

    recipe = recipe_of(workload, dict(setting(each) for each in settings), seed)
    opened, events = writer(Path(output)), 0
    batches = read_ahead(recipe.batches())  # made in one thread, written in another
    first = next(batches)
    facts = {name: value for name, value in first.metadata.items() if name not in IDENTITY}
    with bar(f"generating {recipe.workload}", not (no_progress or quiet)) as progress, opened as put:
        for batch in chain_first(first, batches):
            put(batch)
            events = batch.done
            progress(batch.done, batch.total)
    if as_json:
        from memtrace.cli.output import echo_json

        document = {"workload": recipe.label, "seed": recipe.seed, "events": events, "facts": facts, "files": [output]}
        echo_json({"schema": "memtrace.generate/1", **document})
    elif not quiet:
        echo(f"wrote {output}: {events:,} events of {recipe.label}", err=True)
        for name, value in facts.items():
            echo(f"  {name}: {value}", err=True)
        echo(f"try:  memtrace run {output}", err=True)


def chain_first(first: Any, rest: Any) -> Any:
    """Yield the first batch, and then the rest.

    The first batch is made before the file is opened, so that wrong options leave no file behind.
    """
    yield first
    yield from rest


def setting(text: str) -> tuple[str, str]:
    """Return key and value of a text KEY=VALUE; raise UsageError if it is none."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: it is not KEY=VALUE, such as --set layers=24")
    return key.strip(), value.strip()


@click.command()
@click.argument("name", required=False)
@report_options
def workloads(name: str | None, as_json: bool, quiet: bool, verbose: int) -> None:
    """List the workloads that traces are generated from, or explain NAME with its options.

    \b
    Examples:
      memtrace workloads
      memtrace workloads gpt-train
    """
    from memtrace.cli.output import echo_json, print_table
    from memtrace.workloads import load
    from memtrace.workloads import workloads as all_workloads

    if as_json:
        names = [name] if name is not None else list(all_workloads())
        echo_json({"schema": "memtrace.workloads/1", "workloads": [described(each) for each in names]})
    elif name is None:
        rows = [(each, text_of_module(module).partition("\n")[0]) for each, module in all_workloads().items()]
        print_table(("workload", ""), rows, words=(0, 1))
        echo("memtrace workloads NAME explains one, with its options")
    else:
        echo(f"{name}\n\n{text_of_module(load(name))}\n\nOptions (--set key=value, or {name}:key=value,...):")
        print_table(("option", "default", "takes", ""), [row(each) for each in known(name)], words=(0, 1, 2, 3))


def text_of_module(module: Any) -> str:
    """Return the docstring of a workload's module."""
    return inspect.getdoc(module) or ""


def known(name: str) -> list[Option]:
    """Return the options of a workload, and the seed."""
    from memtrace.workloads import load
    from memtrace.workloads.options import options_of
    from memtrace.workloads.recipe import SEED

    return [*options_of(load(name).generate).values(), SEED]


def row(option: Option) -> tuple[str, str, str, str]:
    """Return a line of the table of options: name, default, what it takes, what it is."""
    from memtrace.workloads.options import text_of

    return option.name, text_of(option.default), option.takes().replace("|", " "), option.about


def described(name: str) -> dict[str, Any]:
    """Return a workload's entry in the JSON document."""
    from memtrace.workloads import load

    options = [{"name": o.name, "default": o.default, "takes": o.takes(), "about": o.about} for o in known(name)]
    return {"name": name, "text": text_of_module(load(name)), "options": options}
