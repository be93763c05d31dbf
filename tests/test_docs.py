"""Everything that there is, is documented; the examples run; what is shown is what is printed."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT, Run

from docs import commands, gates, heaps, measures, policies, workloads
from memtrace.cli import COMMANDS, GROUPS
from memtrace.contract.policy import Policy, constants, functions
from memtrace.contract.request import ENLARGE, NOTHING, NOWHERE, Request
from memtrace.engine.adapted import with_ledger
from memtrace.engine.options import options_of
from memtrace.engine.registry import builtin_policies, group
from memtrace.results.schema import TABLES, columns_of
from memtrace.trace.model import COLUMNS, Op
from memtrace.validation.policies import check_policy

README = (ROOT / "README.md").read_text()
DOCS = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """An empty folder in which the paths of the examples lead somewhere."""
    for name in ("traces", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["README.md", "ci.md", "figures.md", "policies.md", "python.md", "results.md", "suite.md", "trace.md"]
)
def test_python_examples_run(name: str, desk: Path, memtrace: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "results.md":
        assert memtrace("run", "traces/gpt-6x512-fp32.csv", "-p", "best-fit", "-p", "first-fit", "--no-report").returncode == 0
    monkeypatch.chdir(desk)
    examples = re.findall(r"```python\n(.*?)```", {**DOCS, "README.md": README}[name], re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, name, "exec"), {})


def test_every_page_with_python_is_run() -> None:
    assert {name for name, text in DOCS.items() if "```python" in text} == {
        *("ci.md", "figures.md", "policies.md", "python.md", "results.md", "suite.md", "trace.md")
    }


def test_commands_that_are_shown_have_the_options_that_they_are_given() -> None:
    shown = re.findall(r"memtrace (\w+)((?: [^`\n]*)?)", "\n".join([README, *DOCS.values()]))
    assert {name for name, _ in shown} >= set(COMMANDS)
    for name, rest in shown:
        if name in COMMANDS:
            section = DOCS["commands.md"].partition(f"## memtrace {name} ")[2].partition("\n## ")[0]
            for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest):
                assert f"`{option}`" in section + commands.page().partition("\n## ")[0] or option == "--help", (name, option)


def test_the_screen_of_the_readme_is_what_is_printed(memtrace: Run, desk: Path) -> None:
    shown = re.search(r"    \$ memtrace (run .*)\n((?:    .*\n)+)", README)
    assert shown is not None
    done = memtrace(*shown[1].split(), "--no-report")
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    assert printed == [line.removeprefix("    ").rstrip() for line in shown[2].splitlines()]


def test_commands() -> None:
    for command in COMMANDS:
        assert f"`memtrace {command}" in README


@pytest.mark.parametrize("name", list(builtin_policies()))
def test_policies_and_their_options(name: str) -> None:
    module = builtin_policies()[name]
    assert f"| {name} |" in DOCS["policies.md"] and f"`{name}`" in README
    assert module.__doc__ and "Cost:" in module.__doc__ and "Source:" in module.__doc__
    for option in options_of(module):
        assert f"| {option} |" in DOCS["policies.md"] or option in module.__doc__, option


def test_the_policy_contract() -> None:
    page = DOCS["policies.md"].partition(policies.FIRST)[2]
    for function in functions():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{function.signature}` |"))
        assert function.entry.called in row and function.entry.missing in row
    for name, default, meaning in constants():
        assert f"| `{name}` | `{default!r}` | {meaning} |" in page
    for field in Request._fields:
        assert f"| `{field}` | " in page
    for value in (NOWHERE, NOTHING, ENLARGE):
        assert f"| {value} (`" in page


def test_what_the_contract_says_of_policies_without_a_ledger() -> None:
    whole = ModuleType("whole")
    vars(whole).update({each.name: getattr(Policy, each.name) for each in functions()})
    called = {*with_ledger(whole), "reserved", "survey"} - {"largest_hole", "read_policy", "place_block"}
    by_the_loop = {each.name for each in functions() if not each.entry.ledger} - {"require", "over"}
    assert called == by_the_loop


def test_trace_columns_and_ops() -> None:
    for column in COLUMNS:
        assert f"| {column} |" in DOCS["trace.md"]
    for op in Op:
        assert op.name.lower() in DOCS["trace.md"]


def test_results_columns() -> None:
    for table in TABLES:
        line = next(line for line in DOCS["results.md"].splitlines() if line.startswith(f"| {table}.parquet"))
        assert all(column in line for column in columns_of(table)), table


def test_pages_that_are_written_by_make_docs_are_up_to_date() -> None:
    assert DOCS["measures.md"] == measures.page()
    assert DOCS["gates.md"] == gates.page()
    assert DOCS["heaps.md"] == heaps.page()
    assert DOCS["commands.md"] == commands.page()
    assert DOCS["policies.md"] == policies.page()
    assert DOCS["workloads.md"] == workloads.page()


def test_the_example_policy_is_sound() -> None:
    report = check_policy(ROOT / "docs" / "example_policy.py")
    assert report.ok, report.text()


@pytest.mark.parametrize("name", group("all"))
def test_every_policy_is_sound(name: str) -> None:
    report = check_policy({"optimum": "optimum:effort=0"}.get(name, name), traces=2)  # annealing takes minutes
    assert report.ok, report.text()


def rows_of(text: str) -> list[str]:
    """The first cells of the rows of a table, without its head."""
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:]


def test_the_glossary_is_in_order_and_has_the_words_of_the_readme() -> None:
    words = rows_of(DOCS["glossary.md"])
    assert words == sorted(words, key=str.lower)
    assert set(rows_of(README.partition("\n## Words")[2].partition("\n## ")[0])) <= set(words)


def test_links_lead_somewhere() -> None:
    for folder, text in [(ROOT, README), *[(ROOT / "docs", text) for text in DOCS.values()]]:
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (folder / link).exists(), link


def test_the_index_has_every_page() -> None:
    assert set(re.findall(r"\((\w[\w-]*\.md)", DOCS["README.md"])) == set(DOCS) - {"README.md"}


def test_every_command_is_in_one_group_of_the_help() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)
