"""The command `memtrace suite`, which replays the traces and policies of a file, compares with a baseline and checks gates."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.comparison import GATE_FAILED, show_comparison, write_documents
from memtrace.cli.options import option
from memtrace.cli.policies import say_settings
from memtrace.cli.standings import print_standings, standings_json
from memtrace.cli.terminal import echo
from memtrace.errors import PolicyError, UsageError
from memtrace.processes import how_ended

if TYPE_CHECKING:
    from memtrace.comparing.comparison import Comparison
    from memtrace.suite import Plan, ReplayOutcome, Suite
    from memtrace.suite.listing import Listing
    from memtrace.suite.store import Store

SOME_FAILED = 5  # exit code if cells failed, none of them by a fault of its policy
MOST_ERRORS = 10  # failed cells that are printed without -v


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a suite came to."""

    plan: Plan
    ran: ReplayOutcome
    rows: Sequence[dict[str, Any]]  # of the summary
    found: Comparison  # with the baseline, and the gates
    unjudged: int  # gates that were not checked
    documents: Sequence[str]  # paths of the files written for others to read
    seconds: float  # of the whole command


@click.command()
@click.argument("file", required=False, metavar="[FILE]")
@option("jobs", help="Number of processes on this machine; by default one for each core.")
@click.option("--scheduler", metavar="ADDRESS", help="Replay on a dask cluster instead, such as tcp://host:8786.")
@click.option("--resume", is_flag=True, help="Skip cells that were finished before and would give the same results.")
@click.option("--dry-run", is_flag=True, help="List the cells, the gates and the suite's own code; replay and run nothing.")
@click.option(
    "--trust",
    "trust_text",
    metavar="WHOSE",
    help="Whose policy files may run: base (or base=REF), head or none. By default none in CI. docs/ci.md says more.",
)
@click.option(
    "--update-baseline", is_flag=True, help="Replace the baseline; gates that compare with the old one are not checked."
)
@option("output", metavar="DIR", help="The results folder; by default that of the file, or reports/suite.")
@option("junit", help="Write the outcomes of the gates, and failed cells, as JUnit XML.")
@option("markdown")
@option("force")
@option("no_progress")
@report_options
def suite(
    file: str | None,
    jobs: int | None,
    scheduler: str | None,
    resume: bool,
    dry_run: bool,
    trust_text: str | None,
    update_baseline: bool,
    output: str | None,
    junit_file: str | None,
    markdown_file: str | None,
    force: bool,
    no_progress: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Replay every trace of FILE through every policy, and check its gates.

    FILE is memtrace.toml, or pyproject.toml with a table [tool.memtrace]; by default the one in this folder. Exit 1 if
    a gate failed, 4 if a policy broke an invariant, 5 if cells failed otherwise. The results of cells that did not
    fail are written.

    \b
    Examples:
      memtrace suite -j 4 --junit junit.xml
      memtrace suite ci/memtrace.toml --resume --trust base
      memtrace suite --scheduler tcp://10.0.0.1:8786
    """
    from dataclasses import replace

    from memtrace.suite import load, plan
    from memtrace.suite.config import gate_places
    from memtrace.suite.listing import listing
    from memtrace.suite.store import Store, check_output
    from memtrace.suite.trust import parse_trust, trusted

    started = time.perf_counter()
    asked = load(file)
    if output is not None:
        asked = replace(asked, output=str(Path(output).resolve()))
    trust = parse_trust(trust_text)
    if update_baseline and asked.baseline is None:
        raise UsageError(f"{asked.file}: there is no key baseline, so there is none to update")
    check_output(asked.at(asked.output), force)
    store = Store(asked.at(asked.cells))
    store.check()
    if resume:
        refuse_tracked(asked, store)
    if dry_run:
        show_listing(asked, listing(asked), store, as_json, verbose)
        return
    if scheduler is not None and trust.word == "base":
        raise UsageError(
            "--trust base and --scheduler: workers read policy files where they lie, and not as they were at the base"
        )
    base = baseline_rows(asked, update_baseline)
    with trusted(asked, trust) as allowed:
        planned = plan(allowed)
        say_settings(pair for task in planned.tasks for pair in task.outside)
        if not (quiet or as_json):
            echo(plan_text(planned), err=True)
        ran = replay(planned, store, resume, jobs, scheduler, not (no_progress or quiet), quiet or as_json)
    rows, files = write_results(planned, store, ran, started)
    found, unjudged = judged(planned, rows, base, ran, update_baseline)
    documents = write_documents(
        found,
        f"memtrace {asked.file}",
        junit_file or path_in_suite(asked, asked.junit),
        markdown_file or path_in_suite(asked, asked.markdown),
        failed_cell_outcomes(ran),
        gate_places(asked),
    )
    if update_baseline:
        documents += update(asked, rows, ran)
    if as_json:
        echo_results(found, ran, rows, [*map(str, files), *documents])
    else:
        done = Finished(
            plan=planned,
            ran=ran,
            rows=rows,
            found=found,
            unjudged=unjudged,
            documents=documents,
            seconds=time.perf_counter() - started,
        )
        show(done, quiet, verbose)
    if ran.errors:
        sys.exit(PolicyError.exit_code if ran.broke else SOME_FAILED)
    if not found.ok:
        sys.exit(GATE_FAILED)


def baseline_rows(suite: Suite, update: bool) -> list[dict[str, Any]] | None:
    """Return the rows of the suite's baseline, None if there is no such file.

    Raise UsageError if a gate needs a baseline, none exists, and ``update`` is false.
    """
    from memtrace.comparing.inputs import read_baseline

    path = None if suite.baseline is None else suite.at(suite.baseline)
    if path is not None and path.exists():
        return read_baseline(path)
    needy = next((gate for gate in suite.gates if gate.needs_base), None)
    if needy is not None and not update:
        what = f"there is no baseline {path} yet" if path is not None else f"{suite.file} has no key baseline"
        hint = "write it with --update-baseline" if path is not None else 'add: baseline = "memtrace-baseline.csv"'
        raise UsageError(f"gate {needy.text!r} compares with a baseline, and {what}; {hint}")
    return None


def relative_source(source: str) -> str:
    """Return a path in the working directory as a relative path; return other paths, URLs and workloads unchanged."""
    return source.removeprefix(f"{Path.cwd()}/")


def show_listing(suite: Suite, found: Listing, store: Store, as_json: bool, verbose: int) -> None:
    """Print the cells and the gates of a suite, which cells are finished, and the code that the suite would run.

    Of cells that only this code could tell the key of, it is not known whether they are finished.
    """
    from memtrace.cli.output import echo_json, print_table

    finished = {cell: None if cell.task is None else store.has(cell.task) for cell in found.cells}
    if as_json:
        keys = {cell: None if cell.task is None else cell.task.key for cell in found.cells}
        cells = [{"trace": c.trace, "policy": c.policy, "key": keys[c], "finished": done} for c, done in finished.items()]
        code = [{"path": each.path, "kind": each.kind} for each in found.code]
        gates = [gate.text for gate in suite.gates]
        echo_json(
            {"schema": "memtrace.suite-plan/1", "cells": cells, "gates": gates, "code": code, "plugins": list(found.plugins)}
        )
        return
    for trace, source in {cell.trace: cell.source for cell in found.cells}.items():
        states = [done for cell, done in finished.items() if cell.trace == trace]
        unknown = f", {states.count(None)} not known" if None in states else ""
        echo(f"{trace}: {len(states)} cells, {states.count(True)} finished before{unknown} ({relative_source(source)})")
    if verbose:
        before = {True: "finished", False: "", None: "not known"}
        shown = [(c.trace, c.policy, before[done], c.task.key[:12] if c.task else "") for c, done in finished.items()]
        print_table(("trace", "policy", "before", "key"), shown, words=(0, 1, 2, 3))
    for gate in suite.gates:
        echo(f"gate: {gate.text}")
    for each in found.code:
        echo(f"code of the suite, which was not run: {each.text}")
    for name in found.plugins:
        echo(f"installed plug-in, which was not run: {name}")
    done = sum(state is True for state in finished.values())
    echo(f"{len(finished):,} cells, of which --resume would leave out {done:,}; nothing was replayed")


def plan_text(plan: Plan) -> str:
    """Return the number of cells, and of traces and policies, in words; a trace with several capacities counts so often."""
    traces = len(plan.sources)
    policies = len(plan.tasks) // max(1, traces)
    named = f"{traces:,} trace{'' if traces == 1 else 's'}", f"{policies:,} polic{'y' if policies == 1 else 'ies'}"
    return f"{len(plan.tasks):,} cells to replay: {' x '.join(named)}"


def replay(
    plan: Plan, store: Store, resume: bool, jobs: int | None, scheduler: str | None, bars: bool, silent: bool
) -> ReplayOutcome:
    """Replay the cells under a progress bar, and return the outcome.

    On Ctrl-C, or a signal to end, exit with its code; the cells finished by then stay in the store. ``silent`` prints no failed
    cells.
    """
    from memtrace.cli.output import bar
    from memtrace.suite import replay_cells
    from memtrace.suite.dispatch import cluster

    done = 0
    with cluster(scheduler) if scheduler is not None else nullcontext() as executor, bar("cells", bars, len(plan.tasks)) as step:

        def note(task: Any, attempt: Any) -> None:
            """Move the bar by one cell, and print the cell's error if it failed."""
            nonlocal done
            done += 1
            step(done, None)
            if attempt.data is None and not silent:
                echo(f"failed: {task.text}: {attempt.error}", err=True)

        try:
            return replay_cells(plan, store, resume=resume, jobs=jobs, executor=executor, note=note)
        except KeyboardInterrupt as error:
            how, code = how_ended(error)
            echo(f"{how}; {done:,} cells are finished, and --resume goes on from there", err=True)
            sys.exit(code)


def write_results(plan: Plan, store: Store, ran: ReplayOutcome, started: float) -> tuple[list[dict[str, Any]], list[Path]]:
    """Write the results of all finished cells, and return the rows of the summary and the paths.

    ``started`` is the command's start by time.perf_counter.
    """
    from memtrace.cli.output import write_results as write_folder
    from memtrace.suite import write

    def write_trace(results: Any, folder: Path) -> list[Path]:
        """Write the results of one trace, with the suite's kinds of report."""
        return write_folder(results, folder, plan.suite.reports)

    return write(plan, store, set(ran.errors), write_trace, time.perf_counter() - started)


def judged(
    plan: Plan, rows: list[dict[str, Any]], base: list[dict[str, Any]] | None, ran: ReplayOutcome, update: bool
) -> tuple[Comparison, int]:
    """Return the comparison with its gates checked, and the number of gates that were not checked.

    Gates that compare with a baseline are not checked if ``update`` replaces it. ``base`` are the baseline's rows or
    None.
    """
    from memtrace.comparing import compare_rows
    from memtrace.comparing.comparison import Comparison, by_key
    from memtrace.comparing.gates import judge

    gates = [gate for gate in plan.suite.gates if not (update and gate.needs_base)]
    head, failed = by_key(rows, "the suite"), [(task.trace, task.label) for task in ran.errors]
    left = len(plan.suite.gates) - len(gates)
    if base is not None:
        return compare_rows(by_key(base, str(plan.suite.baseline)), head, gates, failed), left
    return Comparison((), (), (), 0, (), tuple(judge(gates, head, None, failed)), {}), left


def failed_cell_outcomes(ran: ReplayOutcome) -> list[Any]:
    """Return an outcome for each cell whose replay failed."""
    from memtrace.comparing.comparison import Outcome

    return [Outcome("replay", task.trace, task.label, "failed", reason=error) for task, error in ran.errors.items()]


def refuse_tracked(suite: Suite, store: Store) -> None:
    """Raise UsageError in CI if the finished cells are files of the repository, since anybody could have written these."""
    from memtrace.suite.config import project_of
    from memtrace.suite.repository import Repository
    from memtrace.suite.trust import in_ci

    project, folder = project_of(suite.folder), store.folder.resolve()
    if (
        not in_ci(os.environ)
        or not folder.is_relative_to(project)
        or shutil.which("git") is None
        or not (project / ".git").exists()
    ):
        return
    for name in Repository(project).tracked(folder, ".cell"):
        raise UsageError(
            f"{project / name} is a file of the repository, so --resume would believe what whoever committed it wrote\n"
            f"try: git rm -r --cached {store.folder}, or leave out --resume"
        )


def path_in_suite(suite: Suite, path: str | None) -> str | None:
    """Return a path of the suite's file, relative to the suite's folder; None stays None."""
    return None if path is None else str(suite.at(path))


def update(suite: Suite, rows: list[dict[str, Any]], ran: ReplayOutcome) -> list[str]:
    """Write the baseline from these rows, and return its path in a list. The baseline is left unchanged if cells failed."""
    from memtrace.comparing.inputs import write_baseline

    assert suite.baseline is not None
    if ran.errors:
        echo(f"{suite.baseline} was left as it is, because cells failed", err=True)
        return []
    write_baseline(rows, suite.at(suite.baseline), [gate.measure for gate in suite.gates])
    return [str(suite.at(suite.baseline))]


def echo_results(found: Comparison, ran: ReplayOutcome, rows: list[dict[str, Any]], files: Sequence[str]) -> None:
    """Print the JSON document of the suite."""
    from memtrace.cli.output import echo_json

    errors = [{"trace": task.trace, "policy": task.label, "error": error} for task, error in ran.errors.items()]
    counts = {"replayed": ran.replayed, "finished_before": ran.skipped}
    comparison = {key: value for key, value in found.to_json().items() if key != "schema"}
    echo_json(
        {
            "schema": "memtrace.suite/1",
            **counts,
            "failed": errors,
            "results": rows,
            **standings_json(rows),
            **comparison,
            "files": list(files),
        }
    )


def show(done: Finished, quiet: bool, verbose: int) -> None:
    """Print what was replayed, what changed against the baseline, the gates, and the cells that failed."""
    plan, ran, found = done.plan, done.ran, done.found
    before = f", {ran.skipped:,} finished before" if ran.skipped else ""
    failed = f", {len(ran.errors):,} failed" if ran.errors else ""
    echo(f"{len(plan.tasks):,} cells: {ran.replayed:,} replayed{before}{failed}")
    print_standings(done.rows)
    if found.rows or found.missing or found.extra or found.outcomes:
        show_comparison(found, verbose)
    if done.unjudged:
        gates = "1 gate compares" if done.unjudged == 1 else f"{done.unjudged} gates compare"
        echo(f"{gates} with the baseline, which is written anew")
    errors = list(ran.errors.items())
    for task, error in errors if verbose else errors[:MOST_ERRORS]:
        echo(f"FAIL {task.text}: {error}")
    if len(errors) > MOST_ERRORS and not verbose:
        echo(f"and {len(errors) - MOST_ERRORS:,} more; -v shows all")
    if not quiet:
        folder = plan.suite.at(plan.suite.output)
        echo(f"wrote {folder}/: summary.parquet, and a folder for each trace", err=True)
        for file in done.documents:
            echo(f"wrote {file}", err=True)
        if verbose:
            echo(f"{done.seconds:.1f} s in all", err=True)
