"""Ask git about the repository that a suite lies in, without running anything that the repository brings along.

A folder of a checkout can be made to look like a git repository of its own, whose settings name programs that git runs. So git is
told which repository is meant, and its hooks and its file monitor are switched off.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from memtrace.errors import UsageError

SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "safe.bareRepository=explicit")
PLAIN = ("100644", "100755")  # the modes of files in git's trees that are no links
# Event of GitHub that is no pull request -> the commit that it is about was pushed by somebody who may.
OWN_EVENTS = ("push", "schedule", "workflow_dispatch")


class Repository:
    """The git repository of a project; paths are absolute where nothing else is said."""

    def __init__(self, project: Path) -> None:
        """Take the folder that has `.git`. Raise UsageError if it has none, or if git is not installed."""
        git = shutil.which("git")
        if git is None or not (project / ".git").exists():
            raise UsageError(f"{project} is no git repository" if git is not None else "this needs git, which is not installed")
        self.project = project
        self._command = [git, *SAFE, f"--git-dir={project / '.git'}", f"--work-tree={project}"]

    def run(self, *arguments: str, given: bytes = b"") -> bytes | None:
        """Return what a git command prints, with ``given`` as its input; None if it fails."""
        done = subprocess.run([*self._command, *arguments], cwd=self.project, input=given, capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def relative(self, path: Path) -> str:
        """Return a path as git names it. Raise UsageError for one outside of the project."""
        try:
            return path.relative_to(self.project).as_posix()
        except ValueError:
            raise UsageError(f"{path} lies outside of the repository {self.project}") from None

    def commit(self, reference: str) -> str | None:
        """Return the full name of the commit that a branch, tag or name of a commit means; None if there is none."""
        found = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
        return found.decode().strip() if found else None

    def tracked(self, folder: Path, ending: str) -> list[str]:
        """Return the files of the repository in a folder whose names end so, relative to the project."""
        found = self.run("ls-files", "-z", "--", f":(literal){self.relative(folder)}") or b""
        return [name for name in found.decode(errors="surrogateescape").split("\0") if name.endswith(ending)]

    def text(self, commit: str, path: Path) -> bytes | None:
        """Return the content of a file at a commit; None if it has none of this name, or something else than a file."""
        return self.files(commit, [self.relative(path)]).get(self.relative(path))

    def sources(self, commit: str, folder: Path) -> dict[str, bytes]:
        """Return the content of all Python files at a commit in a folder and below, by path relative to the project."""
        place = self.relative(folder)
        return self.files(commit, [] if place == "." else [place], ".py")

    def files(self, commit: str, places: Iterable[str], ending: str = "") -> dict[str, bytes]:
        """Return the content of all plain files at these places of a commit whose names end so, by their paths."""
        listed = self.run("ls-tree", "-r", "-z", "--full-tree", commit, "--", *(f":(literal){each}" for each in places)) or b""
        entries = [entry.partition("\t") for entry in listed.decode(errors="surrogateescape").split("\0") if entry]
        blobs = {path: facts.split()[2] for facts, _, path in entries if facts.split()[0] in PLAIN and path.endswith(ending)}
        said = self.run("cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs.values()).encode()) or b""
        found, at = {}, 0
        for path in blobs:
            end = said.index(b"\n", at)
            size = int(said[at:end].split()[2])
            found[path] = said[end + 1 : end + 1 + size]
            at = end + size + 2
        return found


def base_of(environment: Mapping[str, str], given: str | None, repository: Repository) -> str:
    """Return the full name of the commit that a change is made to: ``given``, or else the one that the CI server names.

    That is the target branch of a pull request, and the commit itself where there is no pull request. Raise UsageError where
    it is not known, or is no commit of this clone.
    """
    named = [given] if given is not None else list(named_by_ci(environment))
    if not named:
        raise UsageError("--trust base: this is no pull request that memtrace knows of\ntry: --trust base=origin/main")
    for each in named:
        if (found := repository.commit(each)) is not None:
            return found
    raise UsageError(
        f"--trust base: {named[0]} is no commit of this clone\ntry: git fetch origin, or a checkout with the whole history "
        "(fetch-depth: 0)"
    )


def named_by_ci(environment: Mapping[str, str]) -> Iterable[str]:
    """Yield what GitHub and GitLab call the commit that a change is made to, the best first."""
    if branch := environment.get("GITHUB_BASE_REF"):
        yield f"refs/remotes/origin/{branch}"
    elif environment.get("GITHUB_EVENT_NAME") in OWN_EVENTS:
        yield environment["GITHUB_SHA"]
    elif branch := environment.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"):
        yield f"refs/remotes/origin/{branch}"
        if commit := environment.get("CI_MERGE_REQUEST_DIFF_BASE_SHA"):
            yield commit
    elif environment.get("GITLAB_CI"):
        yield environment["CI_COMMIT_SHA"]
