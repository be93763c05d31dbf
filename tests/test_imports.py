"""Each part imports only parts below it, no command imports another; and what `import memtrace` and `memtrace --help` load."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

from memtrace.cli import COMMANDS
from memtrace.cli.options import OPTIONS

PACKAGE = ROOT / "memtrace"
LONGEST = 420  # lines of a file, docstrings included
HEAVY = {"numba", "pandas", "pyarrow", "matplotlib"}

ORDER = (
    *("errors", "processes", "temporary", "units", "names", "sweeps", "wrapping"),
    *("plugins", "digests", "records", "lean", "code_cache", "kernels"),
    *("contract", "structures", "trace", "packing", "native", "policies", "engine", "validation"),
    *("formats", "workloads", "reading"),
    *("measures", "results", "questions", "gpu", "tiers"),
    *("drawing", "plots", "figures", "report"),
    *("recording", "torch", "comparing", "suite", "testing", "cli", "__main__"),
)
"""The parts of the package, the lowest first: each imports only parts before it."""


@cache
def sources() -> dict[Path, tuple[str, set[str]]]:
    """File -> its text, and the package's own modules that it imports, at once or late, for types or at run time."""
    texts = {file: file.read_text() for file in sorted(PACKAGE.rglob("*.py"))}
    return {file: (text, imports_in(text)) for file, text in texts.items()}


def part_of(file: Path) -> str:
    """The first name below the package."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_in(text: str) -> set[str]:
    """The package's own modules that a source imports, without the leading `memtrace.`."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "memtrace":
            base = node.module.removeprefix("memtrace").lstrip(".")
            found |= {base} if base else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("memtrace.") for a in node.names if a.name.startswith("memtrace.")}
    return found - {"__version__"}


def upward(part: str, imported: set[str]) -> list[str]:
    """The imports of a part that are of a later part."""
    whole = ((name, name.partition(".")[0]) for name in sorted(imported))
    return [name for name, other in whole if other != part and ORDER.index(other) >= ORDER.index(part)]


def test_each_part_imports_only_parts_below_it() -> None:
    inside = {file: imported for file, (_, imported) in sources().items() if file != PACKAGE / "__init__.py"}
    found = {str(file.relative_to(ROOT)): upward(part_of(file), imported) for file, imported in inside.items()}
    assert {file: wrong for file, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "text",
    [
        "from memtrace.results.tables import build",
        "def late():\n    from memtrace.results.tables import build",
        "if TYPE_CHECKING:\n    from memtrace.results.tables import Results",
        "import memtrace.results.tables",
    ],
)
def test_an_import_against_the_order_is_found(text: str) -> None:
    assert upward("engine", imports_in(text)) == ["results.tables"]
    assert upward("plots", imports_in(text)) == []


COMMAND_MODULES = {module for module, _ in COMMANDS.values()}


def commands_imported(text: str) -> set[str]:
    """The modules of commands that a source imports, in any of the ways to write it."""
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom | ast.Import)]
    modules = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    for node in imports:
        if isinstance(node, ast.ImportFrom):
            base = "memtrace.cli." + (node.module or "") if node.level else node.module or ""
            modules |= {base, *(f"{base}.{alias.name}".replace("..", ".") for alias in node.names)}
    return {module.removeprefix("memtrace.cli.") for module in modules if module.startswith("memtrace.cli.")} & COMMAND_MODULES


def test_no_module_of_the_command_line_imports_a_command() -> None:
    inside = {file: text for file, (text, _) in sources().items() if part_of(file) == "cli"}
    assert COMMAND_MODULES <= {file.stem for file in inside}
    assert {file.name: found for file, text in inside.items() if (found := commands_imported(text))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "from memtrace.cli.run import run",
        "from memtrace.cli import run",
        "import memtrace.cli.run",
        "from .run import run",
        "from . import run",
        "def late():\n    from memtrace.cli.run import write",
        "if TYPE_CHECKING:\n    from memtrace.cli.run import Any",
    ],
)
def test_an_import_of_a_command_is_found(text: str) -> None:
    assert commands_imported(text) == {"run"}


