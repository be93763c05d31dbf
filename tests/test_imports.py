"""Who may import whom, read off the sources; and what `import memtrace` and `memtrace --help` load."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "memtrace"
HEAVY = {"numba", "pandas", "pyarrow", "matplotlib"}

COMMON = {"errors", "units", "names", "__version__"}


def allowed() -> dict[str, set[str]]:
    """Part -> the parts that it may import, late or at once, as docs/architecture.md has it."""
    table = (ROOT / "docs" / "architecture.md").read_text().partition("| part | may import |\n|---|---|\n")[2]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return {part: set(others.split(", ")) for part, others in rows}


ALLOWED = {**allowed(), **dict.fromkeys(("errors", "units", "names"), COMMON)}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> set[str]:
    """The package's own modules that a file imports, without the leading `memtrace.`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "memtrace":
            base = node.module.removeprefix("memtrace").lstrip(".")
            found |= {base} if base else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("memtrace.") for a in node.names if a.name.startswith("memtrace.")}
    return found


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE or file.stem in ALLOWED)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_follow_the_direction(file: Path) -> None:
    part = part_of(file)
    if part == "cli":
        return
    for name in imports_of(file):
        whole = name.partition(".")[0]
        assert whole in {part, *COMMON} or whole in ALLOWED[part] or name in ALLOWED[part], f"{part} imports {name}"


def test_every_part_is_in_the_table() -> None:
    parts = {part_of(file) for file in PACKAGE.rglob("*.py")} - {"__init__", "__main__", "cli"}
    assert parts == set(ALLOWED)


def test_nothing_imports_the_command_line() -> None:
    importers = {
        file.name
        for file in PACKAGE.rglob("*.py")
        for name in imports_of(file)
        if name.partition(".")[0] == "cli" and part_of(file) != "cli"
    }
    assert importers == {"__main__.py"}


@pytest.mark.parametrize(
    ("library", "parts"),
    [
        (
            "numba",
            {
                "trace",
                "formats",
                "workloads",
                "snapshot",
                "engine",
                "replaying",
                "offline",
                "validate",
                "contents",
                "locality",
                "reuse",
                "contention",
            },
        ),
        ("matplotlib", {"plots", "report"}),
    ],
)
def test_a_library_is_imported_only_where_it_belongs(library: str, parts: set[str]) -> None:
    pattern = re.compile(rf"^\s*(?:from|import) {library}\b", re.MULTILINE)
    assert {part_of(file) for file in PACKAGE.rglob("*.py") if pattern.search(file.read_text())} == parts


@pytest.mark.parametrize("arguments", [["-c", "import memtrace"], ["-m", "memtrace", "--help"]])
def test_nothing_heavy_is_loaded(arguments: list[str], tmp_path: Path) -> None:
    hook = "import atexit, json, sys; atexit.register(lambda: open('loaded.json', 'w').write(json.dumps(list(sys.modules))))"
    (tmp_path / "sitecustomize.py").write_text(hook)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)
    loaded = {name.partition(".")[0] for name in json.loads((tmp_path / "loaded.json").read_text())}
    assert "memtrace" in loaded and not loaded & HEAVY


def test_files_are_short() -> None:
    long = {str(file.relative_to(ROOT)): n for file in PACKAGE.rglob("*.py") if (n := file.read_text().count("\n")) > 330}
    assert long == {}
