"""Find what other installed packages add: policies, formats, workloads, plots and measures, by their entry points.

An entry point of the group `memtrace.policies` (or `memtrace.formats`, ...) names a module of the form that a file of
`memtrace/policies/` has. The entry point's own name, with underscores turned into dashes, is the name that users type.
A plug-in that cannot be used is left out with one line on standard error, and ends nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from memtrace.errors import MemtraceError, PolicyError, UsageError

# Kind of plug-in, which is the end of its entry points' group -> the word for one.
KINDS = {"policies": "policy", "formats": "format", "workloads": "workload", "plots": "plot", "measures": "group of measures"}
NAMED = ("formats", "plots")  # kinds whose modules have a NAME
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")  # fits into the specs of policies and workloads, and into file names
_MODULE = re.compile(r"\w+(\.\w+)*")
_said: set[Plugin] = set()  # the plug-ins of which a fault was said


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One entry point of another package."""

    kind: str  # a key of KINDS
    name: str  # what users type
    module: str  # full name of the module that it names
    distribution: str  # the installed package
    version: str  # of that package

    def __str__(self) -> str:
        """Return what messages call the plug-in."""
        return f"plug-in {self.name} of {self.distribution} {self.version}"

    def error(self, reason: str) -> MemtraceError:
        """Return (not raise) the error for a user who asks for this plug-in, which cannot be used for that reason."""
        return (PolicyError if self.kind == "policies" else UsageError)(f"{self} cannot be used: {reason}")


@cache
def plugins() -> tuple[Plugin, ...]:
    """Return all plug-ins that are installed, sound or not, sorted by distribution and name. Nothing of them is imported."""
    from importlib.metadata import entry_points

    try:
        found = [
            Plugin(
                kind=each.group.removeprefix("memtrace."),
                name=each.name.replace("_", "-"),
                module=each.value,
                distribution=str(each.dist.name) if each.dist is not None else "an unknown package",
                version=str(each.dist.version) if each.dist is not None else "",
            )
            for kind in KINDS
            for each in entry_points(group=f"memtrace.{kind}")
        ]
    except Exception as error:  # the metadata of any installed package may be damaged
        if not _is_worker():
            reason = reason_of(error)
            print(f"plug-ins are left out: entry points of installed packages cannot be read: {reason}", file=sys.stderr)
        return ()
    return tuple(sorted(found, key=lambda plugin: (plugin.distribution, plugin.name, plugin.kind, plugin.module)))


def added(kind: str, taken: Collection[str]) -> dict[str, Plugin]:
    """Return the plug-ins of a kind by name, without importing them.

    Left out are those with a name that is in `taken`, that an earlier plug-in has, or that users could not type.
    """
    found: dict[str, Plugin] = {}
    for plugin in (each for each in plugins() if each.kind == kind):
        if not _NAME.fullmatch(plugin.name):
            leave_out(plugin, "its name has other characters than letters, digits, - and _")
        elif plugin.name in taken:
            leave_out(plugin, f"memtrace has a {KINDS[kind]} of this name")
        elif plugin.name in found:
            leave_out(plugin, f"{found[plugin.name].distribution} has a {KINDS[kind]} of this name")
        else:
            found[plugin.name] = plugin
    return found


Check = Callable[[ModuleType], object]  # raises an exception for a module that is not of the plug-in's form


def load(plugin: Plugin, check: Check) -> ModuleType:
    """Import a plug-in on its first use, and return its module; raise `plugin.error` with the reason if it cannot be used."""
    found = _imported(plugin, check)
    if isinstance(found, str):
        raise plugin.error(found)
    return found


def usable(plugins: Mapping[str, Plugin], check: Check) -> dict[str, ModuleType]:
    """Import plug-ins, and return the modules by name; those that cannot be used are left out with a line each."""
    found = {}
    for name, plugin in plugins.items():
        module = _imported(plugin, check)
        if isinstance(module, str):
            leave_out(plugin, module)
        else:
            found[name] = module
    return found


@cache
def _imported(plugin: Plugin, check: Check) -> ModuleType | str:
    """Return the plug-in's module, or the reason why it cannot be used. Each plug-in is tried once in a process."""
    if not _MODULE.fullmatch(plugin.module):
        return f"its entry point names {plugin.module!r}, which is no module"
    try:
        module = import_module(plugin.module)
        if plugin.kind in NAMED and getattr(module, "NAME", None) != plugin.name:
            raise UsageError(f"NAME of {plugin.module} is not {plugin.name!r}, as the entry point is called")
        check(module)
    except (Exception, SystemExit) as error:
        return reason_of(error)
    return module


def reason_of(error: BaseException) -> str:
    """Return an exception as one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, MemtraceError) else f"{type(error).__name__}: {text}"


def leave_out(plugin: Plugin, reason: str) -> None:
    """Say that a plug-in is left out, and why."""
    if not _is_worker():
        say(plugin, f"is left out: {reason}")


def _is_worker() -> bool:
    """Return whether this is a process of a pool, which leaves out what its parent process has left out, and said so."""
    from multiprocessing import parent_process

    return parent_process() is not None


def say(plugin: Plugin, what: str) -> None:
    """Print one line on a plug-in on standard error; of each plug-in only the first fault is printed."""
    if plugin not in _said:
        _said.add(plugin)
        print(f"{plugin} ({plugin.kind}) {what}", file=sys.stderr)


def check_functions(module: ModuleType, names: Iterable[str]) -> None:
    """Raise UsageError if the module lacks one of these functions."""
    for name in names:
        if not callable(getattr(module, name, None)):
            raise UsageError(f"{module.__name__} has no function {name}")


def versions() -> dict[str, str]:
    """Return the version of each installed package that adds something, by the package's name."""
    return {plugin.distribution: plugin.version for plugin in plugins()}


def package_of(module: str, kind: str) -> str | None:
    """Return the package that the module of this name is of and that adds something of this kind; None if there is none."""
    return next((package for package in packages(kind) if f"{module}.".startswith(f"{package}.")), None)


@cache
def sources_digest(package: str) -> bytes:
    """Return the SHA-256 of all Python files of a package, wherever it lies."""
    digest, spec = sha256(), find_spec(package)
    assert spec is not None
    folders = spec.submodule_search_locations
    for folder in map(Path, folders or ()):
        for file in sorted(folder.rglob("*.py")):
            digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    if not folders and spec.origin is not None and spec.origin.endswith(".py"):
        digest.update(Path(spec.origin).read_bytes())
    return digest.digest()


@cache
def packages(kind: str) -> tuple[str, ...]:
    """Return the names of the packages with the plug-ins of a kind, sorted; packages that do not exist are left out."""
    return tuple(sorted({found for plugin in plugins() if plugin.kind == kind and (found := _package(plugin.module))}))


def _package(module: str) -> str | None:
    """Return the outermost package of a module that is more than a namespace; None if there is none."""
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}".lstrip(".")
        try:
            spec = find_spec(name)
        except Exception:  # the same fault is said when the module is imported
            return None
        if spec is None or spec.origin is not None:
            return name if spec is not None else None
    return name
