"""The commands `memtrace policies`, `metrics` and `formats`, which list what there is and explain each entry.

Their texts are the docstrings and declarations in the sources.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.names import unknown

if TYPE_CHECKING:
    from memtrace.engine.registry import Option
    from memtrace.measures.declaration import Metric


@click.command()
@click.argument("name", required=False)
@click.option(
    "--check",
    "checked",
    metavar="POLICY",
    help="Test a policy, such as ./mine.py, on random traces; exit 4 if it fails.",
)
@report_options
def policies(name: str | None, checked: str | None, as_json: bool, quiet: bool, verbose: int) -> None:
    """List the policies, explain NAME, or check a policy of your own.

    \b
    Examples:
      memtrace policies
      memtrace policies best-fit
      memtrace policies --check ./mine.py
    """
    from memtrace.cli.output import echo_json, print_table
    from memtrace.contract.policy import constants_of
    from memtrace.engine.registry import known_policies, load_named

    if checked is not None:
        check(checked, as_json)
        return
    if as_json:
        names = [name] if name is not None else list(known_policies())
        echo_json({"schema": "memtrace.policies/1", "policies": [described(each) for each in names]})
    elif name is None:
        rows = [(each, ", ".join(constants_of(module).GROUPS), first_line(module)) for each, module in known_policies().items()]
        print_table(("policy", "groups", "rule"), rows, words=(0, 1, 2))
        click.echo("memtrace policies NAME explains one; -p ./mine.py takes one of your own")
    else:
        click.echo(f"{name}\n\n{inspect.getdoc(load_named(name))}\n\nOptions ({name}:key=value,...):")
        print_table(("option", "default", "one of"), [option_row(o) for o in options_of(name)], words=(0, 1, 2))


def check(policy: str, as_json: bool) -> None:
    """Test a policy on random traces, print the report, and exit with the code of PolicyError if the policy fails."""
    from memtrace.errors import PolicyError
    from memtrace.validation.policies import check_policy

    report = check_policy(policy)
    if as_json:
        from memtrace.cli.output import echo_json

        echo_json({"schema": "memtrace.policy-check/1", "policy": policy, "ok": report.ok, "text": report.text()})
    else:
        click.echo(report.text())
    if not report.ok:
        sys.exit(PolicyError.exit_code)


def first_line(thing: Any) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def options_of(name: str) -> list[Option]:
    """Return the options of the policy of this name."""
    from memtrace.engine.registry import load_named
    from memtrace.engine.registry import options_of as read_options

    return list(read_options(load_named(name)).values())


def option_row(option: Option) -> tuple[str, str, str]:
    """Return a line of the table of options: name, default, choices."""
    from memtrace.engine.registry import text_of

    return option.name, text_of(option.default), "|".join(option.choices)


def described(name: str) -> dict[str, Any]:
    """Return a policy's entry in the JSON document."""
    from memtrace.contract.policy import constants_of
    from memtrace.engine.registry import load_named

    module = load_named(name)
    options = [{"name": o.name, "default": o.default, "choices": list(o.choices)} for o in options_of(name)]
    return {
        "name": name,
        "groups": list(constants_of(module).GROUPS),
        "text": inspect.getdoc(module),
        "options": options,
    }


@click.command()
@click.argument("name", required=False)
@report_options
def metrics(name: str | None, as_json: bool, quiet: bool, verbose: int) -> None:
    """List the measures, which are the columns of summary.parquet, or explain NAME.

    In the definitions, L are live, A allocated and R reserved bytes; h is the size of a hole, F the sum of all h. They
    are taken after each event.

    \b
    Example:
      memtrace metrics external_frag_at_peak
    """
    from memtrace.cli.output import echo_json, print_table
    from memtrace.measures import declared

    known = {metric.name: metric for metric in declared()}
    if name is not None and name not in known:
        raise unknown("metric", name, known)
    chosen = list(known.values()) if name is None else [known[name]]
    if as_json:
        echo_json({"schema": "memtrace.metrics/1", "metrics": [metric_fields(metric) for metric in chosen]})
    elif name is None:
        print_table(
            ("metric", "unit", "better", "definition"),
            [(m.name, m.unit, m.direction, m.formula) for m in chosen],
            words=(0, 1, 2, 3),
        )
        click.echo("L live, A allocated, R reserved bytes; h a hole's size, F the sum of all h; after each event")
    else:
        for key, value in metric_fields(chosen[0]).items():
            click.echo(f"{key + ':':<11} {value or '-'}")


def metric_fields(metric: Metric) -> dict[str, str]:
    """Return the printed fields of a metric by name."""
    fields = ("name", "unit", "direction", "formula", "source")
    return {field: getattr(metric, field) for field in fields}


@click.command()
@click.argument("name", required=False)
@report_options
def formats(name: str | None, as_json: bool, quiet: bool, verbose: int) -> None:
    """List the formats that traces are read from, or explain NAME.

    \b
    Example:
      memtrace formats csv
    """
    from memtrace.cli.output import echo_json, print_table
    from memtrace.formats import formats as all_formats
    from memtrace.formats import load

    known = all_formats() if name is None else {name: load(name)}
    if as_json:
        echo_json(
            {
                "schema": "memtrace.formats/1",
                "formats": [{"name": n, "suffixes": list(f.SUFFIXES), "text": inspect.getdoc(f)} for n, f in known.items()],
            }
        )
    elif name is None:
        print_table(
            ("format", "suffixes", ""),
            [(n, " ".join(f.SUFFIXES), first_line(f)) for n, f in known.items()],
            words=(0, 1, 2),
        )
    else:
        click.echo(f"{name}\n\n{inspect.getdoc(known[name])}")