MEANINGS = {"--keep"}  # the options that mean another thing in each command that has one: tags of blocks, and what is shown


def options_declared(text: str) -> set[str]:
    """The long options that a source declares by click.option."""
    calls = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "click.option"
    ]
    names = [each.value for call in calls for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return {part for name in names for part in name.split("/") if part.startswith("--")}


def test_an_option_of_several_commands_is_declared_once() -> None:
    shared = {name for names, _ in OPTIONS.values() for name in names if name.startswith("--")}
    declared = [options_declared(text) for file, (text, _) in sources().items() if part_of(file) == "cli"]
    count = {name: sum(name in each for each in declared) + (name in shared) for name in set().union(*declared, shared)}
    assert {"--json", "--evict", "--no-overlap", "--capacity"} <= set(count)
    assert {name for name, times in count.items() if times > 1} == MEANINGS


def test_every_part_is_in_the_order() -> None:
    assert {part_of(file) for file in sources()} - {"__init__"} == set(ORDER)


def test_the_order_is_documented() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text().partition("\n## Parts")[2].partition("\n## ")[0]
    parts = [name for line in page.splitlines() if line.startswith("| ") for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert parts == [part for part in ORDER if part != "__main__"]


@pytest.mark.parametrize(
    ("library", "parts"),
    [
        (
            "numba",
            {"lean", "code_cache", "kernels", "contract", "engine", "measures", "tiers"},
        ),
        ("matplotlib", {"drawing", "plots", "figures"}),
    ],
)
def test_a_library_is_imported_only_where_it_belongs(library: str, parts: set[str]) -> None:
    pattern = re.compile(rf"^\s*(?:from|import) {library}\b", re.MULTILINE)
    assert {part_of(file) for file, (text, _) in sources().items() if pattern.search(text)} == parts


def loaded_by(arguments: list[str], folder: Path) -> set[str]:
    """The top-level modules that a Python process with these arguments has loaded when it ends; it runs in the folder."""
    hook = "import atexit, json, sys; atexit.register(lambda: open('loaded.json', 'w').write(json.dumps(list(sys.modules))))"
    (folder / "sitecustomize.py").write_text(hook)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, check=True, capture_output=True)
    return {name.partition(".")[0] for name in json.loads((folder / "loaded.json").read_text())}


@pytest.mark.parametrize("arguments", [["-c", "import memtrace"], ["-m", "memtrace", "--help"]])
def test_nothing_heavy_is_loaded(arguments: list[str], tmp_path: Path) -> None:
    loaded = loaded_by(arguments, tmp_path)
    assert "memtrace" in loaded and not loaded & HEAVY


def test_a_run_without_a_report_loads_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("op,id,size\nalloc,1,100\nfree,1,\n")
    arguments = ["run", "trace.csv", "-p", "bump", "--jobs", "1", "--no-report", "-o", "out"]
    assert "pyarrow" in (loaded := loaded_by(["-m", "memtrace", *arguments], tmp_path)) and not loaded & {"pandas", "matplotlib"}
    assert (tmp_path / "out" / "summary.parquet").exists()


def test_pyarrow_leaves_pandas_out_until_it_is_wanted() -> None:
    code = "import sys; from memtrace.trace.arrow import leave_out_pandas; leave_out_pandas(); import numpy, pyarrow\n"
    code += "table = pyarrow.table({'x': pyarrow.array(numpy.arange(3))}); assert 'pandas' not in sys.modules\n"
    code += "import pandas; assert pandas.DataFrame({'x': [0, 1, 2]}).equals(table.to_pandas())"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_files_are_short() -> None:
    long = {str(file.relative_to(ROOT)): n for file, (text, _) in sources().items() if (n := text.count("\n")) > LONGEST}
    assert long == {}
