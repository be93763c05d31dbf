"""Decide whose code a suite may run: what code it names, and whether that is as it was at the base of a change.

A suite names code in its policies: a policy file, which Python runs, and the file of a library, which the loader runs. What is
installed (memtrace, its plug-ins, libraries named by their names) is trusted, since whoever installed it ran it then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from memtrace import temporary
from memtrace.errors import UsageError
from memtrace.names import split_spec
from memtrace.suite.config import Suite, parsed, project_of
from memtrace.suite.repository import Repository, base_of

Kind = Literal["policy file", "library"]
WORDS = ("none", "base", "head")
# The variables that code of the suite sees under `--trust head`, and those that begin so.
KEPT = (
    *(
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "TZ",
        "LANG",
        "LANGUAGE",
        "TERM",
        "COLUMNS",
        "LINES",
        "NO_COLOR",
        "FORCE_COLOR",
    ),
    *("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "CC", "SYSTEMROOT"),
    *("PYTHONPATH", "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE"),
    *("MEMTRACE_CACHE_DIR", "MEMTRACE_LEAN", "CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"),
)
KEPT_BEGINNINGS = ("LC_", "OMP_NUM_", "NUMBA_NUM_")


@dataclass(frozen=True)
class Code:
    """A file of code that a suite names."""

    kind: Kind
    path: str  # as the suite has it
    is_inner: bool = False  # it is named by an option of another policy

    @property
    def text(self) -> str:
        """Return the file for messages."""
        return f"{self.path} ({self.kind})"


@dataclass(frozen=True)
class Trust:
    """Whose code a suite may run."""

    word: str | None  # one of WORDS; None: nothing was said
    reference: str | None = None  # with `base`: the branch or commit that it is; None: the CI server names it

    @property
    def settled(self) -> str:
        """Return the word, or what counts without one: `none` in CI; elsewhere a suite is run as any program of the user's."""
        return self.word or ("none" if in_ci(os.environ) else "user")


def parse_trust(text: str | None) -> Trust:
    """Return what `none`, `head`, `base` or `base=REF` means; raise UsageError for anything else."""
    word, mark, reference = (text or "").partition("=")
    if text is not None and (word not in WORDS or (mark and (word != "base" or not reference))):
        raise UsageError(f"--trust {text}: it is one of none, head, base and base=REF, such as base=origin/main")
    return Trust(word or None, reference or None)


def in_ci(environment: Mapping[str, str]) -> bool:
    """Return whether this is a job of a CI server, all of which set CI."""
    return environment.get("CI", "").lower() not in ("", "0", "false")


def names_in(policy: str, is_inner: bool = False) -> Iterator[tuple[str, dict[str, str], bool]]:
    """Yield the name and the options of the policy that a text means, and of those that its options may name; nothing is loaded.

    With each goes whether it is an inner one. What options have that names no policy is yielded too.
    """
    name, options = split_spec(policy, "library")
    yield name, options, is_inner
    for value in options.values():
        inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        with suppress(UsageError):  # no policy, or one that is refused when it is read
            yield from names_in(inner, True)


def code_of(policy: str) -> list[Code]:
    """Return the files of code that the text of a policy names, also in the policies that its options name."""
    found = []
    for name, options, is_inner in names_in(policy):
        library = options.get("library", "") if name == "native" else ""
        if name.endswith(".py"):
            found.append(Code("policy file", name, is_inner))
        if "/" in library or library.endswith(".so"):
            found.append(Code("library", library, is_inner))
    return found


def all_code(suite: Suite) -> list[Code]:
    """Return the files of code that a suite names, each once."""
    return list(dict.fromkeys(code for policy in suite.policies for code in code_of(policy)))


@contextmanager
def trusted(suite: Suite, trust: Trust) -> Iterator[Suite]:
    """Provide the suite with its code as it may be run in the block.

    Raise UsageError if the suite names code that may not be run. With `head` this process is replaced by itself, with what is
    left of its environment.
    """
    named = all_code(suite)
    if not named or trust.settled == "user":
        yield suite
    elif trust.settled == "none":
        raise UsageError(
            f"{suite.file} would run code of its own{' in CI' if trust.word is None else ''}: {listed(named)}\n"
            "try: --trust base, which runs it as it is on the branch that the change goes to, or --trust head; docs/ci.md"
        )
    elif trust.settled == "head":
        leave_environment(os.environ)
        yield suite
    else:
        with temporary.folder() as folder:
            take_from_base(suite, named, trust, folder)
            yield replace(suite, code=folder)


def listed(named: list[Code]) -> str:
    """Return files of code for a message."""
    return ", ".join(code.text for code in named)


def take_from_base(suite: Suite, named: list[Code], trust: Trust, folder: Path) -> None:
    """Write the policy files of a suite, and all Python files beside and below them, into a folder as they are at the base.

    Raise UsageError unless the suite names the same files there, and these and all that they import are the same there and here.
    Libraries are refused, since what they load besides themselves cannot be seen; so are files in the options of policies.
    """
    from memtrace.engine.policy_files import sources

    project = project_of(suite.folder)
    repository = Repository(project)
    commit = base_of(os.environ, trust.reference, repository)
    hint = "try: --trust head, once somebody has read the change"
    content = repository.text(commit, suite.file.resolve())
    before = [] if content is None else [suite.at(code.path).resolve() for code in all_code(parsed(suite.file, content))]
    for code in named:
        if code.kind == "library" or code.is_inner:
            raise UsageError(f"--trust base: {code.text}: only policy files of their own are taken from the base\n{hint}")
        here = suite.at(code.path).resolve()
        if here not in before:
            raise UsageError(f"--trust base: {suite.file} does not name {code.path} at {commit[:12]}\n{hint}")
        for path, text in repository.sources(commit, here.parent).items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text)
        there = folder / repository.relative(here)
        if not there.is_file() or not here.is_file() or relative(sources(there)) != relative(sources(here)):
            raise UsageError(
                f"--trust base: {code.path}, or a module beside it that it imports, is not what it is at {commit[:12]}\n{hint}"
            )


def relative(texts: dict[Path, bytes]) -> dict[str, bytes]:
    """Return the texts of a policy file, which is the first, and of its modules by their paths relative to its folder."""
    folder = next(iter(texts)).parent
    return {file.relative_to(folder).as_posix(): text for file, text in texts.items()}


def is_kept(name: str) -> bool:
    """Return whether a variable of the environment stays under `--trust head`."""
    return name in KEPT or name.startswith(KEPT_BEGINNINGS)


def leave_environment(environment: Mapping[str, str]) -> None:
    """Replace this process by the same one with only the variables that are kept; return if it has no others.

    Replacing it, and not only removing the variables, takes them from /proc too.
    """
    kept = {name: value for name, value in environment.items() if is_kept(name)}
    if len(kept) < len(environment):
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], kept)
