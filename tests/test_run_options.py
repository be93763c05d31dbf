"""A run option is one field of Settings: run, suite and tiers take it or refuse it, and a suite's cells get it and are told apart by it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from docs import commands as page
from memtrace.cli import commands
from memtrace.errors import UsageError
from memtrace.results.settings import Refused, RunOption, Settings, Taken, run_options
from memtrace.suite import load, plan
from memtrace.suite.planning import Task

OPTIONS = run_options()
GIVEN = {
    "capacity": "80GiB",
    "on_oom": "skip",
    "samples": 7,
    "validate": True,
    "placements": True,
    "locality": "skylake",
    "tags": "kind",
}
"""For each option a value that is not its default, as a suite's file has it."""


def answer(option: RunOption, command: str) -> Taken | Refused:
    return option.suite if command == "suite" else option.tiers


def names(command: str, wanted: type) -> list[str]:
    return [name for name, option in OPTIONS.items() if isinstance(answer(option, command), wanted)]


def words(name: str) -> list[str]:
    """The option as the command line has it."""
    return [OPTIONS[name].spelling, *([] if OPTIONS[name].is_flag else [str(GIVEN[name])])]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("op,id,size\nalloc,1,5\naccess,1,\n")
    return tmp_path


def planned(text: str) -> Task:
    Path("memtrace.toml").write_text(f'{text}\ntraces = ["t.csv"]\npolicies = ["best-fit"]\n')
    return plan(load()).tasks[0]


def key_of(name: str) -> str:
    """The line of a suite's file that gives the option."""
    return f"{name} = {str(GIVEN[name]).lower() if isinstance(GIVEN[name], bool | int) else repr(GIVEN[name])}"


def test_every_option_is_tried_here() -> None:
    assert list(GIVEN) == list(OPTIONS) == list(Settings.__dataclass_fields__)
    assert all(OPTIONS[name].value(given) != OPTIONS[name].default for name, given in GIVEN.items())


class Reached(Exception):
    """Raised in place of a replay; carries the settings that reached it."""


def settings_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings with which `memtrace run` begins to replay."""

    def reach(traces: Any, policies: Any, settings: Settings, jobs: Any, progress: Any, **more: Any) -> None:
        raise Reached(settings)

    monkeypatch.setattr("memtrace.results.running.run", reach)
    with pytest.raises(Reached) as caught:
        commands.main(["run", "t.csv", "-p", "bump", "-q", *arguments], standalone_mode=False)
    found = caught.value.args[0]
    assert isinstance(found, Settings)
    return found


def test_run_takes_all(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of([], monkeypatch) == Settings()
    values = {name: OPTIONS[name].value(given) for name, given in GIVEN.items()}
    assert settings_of([word for name in GIVEN for word in words(name)], monkeypatch) == Settings(**values)


@pytest.mark.parametrize("name", names("suite", Taken))
def test_a_suite_takes_it(name: str, desk: Path) -> None:
    without, task = planned(""), planned(key_of(name))
    assert task.settings == replace(without.settings, **{name: OPTIONS[name].value(GIVEN[name])})
    assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.parametrize("name", names("suite", Refused))
def test_a_suite_says_why_it_does_not_take_it(name: str, desk: Path) -> None:
    refused = OPTIONS[name].suite
    assert isinstance(refused, Refused)
    with pytest.raises(UsageError, match=f"^memtrace.toml: {name}: a suite does not take it: {refused.reason}$"):
        planned(key_of(name))


@pytest.mark.parametrize("name", list(OPTIONS))
def test_a_cell_is_told_apart_by_it(name: str, desk: Path) -> None:
    task = planned("")
    other = replace(task, settings=replace(task.settings, **{name: OPTIONS[name].value(GIVEN[name])}))
    assert other.key != task.key


def test_a_cell_is_replayed_with_the_settings_of_its_task(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memtrace.suite.cell import replay_task

    def reach(cell: Any) -> None:
        raise Reached(cell.settings)

    task = planned("")
    task = replace(task, settings=Settings(**{name: OPTIONS[name].value(given) for name, given in GIVEN.items()}))
    monkeypatch.setattr("memtrace.results.running.replay_cell", reach)
    with pytest.raises(Reached) as caught:
        replay_task(task)
    assert caught.value.args[0] is task.settings


@pytest.mark.parametrize("name", names("tiers", Taken))
def test_tiers_take_it_with_a_meaning_of_their_own(name: str) -> None:
    command = commands.get_command(click.Context(commands), "tiers")
    assert command is not None
    (found,) = [each for each in command.params if OPTIONS[name].spelling in each.opts]
    taken = OPTIONS[name].tiers
    assert isinstance(found, click.Option) and isinstance(taken, Taken)
    assert not found.hidden and found.help == (taken.help or OPTIONS[name].help)


@pytest.mark.parametrize("name", names("tiers", Refused))
def test_tiers_say_why_they_do_not_take_it(name: str) -> None:
    refused = OPTIONS[name].tiers
    assert isinstance(refused, Refused)
    with pytest.raises(UsageError) as caught:
        commands.main(["tiers", "t.csv", *words(name)], standalone_mode=False)
    assert str(caught.value) == f"{OPTIONS[name].spelling}: memtrace tiers does not take it: {refused.reason}"
    section = page.page().partition("\n## memtrace tiers ")[2].partition("\n## ")[0]
    assert "`--top`" in section and f"`{OPTIONS[name].spelling}`" not in section


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("capacity", True, "True is no size; write 4096 or '80GiB'"),
        ("capacity", "80G", "'80G' has an unknown unit 'G'; write 80GiB (2^30) or 80GB (10^9)"),
        ("on_oom", "explode", "'explode' is none of stop, skip"),
        ("samples", 0, "0 is neither a number above 0 nor 'all'"),
        ("samples", "7", "'7' is neither a number above 0 nor 'all'"),
        ("validate", "yes", "'yes' is neither true nor false"),
        ("locality", "skylak", "unknown model of caches 'skylak'; did you mean 'skylake'?"),
    ],
)
def test_mistakes_are_answered(name: str, given: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        OPTIONS[name].value(given)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "t.csv", "--capacity", "80G"], "--capacity: '80G' has an unknown unit"),
        (["run", "t.csv", "--samples", "0"], "--samples: 0 is neither a number above 0 nor 'all'"),
        (["bound", "t.csv", "--capacity", "x"], "--capacity: 'x' is no size"),
        (["tiers", "t.csv", "--top", "x"], "--top: 'x' is no size"),
        (["whatif", "t.csv", "--recorded-capacity", "x"], "--recorded-capacity: 'x' is no size"),
    ],
)
def test_the_command_line_names_the_option(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        commands.main(arguments, standalone_mode=False)
    assert str(caught.value).startswith(said)
