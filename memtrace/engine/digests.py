"""Find the source files that a policy is made of, and compute the digest of their text by which compiled loops are cached."""

import hashlib
import inspect
import sys
from pathlib import Path
from types import FunctionType, ModuleType

import memtrace.contract
import memtrace.engine
from memtrace import plugins
from memtrace.contract.policy import has_ledger
from memtrace.engine import gaps


def plain_functions(module: ModuleType) -> list[FunctionType]:
    """Return the functions that a module defines or imports, without those of installed libraries and the standard library."""
    return [f for f in vars(module).values() if isinstance(f, FunctionType) and is_ours(f.__module__)]


def reachable_modules(*modules: ModuleType) -> list[ModuleType]:
    """Return the modules, and all modules from which these import a function or which they import whole; sorted by name."""
    found: dict[str, ModuleType] = {}
    todo = list(modules)
    while todo:
        module = todo.pop()
        if module.__name__ in found:
            continue
        found[module.__name__] = module
        todo += [sys.modules[f.__module__] for f in plain_functions(module)]
        todo += [m for m in vars(module).values() if isinstance(m, ModuleType) and is_ours(m.__name__)]
        if "alloc" in vars(module) and not has_ledger(module):
            todo.append(gaps)  # the engine counts the holes of such a policy
    return [found[name] for name in sorted(found)]


def is_ours(name: str) -> bool:
    """Return whether a module's source is followed: the package's, a policy plug-in's, or a file of no installed library."""
    if name.partition(".")[0] == "memtrace":
        return ".bound_" not in name
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if path is None or not path.endswith(".py") or name.partition(".")[0] in sys.stdlib_module_names:
        return False
    installed = {"site-packages", "dist-packages"} & set(Path(path).parts)
    return not installed or plugins.package_of(name, "policies") is not None


def digest(modules: list[ModuleType]) -> str:
    """Return 12 hex digits of the text of the modules, of the engine, and of the contract, whose defaults the loop calls.

    Of a package that adds policies all sources count, since a module may take constants from any of them.
    """
    folders = (*memtrace.engine.__path__, *memtrace.contract.__path__)
    engine = [path for folder in folders for path in sorted(Path(folder).glob("*.py"))]
    # A module without a file was made of functions, and has their digest in its name.
    files = [Path(inspect.getsourcefile(m) or "") for m in modules if m.__file__ is not None] + engine
    text = hashlib.sha256()
    for file in dict.fromkeys(files):
        text.update(file.read_bytes())
    for package in sorted({found for m in modules if (found := plugins.package_of(m.__name__, "policies"))}):
        text.update(plugins.sources_digest(package))
    return text.hexdigest()[:12]
