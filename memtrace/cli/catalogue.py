"""The commands `memtrace policies`, `metrics` and `formats`, which list what there is and explain each entry.

Their texts are the docstrings and declarations in the sources.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.terminal import echo
from memtrace.errors import InputError, UsageError
from memtrace.names import unknown

if TYPE_CHECKING:
    from memtrace.engine.options import Option
    from memtrace.measures.declaration import Metric
    from memtrace.reading.recognition import Recognised


@click.command()
@click.argument("name", required=False)
@click.option(
    "--check",
    "checked",
    metavar="POLICY",
    help="Test a policy, such as ./mine.py, on random traces and for common mistakes; exit 4 if it fails.",
)
@click.option("--quick", is_flag=True, help="With --check: only in the interpreter, in a second or two.")
@click.option(
    "--new", "new", metavar="FILE", type=click.Path(dir_okay=False), help="Write a sound policy, with comments, to begin with."
)
@option("force", help="With --new: replace the file if there is one.")
@report_options
def policies(
    name: str | None, checked: str | None, quick: bool, new: str | None, force: bool, as_json: bool, quiet: bool, verbose: int
) -> None:
    """List the policies, explain NAME or a file of your own, check a policy, or begin one.

    \b
    Examples:
      memtrace policies
      memtrace policies best-fit
      memtrace policies --new mine.py
      memtrace policies --check ./mine.py --quick
      memtrace policies ./mine.py
    """
    from memtrace.cli.output import echo_json, print_table
    from memtrace.contract.policy import constants_of
    from memtrace.engine.registry import known_policies

    if (quick and checked is None) or (force and new is None):
        raise UsageError("--quick goes with --check, --force with --new")
    if sum(given is not None for given in (name, checked, new)) > 1:
        raise UsageError("a policy is explained, checked or begun, one at a time\ntry: memtrace policies --check POLICY")
    if checked is not None:
        check(checked, quick, as_json)
    elif new is not None:
        begin(Path(new), force, quiet)
    elif as_json:
        names = [name] if name is not None else list(known_policies())
        echo_json({"schema": "memtrace.policies/1", "policies": [described(each) for each in names]})
    elif name is None:
        rows = [(each, ", ".join(constants_of(module).GROUPS), first_line(module)) for each, module in known_policies().items()]
        print_table(("policy", "groups", "rule"), rows, words=(0, 1, 2))
        echo("memtrace policies NAME explains one; -p ./mine.py takes one of your own, which --new begins and --check tests")
    else:
        explain(name)


def explain(name: str) -> None:
    """Print a policy's definition and options; of a file also which functions it has, and what those that it lacks would give."""
    from memtrace.cli.output import print_table
    from memtrace.engine.form import hints

    module, path = policy_module(name)
    text = inspect.getdoc(module) or "(the file has no docstring; its first lines would stand here)"
    echo(f"{name}\n\n{text}\n\nOptions ({path}:key=value,...):")
    print_table(("option", "default", "one of"), [option_row(o) for o in options_of(name)], words=(0, 1, 2))
    if not name.endswith(".py"):
        return
    pieces = pieces_of(module)
    echo(f"\nIts functions: {', '.join(each for each, missing in pieces.items() if missing is None)}")
    own = own_constants(module)
    echo(f"Its constants: {', '.join(f'{each} = {value!r}' for each, value in own.items()) or 'none'}")
    echo("\nWhat it leaves out:")
    rows = [(each, missing) for each, missing in pieces.items() if missing is not None]
    print_table(("function", "what follows"), rows, words=(0, 1))
    for hint in hints(module):
        echo(f"note: {hint}")
    echo("docs/policies.md has what each of them is given and returns")


def policy_module(name: str) -> tuple[ModuleType, str]:
    """Return the module of a policy by its name or the path of its file, and the name without options.

    Raises UsageError for an unknown name, PolicyError for a file that is no policy.
    """
    from memtrace.engine.registry import load_file, load_named
    from memtrace.names import split_spec

    short = split_spec(name, "")[0]
    return (load_file(Path(short)) if short.endswith(".py") else load_named(short)), short


def pieces_of(module: ModuleType) -> dict[str, str | None]:
    """Return the functions that a policy may have: None if it has one, else what follows from its lack."""
    from memtrace.contract.policy import functions, functions_of, has_ledger

    own, ledger = functions_of(module), has_ledger(module)
    asked = [
        each for each in functions() if (not each.entry.ledger or ledger) and not (ledger and each.name in ("reserved", "survey"))
    ]
    found = {each.name: None if each.name in own else each.entry.missing for each in asked}
    if not ledger:
        found["a ledger"] = (
            "searches, splits and merges are not known, and the functions for blocks that move or come in pieces are not called"
        )
    return found


def own_constants(module: ModuleType) -> dict[str, Any]:
    """Return the constants of the contract that a policy module sets."""
    from memtrace.contract.policy import constants

    return {name: vars(module)[name] for name, _, _ in constants() if name in vars(module)}


def check(policy: str, quick: bool, as_json: bool) -> None:
    """Test a policy on random traces, print the report, and exit with the code of PolicyError if the policy fails."""
    from memtrace.errors import PolicyError
    from memtrace.validation.policies import check_policy

    report = check_policy(policy, quick=quick)
    if as_json:
        from memtrace.cli.output import echo_json

        checks = [{"name": each.name, "ok": each.ok, "kind": each.kind, "fault": each.fault} for each in report.checks]
        echo_json(
            {
                "schema": "memtrace.policy-check/1",
                "policy": policy,
                "ok": report.ok,
                "text": report.text(),
                "checks": checks,
                "trusted": list(report.trusted) if report.ok else [],
                "hints": list(report.hints),
            }
        )
    else:
        echo(report.text())
    if not report.ok:
        sys.exit(PolicyError.exit_code)


def begin(file: Path, force: bool, quiet: bool) -> None:
    """Write a sound policy with comments to a file; UsageError if there is one and ``force`` does not say that it may go."""
    from importlib.resources import files

    if file.suffix != ".py":
        raise UsageError(f"{file} has to end in .py, by which a policy of your own is known\ntry: --new {file}.py")
    if file.exists() and not force:
        raise UsageError(f"{file} is there already\ntry: another name, or --force to replace it")
    text = files("memtrace.validation").joinpath("start.py").read_text(encoding="utf-8").replace("mine.py", file.name)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None
    if not quiet:
        echo(f"{file}: a sound policy to begin with\nnext: memtrace policies --check {file} --quick")


def first_line(thing: Any) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def options_of(name: str) -> list[Option]:
    """Return the options of the policy of this name, or of this file."""
    from memtrace.engine.options import options_of as read_options

    return list(read_options(policy_module(name)[0]).values())


def option_row(option: Option) -> tuple[str, str, str]:
    """Return a line of the table of options: name, default, choices."""
    from memtrace.engine.options import text_of

    return option.name, text_of(option.default), "|".join(option.choices)


def described(name: str) -> dict[str, Any]:
    """Return a policy's entry in the JSON document; of a file also its functions, and what follows from those that it lacks."""
    from memtrace.contract.policy import constants_of

    module, _ = policy_module(name)
    options = [{"name": o.name, "default": o.default, "choices": list(o.choices)} for o in options_of(name)]
    found: dict[str, Any] = {
        "name": name,
        "groups": list(constants_of(module).GROUPS),
        "text": inspect.getdoc(module),
        "options": options,
    }
    if name.endswith(".py"):
        pieces = pieces_of(module)
        found["functions"] = [each for each, missing in pieces.items() if missing is None]
        found["constants"] = {
            each: value if isinstance(value, int | str) else list(value) for each, value in own_constants(module).items()
        }
        found["missing"] = {each: missing for each, missing in pieces.items() if missing is not None}
    return found


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
        echo("L live, A allocated, R reserved bytes; h a hole's size, F the sum of all h; after each event")
    else:
        for key, value in metric_fields(chosen[0]).items():
            echo(f"{key + ':':<11} {value or '-'}")


def metric_fields(metric: Metric) -> dict[str, str]:
    """Return the printed fields of a metric by name."""
    from memtrace.engine.known import KNOWN_OF

    fields = ("name", "unit", "direction", "formula", "source")
    found = {**{field: getattr(metric, field) for field in fields}, "needs": ", ".join(metric.needs)}
    known = "; ".join(f"{word}: {KNOWN_OF[word]}" for word in metric.needs if word in KNOWN_OF)
    return found | ({"known of": known} if known else {})


@click.command()
@click.argument("name", required=False)
@option("format", help="Take the file for this format; by default it is recognised.")
@report_options
def formats(name: str | None, trace_format: str | None, as_json: bool, quiet: bool, verbose: int) -> None:
    """List the formats that traces are read from, explain NAME, or say what the file NAME looks like.

    Of a file it says the format, how sure that is, and what would be read.

    \b
    Examples:
      memtrace formats csv
      memtrace formats my.log
    """
    from memtrace.cli.output import echo_json, print_table
    from memtrace.formats import formats as all_formats
    from memtrace.formats import load

    if name is not None and is_file(name):
        recognised(name, trace_format, as_json)
        return
    if trace_format is not None:
        raise UsageError("--format and --template go with a file\ntry: memtrace formats FILE --format NAME")
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
        echo(f"{name}\n\n{inspect.getdoc(known[name])}")


def is_file(name: str) -> bool:
    """Return whether a name is that of a file (or standard input, or a URL) rather than that of a format."""
    from memtrace.formats import added_formats, builtin_formats

    if name in builtin_formats() or name in added_formats():
        return False
    return name == "-" or "://" in name or Path(name).is_file() or any(mark in name for mark in "/.")


def recognised(path: str, trace_format: str | None, as_json: bool) -> None:
    """Print what a file looks like, how sure that is, and what would be read; raise InputError if nothing can be."""
    from dataclasses import asdict

    from memtrace.cli.output import echo_json
    from memtrace.reading import recognise

    found = recognise(path, trace_format)
    if as_json:
        echo_json({"schema": "memtrace.recognised/1", **asdict(found)})
    else:
        say_recognised(found)
    if found.problem is not None and not found.events:
        raise InputError(f"{found.label}: {found.problem}")


def say_recognised(found: Recognised) -> None:
    """Print what a file looks like as sentences."""
    from memtrace.formats import load

    echo(f"{found.label}: {found.format}, {found.sure}\n{first_line(load(found.format.partition(':')[0]))}")
    echo(f"because: {found.reason}")
    if found.others:
        echo(f"also: {', '.join(found.others)}; --format NAME reads it as one of them")
    part = "" if found.whole and found.problem is None else "at first "
    counts = ", ".join(f"{count:,} {name}" for name, count in found.ops.items())
    echo(f"would be read: {part}{found.events:,} events{f' ({counts})' if counts else ''}; columns {', '.join(found.columns)}")
    if found.invalid:
        echo(f"invalid: {found.invalid:,}; memtrace check lists them, --invalid skip leaves them out")
    if found.problem is not None and found.events:
        echo(f"then: {found.problem}")
    for line in found.metadata.get("assumed", "").splitlines():
        echo(f"note: {line}")
    echo(f"memtrace formats {found.format.partition(':')[0]} says more of the format")
